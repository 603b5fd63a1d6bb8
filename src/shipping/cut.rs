//! The end of a copy at an earlier moment of its log.
//!
//! Owns the choice of the commit that is the last one. Must never change a file.

use std::sync::Arc;

use super::Until;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::backup::LogEnd;
use crate::format::frame::{self, FrameHeader};
use crate::format::metadata::{ChangeNumber, SectionHeader};
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanEnd, ScanState, Window, scan};
use crate::log::segment::SegmentFile;
use crate::storage::OpenMode;

/// The place after the last frame of a segment that was written by a moment; `change` is the number of the last change
/// in the segments before. `None` if even the first frame came later.
///
/// # Errors
///
/// [`Error::Corrupt`] if a frame before that place is damaged.
pub(super) fn last_by(
    dir: &StoreDir,
    number: u64,
    mut change: u64,
    until: Until,
) -> Result<Option<LogEnd>> {
    let file = SegmentFile::open(dir, number, OpenMode::Read, 0)?;
    let len = match file.trailer()? {
        Some(trailer) => trailer.seal_offset,
        None => file.len()?,
    };
    let mut window = Window::new(Arc::clone(&file.file), len);
    let seed = file.header.seed();
    let first = window.get(DATA_START, frame::HEADER_LEN);
    let first = first.map_err(|e| Error::io("read", &file.path, e))?;
    let Some(first) = first.map(|bytes| FrameHeader::decode(bytes, seed, DATA_START)) else {
        return Ok(None);
    };
    let mut state = ScanState { next_change: ChangeNumber::NONE, ..ScanState::START };
    if let Ok((first, _)) = &first {
        (state.link, state.next_position) = (first.link, first.first_position);
    }
    let (mut found, mut is_later) = (None, false);
    let ended = scan(&mut window, seed, &mut state, u64::MAX, &file.path, |frame| {
        let header = &frame.header;
        // Positions and times never go back.
        is_later |= !until.covers(header);
        if is_later {
            return Ok(());
        }
        if let Ok(section) = SectionHeader::decode(frame.metadata, |_, _| {}) {
            change = section.next().previous().get();
        }
        found = Some(LogEnd {
            position: header.next_position() - 1,
            change,
            segment: number,
            offset: frame.offset + header.frame_len(),
            last_frame: frame.offset,
            link: frame.checksum,
        });
        Ok(())
    })?;
    match ended {
        ScanEnd::Invalid(defect) if !is_later && until != Until::Damage => Err(Error::Corrupt {
            file: file.path,
            offset: state.offset,
            expected_position: Position::new(state.next_position),
            what: defect.to_string(),
            evidence: None,
        }),
        _ => Ok(found),
    }
}

impl Until {
    fn covers(self, header: &FrameHeader) -> bool {
        match self {
            Self::Position(position) => header.next_position() - 1 <= position.get(),
            Self::Time(time) => header.recorded_at <= time.as_micros(),
            Self::Damage => true,
        }
    }
}
