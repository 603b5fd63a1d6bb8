//! How far frames without events are durable beside a writer.
//!
//! Such frames have no position of their own, and those after the last visible position may be in this segment and in
//! later ones. The status names the last durable frame by its header checksum; each link covers the frames before it.
//! Owns the search for that frame. Must never enter a frame.

use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::checksum::Seed;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, Window};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::{EntryKind, File, OpenMode, read_exact_at};

/// Up to this place, frames without events are durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurableEnd {
    segment: u64,
    offset: u64,
}

/// How a walk over the headers of a segment's frames ended.
enum Walked {
    /// At the wanted frame, whose end has this offset.
    Found(u64),
    /// At the segment's last frame, which has this header checksum.
    SegmentEnds(u32),
    /// At a frame with events.
    Events,
}

impl DurableEnd {
    /// Searches the frames without events after `from`, in its segment and the next ones, for the frame with the header
    /// checksum `last`. `None` if there is none before the next event.
    pub(super) fn find(
        dir: &StoreDir,
        segment: &Segment,
        from: &ScanState,
        last: u32,
    ) -> Result<Option<Self>> {
        if from.link == last {
            return Ok(None);
        }
        let Segment { path, file, header, seed, .. } = segment;
        let mut number = segment.number();
        let mut walked = walk_headers(path, file, *seed, (from.offset, from.link), last)?;
        loop {
            let link = match walked {
                Walked::Found(offset) => return Ok(Some(Self { segment: number, offset })),
                Walked::Events => return Ok(None),
                Walked::SegmentEnds(link) => link,
            };
            number += 1;
            let next = next_segment(dir, number, header.store_id, (link, from.next_position))?;
            let Some(SegmentFile { path, file, header }) = next else { return Ok(None) };
            walked = walk_headers(&path, &file, header.seed(), (DATA_START, link), last)?;
        }
    }

    /// That end in a segment of `len` bytes, as an offset.
    pub(super) fn within(self, segment: u64, len: u64) -> u64 {
        match segment.cmp(&self.segment) {
            Ordering::Less => len,
            Ordering::Equal => self.offset,
            Ordering::Greater => 0,
        }
    }
}

/// Walks from frame to frame without events, from an offset after the frame with the header checksum `link`.
fn walk_headers(
    path: &Path,
    file: &Arc<dyn File>,
    seed: Seed,
    (mut offset, mut link): (u64, u32),
    last: u32,
) -> Result<Walked> {
    let failed = |e| Error::io("read", path, e);
    let mut window = Window::with_small_piece(Arc::clone(file), file.len().map_err(failed)?);
    while link != last {
        let header = window
            .get(offset, frame::HEADER_LEN)
            .map_err(failed)?
            .map_or(Err(Defect::TooShort), |bytes| FrameHeader::decode(bytes, seed, offset));
        match header {
            Ok((header, checksum)) if header.link == link && header.kind != FrameKind::Seal => {
                if header.event_count > 0 {
                    return Ok(Walked::Events);
                }
                offset += header.frame_len();
                link = checksum;
            }
            _ => return Ok(Walked::SegmentEnds(link)),
        }
    }
    Ok(Walked::Found(offset))
}

/// The segment with this number, if its first frame follows the frame with the header checksum `link` and has this
/// first position.
///
/// # Errors
///
/// [`Error::StoreGone`] if it belongs to another store.
pub(super) fn next_segment(
    dir: &StoreDir,
    number: u64,
    store_id: [u8; 16],
    (link, position): (u32, u64),
) -> Result<Option<SegmentFile>> {
    let path = dir.segment_path(number);
    let there = dir.storage().entry_kind(&path).map_err(|e| Error::io("look at", &path, e))?;
    if there != Some(EntryKind::File) {
        return Ok(None);
    }
    let file = SegmentFile::open(dir, number, OpenMode::Read, position)?;
    if file.header.store_id != store_id {
        let why = "another store is in the place of the one that was opened".into();
        return Err(Error::StoreGone { path: file.path, why });
    }
    let mut first = [0; frame::HEADER_LEN];
    match read_exact_at(&*file.file, &mut first, DATA_START) {
        // A copy of a segment without frames has none of the space for them.
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(|e| Error::io("read", &file.path, e))?,
    }
    let first = FrameHeader::decode(&first, file.header.seed(), DATA_START);
    let follows =
        first.is_ok_and(|(header, _)| header.link == link && header.first_position == position);
    Ok(follows.then_some(file))
}
