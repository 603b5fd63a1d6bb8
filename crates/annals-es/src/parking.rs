//! Parked events: those that a consumer could not handle and has passed.
//!
//! Owns the stream `parked-NAME`, which has an event for each event that was parked, replayed or discarded. Must
//! never hold the parked events themselves: they are where they were recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{CodecError, EventError, Schemas, encode};
use crate::store::{
    EventStore, NewEvent, Position, ReadStream, RecordedEvent, StoreError, StreamName, Timestamp,
    Version, next,
};

/// An event that could not be handled and was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The position of the event.
    pub position: Position,
    /// The text of the last error.
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize, annals_es_macros::Event)]
pub(crate) enum Parking {
    #[event(name = "event-parked")]
    Parked { position: Position, error: String, attempts: u32 },
    #[event(name = "event-replayed")]
    Replayed { position: Position },
    #[event(name = "event-discarded")]
    Discarded { position: Position },
}

/// The parked events of a consumer.
#[derive(Debug)]
pub(crate) struct ParkingLot {
    pub(crate) stream: StreamName,
    schemas: Schemas<Parking>,
}

/// The parked events at a version of their stream.
#[derive(Debug, Default)]
pub(crate) struct ParkedList {
    pub(crate) version: Version,
    pub(crate) events: BTreeMap<Position, ParkedEvent>,
}

/// Why the list of parked events could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Event(#[from] EventError),
}

impl ParkingLot {
    pub(crate) fn new(consumer: &str, schemas: Schemas<Parking>) -> Self {
        Self { stream: StreamName::new("parked", consumer), schemas }
    }

    pub(crate) async fn list<S: EventStore>(&self, store: &S) -> Result<ParkedList, ListError> {
        let mut list = ParkedList::default();
        let mut events = store.read_stream(ReadStream::of(&self.stream));
        while let Some(event) = next(&mut events).await.transpose()? {
            list.version = event.version();
            let parked_at = event.recorded_at();
            self.decode(&event, |parking| match parking {
                Parking::Parked { position, error, attempts } => {
                    let parked = ParkedEvent { position, error, attempts, parked_at };
                    list.events.insert(position, parked);
                }
                Parking::Replayed { position } | Parking::Discarded { position } => {
                    list.events.remove(&position);
                }
            })?;
        }
        Ok(list)
    }

    fn decode(&self, event: &RecordedEvent, take: impl FnMut(Parking)) -> Result<(), EventError> {
        self.schemas.decode(event, take)
    }
}

impl Parking {
    pub(crate) fn to_new_event(&self) -> Result<NewEvent, CodecError> {
        encode(self)
    }
}
