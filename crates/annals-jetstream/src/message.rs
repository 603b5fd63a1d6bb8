//! The form of messages.
//!
//! Owns the format, and what makes a message one of ours. The events of a commit to one stream are one message:
//!
//! - header `Annals-Commit`: `1`, the version of this format; the commit's id; the version of the first event; the number
//!   of events; the time in microseconds; the number of the message in its commit, from 0; the number of such messages;
//! - payload: CBOR, an array with one array for each event: id, type, schema version, format of the data (0: binary,
//!   1: JSON), data, metadata, tags.
//!
//! An event whose id was given has a message of its own, on the subject of the id and in the same commit. It has no
//! payload, and its header `Annals-Id` has `1`; how many messages before it the event's message is; and the place of the
//! event in that message, from 0.
//!
//! The sequence of a message, shifted left by [`INDEX_BITS`], and the place of an event in it are the event's position.

use annals_es::{
    ContentType, EventParts, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Slice;
use uuid::Uuid;

use crate::Error;

/// Number of bits of a position that are the place of an event in its message.
pub(crate) const INDEX_BITS: u32 = 16;
/// The version of the format of messages.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const COMMIT: &str = "Annals-Commit";
pub(crate) const ID: &str = "Annals-Id";
pub(crate) const CHECKPOINT: &str = "Annals-Checkpoint";

pub(crate) fn sequence_of(position: Position) -> u64 {
    position.get() >> INDEX_BITS
}

/// The position of the first event of a message. That of another one is so much greater as its place is.
pub(crate) fn position_of(sequence: u64, index: u64) -> Position {
    Position::new((sequence << INDEX_BITS) + index)
}

/// A message as the server keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// What the header of a message with events states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) commit: Uuid,
    pub(crate) first_version: u64,
    pub(crate) events: u64,
    pub(crate) recorded_at: Timestamp,
    pub(crate) number: u64,
    pub(crate) parts: u64,
}

impl Part {
    pub(crate) fn last_version(&self) -> Version {
        Version::new(self.first_version + self.events - 1)
    }

    pub(crate) fn header(&self) -> String {
        let Self { commit, first_version, events, recorded_at, number, parts } = self;
        let (commit, at) = (commit.simple(), recorded_at.as_micros());
        format!("{FORMAT} {commit} {first_version} {events} {at} {number} {parts}")
    }

    fn parse(header: &str) -> Option<Self> {
        let mut fields = header.split(' ');
        if fields.next()? != "1" {
            return None;
        }
        let commit = fields.next()?.parse().ok()?;
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (first_version, events, at) = (number()?, number()?, number()?);
        let (number, parts) = (number()?, number()?);
        let is_sound = first_version > 0
            && (1..=1 << INDEX_BITS).contains(&events)
            && first_version.checked_add(events).is_some()
            && number < parts
            && fields.next().is_none();
        let recorded_at = Timestamp::from_micros(at);
        is_sound.then_some(Self { commit, first_version, events, recorded_at, number, parts })
    }
}

/// What the header of a message of a checkpoint states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) commit: Uuid,
    pub(crate) position: Position,
    /// How many messages before it the first message of its commit is.
    pub(crate) distance: u64,
}

impl Moved {
    pub(crate) fn header(&self) -> String {
        let Self { commit, position, distance } = self;
        format!("{FORMAT} {} {position} {distance}", commit.simple())
    }

    fn parse(header: &str) -> Option<Self> {
        let mut fields = header.split(' ');
        if fields.next()? != "1" {
            return None;
        }
        let (commit, position) =
            (fields.next()?.parse().ok()?, fields.next()?.parse::<u64>().ok()?);
        let distance = fields.next()?.parse().ok()?;
        let moved = Self { commit, position: position.into(), distance };
        fields.next().is_none().then_some(moved)
    }
}

#[derive(Serialize)]
struct Out<'a>(&'a Slice, &'a str, u16, u8, &'a Slice, &'a Slice, &'a [String]);

#[derive(Deserialize)]
struct In(
    serde_bytes::ByteArray<16>,
    String,
    u16,
    u8,
    serde_bytes::ByteBuf,
    serde_bytes::ByteBuf,
    Vec<String>,
);

