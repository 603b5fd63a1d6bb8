//! The calls that move full segments into cold storage, and back.
//!
//! Owns nothing. Must never decide which segments move: that is up to the caller.

use super::Store;
use crate::error::Result;

impl Store {
    /// Removes the file of a full segment from the store's directory: its copy elsewhere takes its place. Returns the
    /// number of bytes that are free now; 0 if the segment was cold before. Events in it can be read as before, and take
    /// as long as the [source](crate::Options::cold_segments) needs; see [`cold`](crate::cold).
    ///
    /// The source is asked whether it has the segment, and the segment stays if it has not. Blocks while all of the
    /// segment is read, for its checksum, and the directory is synced. At every moment the store has the segment, or a
    /// durable record of its length and checksum.
    ///
    /// A backup of the store reads cold segments back, so that it is whole.
    ///
    /// # Errors
    ///
    /// [`Error::ColdSegment`](crate::Error::ColdSegment) if the source does not have the segment or cannot be asked.
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no source, or if the segment is not full:
    /// see [`FullSegment`](crate::shipping::FullSegment); just after it was filled, its index may not be written yet.
    /// [`Error::ReadOnly`](crate::Error::ReadOnly), [`Error::Closed`](crate::Error::Closed) and
    /// [`Error::Io`](crate::Error::Io).
    pub fn make_cold(&self, segment: u64) -> Result<u64> {
        self.engine().make_cold(segment)
    }

    /// Brings a cold segment back into the store's directory; does nothing if it is there. Blocks until it has arrived
    /// and is durable.
    ///
    /// # Errors
    ///
    /// [`Error::ColdSegment`](crate::Error::ColdSegment) if it does not arrive as it was, or there is no source;
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no such full segment;
    /// [`Error::ReadOnly`](crate::Error::ReadOnly), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::DiskFull`](crate::Error::DiskFull) and [`Error::Io`](crate::Error::Io).
    pub fn make_local(&self, segment: u64) -> Result<()> {
        self.engine().make_local(segment)
    }

    /// The numbers of the cold segments, ascending. Lists the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the directory cannot be listed.
    pub fn cold_segments(&self) -> Result<Vec<u64>> {
        self.engine().cold_numbers()
    }
}
