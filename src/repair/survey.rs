//! Searches bytes that hold no whole commit for intact records: their events are lost with their commit.
//!
//! Owns the proof that a record is one of the frame that it names. Must never hold more than one record in memory.

use std::io;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::checksum::Seed;
use crate::format::frame::{self, FrameHeader};
use crate::format::record::{self, Layout, RecordRef};
use crate::format::{ALIGNMENT, align};
use crate::log::scan::Window;
use crate::options::Options;

/// The number of consecutive damaged records that are stepped over where the frame's header is damaged too: more than a
/// block of a disk holds.
const STEPS: u64 = 128;
/// The length of the shortest record.
const MIN_RECORD: u64 = align(record::HEADER_LEN + 1) as u64;
/// Longer records are not searched for. Names and tags are shorter than the second part.
const MAX_RECORD: u64 = Options::MAX_EVENT_SIZE + (128 << 10);

/// An intact record.
pub(super) struct Found<'a> {
    pub(super) record: RecordRef<'a>,
    pub(super) position: u64,
    /// The offset of its frame in the file.
    pub(super) frame: u64,
}

/// Passes the intact records in a range of a segment to `found`. The first one may be that of `position`; returns the
/// position after the last one. `header`: the intact header of the one frame that the range holds.
///
/// A record proves its position, but not its length: for bytes made to look like many overlapping records, the work is
/// bounded by a few times their length.
pub(super) fn survey(
    window: &mut Window,
    seed: Seed,
    range: Range<u64>,
    header: Option<&FrameHeader>,
    mut position: u64,
    mut found: impl FnMut(Found<'_>) -> Result<()>,
    failed: impl Fn(io::Error) -> Error,
) -> Result<u64> {
    let (mut at, mut last_end) = (range.start, range.start);
    let mut budget = (range.end - range.start).saturating_mul(STEPS + 16);
    while at + record::HEADER_LEN as u64 <= range.end {
        let Some(head) = window.get(at, record::HEADER_LEN).map_err(&failed)? else { break };
        let frame = record::frame_distance(head).and_then(|distance| at.checked_sub(distance));
        let len = Layout::read(head).map_or(0, |layout| layout.padded_len());
        // As many records as the bytes since the last one can hold.
        let next = position.saturating_add((at - last_end) / MIN_RECORD + 1);
        let mut candidates = match (header, frame) {
            (None, Some(frame)) if frame >= range.start => {
                position..next.min(position.saturating_add(STEPS))
            }
            (Some(header), Some(frame)) if frame == range.start => {
                position.max(header.first_position)..next.min(header.next_position())
            }
            // It does not belong to the frame that these bytes are.
            _ => 0..0,
        };
        let affordable = MAX_RECORD.min(range.end - at).min(budget);
        let bytes = match len as u64 {
            1.. if len as u64 <= affordable && !candidates.is_empty() => window.get(at, len),
            _ => Ok(None),
        };
        let record = bytes.map_err(&failed)?.and_then(|bytes| RecordRef::parse(bytes).ok());
        let proven = record.zip(frame).and_then(|(record, frame)| {
            let right = candidates.find(|&candidate| {
                let affordable = budget >= len as u64;
                budget = budget.saturating_sub(len as u64);
                affordable && record.verify(seed, candidate).is_ok()
            });
            Some(Found { record, position: right?, frame })
        });
        let Some(proven) = proven else {
            at += ALIGNMENT as u64;
            continue;
        };
        position = proven.position + 1;
        found(proven)?;
        at += len as u64;
        last_end = at;
    }
    Ok(position)
}

/// Whether a record at this distance from its frame's first byte is the first one of the frame.
pub(super) fn is_first(record: &RecordRef<'_>) -> bool {
    record.frame_distance() as usize == frame::HEADER_LEN
}
