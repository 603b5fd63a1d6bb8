#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod copy;
mod error;
mod listener;
mod query;
mod snapshotter;
mod store;

pub use annals;
pub use copy::{Copied, CopyError, copied_position, copy};
pub use disintegrate;
pub use error::Error;
pub use listener::{
    AbortRetry, AnnalsEventListener, ListenerConfig, ListenerError, ListenerErrorKind, Retry,
    RetryAction,
};
pub use snapshotter::AnnalsSnapshotter;
pub use store::AnnalsEventStore;

/// The stream that all events are appended to.
pub const STREAM: &str = "disintegrate";

/// The keys of snapshots and the cursors of listeners begin with this.
pub const PREFIX: &str = "disintegrate/";

/// The type of event ids, the positions of the store. It is that of the PostgreSQL backend.
pub type EventId = i64;

/// A decision maker on a store; `snapshot` is `NoSnapshot`, or `WithSnapshot` of an [`AnnalsSnapshotter`].
pub type AnnalsDecisionMaker<E, S, SN> = disintegrate::DecisionMaker<
    disintegrate::EventSourcedStateStore<EventId, E, AnnalsEventStore<E, S>, SN>,
>;

/// Creates a decision maker.
pub fn decision_maker<E, S, SN>(
    event_store: AnnalsEventStore<E, S>,
    snapshot: SN,
) -> AnnalsDecisionMaker<E, S, SN>
where
    E: disintegrate::Event + Clone + Send + Sync + 'static,
    S: disintegrate::serde::Serde<E> + Clone + Send + Sync + 'static,
    SN: disintegrate::SnapshotConfig + Clone,
{
    disintegrate::DecisionMaker::new(disintegrate::EventSourcedStateStore::new(
        event_store,
        snapshot,
    ))
}
