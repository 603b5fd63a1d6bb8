//! The errors of the store.
//!
//! Owns the meaning of each error of the servers to the caller.

use std::io;
use std::time::Duration;

use annals_es::{AppendError, StoreError, StreamName};
use async_nats::{ConnectError, ConnectErrorKind};

/// Why a store on JetStream could not be opened or used: the cause of a [`StoreError::Backend`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server can be reached.
    #[error("no server can be reached")]
    Unreachable(#[source] ConnectError),
    /// The server has refused the user or its credentials.
    #[error("the server has refused the connection: {0}")]
    Refused(#[source] ConnectError),
    /// An address of a server is not one.
    #[error("the address of a server is invalid")]
    InvalidAddress(#[source] io::Error),
    /// The name of a store has other characters than letters, digits, `_` and `-`, or none, or too many.
    #[error("{name:?} is no name of a store: up to 100 letters, digits, _ and -")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The server is older than NATS 2.12.2.
    #[error("the server has version {version}; NATS server 2.12.2 or newer is needed")]
    ServerTooOld {
        /// The server's version.
        version: String,
    },
    /// The server, or the account of the user, has no JetStream.
    #[error("the server or the account of the user has no JetStream")]
    NoJetStream,
    /// The servers would lose acknowledged commits. See [`Durability`](crate::Durability).
    #[error("acknowledged commits may be lost: {setting}")]
    NotDurable {
        /// The setting that loses them.
        setting: String,
    },
    /// Nothing is known about what the servers do before they acknowledge. State it with
    /// [`JetStreamOptions::durability`](crate::JetStreamOptions::durability), or let them be asked with
    /// [`JetStreamOptions::system_account`](crate::JetStreamOptions::system_account).
    #[error(
        "it is not stated whether the servers wait for the disk: state it with `durability`, or let \
        them be asked with `system_account`"
    )]
    DurabilityNotStated,
    /// The stream was made by another version of this crate, or a message was.
    #[error("the format has version {found}; this program knows version {supported}")]
    FormatVersion {
        /// The version of the format.
        found: u32,
        /// The version that this crate writes.
        supported: u32,
    },
    /// There is no store of this name.
    #[error("there is no store {name:?}")]
    NoStore {
        /// The name of the store.
        name: String,
    },
    /// A stream of the store's name exists, and is not a store.
    #[error("the stream {name:?} is not a store of this crate")]
    NotAStore {
        /// The name of the stream.
        name: String,
    },
    /// The stream is not as this crate has made it.
    #[error("the stream was altered: {what}")]
    Altered {
        /// What differs.
        what: String,
    },
    /// The stream is not the partition that was asked for: the store has another number of partitions.
    #[error("the stream is {found}, not {wanted}")]
    OtherPartition {
        /// What the stream is.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A stream of events belongs to another partition, or the streams of a commit belong to different ones.
    #[error("the stream {stream:?} belongs to another partition")]
    ElsewhereStored {
        /// The stream.
        stream: StreamName,
    },
    /// A message in the subjects of the store is not one of this crate, or is damaged.
    #[error("message {sequence} on {subject:?} is not one of this store: {why}")]
    Foreign {
        /// The subject of the message.
        subject: String,
        /// The sequence of the message.
        sequence: u64,
        /// What was expected of it.
        why: String,
    },
    /// A commit asks for what the store does not offer: boundaries, or a checkpoint of a partitioned store.
    #[error("the store has no {what}")]
    NotOffered {
        /// What was asked for.
        what: &'static str,
    },
    /// The store is fenced: its history goes on elsewhere. See
    /// [`JetStreamStore::raise_fence`](crate::JetStreamStore::raise_fence).
    #[error("the store is fenced: its history goes on at {to:?}")]
    Fenced {
        /// Where the history goes on.
        to: String,
    },
    /// The servers have not answered in time: none is there, or they have no leader.
    #[error("the servers have not answered within {limit:?}: {last}")]
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The server has refused a request.
    #[error("the server has refused a request: {description} (error {code})")]
    Server {
        /// The server's number of the error.
        code: u64,
        /// The server's text.
        description: String,
    },
    /// The outcome of a write cannot be found out any more, because its key was written again and again.
    #[error("the key was written again before the outcome was known")]
    Overwritten,
    /// The work was ended with the runtime that did it.
    #[error("the runtime of the store has ended")]
    Ended,
    /// The thread that drives connections could not be started.
    #[error("the connections to the servers cannot be driven")]
    Driver(#[source] io::Error),
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                Self::Refused(error)
            }
            _ => Self::Unreachable(error),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Ended => Self::Closed,
            Error::Fenced { to } => Self::Fenced { to },
            error => Self::Backend(Box::new(error)),
        }
    }
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        StoreError::from(error).into()
    }
}
