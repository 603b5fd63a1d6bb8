//! Why a copy stopped.
//!
//! Owns what a caller can act on: whether a place may be there again soon. What only one kind of place reports is kept as the
//! source of an error.

use std::error::Error as StdError;
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
    /// The server of a place cannot be reached, or has not answered in time. A copy that follows its source waits and goes on
    /// instead.
    #[error("{place}: {cause}")]
    Unreachable {
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
        let (place, cause) = (place.to_owned(), cause.into());
        let mut error: Option<&(dyn StdError + 'static)> = Some(&*cause);
        while let Some(it) = error {
            if is_outage(it) {
                return Self::Unreachable { place, cause };
            }
            error = it.source();
        }
        Self::Failed { place, cause }
    }
}

/// Whether an error of a store says that its server may answer later.
fn is_outage(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(feature = "nats")]
    if let Some(error) = error.downcast_ref() {
        use annals_jetstream::Error;
        return matches!(error, Error::TimedOut { .. } | Error::Unreachable(_));
    }
    #[cfg(feature = "postgres")]
    if let Some(error) = error.downcast_ref() {
        use annals_postgres::Error;
        return matches!(error, Error::TimedOut { .. } | Error::Unreachable(_));
    }
    let _ = error;
    false
}

#[cfg(all(test, feature = "nats"))]
mod tests {
    use annals_es::{AppendError, StoreError};

    use super::*;

    #[test]
    fn outage_of_a_server_is_told_from_other_failures() {
        let out = || {
            let (limit, last) = (std::time::Duration::from_secs(30), "nothing".into());
            Box::new(annals_jetstream::Error::TimedOut { limit, last })
        };
        let errors: [Cause; 3] = [
            StoreError::Backend(out()).into(),
            AppendError::from(StoreError::Backend(out())).into(),
            AppendError::OutcomeUnknown(out()).into(),
        ];
        for error in errors {
            let error = Error::failed("there", error);
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        }
        let altered = annals_jetstream::Error::Altered { what: "it".into() };
        for error in [StoreError::Backend(Box::new(altered)), StoreError::Closed] {
            let error = Error::failed("there", error);
            assert!(matches!(error, Error::Failed { .. }), "{error:?}");
        }
    }
}
