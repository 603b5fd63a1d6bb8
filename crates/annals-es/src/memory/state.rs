//! The contents of a store in memory.
//!
//! Owns the checks of a commit and its application. A commit is applied only after all of its checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::task::Waker;

use uuid::Uuid;

use crate::store::{
    AppendError, Checkpoint, CommitParts, Committed, Conflict, EventParts, FailedCheck, Mark,
    NewEvent, Position, RecordedEvent, Snapshot, StoreError, StreamCommit, StreamName, Timestamp,
    Version,
};

/// The largest event: data and metadata, in bytes.
const MAX_EVENT: u64 = 16 << 20;
/// The largest commit, in bytes of data and metadata.
const MAX_COMMIT: u64 = 64 << 20;
/// The longest name of a stream, in bytes.
const MAX_NAME: usize = 1024;

#[derive(Default)]
pub(super) struct State {
    events: Vec<RecordedEvent>,
    /// The indexes of a stream's events.
    streams: HashMap<StreamName, Vec<usize>>,
    /// The index of the event with an id.
    ids: HashMap<Uuid, usize>,
    checkpoints: HashMap<String, Position>,
    snapshots: HashMap<String, BTreeMap<Mark, Snapshot>>,
    last_time: Timestamp,
    waiting: Vec<Waker>,
}

impl State {
    pub(super) fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    /// The events of a stream, as indexes.
    pub(super) fn stream(&self, stream: &StreamName) -> &[usize] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    pub(super) fn version(&self, stream: &StreamName) -> Version {
        Version::new(self.stream(stream).len() as u64)
    }

    pub(super) fn event(&self, id: Uuid) -> Option<&RecordedEvent> {
        self.events.get(*self.ids.get(&id)?)
    }

    pub(super) fn checkpoint(&self, name: &str) -> Option<Position> {
        self.checkpoints.get(name).copied()
    }

    /// Keeps a waker until the next change.
    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn append(
        &mut self,
        commit: CommitParts,
        now: Timestamp,
    ) -> Result<Committed, AppendError> {
        if commit.streams.is_empty()
            && commit.checkpoints.is_empty()
            && commit.boundaries.is_empty()
        {
            return Err(AppendError::Empty);
        }
        check_values(&commit)?;
        if let Some(done) = self.recorded_earlier(&commit.streams)? {
            for checkpoint in commit.checkpoints {
                let at = self.checkpoint(&checkpoint.name).unwrap_or_default();
                self.checkpoints.insert(checkpoint.name, at.max(checkpoint.to));
            }
            self.save_all(commit.snapshots, now);
            return Ok(done);
        }
        let failed = self.failed_checks(&commit);
        if !failed.is_empty() {
            return Err(Conflict { failed }.into());
        }
        let CommitParts { streams, checkpoints, snapshots, .. } = commit;
        let done = self.record(streams, now);
        for Checkpoint { name, to } in checkpoints {
            self.checkpoints.insert(name, to);
        }
        self.save_all(snapshots, now);
        Ok(done)
    }

    /// The result of the commit that recorded these events, if they are all recorded.
    fn recorded_earlier(&self, streams: &[StreamCommit]) -> Result<Option<Committed>, AppendError> {
        let new: Vec<(&StreamName, &NewEvent)> = streams
            .iter()
            .flat_map(|part| part.events.iter().map(|event| (&part.stream, event)))
            .collect();
        let first = new.iter().find_map(|(_, event)| self.ids.get(&event.id?).copied());
        let Some(first) = first else { return Ok(None) };
        for (index, (stream, event)) in new.iter().enumerate() {
            let recorded = self.events.get(first + index);
            if !recorded.is_some_and(|recorded| is_same(recorded, stream, event)) {
                let id = event.id.filter(|id| self.ids.contains_key(id));
                let id = id.unwrap_or_else(|| self.events[first].id());
                return Err(AppendError::IdReused { id });
            }
        }
        let last = &self.events[first + new.len() - 1];
        let mut index = first;
        let versions = streams.iter().map(|part| {
            index += part.events.len();
            if part.events.is_empty() {
                self.version(&part.stream)
            } else {
                self.events[index - 1].version()
            }
        });
        let versions = versions.collect();
        let first = self.events[first].position();
        let mut done = Committed::new(first, last.position(), versions, last.recorded_at());
        done.already_recorded = true;
        Ok(Some(done))
    }

