//! Moving full segments into cold storage, and back.
//!
//! Owns the order of the steps in an open store: readers see the segment at every moment. Must never remove a segment
//! that its source does not have, or whose stub is not durable.

use std::sync::Arc;

use super::Engine;
use crate::catalog::{Part, PartIndex};
use crate::cold::{ColdSegments, describe};
use crate::error::{Error, Result};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::OpenMode;

impl Engine {
    /// Removes the file of a full segment that the source has; returns its length, or 0 if it was cold before.
    pub(crate) fn make_cold(&self, number: u64) -> Result<u64> {
        self.shared.check_writable()?;
        let cold = self.cold()?;
        if !cold.has_source() {
            let why = "the store was opened without it".into();
            return Err(Error::InvalidArgument { what: "Options::cold_segments", why });
        }
        let segment = self.full_segment(number)?;
        let Some(trailer) = &segment.trailer else { return Err(not_full(number)) };
        if self.cold_numbers()?.contains(&number) {
            return Ok(0);
        }
        let read = |e| Error::io("read", &segment.path, e);
        let described = describe(&*segment.file, &segment.header, trailer).map_err(read)?;
        let held = cold.is_held(&described);
        if !held.as_ref().is_ok_and(|held| *held) {
            let why = "its source does not have it, so it stays in the directory".into();
            let path = segment.path.clone();
            return Err(Error::ColdSegment { segment: number, path, why, source: held.err() });
        }
        self.contents.with_index_files(|| {
            let write = |e| Error::io("write the stub of", &segment.path, e);
            cold.write_stub(&described).map_err(write)?;
            cold.remove_local(number).map_err(|e| Error::io("remove", &segment.path, e))?;
            self.replace_segment(&segment)
        })?;
        Ok(described.len())
    }

    /// Brings a cold segment back into the directory.
    pub(crate) fn make_local(&self, number: u64) -> Result<()> {
        self.shared.check_writable()?;
        let segment = self.full_segment(number)?;
        self.contents.with_index_files(|| {
            let cold = self.cold()?;
            cold.make_local(number).map_err(|e| Error::io("bring back", &segment.path, e))?;
            self.replace_segment(&segment)
        })
    }

    /// The numbers of the cold segments, ascending.
    pub(crate) fn cold_numbers(&self) -> Result<Vec<u64>> {
        self.shared.dir().cold_numbers()
    }

    /// The segments that can be moved.
    #[cfg(feature = "testing")]
    pub(crate) fn full_segments(&self) -> Vec<Arc<Segment>> {
        let parts = self.contents.parts();
        let full = parts.iter().filter(|part| matches!(part.index, PartIndex::Sealed(_)));
        full.map(|part| Arc::clone(&part.segment)).collect()
    }

    fn cold(&self) -> Result<&Arc<ColdSegments>> {
        let why = || "its storage does not show cold segments".into();
        let cold = self.shared.dir().cold();
        cold.ok_or_else(|| Error::InvalidArgument { what: "the segment to move", why: why() })
    }

    /// A segment that is full, and whose index is in a file: nothing needs its frames until they are read.
    fn full_segment(&self, number: u64) -> Result<Arc<Segment>> {
        let parts = self.contents.parts();
        let part = parts.iter().find(|part| part.segment.number() == number);
        match part {
            Some(Part { segment, index: PartIndex::Sealed(_) }) => Ok(Arc::clone(segment)),
            _ => Err(not_full(number)),
        }
    }

    /// Opens a segment again, whose bytes are in another place now. Reads in progress keep the one they have.
    fn replace_segment(&self, old: &Segment) -> Result<()> {
        let dir = self.shared.dir();
        let file = SegmentFile::open(dir, old.number(), OpenMode::ReadWrite, old.base_position)?;
        let new = Segment::new(file, old.base_position, old.trailer.clone(), old.end())?;
        new.note_verified_as(old);
        let replaced = self.contents.change_catalog(|catalog| catalog.replace_segment(new));
        drop(replaced);
        Ok(())
    }
}

fn not_full(number: u64) -> Error {
    let why = format!("segment {number} is not full, or its index is not written yet");
    Error::InvalidArgument { what: "the segment to move", why }
}
