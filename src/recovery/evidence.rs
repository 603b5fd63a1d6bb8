//! Looks for proof that a position was durable.

use super::Path;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, Window};
use crate::log::segment::SegmentFile;

/// Anything behind the gap at `state` that tells of a durable position at or behind it.
///
/// A valid frame alone proves nothing, since blocks reach a disk out of order; what counts is the
/// durable position it carries, which was true when it was written.
pub(crate) fn find(
    active: &SegmentFile,
    extras: &[SegmentFile],
    state: &ScanState,
) -> Result<Option<String>> {
    // A seal is written when everything before it is durable: frames that end before it are damaged.
    if let Some(trailer) = active.trailer()?
        && trailer.base_position + u64::from(trailer.event_count) > state.next_position
    {
        return Ok(Some(format!("segment {} is sealed", active.header.number)));
    }
    // Sealing begins once the next segment is in use, whose name is durable by then.
    if extras.is_empty() && a_seal_begins(active, state)? {
        let number = active.header.number;
        return Ok(Some(format!("segment {number} has a seal, and the next one is missing")));
    }
    if let Some(found) = search(active, state.offset, state.next_position)? {
        return Ok(Some(found));
    }
    for segment in extras {
        if segment.trailer()?.is_some() {
            return Ok(Some(format!("segment {} is sealed", segment.header.number)));
        }
        if let Some(found) = search(segment, DATA_START, state.next_position)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the frames end at the header of the seal that belongs there.
fn a_seal_begins(segment: &SegmentFile, state: &ScanState) -> Result<bool> {
    let mut window = Window::new(segment.file.clone(), segment.len()?);
    let Some(bytes) = get(&mut window, state.offset, &segment.path)? else { return Ok(false) };
    let header = FrameHeader::decode(bytes, segment.header.seed(), state.offset);
    Ok(header.is_ok_and(|(header, _)| {
        header.kind == FrameKind::Seal
            && header.link == state.link
            && header.first_position == state.next_position
    }))
}

/// Searches for frame headers at every place one can begin. Data that imitates a frame does not
/// know the segment's salt.
fn search(segment: &SegmentFile, from: u64, expected: u64) -> Result<Option<String>> {
    let len = segment.len()?;
    let mut window = Window::new(segment.file.clone(), len);
    let seed = segment.header.seed();
    let mut offset = from;
    while let Some(bytes) = get(&mut window, offset, &segment.path)? {
        if bytes[..2] == frame::MAGIC
            && let Ok((header, _)) = FrameHeader::decode(bytes, seed, offset)
            && header.durable_position >= expected
        {
            return Ok(Some(format!(
                "a frame at offset {offset} of segment {} says that position {} was durable",
                segment.header.number, header.durable_position
            )));
        }
        offset += 8;
    }
    Ok(None)
}

fn get<'a>(window: &'a mut Window, offset: u64, path: &Path) -> Result<Option<&'a [u8]>> {
    window.get(offset, frame::HEADER_LEN).map_err(|e| Error::io("read", path, e))
}
