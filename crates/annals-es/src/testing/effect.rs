//! What follows from an event or a deadline, as a test of a process states it.
//!
//! Owns the comparison of recorded events by name, version and data. Must never run a process.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::time::Duration;

use bytes::Bytes;

use super::compare;
use crate::event::{Event, Schemas, encode};
use crate::process::DeadlineEvent;
use crate::store::{ContentType, NewEvent, RecordedEvent, StreamName, Timestamp};

/// An event that a process, or a command that it sends, is expected to record; see [`Reacted::then`].
///
/// [`Reacted::then`]: super::Reacted::then
#[derive(Clone, PartialEq)]
#[must_use = "an effect is compared by `Reacted::then`"]
pub struct Effect {
    stream: StreamName,
    what: What,
}

#[derive(Clone, PartialEq)]
enum What {
    Event { event_type: String, version: u16, data: Data },
    DeadlineSet { name: String, at: Timestamp },
    DeadlineCancelled { name: String },
    DeadlinePassed { name: String },
}

#[derive(Clone, PartialEq)]
enum Data {
    Json(serde_json::Value),
    Bytes(Bytes),
}

impl Effect {
    /// An event in a stream: of the process, or of an aggregate that has accepted a command.
    ///
    /// # Panics
    ///
    /// If the event cannot be written by its codec.
    #[track_caller]
    pub fn event<E: Event>(stream: impl Into<StreamName>, event: &E) -> Self {
        match encode(event) {
            Ok(new) => Self { stream: stream.into(), what: What::of(&new) },
            Err(error) => panic!("event {} cannot be written: {error}", event.schema()),
        }
    }

    /// A deadline of a process is set. `at` is the time since the begin of the test.
    pub fn deadline(stream: impl Into<StreamName>, name: &str, at: Duration) -> Self {
        let (name, at) = (name.to_owned(), Timestamp::default().plus(at));
        Self { stream: stream.into(), what: What::DeadlineSet { name, at } }
    }

    /// An open deadline of a process is cancelled.
    pub fn cancelled(stream: impl Into<StreamName>, name: &str) -> Self {
        Self { stream: stream.into(), what: What::DeadlineCancelled { name: name.to_owned() } }
    }

    /// A deadline of a process has passed.
    pub fn passed(stream: impl Into<StreamName>, name: &str) -> Self {
        Self { stream: stream.into(), what: What::DeadlinePassed { name: name.to_owned() } }
    }

    /// The effect that was recorded as an event.
    pub(super) fn of(event: &RecordedEvent, deadlines: &Schemas<DeadlineEvent>) -> Self {
        let stream = StreamName::from(event.stream());
        let mut deadline = None;
        let is_deadline = DeadlineEvent::version_of(event.event_type()).is_some();
        if is_deadline && deadlines.decode(event, |it| deadline = Some(it)).is_ok() {
            match deadline {
                Some(DeadlineEvent::Set { name, at }) => {
                    return Self { stream, what: What::DeadlineSet { name, at } };
                }
                Some(DeadlineEvent::Cancelled { name }) => {
                    return Self { stream, what: What::DeadlineCancelled { name } };
                }
                Some(DeadlineEvent::Passed { name }) => {
                    return Self { stream, what: What::DeadlinePassed { name } };
                }
                None => {}
            }
        }
        let what = What::Event {
            event_type: event.event_type().to_owned(),
            version: event.schema_version(),
            data: Data::of(event.data_bytes(), event.content_type()),
        };
        Self { stream, what }
    }
}

impl What {
    fn of(new: &NewEvent) -> Self {
        Self::Event {
            event_type: new.event_type.clone().into_owned(),
            version: new.schema_version,
            data: Data::of(new.data.clone(), new.content_type),
        }
    }
}

impl Data {
    fn of(data: Bytes, content_type: ContentType) -> Self {
        let json = (content_type == ContentType::Json).then(|| serde_json::from_slice(&data).ok());
        json.flatten().map_or(Self::Bytes(data), Self::Json)
    }
}

/// Requires that effects are the expected ones: those of each stream in their order.
#[track_caller]
pub(super) fn compare_effects(what: &str, expected: &[Effect], came: &[Effect]) {
    // A map keeps the order within a stream, and none between streams.
    fn by_stream(effects: &[Effect]) -> Vec<&Effect> {
        let mut streams = BTreeMap::<_, Vec<_>>::new();
        for effect in effects {
            streams.entry(effect.stream.as_str()).or_default().push(effect);
        }
        streams.into_values().flatten().collect()
    }
    compare::list(what, &by_stream(expected), &by_stream(came));
}

impl Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.stream.as_str())?;
        match &self.what {
            What::Event { event_type, version, data } => {
                write!(f, "{event_type}")?;
                if *version != 1 {
                    write!(f, " version {version}")?;
                }
                match data {
                    Data::Json(json) => write!(f, " {json}"),
                    Data::Bytes(bytes) => write!(f, " {bytes:?}"),
                }
            }
            What::DeadlineSet { name, at } => {
                let after = at.since(Timestamp::default());
                write!(f, "deadline {name:?} is set to {after:?} after the begin")
            }
            What::DeadlineCancelled { name } => write!(f, "deadline {name:?} is cancelled"),
            What::DeadlinePassed { name } => write!(f, "deadline {name:?} has passed"),
        }
    }
}
