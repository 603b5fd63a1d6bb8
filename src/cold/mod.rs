//! Cold storage: full segments whose files are kept elsewhere, and read back when they are needed.
//!
//! A program that keeps copies of full segments, for example a backup in object storage, can free their space in the
//! store's directory with [`Store::make_cold`](crate::Store::make_cold). A stub of 272 bytes stays, with what an
//! opening needs, and so do the indexes: opening the store, look-ups and counts fetch nothing. A read of an event in
//! a cold segment fetches the whole segment from the [`SegmentSource`] of the
//! [`Options`](crate::Options::cold_segments), compares its length and checksum, and keeps it in memory, up to a limit,
//! for the next reads.
//!
//! Off by default: without a call of [`Store::make_cold`](crate::Store::make_cold) every segment stays in the
//! directory.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use std::io::{self, Write};
//! use std::path::PathBuf;
//! use std::sync::Arc;
//!
//! use annals::cold::{ColdSegment, SegmentSource};
//! use annals::{ExpectedVersion, NewEvent, Options};
//!
//! /// Copies in a directory.
//! #[derive(Debug)]
//! struct Archive(PathBuf);
//!
//! impl SegmentSource for Archive {
//!     fn holds(&self, segment: &ColdSegment) -> io::Result<bool> {
//!         let copy = self.0.join(segment.number().to_string());
//!         Ok(copy.metadata().is_ok_and(|copy| copy.len() == segment.len()))
//!     }
//!
//!     fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()> {
//!         let mut copy = std::fs::File::open(self.0.join(segment.number().to_string()))?;
//!         io::copy(&mut copy, to).map(|_| ())
//!     }
//! }
//!
//! let archive = dir.path().join("archive");
//! std::fs::create_dir(&archive)?;
//! let options = Options::new()
//!     .segment_size(Options::MIN_SEGMENT_SIZE)
//!     .cold_segments(Arc::new(Archive(archive.clone())));
//! let store = options.open(dir.path().join("ledger"))?;
//! for _ in 0..100 {
//!     store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Paid", vec![7; 1_000])])?;
//! }
//! let log = store.durable_log()?;
//! let first = log.segment(1).filter(|first| first.full().is_some()).expect("it is full");
//! let mut bytes = vec![0; first.len() as usize];
//! first.read_at(&mut bytes, 0)?;
//! std::fs::write(archive.join("1"), bytes)?;
//!
//! assert_eq!(store.make_cold(1)?, first.len());
//! assert_eq!(store.read_all().count()?, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Owns the stubs and the segments that were read back. Must never remove a segment before its stub is durable, nor
// return a byte of a segment that was not verified whole.

mod cache;
mod file;
mod segments;
mod storage;

use std::fmt::Debug;
use std::io::{self, Write};

use uuid::Uuid;

use crate::event::{Position, Timestamp};
use crate::format::cold::Stub;

pub(crate) use segments::{ColdSegments, describe};
pub(crate) use storage::over;

/// Where the copies of cold segments are.
///
/// Calls come from any thread that reads, also from several at once, and may block it for as long as a copy takes to
/// arrive; a caller that awaits is not blocked. An implementation must not read from the store that it serves.
pub trait SegmentSource: Debug + Send + Sync {
    /// Whether there is a copy of the segment that will be there for as long as the store is used. After `true`, the
    /// store may remove its own.
    ///
    /// # Errors
    ///
    /// If that cannot be found out now: the segment stays where it is.
    fn holds(&self, segment: &ColdSegment) -> io::Result<bool>;

    /// Writes all bytes of a segment. The store compares them with the length and checksum of its own.
    ///
    /// # Errors
    ///
    /// If the copy cannot be read now. The read that needs it fails with
    /// [`Error::ColdSegment`](crate::Error::ColdSegment), and the next one tries again.
    fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()>;
}

/// What identifies a full segment and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdSegment {
    stub: Stub,
}

impl ColdSegment {
    fn new(stub: Stub) -> Self {
        Self { stub }
    }

    /// The identity of the store.
    pub fn store_id(&self) -> Uuid {
        Uuid::from_bytes(self.stub.header.store_id)
    }

    /// The number of the segment, from 1.
    pub fn number(&self) -> u64 {
        self.stub.header.number
    }

    /// A random number that the segment got when it was created: another one means other bytes.
    pub fn salt(&self) -> u64 {
        self.stub.header.salt
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a segment has a header at least")]
    pub fn len(&self) -> u64 {
        self.stub.segment_len()
    }

    /// The CRC-32 (IEEE 802.3) of all bytes.
    pub fn checksum(&self) -> u32 {
        self.stub.checksum
    }

    /// The header checksum of the last frame, which covers everything in the log before it: as in
    /// [`FullSegment::link`](crate::shipping::FullSegment::link).
    pub fn link(&self) -> u32 {
        self.stub.trailer.link
    }

    /// The position of the first event.
    pub fn first_position(&self) -> Position {
        Position::new(self.stub.trailer.base_position)
    }

    /// The number of events.
    pub fn events(&self) -> u32 {
        self.stub.trailer.event_count
    }

    /// When the last commit was recorded.
    pub fn last_recorded_at(&self) -> Timestamp {
        Timestamp::from_micros(self.stub.trailer.last_recorded_at)
    }
}
