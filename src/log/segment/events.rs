//! Events of a segment, found one by one: through an index, at an offset.
//!
//! Must never return a record that was not proven, unless the caller requested it, and then only
//! bytes within the segment.

use std::sync::Arc;

use super::{CHUNK, RecordBytes, Segment};
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader};
use crate::format::record::{self, Layout, RecordRef};
use crate::format::seal::TRAILER_LEN;
use crate::index::touched::touch;
use crate::options::Checksums;

/// The place of a record, or of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// Where the bytes begin in the segment's file.
    pub(crate) offset: u64,
    /// The position of the event there; of a frame, of one of its events or of the next event.
    pub(crate) position: u64,
}

impl Segment {
    /// Prefetches the record at `offset` if that needs no I/O: a caller that does so for several
    /// records waits for memory once instead of once per record. A hint without a guarantee.
    pub(crate) fn prefetch_record(&self, offset: u64) {
        /// Both headers, the names and the beginning of the data; the processor prefetches the
        /// rest.
        const LEN: usize = 192;
        // The frame of a single event begins here.
        self.prefetch(offset.saturating_sub(frame::HEADER_LEN as u64), LEN);
    }

    /// Whether both places are in the part of the file that a [`Window`](super::Window) can cover.
    pub(crate) fn are_near(one: LogPlace, other: LogPlace) -> bool {
        one.offset / CHUNK == other.offset / CHUNK
    }

    /// Prefetches the header of the record's frame, if it is elsewhere. Reads the record's header,
    /// if that is readable.
    pub(crate) fn prefetch_frame(&self, offset: u64) {
        let end = offset.saturating_add(record::HEADER_LEN as u64);
        let chunk = offset / CHUNK;
        if !self.is_known_readable(chunk)
            || end > self.readable_limit()
            || end > (chunk + 1) * CHUNK
        {
            return;
        }
        let distance = record::frame_distance(self.remembered(offset, record::HEADER_LEN));
        if distance.is_some_and(|distance| distance > frame::HEADER_LEN as u64) {
            self.prefetch(offset.saturating_sub(distance.unwrap_or(0)), frame::HEADER_LEN);
        }
    }

    /// Prefetches the offset of the record at `ordinal`.
    pub(crate) fn prefetch_offset(&self, ordinal: u32) {
        if let Some(trailer) = &self.trailer {
            self.prefetch(trailer.table_offset() + u64::from(ordinal) * 4, 4);
        }
    }

    /// The offset of the record at `ordinal`, from a sealed segment's table.
    pub(crate) fn sealed_offset(&self, ordinal: u32) -> Result<Option<u64>> {
        let Some(trailer) = &self.trailer else {
            return Ok(None);
        };
        if ordinal >= trailer.event_count {
            return Ok(None);
        }
        let at = trailer.table_offset() + u64::from(ordinal) * 4;
        let mut bytes = [0; 4];
        if let Some(mapped) = self.mapped(at, 4)? {
            bytes.copy_from_slice(mapped);
        } else {
            self.read(&mut bytes, at)?;
        }
        Ok(Some(u64::from(u32::from_le_bytes(bytes))))
    }

    /// Whether the event at `place` was proven before. A walk has proven the records up to some offset, and not
    /// that the table leads to the right one of them.
    #[inline]
    pub(crate) fn is_proven(&self, place: LogPlace) -> bool {
        (place.offset < self.verified_end() && self.is_table_proven())
            || self.proven.contains(place.position.saturating_sub(self.base_position))
    }

    /// The number of events of a sealed segment; of another one, how many fit into it.
    fn most_events(&self) -> u64 {
        let fit = || self.header.capacity / record::HEADER_LEN as u64;
        self.trailer.as_ref().map_or_else(fit, |trailer| trailer.event_count.into())
    }

    /// Whether the offset table of a sealed segment is known to be intact. It is read as a whole once.
    #[inline]
    fn is_table_proven(&self) -> bool {
        self.trailer.is_none() || *self.table_is_intact.get_or_init(|| self.check_table())
    }

    #[cold]
    fn check_table(&self) -> bool {
        /// The size of a read.
        const PIECE: usize = 64 << 10;
        let Some(trailer) = &self.trailer else { return true };
        let (mut at, end) = (trailer.table_offset(), trailer.file_len() - TRAILER_LEN as u64);
        let (mut piece, mut sum) = (vec![0; PIECE], self.seed.plain());
        while at < end {
            let len = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            if self.read(&mut piece[..len], at).is_err() {
                return false;
            }
            sum = crc32(sum, &piece[..len]);
            at += len as u64;
        }
        sum == trailer.table_checksum
    }

    /// The record of the event at `place`, which was proven, and the header of its frame, which is not
    /// touched; `None` if they are not mapped or not known to be readable, or if the record is damaged,
    /// which [`Segment::event`] then reports.
    #[inline]
    pub(crate) fn proven_event(
        &self,
        place: LogPlace,
    ) -> Option<(RecordRef<'_>, &[u8; frame::HEADER_LEN])> {
        let LogPlace { offset, .. } = place;
        let (map, limit) = (self.mapping()?, self.readable_limit());
        let is_readable = |from: u64, to: u64| {
            to <= limit && (from / CHUNK..to.div_ceil(CHUNK)).all(|at| self.is_known_readable(at))
        };
        if !is_readable(offset, offset.checked_add(record::HEADER_LEN as u64)?) {
            return None;
        }
        let layout = Layout::read(map.get(offset, record::HEADER_LEN)?).ok()?;
        let len = layout.padded_len();
        if !is_readable(offset, offset.checked_add(len as u64)?) {
            return None;
        }
        let record = RecordRef::from_parts(map.get(offset, len)?, layout);
        let frame = offset.checked_sub(record.frame_distance().into())?;
        if !is_readable(frame, frame.checked_add(frame::HEADER_LEN as u64)?) {
            return None;
        }
        touch(1);
        Some((record, map.get(frame, frame::HEADER_LEN)?.try_into().ok()?))
    }

