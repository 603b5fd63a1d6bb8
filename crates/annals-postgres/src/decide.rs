//! What becomes of each commit of a batch, from what the transaction has read.
//!
//! Owns the checks, and the positions of events. Must never contact the server.

use std::collections::HashMap;

use annals_es::{
    AppendError, Checkpoint, CommitParts, Committed, Conflict, ContentType, EventParts,
    FailedCheck, Mark, NewEvent, Position, RecordedEvent, Snapshot, StreamCommit, StreamName,
    Timestamp, Version,
};
use uuid::Uuid;

/// What a transaction has read, as it is after the commits that were decided.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The last position that is used in this transaction or before it.
    pub(crate) last: u64,
    /// The position up to which checkpoints may move.
    pub(crate) head: Position,
    pub(crate) now: Timestamp,
    pub(crate) versions: HashMap<StreamName, Version>,
    /// The recorded events that have an id of the batch.
    pub(crate) recorded: HashMap<Uuid, RecordedEvent>,
    pub(crate) checkpoints: HashMap<String, Position>,
    /// What the transaction has to write.
    pub(crate) writes: Writes,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) events: Vec<EventParts>,
    pub(crate) checkpoints: HashMap<String, Position>,
    pub(crate) snapshots: Vec<Snapshot>,
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.checkpoints.is_empty() && self.snapshots.is_empty()
    }
}

impl State {
    fn version(&self, stream: &StreamName) -> Version {
        self.versions.get(stream).copied().unwrap_or_default()
    }

    fn checkpoint(&self, name: &str) -> Position {
        self.checkpoints.get(name).copied().unwrap_or_default()
    }

    /// Decides a commit. `matches` has the newest recorded event that each boundary selects.
    pub(crate) fn decide(
        &mut self,
        commit: CommitParts,
        matches: &[Option<Position>],
    ) -> Result<Committed, AppendError> {
        if let Some(done) = self.recorded_earlier(&commit.streams)? {
            for Checkpoint { name, to, .. } in commit.checkpoints {
                if self.checkpoint(&name) < to {
                    self.move_checkpoint(name, to);
                }
            }
            self.writes.snapshots.extend(commit.snapshots);
            return Ok(done);
        }
        let failed = self.failed_checks(&commit, matches);
        if !failed.is_empty() {
            return Err(Conflict { failed }.into());
        }
        let done = self.record(commit.streams);
        for Checkpoint { name, to, .. } in commit.checkpoints {
            self.move_checkpoint(name, to);
        }
        self.writes.snapshots.extend(commit.snapshots);
        Ok(done)
    }

    fn move_checkpoint(&mut self, name: String, to: Position) {
        self.checkpoints.insert(name.clone(), to);
        self.writes.checkpoints.insert(name, to);
    }

    /// The result of the commit that recorded these events, if they are all recorded.
    fn recorded_earlier(&self, streams: &[StreamCommit]) -> Result<Option<Committed>, AppendError> {
        let new = || {
            let events = |part: &'_ StreamCommit| part.events.len();
            streams
                .iter()
                .filter(move |part| events(part) > 0)
                .flat_map(|part| part.events.iter().map(move |event| (&part.stream, event)))
        };
        let known = |event: &NewEvent| event.id.and_then(|id| self.recorded.get(&id));
        let Some(first) = new().find_map(|(_, event)| known(event)) else { return Ok(None) };
        let mut last = first;
        for (index, (stream, event)) in (0..).zip(new()) {
            match known(event) {
                Some(recorded)
                    if recorded.position().get() == first.position().get() + index
                        && is_same(recorded, stream, event) =>
                {
                    last = recorded;
                }
                other => return Err(AppendError::IdReused { id: other.unwrap_or(first).id() }),
            }
        }
        let versions = streams.iter().map(|part| {
            let of_last = part.events.last().and_then(known).map(RecordedEvent::version);
            of_last.unwrap_or_else(|| self.version(&part.stream))
        });
        let (from, at) = (first.position(), first.recorded_at());
        let mut done = Committed::new(from, last.position(), versions.collect(), at);
        done.already_recorded = true;
        Ok(Some(done))
    }

