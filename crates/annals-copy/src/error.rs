//! Why a copy stopped.
//!
//! Owns what a caller can act on. What only one kind of place reports is kept as the source of an error.

use std::io;
use std::path::PathBuf;

use annals_es::{Cause, Position};

/// Why a copy stopped. Everything that the target has by then is an exact copy of the beginning, except after
/// [`Error::Differs`] and [`Error::NotACopy`]; the same copy goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A place could not be read or written.
    #[error("{place}: {cause}")]
    Failed {
        /// The place.
        place: String,
        /// Why.
        #[source]
        cause: Cause,
    },
    /// The target has events that the source does not have: it is not a copy of it, or a program has appended to it.
    #[error("{target} is not a copy of {place}: {what}; copy to an empty place")]
    NotACopy {
        /// The target.
        target: String,
        /// The source.
        place: String,
        /// What shows it.
        what: String,
    },
    /// An event of the target is not as it is in the source.
    #[error("the copy differs at position {position} of the source: {what}")]
    Differs {
        /// The position of the event in the source.
        position: Position,
        /// What differs.
        what: String,
    },
    /// The source has something that the target has no place for. See
    /// [`Settings::leave_out`](crate::Settings::leave_out).
    #[error("{target} cannot keep what {place} has besides events and checkpoints: {what}")]
    CannotKeep {
        /// The target.
        target: String,
        /// The source.
        place: String,
        /// What would be lost.
        what: String,
    },
    /// The place does not offer this.
    #[error("{place}: {what}")]
    Unsupported {
        /// The place.
        place: String,
        /// What it does not offer, and what can be done instead.
        what: String,
    },
    /// The source and the target are the same.
    #[error("{place} cannot be copied to itself")]
    SamePlace {
        /// The place.
        place: String,
    },
    /// The table of positions could not be read or written.
    #[error("cannot use {}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The caller has stopped the copy.
    #[error("the copy was stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn failed(place: &str, cause: impl Into<Cause>) -> Self {
        Self::Failed { place: place.to_owned(), cause: cause.into() }
    }
}
