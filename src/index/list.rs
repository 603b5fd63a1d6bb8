//! A list of ordinals in an index file or a level file.
//!
//! Lists of level files can be long. They are read in chunks, beginning with the requested one, so
//! that the cost of a look-up depends on its result and not on the length of the list.

use std::ops::Range;

use super::block_file::{BlockFile, Reads};
use super::touched::touch;
use crate::format::container::Section;
use crate::format::level_file::{CHUNK, SKIP_LEN, Skip};
use crate::format::{Defect, varint};

const DAMAGED: Defect = Defect::Invalid("a list is damaged");
/// A coded ordinal takes one to five bytes.
const LONGEST: u64 = 5;

#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    pub(super) file: &'a BlockFile,
    pub(super) reads: Reads,
    pub(super) section: Section,
    /// The table of chunks; empty if there is one chunk, and in index files of earlier versions.
    pub(super) table: &'a [u8],
    /// The offset of its ordinals in the section, and the bytes from there to the section's end.
    pub(super) at: u64,
    pub(super) available: u64,
    pub(super) count: u32,
    /// Exclusive bound of all ordinals.
    pub(super) end: u32,
}

impl List<'_> {
    /// The ordinals at these places in the list.
    pub(super) fn places(&self, places: Range<u32>) -> Result<Vec<u32>, Defect> {
        let places = places.start.min(self.count)..places.end.min(self.count);
        let mut ordinals = Vec::with_capacity(self.bounded(places.len()));
        if places.is_empty() {
            return Ok(ordinals);
        }
        self.decode_from(self.chunk_at(places.start), |place, ordinal| {
            if place >= places.start {
                ordinals.push(ordinal);
            }
            place + 1 < places.end
        })?;
        Ok(ordinals)
    }

    /// At most `most` of the ordinals in a range: the ones nearest to its beginning, ascending, or,
    /// backwards, the ones nearest to its end, descending.
    pub(super) fn some(
        &self,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect> {
        let mut found = Vec::new();
        if range.is_empty() || most == 0 {
            return Ok(found);
        }
        if !backwards {
            self.decode_from(self.chunk_before(range.start)?, |_, ordinal| {
                if range.contains(&ordinal) {
                    found.push(ordinal);
                }
                ordinal < range.end && found.len() < most
            })?;
            return Ok(found);
        }
        let mut chunk = self.chunk_before(range.end)?;
        loop {
            // In index files of earlier versions, the list is one chunk.
            let last = chunk + 1 == self.chunks();
            let places = chunk * CHUNK..if last { self.count } else { (chunk + 1) * CHUNK };
            let ordinals = self.places(places)?;
            let before_end = ordinals.iter().rev().skip_while(|&&ordinal| ordinal >= range.end);
            let inside = before_end.take_while(|&&ordinal| ordinal >= range.start);
            found.extend(inside.take(most - found.len()));
            let goes_on = ordinals.first().is_none_or(|&first| first >= range.start);
            if chunk == 0 || !goes_on || found.len() == most {
                return Ok(found);
            }
            chunk -= 1;
        }
    }

    /// The last ordinal; `None` if the list is empty.
    pub(super) fn last(&self) -> Result<Option<u32>, Defect> {
        let mut found = None;
        if let Some(place) = self.count.checked_sub(1) {
            self.decode_from(self.chunk_at(place), |_, ordinal| {
                found = Some(ordinal);
                true
            })?;
        }
        Ok(found)
    }

    /// The place and the value of the last ordinal that is at most `limit`.
    pub(super) fn last_at_most(&self, limit: u32) -> Result<Option<(u32, u32)>, Defect> {
        let chunk = self.chunk_before(limit.saturating_add(1))?;
        // The ordinal before the chunk is small enough.
        let mut found = match chunk {
            0 => None,
            chunk => Some((chunk * CHUNK - 1, self.skip(chunk)?.before)),
        };
        self.decode_from(chunk, |place, ordinal| {
            if ordinal <= limit {
                found = Some((place, ordinal));
            }
            ordinal < limit
        })?;
        Ok(found)
    }

    /// Calls `each` with all ordinals, ascending, until it returns false.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32) -> bool) -> Result<(), Defect> {
        self.decode_from(0, |_, ordinal| each(ordinal))
    }

    /// An ordinal takes at least a byte.
    fn bounded(&self, count: usize) -> usize {
        usize::try_from(self.available).map_or(count, |available| count.min(available))
    }

    fn chunks(&self) -> u32 {
        // A table is a slice of a section that was checked: its length is far below 2^32.
        u32::try_from(self.table.len() / SKIP_LEN).unwrap_or(0) + 1
    }

    fn skip(&self, chunk: u32) -> Result<Skip, Defect> {
        let at = (chunk as usize - 1) * SKIP_LEN;
        Skip::decode(self.table.get(at..).ok_or(DAMAGED)?)
    }

    fn chunk_at(&self, place: u32) -> u32 {
        (place / CHUNK).min(self.chunks() - 1)
    }

    /// The last chunk with only smaller ordinals than `from` before it.
    fn chunk_before(&self, from: u32) -> Result<u32, Defect> {
        let (mut low, mut high) = (1, self.chunks());
        while low < high {
            let middle = u32::midpoint(low, high);
            if self.skip(middle)?.before < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low - 1)
    }

    /// Calls `each` with places and ordinals from a chunk on, until it returns false.
    fn decode_from(
        &self,
        mut chunk: u32,
        mut each: impl FnMut(u32, u32) -> bool,
    ) -> Result<(), Defect> {
        let chunks = self.chunks();
        while chunk < chunks {
            let (mut last, start) = match chunk {
                0 => (0, 0),
                chunk => {
                    let skip = self.skip(chunk)?;
                    (skip.before, u64::from(skip.offset))
                }
            };
            let first_place = if chunks == 1 { 0 } else { chunk * CHUNK };
            let end_place =
                if chunk + 1 == chunks { self.count } else { first_place.saturating_add(CHUNK) };
            let mut left = end_place.checked_sub(first_place).ok_or(DAMAGED)?;
            let available = self.available.checked_sub(start).ok_or(DAMAGED)?;
            let len = (u64::from(left) * LONGEST).min(available);
            let len = usize::try_from(len).map_err(|_| DAMAGED)?;
            let mut bytes = self.file.get_with(self.reads, self.section, self.at + start, len)?;
            while left > 0 {
                let step = varint::take(&mut bytes).ok_or(DAMAGED)?;
                touch(1);
                last = last.checked_add(step).filter(|&last| last < self.end).ok_or(DAMAGED)?;
                if !each(end_place - left, last) {
                    return Ok(());
                }
                left -= 1;
            }
            chunk += 1;
        }
        Ok(())
    }
}
