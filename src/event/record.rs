//! The expected state of a record.

use std::fmt;

/// The expected state of a [record](crate::Records), checked together with the commit against
/// everything accepted before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ExpectedRecord {
    /// Anything.
    Any,
    /// There is no such record: it was never put, or was deleted since.
    NoRecord,
    /// The record exists.
    Exists,
    /// The record exists at exactly this version; `Exact(0)` is `NoRecord`.
    Exact(u64),
}

impl ExpectedRecord {
    /// Whether a record at `version` meets the expectation; 0: it does not exist.
    pub const fn holds_for(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoRecord => version == 0,
            Self::Exists => version > 0,
            Self::Exact(expected) => version == expected,
        }
    }
}

impl fmt::Display for ExpectedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoRecord => f.write_str("no record"),
            Self::Exists => f.write_str("an existing record"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}