    fn failed_checks(
        &self,
        commit: &CommitParts,
        matches: &[Option<Position>],
    ) -> Vec<FailedCheck> {
        let mut failed = Vec::new();
        for (index, (boundary, recorded)) in commit.boundaries.iter().zip(matches).enumerate() {
            let earlier = self.writes.events.iter().rev().find(|event| {
                event.position > boundary.after
                    && boundary.query.matches(&RecordedEvent::from((*event).clone()))
            });
            if let Some(position) = earlier.map(|event| event.position).or(*recorded) {
                failed.push(FailedCheck::Boundary { index, position });
            }
        }
        let mut versions: HashMap<&StreamName, Version> = HashMap::new();
        let mut count = 0;
        for part in &commit.streams {
            let stream = &part.stream;
            let version = *versions.entry(stream).or_insert_with(|| self.version(stream));
            if !part.expected.holds_for(version) {
                let (stream, expected) = (stream.clone(), part.expected);
                failed.push(FailedCheck::Version { stream, expected, actual: version });
            }
            let new = part.events.len() as u64;
            versions.insert(stream, Version::new(version.get() + new));
            count += new;
        }
        for Checkpoint { name, to, .. } in &commit.checkpoints {
            let at = self.checkpoint(name);
            if *to <= at {
                let (name, to) = (name.clone(), *to);
                failed.push(FailedCheck::CheckpointNotForward { name, at, to });
            } else if *to > self.head {
                failed.push(checkpoint_ahead(name, *to));
            }
        }
        for snapshot in &commit.snapshots {
            let is_ahead = match snapshot.mark {
                Mark::Position(position) => position.get() > self.last + count,
                Mark::Version(version) => {
                    let stream = StreamName::from(snapshot.key.as_str());
                    version
                        > versions.get(&stream).copied().unwrap_or_else(|| self.version(&stream))
                }
            };
            if is_ahead {
                let what = format!("snapshot {:?} is ahead of what it covers", snapshot.key);
                failed.push(FailedCheck::Other { what });
            }
        }
        failed
    }

    fn record(&mut self, streams: Vec<StreamCommit>) -> Committed {
        let count = streams.iter().map(|part| part.events.len() as u64).sum::<u64>();
        if count == 0 {
            let versions = streams.iter().map(|part| self.version(&part.stream)).collect();
            return Committed::new(self.head, self.head, versions, self.now);
        }
        let first = Position::new(self.last + 1);
        let end = self.last + count;
        let mut versions = Vec::with_capacity(streams.len());
        for part in streams {
            let mut version = self.version(&part.stream);
            for new in part.events {
                self.last += 1;
                version = version.next();
                let (stream, position) = (part.stream.clone(), Position::new(self.last));
                let id = Uuid::now_v7();
                let mut parts = EventParts::of(new, id, stream, version, position, self.now);
                parts.commit = first;
                parts.is_last_in_commit = self.last == end;
                self.writes.events.push(parts);
            }
            versions.push(version);
            self.versions.insert(part.stream, version);
        }
        Committed::new(first, Position::new(end), versions, self.now)
    }
}

pub(crate) fn checkpoint_ahead(name: &str, to: Position) -> FailedCheck {
    let what = format!("checkpoint {name:?} cannot be set to {to}: that is after the head");
    FailedCheck::Other { what }
}

fn is_same(recorded: &RecordedEvent, stream: &StreamName, new: &NewEvent) -> bool {
    let is_json = |content_type| content_type == ContentType::Json;
    recorded.stream() == stream.as_str()
        && recorded.event_type() == new.event_type
        && recorded.schema_version() == new.schema_version
        && is_json(recorded.content_type()) == is_json(new.content_type)
        && recorded.data() == new.data
        && recorded.metadata() == new.metadata
        && recorded.tags().eq(new.tags.iter().map(String::as_str))
}