    /// Reads the record of the event at `place`, and the header of its frame; proves both as
    /// `checksums` requires.
    pub(crate) fn event(
        self: &Arc<Self>,
        place: LogPlace,
        checksums: Checksums,
    ) -> Result<(RecordBytes, Layout, FrameHeader)> {
        match self.event_once(place, checksums) {
            Err(error) if self.look_again(&error) => self.event_once(place, checksums),
            event => event,
        }
    }

    #[inline]
    fn event_once(
        self: &Arc<Self>,
        place: LogPlace,
        checksums: Checksums,
    ) -> Result<(RecordBytes, Layout, FrameHeader)> {
        touch(1);
        let proven = self.is_proven(place);
        let check = asks_for_proof(checksums, proven);
        let (bytes, layout) = self.read_record(place, check)?;
        let distance = u64::from(bytes.record(layout).frame_distance());
        let frame = LogPlace { offset: place.offset.saturating_sub(distance), ..place };
        if proven
            && checksums != Checksums::Always
            && let Some(header) = self.mapped(frame.offset, frame::HEADER_LEN)?
        {
            let trusted = FrameHeader::decode_trusted(header);
            return Ok((bytes, layout, trusted.map_err(|d| self.corrupt_at(frame, &d))?));
        }
        let header = self.frame_header(frame)?;
        if matches!(bytes, RecordBytes::Mapped { .. }) && !proven && checksums != Checksums::Never {
            self.proven.note(place.position.saturating_sub(self.base_position), self.most_events());
        }
        Ok((bytes, layout, header))
    }

    /// Reads the record of the event at `place` and proves it as `checksums` requires.
    pub(crate) fn record(
        self: &Arc<Self>,
        place: LogPlace,
        checksums: Checksums,
    ) -> Result<(RecordBytes, Layout)> {
        touch(1);
        let check = asks_for_proof(checksums, self.is_proven(place));
        match self.read_record(place, check) {
            Err(error) if self.look_again(&error) => self.read_record(place, true),
            record => record,
        }
    }

    /// Reads the record of the event at `place`; proves it if `check`, or if it cannot be mapped.
    fn read_record(
        self: &Arc<Self>,
        place: LogPlace,
        check: bool,
    ) -> Result<(RecordBytes, Layout)> {
        let LogPlace { offset, .. } = place;
        if let Some(header) = self.mapped(offset, record::HEADER_LEN)? {
            let layout = Layout::read(header).map_err(|d| self.corrupt_at(place, &d))?;
            let bytes = self.mapped(offset, layout.padded_len())?;
            let bytes = bytes.ok_or_else(|| self.corrupt_at(place, &Defect::TooShort))?;
            if check {
                self.prove(&RecordRef::from_parts(bytes, layout), place)?;
            }
            return Ok((RecordBytes::Mapped { segment: Arc::clone(self), offset }, layout));
        }
        let mut header = [0; record::HEADER_LEN];
        self.read(&mut header, offset)?;
        let layout = Layout::read(&header).map_err(|d| self.corrupt_at(place, &d))?;
        if offset.saturating_add(layout.padded_len() as u64) > self.end() {
            return Err(self.corrupt_at(place, &Defect::TooShort));
        }
        // The length is bounded by the size of the segment.
        let mut bytes = vec![0; layout.padded_len()];
        self.read(&mut bytes, offset)?;
        self.prove(&RecordRef::from_parts(&bytes, layout), place)?;
        Ok((RecordBytes::Owned(bytes.into()), layout))
    }

    fn prove(&self, record: &RecordRef<'_>, place: LogPlace) -> Result<()> {
        touch(1);
        record.verify(self.seed, place.position).map_err(|d| self.corrupt_at(place, &d))
    }

    /// The error for damage at `place`.
    pub(crate) fn corrupt_at(&self, place: LogPlace, defect: &Defect) -> Error {
        self.corrupt(place.offset, place.position, defect)
    }

    /// Reads and proves the frame header at `place`.
    pub(crate) fn frame_header(&self, place: LogPlace) -> Result<FrameHeader> {
        Ok(self.checked_frame_header(place)?.0)
    }

    /// Reads and proves the frame header at `place`; also returns its checksum.
    pub(crate) fn checked_frame_header(&self, place: LogPlace) -> Result<(FrameHeader, u32)> {
        let LogPlace { offset, .. } = place;
        let mut buffer = [0; frame::HEADER_LEN];
        let bytes = match self.mapped(offset, frame::HEADER_LEN)? {
            Some(mapped) => mapped,
            None => {
                self.read(&mut buffer, offset)?;
                &buffer
            }
        };
        let decoded = FrameHeader::decode(bytes, self.seed, offset);
        decoded.map_err(|d| self.corrupt_at(place, &d))
    }
}

/// Whether a record must be proven, depending on whether it was before.
pub(super) fn asks_for_proof(checksums: Checksums, proven: bool) -> bool {
    match checksums {
        Checksums::Always => true,
        Checksums::Once => !proven,
        Checksums::Never => false,
    }
}