/// The payload of events with these ids.
pub(crate) fn encode(events: &[(Uuid, NewEvent)]) -> Bytes {
    let all: Vec<Out<'_>> = events
        .iter()
        .map(|(id, event)| {
            let format = u8::from(event.content_type == ContentType::Json);
            Out(
                Slice::new(id.as_bytes()),
                &event.event_type,
                event.schema_version,
                format,
                Slice::new(&event.data),
                Slice::new(&event.metadata),
                &event.tags,
            )
        })
        .collect();
    let mut payload = Vec::new();
    // Writing to memory does not fail, and every value has a form.
    let _ = ciborium::into_writer(&all, &mut payload);
    payload.into()
}

impl Stored {
    pub(crate) fn foreign(&self, why: impl Into<String>) -> Error {
        Error::Foreign { subject: self.subject.clone(), sequence: self.sequence, why: why.into() }
    }

    /// What the header states.
    pub(crate) fn part(&self) -> Result<Part, Error> {
        let header = self.headers.get(COMMIT).ok_or_else(|| self.foreign("it has no header"))?;
        let version = header.as_str().split(' ').next().and_then(|it| it.parse::<u32>().ok());
        match version {
            Some(FORMAT) => Part::parse(header.as_str())
                .ok_or_else(|| self.foreign(format!("its header is {:?}", header.as_str()))),
            Some(found) => Err(Error::FormatVersion { found, supported: FORMAT }),
            None => Err(self.foreign(format!("its header is {:?}", header.as_str()))),
        }
    }

    /// The sequence of the message that precedes this one on its subject; 0 if there is none.
    pub(crate) fn previous(&self) -> Option<u64> {
        self.headers.get("Nats-Expected-Last-Subject-Sequence")?.as_str().parse().ok()
    }

    /// Where the event of a message on the subject of an id is: the sequence of its message, and its place there.
    pub(crate) fn place(&self) -> Result<(u64, usize), Error> {
        let parse = || {
            let header = self.headers.get(ID)?;
            let mut fields = header.as_str().split(' ');
            if fields.next()? != "1" {
                return None;
            }
            let distance: u64 = fields.next()?.parse().ok()?;
            let index = fields.next()?.parse().ok()?;
            Some((self.sequence.checked_sub(distance)?, index))
        };
        parse().ok_or_else(|| self.foreign("it does not say where an event is"))
    }

    /// The id of the commit that a message belongs to: one with events, or one of a checkpoint.
    pub(crate) fn commit(&self) -> Result<Uuid, Error> {
        if self.headers.get(CHECKPOINT).is_some() {
            return Ok(self.checkpoint()?.commit);
        }
        Ok(self.part()?.commit)
    }

    /// What the header of a message of a checkpoint states.
    pub(crate) fn checkpoint(&self) -> Result<Moved, Error> {
        let parse = || Moved::parse(self.headers.get(CHECKPOINT)?.as_str());
        parse().ok_or_else(|| self.foreign("it does not say where a checkpoint is"))
    }

    /// The events.
    pub(crate) fn events(&self) -> Result<Vec<RecordedEvent>, Error> {
        let part = self.part()?;
        let all: Vec<In> = ciborium::from_reader(&self.payload[..])
            .map_err(|error| self.foreign(format!("its payload is not as expected: {error}")))?;
        if all.len() as u64 != part.events {
            let (found, stated) = (all.len(), part.events);
            return Err(self.foreign(format!("it has {found} events and states {stated}")));
        }
        let stream = self.stream_name()?;
        let Some(first) = self.sequence.checked_sub(part.number) else {
            return Err(self.foreign("its commit begins before the first message"));
        };
        let is_last_part = part.number + 1 == part.parts;
        let mut events = Vec::with_capacity(all.len());
        for (index, event) in (0..).zip(all) {
            let In(id, event_type, schema_version, format, data, metadata, tags) = event;
            let content_type = if format == 1 { ContentType::Json } else { ContentType::Binary };
            let new = NewEvent::new(event_type, data.into_vec())
                .schema_version(schema_version)
                .content_type(content_type)
                .metadata(metadata.into_vec());
            let mut parts = EventParts::of(
                new,
                Uuid::from_bytes(id.into_array()),
                stream.clone(),
                Version::new(part.first_version + index),
                position_of(self.sequence, index),
                part.recorded_at,
            );
            parts.tags = tags;
            parts.commit = position_of(first, 0);
            parts.is_last_in_commit = is_last_part && index + 1 == part.events;
            events.push(parts.into());
        }
        Ok(events)
    }

    /// The name of the stream, from the subject.
    fn stream_name(&self) -> Result<StreamName, Error> {
        crate::subject::stream_of(&self.subject)
            .ok_or_else(|| self.foreign("its subject is not that of a stream of events"))
    }
}
