//! A commit, prepared: its streams, its events with their ids, and the messages of one attempt.
//!
//! Owns what an attempt expects of the subjects. Must never contact a server.

use annals_es::{
    AppendError, Checkpoint, CommitParts, Committed, Expected, FailedCheck, Mark, NewEvent,
    Position, Snapshot, StreamName, Timestamp, Version,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use uuid::Uuid;

use crate::check;
use crate::checkpoint::{self, At};
use crate::message::{self, CHECKPOINT, COMMIT, FORMAT, ID, Moved, Part};
use crate::server::Outgoing;
use crate::subject::Subjects;
use crate::tails::Tail;

/// The part of a commit for one stream.
#[derive(Debug)]
pub(crate) struct PlanPart {
    /// The index of its stream.
    pub(crate) stream: usize,
    pub(crate) expected: Expected,
    pub(crate) events: Vec<(Uuid, NewEvent)>,
    payload: Bytes,
}

/// A stream of a commit.
#[derive(Debug)]
pub(crate) struct PlanStream {
    pub(crate) name: StreamName,
    pub(crate) subject: String,
    has_events: bool,
    is_checked: bool,
}

/// A checkpoint that a commit moves.
#[derive(Debug)]
pub(crate) struct PlanCheckpoint {
    pub(crate) name: String,
    pub(crate) subject: String,
    /// Its new positions: each has to be after the one before it, and the last one is stored.
    moves: Vec<Position>,
}

impl PlanCheckpoint {
    pub(crate) fn to(&self) -> Position {
        self.moves.last().copied().unwrap_or_default()
    }
}

/// What an attempt is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct States {
    /// Those of the streams of the commit.
    pub(crate) tails: Vec<Tail>,
    /// Those of its checkpoints.
    pub(crate) checkpoints: Vec<At>,
    /// The position up to which checkpoints may move.
    pub(crate) head: Position,
}

/// A commit, prepared.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) commit: Uuid,
    pub(crate) streams: Vec<PlanStream>,
    pub(crate) parts: Vec<PlanPart>,
    pub(crate) checkpoints: Vec<PlanCheckpoint>,
    /// Checkpoints may move backwards.
    pub(crate) is_reset: bool,
    pub(crate) snapshots: Vec<Snapshot>,
    /// `None`: it is recorded at the time of the attempt.
    pub(crate) recorded_at: Option<Timestamp>,
    has_events: bool,
}

/// A subject on which an attempt expects a last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// That of a stream, by index, to which the commit appends.
    Stream(usize),
    /// That of a stream which the commit only checks.
    Check(usize),
    /// That of a checkpoint, by index.
    Checkpoint(usize),
    /// No message on the subject of an id.
    Id(Uuid),
}

/// The messages of one attempt: those with events, then those of checkpoints, of checks and of ids.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) messages: Vec<Outgoing>,
    /// The first one is of a subject to which the attempt writes.
    pub(crate) expectations: Vec<Expectation>,
    recorded_at: Timestamp,
}

impl Plan {
    pub(crate) fn new(commit: CommitParts, subjects: &Subjects) -> Self {
        let mut streams: Vec<PlanStream> = Vec::new();
        let mut parts = Vec::new();
        for part in commit.streams {
            let known = streams.iter().position(|stream| stream.name == part.stream);
            let stream = known.unwrap_or_else(|| {
                let (name, subject) = (part.stream.clone(), subjects.stream(&part.stream));
                streams.push(PlanStream { name, subject, has_events: false, is_checked: false });
                streams.len() - 1
            });
            streams[stream].has_events |= !part.events.is_empty();
            streams[stream].is_checked |= part.expected != Expected::Any;
            let events: Vec<_> = part
                .events
                .into_iter()
                .map(|event| (event.id.unwrap_or_else(generated_id), event))
                .collect();
            let payload = if events.is_empty() { Bytes::new() } else { message::encode(&events) };
            parts.push(PlanPart { stream, expected: part.expected, events, payload });
        }
        let has_events = streams.iter().any(|stream| stream.has_events);
        let mut checkpoints: Vec<PlanCheckpoint> = Vec::new();
        for Checkpoint { name, to, .. } in commit.checkpoints {
            if let Some(known) = checkpoints.iter_mut().find(|known| known.name == name) {
                known.moves.push(to);
            } else {
                let subject = subjects.checkpoint(&name);
                checkpoints.push(PlanCheckpoint { name, subject, moves: vec![to] });
            }
        }
        Self {
            commit: Uuid::now_v7(),
            streams,
            parts,
            checkpoints,
            is_reset: false,
            snapshots: commit.snapshots,
            recorded_at: None,
            has_events,
        }
    }

    /// Whether a server has to store something.
    pub(crate) fn writes(&self) -> bool {
        self.has_events || !self.checkpoints.is_empty()
    }