    fn failed_checks(&self, commit: &CommitParts) -> Vec<FailedCheck> {
        let mut failed = Vec::new();
        for (index, boundary) in commit.boundaries.iter().enumerate() {
            let after = usize::try_from(boundary.after.get()).unwrap_or(usize::MAX);
            let later = self.events.get(after..).unwrap_or_default();
            if let Some(event) = later.iter().rev().find(|event| boundary.query.matches(event)) {
                failed.push(FailedCheck::Boundary { index, position: event.position() });
            }
        }
        let mut versions: HashMap<&StreamName, Version> = HashMap::new();
        for part in &commit.streams {
            let stream = &part.stream;
            let version = *versions.entry(stream).or_insert_with(|| self.version(stream));
            if !part.expected.holds_for(version) {
                failed.push(FailedCheck::Version {
                    stream: stream.clone(),
                    expected: part.expected,
                    actual: version,
                });
            }
            let after = version.get() + part.events.len() as u64;
            versions.insert(stream, Version::new(after));
        }
        for Checkpoint { name, to } in &commit.checkpoints {
            let at = self.checkpoint(name).unwrap_or_default();
            if *to <= at {
                let name = name.clone();
                failed.push(FailedCheck::CheckpointNotForward { name, at, to: *to });
            } else if *to > self.head() {
                let what =
                    format!("checkpoint {name:?} cannot be set to {to}: that is after the head");
                failed.push(FailedCheck::Other { what });
            }
        }
        for snapshot in &commit.snapshots {
            let count: usize = commit.streams.iter().map(|part| part.events.len()).sum();
            let is_ahead = match snapshot.mark {
                Mark::Position(position) => position.get() > self.head().get() + count as u64,
                Mark::Version(version) => {
                    let stream = StreamName::from(snapshot.key.as_str());
                    let reached = versions.get(&stream).copied();
                    version > reached.unwrap_or_else(|| self.version(&stream))
                }
            };
            if is_ahead {
                let what = format!("snapshot {:?} is ahead of what it covers", snapshot.key);
                failed.push(FailedCheck::Other { what });
            }
        }
        failed
    }

    fn record(&mut self, streams: Vec<StreamCommit>, now: Timestamp) -> Committed {
        let count: usize = streams.iter().map(|part| part.events.len()).sum();
        if count > 0 {
            self.last_time = self.last_time.max(now);
        }
        let first = self.events.len() + usize::from(count > 0);
        let last = self.events.len() + count;
        let commit = Position::new(first as u64);
        let mut versions = Vec::with_capacity(streams.len());
        for part in streams {
            let events = self.streams.entry(part.stream.clone()).or_default();
            for new in part.events {
                let index = self.events.len();
                let position = Position::new(index as u64 + 1);
                let version = Version::new(events.len() as u64 + 1);
                let id = generated_id(position);
                let stream = part.stream.clone();
                let mut parts = EventParts::of(new, id, stream, version, position, self.last_time);
                parts.commit = commit;
                parts.is_last_in_commit = index + 1 == last;
                self.ids.insert(parts.id, index);
                events.push(index);
                self.events.push(parts.into());
            }
            versions.push(Version::new(events.len() as u64));
            if events.is_empty() {
                self.streams.remove(&part.stream);
            }
        }
        Committed::new(commit, Position::new(last as u64), versions, self.last_time)
    }

    pub(super) fn reset_checkpoint(&mut self, name: &str, to: Position) -> Result<(), AppendError> {
        if to > self.head() {
            let what = format!("checkpoint {name:?} cannot be set to {to}: that is after the head");
            return Err(Conflict { failed: vec![FailedCheck::Other { what }] }.into());
        }
        self.checkpoints.insert(name.to_owned(), to);
        Ok(())
    }

