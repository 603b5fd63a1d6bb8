//! One process, as its stream has it.
//!
//! Owns the computation of its state. Must never append.

use std::collections::HashMap;

use super::ProcessManager;
use super::deadlines::{DeadlineEvent, is_deadline};
use super::error::ReactionError;
use super::plan::Working;
use crate::event::Schemas;
use crate::store::{EventStore, ReadStream, RecordedEvent, StreamName, Version, next};

/// The state of a process, and its open deadlines.
pub(super) struct Instance<T> {
    pub(super) state: T,
    /// By name: the event that set the deadline; `None` for one that the present reaction sets.
    pub(super) open: HashMap<String, Option<RecordedEvent>>,
}

/// The schemas of the two kinds of events in the stream of a process.
pub(super) struct OwnSchemas<E> {
    pub(super) events: Schemas<E>,
    pub(super) deadlines: Schemas<DeadlineEvent>,
}

/// Reads a process.
pub(super) async fn load<M: ProcessManager<S>, S: EventStore>(
    store: &S,
    schemas: &OwnSchemas<M::Event>,
    stream: StreamName,
) -> Result<Working, ReactionError> {
    let mut instance = Instance { state: M::State::default(), open: HashMap::new() };
    let mut version = Version::NONE;
    let mut events = store.read_stream(ReadStream::of(&stream));
    while let Some(event) = next(&mut events).await.transpose()? {
        version = event.version();
        if is_deadline(event.event_type()) {
            let mut changed = Vec::new();
            schemas.deadlines.decode(&event, |deadline| changed.push(deadline))?;
            for deadline in changed {
                match deadline {
                    DeadlineEvent::Set { name, .. } => {
                        instance.open.insert(name, Some(event.clone()));
                    }
                    DeadlineEvent::Cancelled { name } | DeadlineEvent::Passed { name } => {
                        instance.open.remove(&name);
                    }
                }
            }
        } else {
            schemas.events.decode(&event, |event| M::evolve(&mut instance.state, &event))?;
        }
    }
    Ok(Working::new(stream, version, instance))
}
