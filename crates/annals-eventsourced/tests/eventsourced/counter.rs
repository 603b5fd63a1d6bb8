//! The entity of the crate's examples: a counter.

use std::future::Future;
use std::num::NonZeroU64;
use std::time::Duration;

use annals::Store;
use annals_eventsourced::{AnnalsEventLog, AnnalsSnapshotStore};
use eventsourced::binarize::serde_json::SerdeJsonBinarize;
use eventsourced::{Command, CommandEffect, EntityRef, EventSourced, EventSourcedExt, SpawnError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Counter(pub(crate) u64);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CounterEvent {
    Increased(Uuid, u64),
    Decreased(Uuid, u64),
}

impl EventSourced for Counter {
    type Id = Uuid;
    type Event = CounterEvent;

    const TYPE_NAME: &'static str = "counter";

    fn handle_event(self, event: CounterEvent) -> Self {
        match event {
            CounterEvent::Increased(_, by) => Self(self.0 + by),
            CounterEvent::Decreased(_, by) => Self(self.0 - by),
        }
    }
}

/// Adds a number, which may be negative.
#[derive(Debug)]
pub(crate) struct Add(pub(crate) i64);

#[derive(Debug, PartialEq)]
pub(crate) struct OutOfRange;

impl Command<Counter> for Add {
    type Reply = u64;
    type Error = OutOfRange;

    fn handle_command(self, id: &Uuid, state: &Counter) -> CommandEffect<Counter, u64, OutOfRange> {
        let by = self.0.unsigned_abs();
        match state.0.checked_add_signed(self.0) {
            None => CommandEffect::reject(OutOfRange),
            Some(_) if self.0 == 0 => CommandEffect::reply(state.0),
            Some(_) => {
                let event = if self.0 > 0 {
                    CounterEvent::Increased(*id, by)
                } else {
                    CounterEvent::Decreased(*id, by)
                };
                CommandEffect::emit_and_reply(event, |state: &Counter| state.0)
            }
        }
    }
}

pub(crate) async fn spawn(
    store: &Store,
    id: Uuid,
    snapshot_after: u64,
) -> Result<EntityRef<Counter>, SpawnError> {
    let buffer = 1.try_into().unwrap();
    let log = AnnalsEventLog::new(store.clone()).json();
    let snapshots = AnnalsSnapshotStore::new(Counter::TYPE_NAME, store.clone());
    let after = NonZeroU64::new(snapshot_after);
    in_time(Counter::default().entity().spawn(id, after, buffer, log, snapshots, SerdeJsonBinarize))
        .await
}

/// Fails a test that would wait for ever for an event.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an event is missing")
}
