//! Searches the segment that was prepared as the next one, in a thread beside the walk of the log.
//!
//! After a kill this segment has to be searched for frames. It is usually all zeros; reading it takes as
//! long as a large part of the walk and does not depend on it. Must never decide anything: the result is
//! that of [`last_nonzero`].

use std::sync::Arc;

use super::tail::last_nonzero;
use crate::dir::StoreDir;
use crate::error::Result;
use crate::format::frame;
use crate::format::segment_header::DATA_START;
use crate::log::segment::SegmentFile;
use crate::storage::{OpenMode, read_exact_at};
use crate::sync::thread::{Builder, JoinHandle};

/// A search for the last byte of a segment's data that is not zero.
pub(super) struct SpareSearch {
    number: u64,
    search: JoinHandle<Result<Option<u64>>>,
}

impl SpareSearch {
    /// Starts the search if the last segment does not begin with a frame. If the segment cannot be read
    /// now, no search is started, and the walk reports the error.
    pub(super) fn begin(dir: &StoreDir) -> Option<Self> {
        let (numbers, _) = dir.segment_numbers().ok()?;
        let number = *numbers.last().filter(|_| numbers.len() > 1)?;
        let segment = SegmentFile::open(dir, number, OpenMode::Read, 0).ok()?;
        let mut first = [0; frame::HEADER_LEN];
        read_exact_at(&*segment.file, &mut first, DATA_START).ok()?;
        if first != [0; frame::HEADER_LEN] {
            return None;
        }
        let (file, path) = (Arc::clone(&segment.file), segment.path);
        let builder = Builder::new().name("annals-search".into());
        let search = builder.spawn(move || last_nonzero(&file, &path, DATA_START)).ok()?;
        Some(Self { number, search })
    }

    pub(super) fn is_of(&self, number: u64) -> bool {
        self.number == number
    }

    /// The result of the search; `None` if its thread ended without one.
    pub(super) fn end(self) -> Option<Result<Option<u64>>> {
        self.search.join().ok()
    }
}
