//! What can go wrong between a store and its backup.

use annals::Position;
use uuid::Uuid;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a backup, a restore or a standby.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store, or the directory of a copy, failed.
    #[error(transparent)]
    Store(#[from] annals::Error),
    /// A request to the object storage failed, after the retries of its client.
    #[error("cannot {operation} {object:?}: {source}")]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The name of the object, relative to the URL; empty: the URL itself.
        object: String,
        /// The error of the client.
        source: Box<object_store::Error>,
    },
    /// The URL cannot be used.
    #[error("{url:?} is not the URL of a backup: {why}")]
    Url {
        /// The URL.
        url: String,
        /// The reason.
        why: String,
    },
    /// There is no backup at the URL.
    #[error("there is no backup at {url:?}: {why}")]
    NotABackup {
        /// The URL.
        url: String,
        /// What is there instead.
        why: String,
    },
    /// The backup is one of another store.
    #[error("{url:?} holds a backup of store {found}, this is store {expected}; use another URL")]
    OtherStore {
        /// The URL.
        url: String,
        /// The id of this store.
        expected: Uuid,
        /// The id in the backup.
        found: Uuid,
    },
    /// The backup ends with events that this store does not have: the store was restored to an earlier state, or it has
    /// lost its end.
    #[error(
        "the backup at {url:?} ends at position {end}, and this store has another history there: it was restored to an \
         earlier state, or has lost its end; begin a new branch, or use another URL"
    )]
    OtherHistory {
        /// The URL.
        url: String,
        /// The last position in the backup.
        end: Position,
    },
    /// Another process ships to this URL: this one stopped, and has changed nothing since.
    #[error("another process ships to {url:?}: it has written {object:?}")]
    OtherShipper {
        /// The URL.
        url: String,
        /// The manifest that it wrote.
        object: String,
    },
    /// A standby was promoted in place of the store that is shipped. Nothing may be appended to the store any more.
    #[error(
        "the history goes on in {to:?} from position {position} on: nothing may be appended here"
    )]
    Fenced {
        /// Where the history goes on.
        to: String,
        /// The last position that both have.
        position: Position,
    },
    /// An object is missing, has changed or is damaged.
    #[error("{object:?} in the backup, which holds position {position}, is damaged: {why}")]
    Damaged {
        /// The name of the object, relative to the URL.
        object: String,
        /// The first position that depends on the object; 0: all.
        position: Position,
        /// What is wrong.
        why: String,
    },
    /// An object cannot be decrypted.
    #[error("cannot decrypt {object:?}: {why}")]
    Key {
        /// The name of the object, relative to the URL.
        object: String,
        /// Which key is missing or wrong.
        why: String,
    },
    /// The text of the keys cannot be used.
    #[error("cannot use the keys: line {line} {why}")]
    KeyFile {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An object was written by a newer version.
    #[error("{object:?} has format {found}, this version reads up to {known}; use a newer version")]
    Version {
        /// The name of the object, relative to the URL.
        object: String,
        /// Its format.
        found: u32,
        /// The newest one that is known.
        known: u32,
    },
    /// The restored backup and the store differ.
    #[error("the backup and the store differ at position {position}")]
    Differs {
        /// The first position where they do.
        position: Position,
    },
    /// The backup does not hold the requested moment.
    #[error("the backup does not hold {asked}: it holds positions up to {end}")]
    OutOfRange {
        /// The requested moment.
        asked: String,
        /// The last position in the backup.
        end: Position,
    },
}

impl Error {
    /// Whether the same call can succeed later without anything being changed here: the storage was out of reach.
    pub fn is_transient(&self) -> bool {
        let Self::Storage { source, .. } = self else { return false };
        !matches!(
            **source,
            object_store::Error::NotSupported { .. }
                | object_store::Error::NotImplemented { .. }
                | object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
                | object_store::Error::InvalidPath { .. }
                | object_store::Error::UnknownConfigurationKey { .. }
        )
    }
}
