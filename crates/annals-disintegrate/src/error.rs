//! The error of the adapter.
//!
//! Owns its variants. Must never drop the error that caused one.

use crate::EventId;

/// What can go wrong; the trait leaves the type of errors to its implementation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An event was appended that the query of the decision matches. Load the state and decide again.
    #[error("concurrent modification error")]
    Concurrency(#[source] annals::Error),
    /// The store refused the call, or could not be read.
    #[error(transparent)]
    Store(#[from] annals::Error),
    /// An event cannot be deserialized.
    #[error("the event at position {position} cannot be deserialized")]
    Deserialization {
        /// Its position.
        position: EventId,
        /// The cause.
        #[source]
        source: disintegrate::serde::Error,
    },
    /// An event is none of the events of the query.
    #[error("the event at position {position} cannot be converted to that of the query")]
    QueryEventMapping {
        /// Its position.
        position: EventId,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
