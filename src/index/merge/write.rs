//! Writes the sections of a level file whose contents are computed from its inputs.
//!
//! Owns the contents of each section. Must never write another length than the announced one.

use super::walk::Key;
use super::{KINDS, Merge, PACE_EVERY, input};
use crate::format::hashes::{BucketBuilder, HASH_HALF, bucket_of};
use crate::format::index_file::{
    self as layout, FILTER_BLOCK, STREAMS, StreamEntry, filter_add, filter_bits, hash_term,
};
use crate::format::level_file::{self, CHUNK, Skip};
use crate::format::{Defect, varint};
use crate::index::level_file::{LevelWriter, Merged};

/// The size of a piece in which bytes that exist as a whole are written.
const PIECE: usize = 16 << 10;
/// The number of hashes that are sorted in memory at once, on average.
const HASHES_AT_ONCE: usize = if cfg!(test) { 4 } else { 4 << 20 };

impl Merge<'_> {
    pub(super) fn write_entries(&self, writer: &mut LevelWriter<'_>) -> Merged<()> {
        let (mut names, mut lists) = (0_u32, 0_u32);
        let mut bytes = Vec::new();
        for kind in KINDS {
            self.for_each_key(kind, |key| {
                bytes.clear();
                let (_, first) = &key.members[0];
                let entry = StreamEntry {
                    name_offset: names,
                    count: key.count(),
                    list_offset: lists,
                    ..*first
                };
                entry.encode(&mut bytes);
                writer.push(&bytes[..kind.1])?;
                // The sum was computed before, and fits.
                names = names.saturating_add(u32::from(entry.name_len));
                let list = u32::try_from(self.list_len(key)?).unwrap_or(u32::MAX);
                lists = lists.saturating_add(list);
                Ok(())
            })?;
            writer.end_section()?;
        }
        Ok(())
    }

    pub(super) fn write_list(&self, key: &Key<'_>, writer: &mut LevelWriter<'_>) -> Merged<()> {
        if key.count() > CHUNK {
            let (mut place, mut offset) = (0_u32, 0_u32);
            self.for_each_step(key, |step, before| {
                if place > 0 && place.is_multiple_of(CHUNK) {
                    writer.push(&Skip { before, offset }.encode())?;
                }
                place += 1;
                offset = offset.saturating_add(varint::len(step));
                Ok(())
            })?;
        }
        let mut coded = Vec::with_capacity(5);
        self.for_each_step(key, |step, _| {
            coded.clear();
            varint::put(&mut coded, step);
            writer.push(&coded)
        })
    }

    /// Blocks of the filter are in the order of IDS, so one is in memory at a time.
    pub(super) fn write_filter(
        &self,
        filter_len: usize,
        writer: &mut LevelWriter<'_>,
    ) -> Merged<()> {
        if filter_len == 0 {
            return Ok(());
        }
        let (mut block, mut at) = ([0_u8; FILTER_BLOCK], 0);
        self.for_each_id(|id| {
            let wanted = level_file::filter_block(id, filter_len);
            while at < wanted {
                writer.push(&block)?;
                (block, at) = ([0; FILTER_BLOCK], at + FILTER_BLOCK);
            }
            for bit in filter_bits(level_file::filter_hash(id)) {
                block[bit / 8] |= 1 << (bit % 8);
            }
            Ok(())
        })?;
        while at < filter_len {
            writer.push(&block)?;
            (block, at) = ([0; FILTER_BLOCK], at + FILTER_BLOCK);
        }
        Ok(())
    }

    pub(super) fn write_changes(&self, writer: &mut LevelWriter<'_>) -> Merged<()> {
        let mut begun = false;
        for (at, index) in self.inputs.iter().enumerate() {
            let Some((first, changes)) = index.changes().map_err(input(at))? else { continue };
            if !std::mem::replace(&mut begun, true) {
                writer.push(&first.to_le_bytes())?;
            }
            for piece in changes.chunks(PIECE) {
                writer.push(piece)?;
            }
        }
        Ok(())
    }

    pub(super) fn write_term_filter(&self, len: usize, writer: &mut LevelWriter<'_>) -> Merged<()> {
        if len == 0 {
            return Ok(());
        }
        let (mut filter, mut unpaced) = (vec![0; len], 0);
        for kind in KINDS {
            self.for_each_key(kind, |key| {
                let name = std::str::from_utf8(key.name)
                    .map_err(|_| input(key.members[0].0)(Defect::Invalid("a name is not UTF-8")))?;
                filter_add(&mut filter, hash_term(kind.0, name));
                unpaced += kind.1 as u64;
                if unpaced < PACE_EVERY {
                    return Ok(());
                }
                unpaced = 0;
                writer.pause()
            })?;
        }
        self.for_each_record(|key, _| {
            filter_add(&mut filter, hash_term(layout::RECORDS, key));
            Ok(())
        })?;
        filter.chunks(PIECE).try_for_each(|piece| writer.push(piece))
    }

    /// The sections HASHES and BUCKETS.
    pub(super) fn write_hashes(&self, streams: usize, writer: &mut LevelWriter<'_>) -> Merged<()> {
        let each = |hashed: &mut dyn FnMut(u64) -> Merged<()>| {
            self.for_each_key(KINDS[0], |key| {
                let name = std::str::from_utf8(key.name)
                    .map_err(|_| input(key.members[0].0)(Defect::Invalid("a name is not UTF-8")))?;
                hashed(hash_term(STREAMS, name))
            })
        };
        write_hashes_of(streams, &each, writer)
    }

    /// The sections RECORD HASHES and RECORD BUCKETS.
    pub(super) fn write_record_hashes(
        &self,
        records: usize,
        writer: &mut LevelWriter<'_>,
    ) -> Merged<()> {
        let each = |hashed: &mut dyn FnMut(u64) -> Merged<()>| {
            self.for_each_record(|key, _| hashed(hash_term(layout::RECORDS, key)))
        };
        write_hashes_of(records, &each, writer)
    }
}

/// Calls its argument with the hash of each name of a section, in order.
type EachHash<'a> = dyn Fn(&mut dyn FnMut(u64) -> Merged<()>) -> Merged<()> + 'a;

/// The sections HASHES and BUCKETS of `count` names, which are in the order of the names: they are walked once
/// for each part of the range of hashes, so that one part is in memory at a time.
fn write_hashes_of(count: usize, each: &EachHash<'_>, writer: &mut LevelWriter<'_>) -> Merged<()> {
    let parts = count.div_ceil(HASHES_AT_ONCE);
    let mut buckets = BucketBuilder::new(count);
    for part in 0..parts {
        let (mut entries, mut place, mut unpaced) = (Vec::new(), 0_u64, 0);
        each(&mut |hash| {
            if bucket_of(hash, parts) == part {
                entries.push(hash & HASH_HALF | place);
            }
            place += 1;
            unpaced += layout::STREAM_LEN as u64;
            if unpaced < PACE_EVERY {
                return Ok(());
            }
            unpaced = 0;
            writer.pause()
        })?;
        entries.sort_unstable();
        for entry in entries {
            buckets.add(entry);
            writer.push(&entry.to_le_bytes())?;
        }
    }
    writer.end_section()?;
    buckets.finish().chunks(PIECE).try_for_each(|piece| writer.push(piece))?;
    writer.end_section()
}
