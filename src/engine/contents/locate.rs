//! Locates events in the log, and binds positions to its history.
//!
//! The log is a chain: the header checksum of a frame covers that of the frame before. So the
//! checksums of the frame that holds a position stand for everything at or before it. What was
//! derived from the log and is kept elsewhere (snapshots, positions of consumers) carries them and is
//! compared with the log before it is used. Must never change anything.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Contents;
use crate::catalog::{Begun, Catalog, PartIndex, offsets_in_parts};
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::format::frame::FrameHeader;
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::log::segment::{LogPlace, Segment};
use crate::options::Checksums;

impl Contents {
    /// The segment that holds an event that is accepted, and the offset of its record.
    pub(crate) fn locate(&self, position: u64) -> Result<(Arc<Segment>, u64)> {
        self.find(position)?.ok_or_else(|| self.lost(position))
    }

    /// Shows a record that is written.
    pub(crate) fn show_written(
        &self,
        position: u64,
        look: &mut (dyn FnMut(&RecordRef<'_>) + '_),
    ) -> Result<()> {
        let (segment, offset) = self.locate(position)?;
        let checksums = self.shared.options().checksums;
        let (bytes, layout) = segment.record(LogPlace { offset, position }, checksums)?;
        look(&bytes.record(layout));
        Ok(())
    }

    /// Shows those of these records that are written, if they are in one segment that is not sealed. Returns
    /// the position of the last record that was shown, or the one before the range.
    pub(crate) fn show_many(
        &self,
        positions: RangeInclusive<u64>,
        look: &mut (dyn FnMut(&RecordRef<'_>) + '_),
    ) -> Result<u64> {
        let (first, last) = (*positions.start(), (*positions.end()).min(self.positions.written()));
        if last < first {
            return Ok(first - 1);
        }
        let found = self.lookup(
            |catalog| catalog.offsets(first, last),
            |begun| match begun {
                Begun::Done(found) => Ok(found),
                Begun::InParts(parts, ()) => offsets_in_parts(&parts, first, last),
            },
        )?;
        let Some((segment, offsets)) = found else { return Ok(first - 1) };
        let checksums = self.shared.options().checksums;
        let mut position = first;
        for &offset in &offsets {
            let place = LogPlace { offset: offset.into(), position };
            let (bytes, layout) = segment.record(place, checksums)?;
            look(&bytes.record(layout));
            position += 1;
        }
        Ok(position - 1)
    }

    /// The place of the frame that holds `position`, or of one before it, with the frame's first
    /// position.
    pub(crate) fn frame_at(&self, position: u64) -> Result<(Arc<Segment>, LogPlace)> {
        let (segment, offset) = self.locate(position)?;
        if position == segment.base_position {
            return Ok((segment, LogPlace { offset: DATA_START, position }));
        }
        let (bytes, layout, header) =
            segment.event(LogPlace { offset, position }, Checksums::Once)?;
        let distance = u64::from(bytes.record(layout).frame_distance());
        let offset = offset.saturating_sub(distance);
        Ok((segment, LogPlace { offset, position: header.first_position }))
    }

    /// The header of the frame that holds a position that is written, and its checksum.
    pub(crate) fn commit_header(&self, position: u64) -> Result<(FrameHeader, u32)> {
        let (segment, offset) = self.locate(position)?;
        let (bytes, layout) = segment.record(LogPlace { offset, position }, Checksums::Once)?;
        let distance = u64::from(bytes.record(layout).frame_distance());
        let frame = LogPlace { offset: offset.saturating_sub(distance), position };
        segment.checked_frame_header(frame)
    }

    /// A number that stands for everything at or before a position that is written; 0 for the beginning.
    pub(crate) fn history_at(&self, position: u64) -> Result<u64> {
        if position == 0 {
            return Ok(0);
        }
        let (header, checksum) = self.commit_header(position)?;
        Ok(header.history(checksum))
    }

    /// The first segment of the log.
    pub(crate) fn first_segment(&self) -> Arc<Segment> {
        let first = |catalog: &Catalog| match catalog.parts.first() {
            Some(part) => Arc::clone(&part.segment),
            None => Arc::clone(&catalog.active.segment),
        };
        self.with_catalog(first)
    }

    /// The segment after the one with this number; `None` if that is the last.
    pub(crate) fn segment_after(&self, number: u64) -> Option<Arc<Segment>> {
        self.with_catalog(|Catalog { parts, active, .. }| {
            let after = parts.partition_point(|part| part.segment.number() <= number);
            let next = parts.get(after).map_or(&active.segment, |part| &part.segment);
            (next.number() > number).then(|| Arc::clone(next))
        })
    }

    /// Bounds of the last position that was recorded at or before `time`, from the times that the
    /// indexes of full segments keep.
    pub(crate) fn bounds_of_time(&self, time: Timestamp) -> RangeInclusive<u64> {
        let time = time.as_micros();
        let parts = self.parts();
        let mut low = 0;
        for part in parts.iter() {
            let base = part.segment.base_position;
            let (count, first, last) = match (&part.index, &part.segment.trailer) {
                (PartIndex::Sealed(_), Some(t)) => {
                    (u64::from(t.event_count), t.first_recorded_at, t.last_recorded_at)
                }
                (PartIndex::Frozen { index, .. }, _) => {
                    (index.len() as u64, index.first_recorded_at, index.last_recorded_at)
                }
                _ => continue,
            };
            if count == 0 {
                continue;
            }
            if first > time {
                return low..=base - 1;
            }
            if last <= time {
                low = base + count - 1;
            } else {
                return low..=base + count - 1;
            }
        }
        low..=u64::MAX
    }

    /// The error for a visible position that the catalog does not hold: damage to the store in memory
    /// or on disk, never the caller's fault.
    pub(crate) fn lost(&self, position: u64) -> Error {
        Error::Corrupt {
            file: self.shared.root().into(),
            offset: 0,
            expected_position: Position::new(position),
            what: "no segment holds the position".into(),
            evidence: None,
        }
    }
}