    pub(super) fn snapshot(&self, key: &str, at_most: Mark) -> Option<Snapshot> {
        let least = match at_most {
            Mark::Version(_) => Mark::Version(Version::NONE),
            Mark::Position(_) => Mark::Position(Position::START),
        };
        let (_, newest) = self.snapshots.get(key)?.range(least..=at_most).next_back()?;
        Some(newest.clone())
    }

    fn save_all(&mut self, snapshots: Vec<Snapshot>, now: Timestamp) {
        for snapshot in snapshots {
            // A snapshot that cannot be saved does not fail its commit.
            let _ = self.save_snapshot(snapshot, now);
        }
    }

    pub(super) fn save_snapshot(
        &mut self,
        mut snapshot: Snapshot,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_ahead = match snapshot.mark {
            Mark::Version(version) => {
                version > self.version(&StreamName::from(snapshot.key.as_str()))
            }
            Mark::Position(position) => position > self.head(),
        };
        let invalid = |why: &str| StoreError::InvalidArgument { what: "snapshot", why: why.into() };
        if is_ahead {
            return Err(invalid("it is ahead of what it covers"));
        }
        let of_key = self.snapshots.entry(snapshot.key.clone()).or_default();
        if let Some(saved) = of_key.get(&snapshot.mark)
            && saved.schema_version >= snapshot.schema_version
        {
            let is_same =
                saved.schema_version == snapshot.schema_version && saved.state == snapshot.state;
            return if is_same {
                Ok(())
            } else {
                Err(invalid("another state is saved at its mark"))
            };
        }
        snapshot.saved_at = now;
        of_key.insert(snapshot.mark, snapshot);
        Ok(())
    }
}

/// Checks what does not depend on the state.
fn check_values(commit: &CommitParts) -> Result<(), AppendError> {
    let mut ids = HashSet::new();
    let mut total = 0_u64;
    for part in &commit.streams {
        let length = part.stream.as_str().len();
        if length == 0 {
            let why = "the name of a stream is empty".into();
            return Err(StoreError::InvalidArgument { what: "stream", why }.into());
        }
        if length > MAX_NAME {
            let hint = "use a shorter name";
            return Err(too_large("stream name in bytes", length as u64, MAX_NAME as u64, hint));
        }
        for event in &part.events {
            let size = (event.data.len() + event.metadata.len()) as u64;
            total += size;
            if size > MAX_EVENT {
                let hint = "store large contents elsewhere, and their address in the event";
                return Err(too_large("event in bytes", size, MAX_EVENT, hint));
            }
            if let Some(id) = event.id {
                if id.is_nil() {
                    let why = "the nil UUID is no id".into();
                    return Err(StoreError::InvalidArgument { what: "event id", why }.into());
                }
                if !ids.insert(id) {
                    return Err(AppendError::DuplicateId { id });
                }
            }
        }
    }
    if total > MAX_COMMIT {
        let hint = "append the events in several commits";
        return Err(too_large("commit in bytes", total, MAX_COMMIT, hint));
    }
    Ok(())
}

fn too_large(what: &str, size: u64, max: u64, hint: &str) -> AppendError {
    AppendError::TooLarge { what: what.into(), size, max, hint: hint.into() }
}

fn is_same(recorded: &RecordedEvent, stream: &StreamName, new: &NewEvent) -> bool {
    new.id == Some(recorded.id())
        && recorded.stream() == stream.as_str()
        && recorded.event_type() == new.event_type
        && recorded.schema_version() == new.schema_version
        && recorded.content_type() == new.content_type
        && recorded.data() == new.data
        && recorded.metadata() == new.metadata
        && recorded.tags().eq(new.tags.iter().map(String::as_str))
}

/// An id for an event that was appended without one.
fn generated_id(position: Position) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x6d65_6d6f_7279_5f73_746f_7265_0000_0001);
    Uuid::new_v5(&NAMESPACE, &position.get().to_be_bytes())
}
