//! What can be asked for, and the answer.
//!
//! Owns the protocol: names and fields. Must never have a request that reads, appends or removes events.

use std::time::Duration;

use annals::{FailedCheck, Store, StreamMetadata};
use serde::{Deserialize, Serialize};

/// A change of a store, as one line of JSON: `{"do":"set_cursor","name":"emailer","position":7,"reset":false}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Moves a cursor.
    SetCursor {
        /// The name of the cursor.
        name: String,
        /// The new position.
        position: u64,
        /// Whether it may move back.
        reset: bool,
    },
    /// Deletes a cursor.
    DeleteCursor {
        /// The name of the cursor.
        name: String,
    },
    /// Hides the events of a stream below a version.
    TruncateStream {
        /// The name of the stream.
        stream: String,
        /// The first version that is still shown.
        before: u64,
    },
    /// Hides a stream.
    ArchiveStream {
        /// The name of the stream.
        stream: String,
    },
    /// Shows an archived stream again.
    UnarchiveStream {
        /// The name of the stream.
        stream: String,
    },
    /// Sets limits on the events of a stream that are shown.
    LimitStream {
        /// The name of the stream.
        stream: String,
        /// The maximum age, in microseconds.
        #[serde(default)]
        max_age_micros: LimitChange,
        /// The maximum number.
        #[serde(default)]
        max_count: LimitChange,
    },
    /// Deletes all snapshots of a key.
    DeleteSnapshots {
        /// The key.
        key: String,
    },
}

/// What becomes of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Remove,
    /// It has this value.
    Set(u64),
}

/// The answer to a request, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// Why the request was refused; `None`: it is done, and durable as an append of the store is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether what was deleted existed; true for other requests that are done.
    #[serde(default)]
    pub existed: bool,
}

#[cfg_attr(not(unix), allow(dead_code, reason = "there is no service"))]
impl Reply {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self { refused: Some(what.into()), existed: false }
    }
}

impl Request {
    /// Does it for a client.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no service"))]
    pub(crate) fn perform(&self, store: &Store) -> Reply {
        match self.apply(store) {
            Ok(existed) => Reply { refused: None, existed },
            Err(error) => {
                let is_back =
                    matches!(error.failed_checks(), [FailedCheck::CursorNotForward { .. }]);
                let hint = if is_back { " (use --reset to allow it)" } else { "" };
                Reply::refused(format!("{error}{hint}"))
            }
        }
    }

    /// Makes the change in a store that this process has open for writing. Returns whether what was deleted existed, and
    /// true for other requests.
    ///
    /// # Errors
    ///
    /// Those of the call of [`Store`] that makes the change.
    pub fn apply(&self, store: &Store) -> annals::Result<bool> {
        match self {
            Self::SetCursor { name, position, reset: true } => {
                store.cursors().reset(name, *position)?;
            }
            Self::SetCursor { name, position, reset: false } => {
                store.cursors().advance(name, *position)?;
            }
            Self::DeleteCursor { name } => store.cursors().delete(name)?,
            Self::TruncateStream { stream, before } => store.truncate_before(stream, *before)?,
            Self::ArchiveStream { stream } => store.archive(stream)?,
            Self::UnarchiveStream { stream } => store.unarchive(stream)?,
            Self::LimitStream { stream, max_age_micros, max_count } => {
                let now = store.stream_info(stream)?.map(|info| info.metadata).unwrap_or_default();
                let mut limits = StreamMetadata::new();
                limits.max_age = match max_age_micros {
                    LimitChange::Keep => now.max_age,
                    LimitChange::Remove => None,
                    LimitChange::Set(micros) => Some(Duration::from_micros(*micros)),
                };
                limits.max_count = match max_count {
                    LimitChange::Keep => now.max_count,
                    LimitChange::Remove => None,
                    LimitChange::Set(events) => Some(*events),
                };
                store.set_stream_metadata(stream, limits)?;
            }
            Self::DeleteSnapshots { key } => return store.snapshots().delete(key),
        }
        Ok(true)
    }
}
