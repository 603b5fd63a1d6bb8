//! Snapshots: states that the application computed, stored beside the log and disposable.

use bytes::Bytes;

use crate::event::{Applied, EventData, Position, Timestamp};

/// The version or position that a snapshot's state covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Mark {
    /// A version of the stream that is the snapshot's key.
    Version(u64),
    /// A position of the store; the key is a free name.
    Position(Position),
}

impl From<u64> for Mark {
    fn from(version: u64) -> Self {
        Self::Version(version)
    }
}

impl From<Position> for Mark {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl Mark {
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Version(version) => version,
            Self::Position(position) => position.get(),
        }
    }

    pub(crate) fn is_position(self) -> bool {
        matches!(self, Self::Position(_))
    }
}

/// An application's state at a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    key: String,
    mark: Mark,
    state: Bytes,
    schema_version: u32,
    saved_at: Timestamp,
}

impl Snapshot {
    /// The state of the stream `key` at a version, or of anything named `key` at a position.
    pub fn new(key: impl Into<String>, mark: impl Into<Mark>, state: impl EventData) -> Self {
        Self {
            key: key.into(),
            mark: mark.into(),
            state: state.into_bytes(),
            schema_version: 0,
            saved_at: Timestamp::default(),
        }
    }

    /// Sets the version of the state's schema. Default: 0.
    pub fn with_schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A saved snapshot.
    pub(crate) fn restore(
        key: String,
        mark: Mark,
        state: Bytes,
        schema_version: u32,
        saved_at: Timestamp,
    ) -> Self {
        Self { key, mark, state, schema_version, saved_at }
    }

    /// The snapshot as an applied operation of a repeated commit.
    pub(crate) fn to_applied(&self) -> Applied {
        Applied::Snapshot { key: self.key.clone(), mark: self.mark.number() }
    }

    /// The version or position that the state covers.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The state.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// The state, shared and not copied.
    pub fn state_bytes(&self) -> Bytes {
        self.state.clone()
    }

    /// The version of the state's schema.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// The time at which it was saved; the epoch if it was not.
    pub fn saved_at(&self) -> Timestamp {
        self.saved_at
    }
}
