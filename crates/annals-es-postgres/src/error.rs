//! The errors of the target.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use annals_es::projection::TargetError;

/// Why a read model in PostgreSQL could not be opened, changed or committed: the cause of a [`TargetError::Failed`].
/// The runner tries again, as the [`ErrorPolicy`](annals_es::projection::ErrorPolicy) of the projection says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot be reached, or has refused a statement.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
    /// The connection has ended. The server rolls back what was not committed; the target connects again at the next
    /// attempt.
    #[error("the connection to the server has ended")]
    Disconnected {
        /// Why, if it is known.
        #[source]
        reason: Option<Arc<tokio_postgres::Error>>,
    },
    /// The server has not answered in time, and the connection was given up. See
    /// [`Postgres::time_limit`](crate::Postgres::time_limit).
    #[error("the server has not answered within {limit:?}")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The transaction was ended by a handler, which must leave that to the target. What the handler has committed
    /// stays, without its position.
    #[error("a handler has ended the transaction; it must not")]
    TransactionEnded,
    /// A statement of a handler has failed, and the handler has returned no error. PostgreSQL commits nothing after
    /// that.
    #[error(
        "a handler has ignored that a statement failed; return the error, or run the statement after SAVEPOINT"
    )]
    FailureIgnored,
    /// A number does not fit into its column, or a column has a number that the target has not written.
    #[error("{what} {value} is out of range")]
    OutOfRange {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: i128,
    },
    /// The task that drives the connection could not be started.
    #[error("the connection to the server cannot be driven")]
    Driver(#[source] io::Error),
}

impl From<Error> for TargetError {
    fn from(error: Error) -> Self {
        Self::failed(error)
    }
}