    /// The subjects of which this handle has one commit on its way at a time.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &str> {
        let streams = self.streams.iter().map(|stream| stream.subject.as_str());
        streams.chain(self.checkpoints.iter().map(|checkpoint| checkpoint.subject.as_str()))
    }

    /// The last position to which a checkpoint moves.
    pub(crate) fn last_checkpoint(&self) -> Position {
        self.checkpoints.iter().flat_map(|it| &it.moves).copied().max().unwrap_or_default()
    }

    pub(crate) fn has_events(&self) -> bool {
        self.has_events
    }

    /// The ids that were given, in the order of events.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        let events = self.parts.iter().flat_map(|part| &part.events);
        events.filter_map(|(_, event)| event.id)
    }

    /// The checks that fail for these states.
    pub(crate) fn failed_checks(&self, states: &States) -> Vec<FailedCheck> {
        let mut failed = Vec::new();
        let mut versions: Vec<Version> = states.tails.iter().map(|tail| tail.version).collect();
        for part in &self.parts {
            let (actual, expected) = (versions[part.stream], part.expected);
            if !expected.holds_for(actual) {
                let stream = self.streams[part.stream].name.clone();
                failed.push(FailedCheck::Version { stream, expected, actual });
            }
            versions[part.stream] = Version::new(actual.get() + part.events.len() as u64);
        }
        for (PlanCheckpoint { name, moves, .. }, at) in
            self.checkpoints.iter().zip(&states.checkpoints)
        {
            let mut at = at.position;
            for to in moves {
                failed.extend(checkpoint::failed(name, at, *to, states.head, self.is_reset));
                at = Some(*to);
            }
        }
        for snapshot in &self.snapshots {
            let stream = self.streams.iter().position(|it| it.name.as_str() == snapshot.key);
            if let (Mark::Version(version), Some(stream)) = (snapshot.mark, stream)
                && version > versions[stream]
            {
                let what = format!("snapshot {:?} is ahead of what it covers", snapshot.key);
                failed.push(FailedCheck::Other { what });
            }
        }
        failed
    }

    /// The messages for these states.
    pub(crate) fn attempt(&self, states: &States, at: Timestamp, subjects: &Subjects) -> Attempt {
        let tails = &states.tails;
        let with_events = self.parts.iter().filter(|part| !part.events.is_empty());
        let count = with_events.clone().count() as u64;
        let mut versions: Vec<u64> = tails.iter().map(|tail| tail.version.get()).collect();
        let mut is_expected = vec![false; self.streams.len()];
        let mut attempt =
            Attempt { messages: Vec::new(), expectations: Vec::new(), recorded_at: at };
        let mut ids = Vec::new();
        for (number, part) in (0..).zip(with_events) {
            let stream = &self.streams[part.stream];
            let header = Part {
                commit: self.commit,
                first_version: versions[part.stream] + 1,
                events: part.events.len() as u64,
                recorded_at: at,
                number,
                parts: count,
            };
            versions[part.stream] += header.events;
            let mut message = outgoing(stream.subject.clone(), COMMIT, header.header());
            message.payload = part.payload.clone();
            // The server refuses an expectation of a subject to which the batch has written.
            if !std::mem::replace(&mut is_expected[part.stream], true) {
                message.expect(tails[part.stream].sequence);
                attempt.expectations.push(Expectation::Stream(part.stream));
            }
            attempt.messages.push(message);
            let given = part.events.iter().enumerate().filter(|(_, (_, event))| event.id.is_some());
            ids.extend(given.map(|(index, (id, _))| (number, index, *id)));
        }
        for (index, checkpoint) in self.checkpoints.iter().enumerate() {
            let distance = attempt.messages.len() as u64;
            let moved = Moved { commit: self.commit, position: checkpoint.to(), distance };
            let mut message = outgoing(checkpoint.subject.clone(), CHECKPOINT, moved.header());
            message.expect(states.checkpoints[index].sequence);
            attempt.expectations.push(Expectation::Checkpoint(index));
            attempt.messages.push(message);
        }
        for (index, stream) in self.streams.iter().enumerate() {
            if stream.is_checked && !stream.has_events {
                let mut message =
                    outgoing(subjects.check(), COMMIT, self.commit.simple().to_string());
                message.expect_of(&stream.subject, tails[index].sequence);
                attempt.expectations.push(Expectation::Check(index));
                attempt.messages.push(message);
            }
        }
        for (number, index, id) in ids {
            let distance = attempt.messages.len() as u64 - number;
            let place = format!("{FORMAT} {distance} {index}");
            let mut message = outgoing(subjects.id(id), ID, place);
            message.expect(0);
            attempt.expectations.push(Expectation::Id(id));
            attempt.messages.push(message);
        }
        attempt
    }

    /// The result of an attempt whose last message has a sequence, and the new states. Without events, the result has no
    /// positions.
    pub(crate) fn stored(
        &self,
        attempt: &Attempt,
        states: &States,
        last: u64,
    ) -> (Committed, States) {
        let first = last + 1 - attempt.messages.len() as u64;
        let mut states = states.clone();
        let mut versions = Vec::with_capacity(self.parts.len());
        let (mut sequence, mut last_position) = (first, Position::START);
        for part in &self.parts {
            let events = part.events.len() as u64;
            let tail = &mut states.tails[part.stream];
            if events > 0 {
                tail.version = Version::new(tail.version.get() + events);
                tail.sequence = sequence;
                last_position = message::position_of(sequence, events - 1);
                sequence += 1;
            }
            versions.push(tail.version);
        }
        for (checkpoint, at) in self.checkpoints.iter().zip(&mut states.checkpoints) {
            *at = At { sequence, position: Some(checkpoint.to()) };
            sequence += 1;
        }
        let first = message::position_of(first, 0);
        (Committed::new(first, last_position, versions, attempt.recorded_at), states)
    }

    /// Refuses a commit with a message that a server does not accept.
    pub(crate) fn check_sizes(&self, max_payload: u64) -> Result<(), AppendError> {
        for part in &self.parts {
            check::message(part.payload.len() as u64, max_payload)?;
        }
        Ok(())
    }
}

fn outgoing(subject: String, name: &str, header: String) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(name, header);
    Outgoing { subject, headers, payload: Bytes::new() }
}

/// An id for an event without one: of version 8, so that it is told from ids that were given, with the bits of version 7.
fn generated_id() -> Uuid {
    Uuid::new_v8(Uuid::now_v7().into_bytes())
}

/// Whether a store may have generated an id.
pub(crate) fn may_be_generated(id: Uuid) -> bool {
    id.get_version_num() == 8
}
