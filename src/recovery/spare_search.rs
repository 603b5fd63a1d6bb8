//! Looks through the segment that was prepared to be the next one while the log is walked.
//!
//! After a kill it has to be searched for frames that were written to it, and most likely it is zero
//! from end to end: reading it takes as long as a large part of the walk, and needs nothing of that.
//! Must never decide anything: what it finds is what [`last_nonzero`] finds there.

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
    /// Begins to search the last segment, if no frame begins there. What cannot be looked at now is left
    /// to the walk, which says why.
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

    /// What the search found; `None` if it came to no end.
    pub(super) fn end(self) -> Option<Result<Option<u64>>> {
        self.search.join().ok()
    }
}
