//! Searches for proof that a position was durable.

use super::Path;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::SectionHeader;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, Window, verify_body};
use crate::log::segment::SegmentFile;

/// Anything after the gap at `state` that records a durable position at or after it.
///
/// A valid frame alone proves nothing, since blocks reach a disk out of order. The proof is the durable
/// position that the frame carries, which had been reached when it was written.
pub(crate) fn find(
    active: &SegmentFile,
    extras: &[SegmentFile],
    state: &ScanState,
) -> Result<Option<String>> {
    // A seal is written when everything before it is durable: if the frames end before it, they are
    // damaged.
    if let Some(trailer) = active.trailer()?
        && trailer.seal_offset > state.offset
    {
        return Ok(Some(format!("segment {} is sealed", active.header.number)));
    }
    // Sealing begins once the next segment is in use; its directory entry is durable by then.
    if extras.is_empty() && a_seal_begins(active, state)? {
        let number = active.header.number;
        return Ok(Some(format!("segment {number} has a seal, and the next one is missing")));
    }
    if let Some(found) = search(active, state.offset, state)? {
        return Ok(Some(found));
    }
    for segment in extras {
        if segment.trailer()?.is_some() {
            return Ok(Some(format!("segment {} is sealed", segment.header.number)));
        }
        if let Some(found) = search(segment, DATA_START, state)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the frames end at the header of a seal for this segment.
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

/// Searches for frame headers at every offset where one can begin. Data that imitates a frame does not
/// match the segment's salt.
fn search(segment: &SegmentFile, from: u64, state: &ScanState) -> Result<Option<String>> {
    let len = segment.len()?;
    let mut window = Window::new(segment.file.clone(), len);
    let seed = segment.header.seed();
    let mut offset = from;
    while let Some(bytes) = get(&mut window, offset, &segment.path)? {
        if bytes[..2] == frame::MAGIC
            && let Ok((header, _)) = FrameHeader::decode(bytes, seed, offset)
        {
            let told = tells_of_later(&header, state).map(Ok).or_else(|| {
                tells_of_changes(&mut window, &header, offset, segment, state).transpose()
            });
            if let Some(told) = told.transpose()? {
                let number = segment.header.number;
                return Ok(Some(format!("a frame at offset {offset} of segment {number} {told}")));
            }
        }
        offset += 8;
    }
    Ok(None)
}

/// The proof in a frame's header that a position at or after the gap was durable.
fn tells_of_later(header: &FrameHeader, state: &ScanState) -> Option<String> {
    if header.durable_position >= state.next_position {
        return Some(format!("records that position {} was durable", header.durable_position));
    }
    // A close frame is written once everything before it is durable.
    let closes = header.kind == FrameKind::Close && header.first_position >= state.next_position;
    closes.then(|| "records that the store was closed after it".into())
}

/// The proof in a valid frame's metadata that a change after the gap was durable: a frame without events
/// has no position that a later durable position could include.
fn tells_of_changes(
    window: &mut Window,
    header: &FrameHeader,
    offset: u64,
    segment: &SegmentFile,
    state: &ScanState,
) -> Result<Option<String>> {
    if !header.kind.may_hold_metadata() {
        return Ok(None);
    }
    // A frame longer than the address space cannot be valid: it fits into no buffer.
    let Ok(len) = usize::try_from(header.frame_len()) else { return Ok(None) };
    let read = window.get(offset, len);
    let Some(bytes) = read.map_err(|e| Error::io("read", &segment.path, e))? else {
        return Ok(None);
    };
    let body = &bytes[frame::HEADER_LEN..];
    let Ok(at) = verify_body(header, body, segment.header.seed(), &mut Vec::new()) else {
        return Ok(None);
    };
    let section = &body[at..header.body_len as usize];
    if section.is_empty() {
        return Ok(None);
    }
    let told = SectionHeader::decode(section, |_, _| {}).ok().map(|section| section.durable);
    Ok(told
        .filter(|&durable| durable >= state.next_change)
        .map(|durable| format!("records that change {durable} was durable")))
}

fn get<'a>(window: &'a mut Window, offset: u64, path: &Path) -> Result<Option<&'a [u8]>> {
    window.get(offset, frame::HEADER_LEN).map_err(|e| Error::io("read", path, e))
}
