//! A commit, prepared: its streams, its events with their ids, and the messages of one attempt.
//!
//! Owns what an attempt expects of the subjects. Must never contact a server.

use annals_es::{
    AppendError, CommitParts, Committed, Expected, FailedCheck, Mark, NewEvent, Position, Snapshot,
    StreamName, Timestamp, Version,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use uuid::Uuid;

use crate::check;
use crate::message::{self, COMMIT, FORMAT, ID, Part};
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

/// A commit, prepared.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) commit: Uuid,
    pub(crate) streams: Vec<PlanStream>,
    pub(crate) parts: Vec<PlanPart>,
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
    /// No message on the subject of an id.
    Id(Uuid),
}

/// The messages of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) messages: Vec<Outgoing>,
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
        let (commit, snapshots) = (Uuid::now_v7(), commit.snapshots);
        Self { commit, streams, parts, snapshots, recorded_at: None, has_events }
    }

    pub(crate) fn has_events(&self) -> bool {
        self.has_events
    }

    /// The ids that were given, in the order of events.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        let events = self.parts.iter().flat_map(|part| &part.events);
        events.filter_map(|(_, event)| event.id)
    }

    /// The checks that fail for these states of the streams.
    pub(crate) fn failed_checks(&self, tails: &[Tail]) -> Vec<FailedCheck> {
        let mut failed = Vec::new();
        let mut versions: Vec<Version> = tails.iter().map(|tail| tail.version).collect();
        for part in &self.parts {
            let (actual, expected) = (versions[part.stream], part.expected);
            if !expected.holds_for(actual) {
                let stream = self.streams[part.stream].name.clone();
                failed.push(FailedCheck::Version { stream, expected, actual });
            }
            versions[part.stream] = Version::new(actual.get() + part.events.len() as u64);
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

    /// The messages for these states of the streams.
    pub(crate) fn attempt(&self, tails: &[Tail], at: Timestamp, subjects: &Subjects) -> Attempt {
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

    /// The result of an attempt whose last message has a sequence, and the new states of the streams.
    pub(crate) fn stored(
        &self,
        attempt: &Attempt,
        tails: &[Tail],
        last: u64,
    ) -> (Committed, Vec<Tail>) {
        let first = last + 1 - attempt.messages.len() as u64;
        let mut tails = tails.to_vec();
        let mut versions = Vec::with_capacity(self.parts.len());
        let (mut sequence, mut last_position) = (first, Position::START);
        for part in &self.parts {
            let events = part.events.len() as u64;
            let tail = &mut tails[part.stream];
            if events > 0 {
                tail.version = Version::new(tail.version.get() + events);
                tail.sequence = sequence;
                last_position = message::position_of(sequence, events - 1);
                sequence += 1;
            }
            versions.push(tail.version);
        }
        let first = message::position_of(first, 0);
        (Committed::new(first, last_position, versions, attempt.recorded_at), tails)
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
