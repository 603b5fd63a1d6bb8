//! Versions, positions, times and content types.
//!
//! Owns plain numbers with a meaning. Must never hold anything that only one backend offers.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($type:ident) => {
        impl $type {
            /// The value with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $type {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$type> for u64 {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// An event's place in its stream: 1-based and without gaps. The version of a stream is the number of its
/// events; 0 is the version of a stream without events.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(u64);

number!(Version);

impl Version {
    /// The version of a stream without events.
    pub const NONE: Self = Self(0);
    /// A version that no stream reaches: no bound.
    pub const MAX: Self = Self(u64::MAX);

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An event's place among all events of a store: greater than that of every event that was visible before
/// it. Positions begin at 1; whether they have gaps depends on the store.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(u64);

number!(Position);

impl Position {
    /// The position before the first event.
    pub const START: Self = Self(0);
    /// A position that no event reaches: no bound.
    pub const MAX: Self = Self(u64::MAX);
}

/// A point in time: microseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time this number of microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that has passed since an earlier time; zero if that time is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time this much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before the Unix epoch are converted to the epoch.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0)
    }
}

/// The format of an event's data, as far as a store has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ContentType {
    /// Bytes in a format that the application knows.
    #[default]
    Binary,
    /// UTF-8 JSON.
    Json,
}
