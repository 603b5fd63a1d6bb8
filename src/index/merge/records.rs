//! Merges the sections RECORDS of a merge's inputs.
//!
//! Owns the order of keys over all inputs, and the choice of the newest entry of each, deletions included:
//! versions go on after them. Must never hold more than an entry of each input.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Merge, PACE_EVERY, input};
use crate::format::Defect;
use crate::format::index_file::{self as layout, NamedRecord};
use crate::format::metadata::RecordEntry;
use crate::index::level_file::{LevelWriter, Merged};

impl<'a> Merge<'a> {
    /// Calls `each` with the newest entry of every record, sorted by key.
    pub(super) fn for_each_record(
        &self,
        mut each: impl FnMut(&'a str, RecordEntry) -> Merged<()>,
    ) -> Merged<()> {
        let mut heap = BinaryHeap::with_capacity(self.inputs.len());
        let mut next = vec![0_usize; self.inputs.len()];
        for at in 0..self.inputs.len() {
            heap.extend(self.take_record(at, &mut next)?.map(|key| Reverse((key, at))));
        }
        let mut newest: Option<(&str, RecordEntry)> = None;
        while let Some(Reverse((key, at))) = heap.pop() {
            let (_, entry) = self.inputs[at].named_record(next[at] - 1).map_err(input(at))?;
            match &mut newest {
                Some((known, before)) if *known == key => {
                    // Inputs with the same key come in their order.
                    if entry.version <= before.version {
                        return Err(input(at)(Defect::Invalid("a record does not continue in it")));
                    }
                    *before = entry;
                }
                _ => {
                    if let Some((key, entry)) = newest.replace((key, entry)) {
                        each(key, entry)?;
                    }
                }
            }
            heap.extend(self.take_record(at, &mut next)?.map(|key| Reverse((key, at))));
        }
        newest.map_or(Ok(()), |(key, entry)| each(key, entry))
    }

    /// The next key of an input.
    fn take_record(&self, at: usize, next: &mut [usize]) -> Merged<Option<&'a str>> {
        let (index, place) = (self.inputs[at], next[at]);
        if place >= index.record_count() {
            return Ok(None);
        }
        next[at] += 1;
        let (key, _) = index.named_record(place).map_err(input(at))?;
        if place > 0 && index.named_record(place - 1).map_err(input(at))?.0 >= key {
            return Err(input(at)(Defect::Invalid("its records are not sorted")));
        }
        // Checked here, where the input is known whose file is damaged.
        let key = std::str::from_utf8(key)
            .map_err(|_| input(at)(Defect::Invalid("a record's key is not UTF-8")))?;
        Ok(Some(key))
    }

    /// Writes the section RECORDS, whose names begin at `names` in NAMES.
    pub(super) fn write_records(&self, names: u64, writer: &mut LevelWriter<'_>) -> Merged<()> {
        // The sum was computed before, and fits.
        let mut name_offset = u32::try_from(names).unwrap_or(u32::MAX);
        let mut unpaced = 0;
        self.for_each_record(|key, entry| {
            let name_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
            writer.push(&NamedRecord { name_offset, name_len, entry }.encode())?;
            name_offset = name_offset.saturating_add(name_len.into());
            unpaced += layout::RECORD_LEN as u64;
            if unpaced < PACE_EVERY {
                return Ok(());
            }
            unpaced = 0;
            writer.pause()
        })
    }
}
