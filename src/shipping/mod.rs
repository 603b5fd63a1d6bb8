//! The log as bytes: for programs that keep a copy of it elsewhere, and bring it back.
//!
//! Log shipping has two sides. [`Store::durable_log`](crate::Store::durable_log) reads the segments of a store in use,
//! up to a place before which everything is durable and never changes. [`LogCopy`] writes such segments into a
//! directory, which is then a backup as of that place, like those of [`Store::backup_to`](crate::Store::backup_to).
//! The bytes between are those of the format specification; where they are kept is up to the program.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use annals::shipping::LogCopy;
//! use annals::{ExpectedVersion, NewEvent, Options, Store};
//!
//! let store = Store::open(dir.path().join("ledger"))?;
//! store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("AccountOpened", "{}")])?;
//!
//! let log = store.durable_log()?;
//! let mut copy = LogCopy::open(dir.path().join("copy"), log.store_id())?;
//! for segment in log.segments() {
//!     let mut bytes = vec![0; segment.len() as usize];
//!     segment.read_at(&mut bytes, 0)?;
//!     let mut file = copy.create_segment(segment.number())?;
//!     file.write(&bytes)?;
//!     file.finish()?;
//! }
//! copy.finish(&log.end())?;
//! drop(copy);
//! let copy = Options::new().read_only(true).open(dir.path().join("copy"))?;
//! assert_eq!(copy.head(), store.head());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Owns what a segment looks like in a copy. Must never change a store.

mod copy;
mod cut;

use std::sync::Arc;

use uuid::Uuid;

pub use self::copy::{LogCopy, SegmentCopy};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
pub use crate::format::backup::LogEnd;
use crate::format::frame::{self, FrameHeader};
use crate::format::seal::Trailer;
use crate::log::segment::Segment;

/// The log of a store up to a place before which everything is durable; see
/// [`Store::durable_log`](crate::Store::durable_log).
#[derive(Debug, Clone)]
pub struct DurableLog {
    store_id: Uuid,
    end: LogEnd,
    segments: Vec<Arc<Segment>>,
}

/// A segment of a [`DurableLog`]. Its bytes never change.
#[derive(Debug, Clone, Copy)]
pub struct LogSegment<'a> {
    segment: &'a Segment,
    end: &'a LogEnd,
}

/// The contents of a full segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FullSegment {
    /// The number of events.
    pub events: u32,
    /// The number of changes of the metadata.
    pub changes: u32,
    /// When its first commit was recorded.
    pub first_recorded_at: Timestamp,
    /// When its last commit was recorded.
    pub last_recorded_at: Timestamp,
    /// The header checksum of its last frame, which covers everything before it.
    pub link: u32,
}

/// The moment at which a copy is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// With the commit that has this position, or the one before if a commit goes beyond it, and with what was recorded
    /// before the next commit: cursors, hidden streams.
    Position(Position),
    /// With everything that was recorded at or before this time.
    Time(Timestamp),
    /// With the last commit before the first damage: bytes that are missing or wrong.
    Damage,
}

impl DurableLog {
    pub(crate) fn of(engine: &Engine) -> Result<Self> {
        engine.check_open()?;
        let (end, segments) = engine.durable_log()?;
        Ok(Self { store_id: Uuid::from_bytes(engine.shared().store_id()), end, segments })
    }

    /// The identity of the store.
    pub fn store_id(&self) -> Uuid {
        self.store_id
    }

    /// The place up to which everything is durable.
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// The segments in ascending order, without a gap from 1 to that of the end.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = LogSegment<'_>> + ExactSizeIterator {
        self.segments.iter().map(|segment| LogSegment { segment, end: &self.end })
    }

    /// The segment with a number.
    pub fn segment(&self, number: u64) -> Option<LogSegment<'_>> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.segments.get(at).map(|segment| LogSegment { segment, end: &self.end })
    }

    /// Whether a place lies in this log, with the same history before it: then what was copied up to there can be
    /// continued. A store that was restored to an earlier state, or that has lost its end, does not contain the end of
    /// a longer copy.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the place cannot be read.
    pub fn contains(&self, place: &LogEnd) -> Result<bool> {
        let Some(LogSegment { segment, .. }) = self.segment(place.segment) else {
            return Ok(false);
        };
        let is_before_end = (place.segment, place.offset) <= (self.end.segment, self.end.offset);
        if !is_before_end || place.offset > segment.end() {
            return Ok(false);
        }
        if place.last_frame == 0 && self.end.segment == place.segment && self.end.last_frame == 0 {
            return Ok(self.end.link == place.link);
        }
        // Without a frame before it, the next one has the link.
        let at = if place.last_frame == 0 { place.offset } else { place.last_frame };
        let mut bytes = [0; frame::HEADER_LEN];
        segment.read(&mut bytes, at)?;
        let found = FrameHeader::decode(&bytes, segment.seed, at);
        Ok(found.is_ok_and(|(header, checksum)| {
            if place.last_frame == 0 {
                return header.link == place.link;
            }
            checksum == place.link && place.last_frame + header.frame_len() == place.offset
        }))
    }
}

impl LogSegment<'_> {
    /// The number, from 1.
    pub fn number(&self) -> u64 {
        self.segment.number()
    }

    /// A random number that the segment got when it was created: another one means other bytes.
    pub fn salt(&self) -> u64 {
        self.segment.header.salt
    }

    /// The position of its first event, which may not be there yet.
    pub fn first_position(&self) -> u64 {
        self.segment.base_position
    }

    /// The length in bytes: the whole file of a full segment, or up to the end of the log.
    pub fn len(&self) -> u64 {
        match self.trailer() {
            Some(trailer) => trailer.file_len(),
            None if self.number() == self.end.segment => self.end.offset,
            None => self.segment.end(),
        }
    }

    /// Always false: a segment has a header at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What a full segment holds; `None` if it may still grow. Only the last one of a log grows, and the one before it
    /// until it is sealed.
    pub fn full(&self) -> Option<FullSegment> {
        self.trailer().map(|trailer| FullSegment {
            events: trailer.event_count,
            changes: trailer.change_count,
            first_recorded_at: Timestamp::from_micros(trailer.first_recorded_at),
            last_recorded_at: Timestamp::from_micros(trailer.last_recorded_at),
            link: trailer.link,
        })
    }

    /// The last segment of a log takes new frames in a copy, even if it was sealed since.
    fn trailer(&self) -> Option<&Trailer> {
        self.segment.trailer.as_ref().filter(|_| self.number() < self.end.segment)
    }

    /// Fills a buffer with the bytes from an offset on. Checks no checksum of a frame: a reader of the copy does.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the segment ends before the end of the buffer, [`Error::Io`] and
    /// [`Error::Corrupt`] if the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let len = self.len();
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > len) {
            let why = format!("segment {} has {len} bytes", self.number());
            return Err(Error::InvalidArgument { what: "the range of a segment", why });
        }
        self.segment.read(buffer, offset)
    }
}
