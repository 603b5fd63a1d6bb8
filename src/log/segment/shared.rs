//! Mapped bytes of a segment as buffers that are shared and counted.
//!
//! Owns the link from a buffer to the segment that keeps its bytes mapped. Must never cover bytes that
//! were not proven readable and written.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{CHUNK, LogPlace, Segment};
use crate::format::frame::FrameHeader;
use crate::format::record::{Layout, RecordRef};
use crate::format::segment_header::DATA_START;

/// Keeps a segment mapped for as long as a `Bytes` into it lives.
struct MappedBytes {
    segment: Arc<Segment>,
    offset: u64,
    len: usize,
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        self.segment.remembered(self.offset, self.len)
    }
}

impl fmt::Debug for MappedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.len.fmt(f)
    }
}

impl Segment {
    /// The mapped bytes `offset..offset + len`, which were proven before, without a copy. Allocates the
    /// owner of the buffer; slices and clones of the buffer share it.
    pub(crate) fn share(self: &Arc<Self>, offset: u64, len: usize) -> Bytes {
        Bytes::from_owner(MappedBytes { segment: Arc::clone(self), offset, len })
    }
}

/// A buffer over the part of a segment that a walk is in, from which its events are cut: one allocation
/// for many events.
#[derive(Debug, Default)]
pub(crate) struct Window {
    bytes: Bytes,
    /// The offset of its first byte in the segment.
    from: u64,
}

impl Window {
    /// The bytes `offset..offset + len` of the mapped `segment`. If they are not in the window, it moves
    /// to `offset..proven_end`, which includes them and was proven. A window serves one segment.
    #[inline]
    pub(crate) fn cut(
        &mut self,
        segment: &Arc<Segment>,
        offset: u64,
        len: usize,
        proven_end: u64,
    ) -> Bytes {
        if !self.covers(offset, len) {
            let reach = usize::try_from(proven_end.saturating_sub(offset)).unwrap_or(len);
            self.bytes = segment.share(offset, reach.max(len));
            self.from = offset;
        }
        let start = usize::try_from(offset - self.from).unwrap_or(usize::MAX);
        self.bytes.slice(start..start + len)
    }

    #[inline]
    fn covers(&self, offset: u64, len: usize) -> bool {
        let end = self.from + self.bytes.len() as u64;
        self.from <= offset && offset.saturating_add(len as u64) <= end
    }

    /// Whether the window covers the byte at `offset`.
    #[inline]
    pub(crate) fn reaches(&self, offset: u64) -> bool {
        self.covers(offset, 1)
    }

    /// Moves to the chunk around `offset`, as far as it holds written frames; covers nothing if that is not mapped, or
    /// not readable.
    pub(crate) fn move_to(&mut self, segment: &Arc<Segment>, offset: u64) {
        let start = offset / CHUNK * CHUNK;
        let from = start.max(DATA_START);
        let end = (start + CHUNK).min(segment.readable_limit());
        let len = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
        *self = Self::default();
        if len > 0 && matches!(segment.prove_mapped(from, len), Ok(Some(_))) {
            *self = Self { bytes: segment.share(from, len), from };
        }
    }

    /// The record of the event at `place` and the header of its frame, both proven before; `None` if the window
    /// does not cover them, or if they are damaged, which [`Segment::event`] then reports.
    #[inline]
    pub(crate) fn record(&self, place: LogPlace) -> Option<(RecordRef<'_>, FrameHeader)> {
        let at = usize::try_from(place.offset.checked_sub(self.from)?).ok()?;
        let record = RecordRef::parse(self.bytes.get(at..)?).ok()?;
        let header = self.bytes.get(at.checked_sub(record.frame_distance() as usize)?..)?;
        Some((record, FrameHeader::decode_trusted(header).ok()?))
    }

    /// Like [`Window::record`], as a buffer and a layout.
    #[inline]
    pub(crate) fn event(&self, place: LogPlace) -> Option<(Bytes, Layout, FrameHeader)> {
        let (record, header) = self.record(place)?;
        let at = usize::try_from(place.offset - self.from).ok()?;
        Some((self.bytes.slice(at..at + record.padded_len()), record.layout(), header))
    }
}
