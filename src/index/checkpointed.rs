//! The index of the active segment that a clean close stored in a checkpoint, read in place.
//!
//! Nothing is copied when a store is opened: each block is read and checked when a look-up first
//! needs it. Must never answer from a block that was not checked.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use byteorder::{ByteOrder, LittleEndian as LE};

use super::block_file::Reads;
use super::heads::HeadTable;
use super::jumps::NONE;
use crate::format::Defect;
use crate::format::checkpoint as layout;
use crate::format::container::Section;
use crate::format::index_file::hash_id;

/// A walk back along a chain that needs a block asks for that many bytes before it too: it begins again
/// after each read.
const READ_BEFORE: u64 = 64 << 10;

const HASH: u64 = 0xFFFF_FFFF_0000_0000;

#[derive(Debug, Clone)]
pub(crate) struct CheckpointedActive {
    table: Arc<HeadTable>,
    len: usize,
    offsets: Section,
    previous: Section,
    /// Empty in checkpoints without this section.
    shortcuts: Section,
    ids: Section,
    order: Section,
    /// Replaces the section ORDER in checkpoints without one.
    sorted: OnceLock<Vec<u64>>,
    reads: Reads,
}

/// The section ORDER for the section IDS.
pub(crate) fn order_of(ids: &[u8]) -> Vec<u64> {
    let mut sorted: Vec<u64> = (0..)
        .zip(ids.as_chunks::<16>().0)
        .map(|(ordinal, id): (u64, _)| hash_id(id) & HASH | ordinal)
        .collect();
    sorted.sort_unstable();
    sorted
}

impl CheckpointedActive {
    /// `None` if the checkpoint does not have the index of all covered events of its segment.
    pub(crate) fn new(table: &Arc<HeadTable>) -> Option<Self> {
        let (file, meta) = (table.file(), &table.meta);
        let len = usize::try_from(meta.position + 1 - meta.base_position).ok()?;
        let section = |kind, size: usize| {
            let section = file.section(kind);
            (section.len == len.checked_mul(size)? as u64).then_some(section)
        };
        Some(Self {
            len,
            offsets: section(layout::OFFSETS, 4)?,
            previous: section(layout::PREVIOUS, 8)?,
            shortcuts: section(layout::SHORTCUTS, 4)
                .unwrap_or(Section { len: 0, ..file.section(layout::SHORTCUTS) }),
            ids: section(layout::IDS, 16)?,
            order: file.section(layout::ORDER),
            sorted: OnceLock::new(),
            reads: Reads::Any,
            table: Arc::clone(table),
        })
    }

    pub(crate) fn table(&self) -> &Arc<HeadTable> {
        &self.table
    }

    /// Continues with a file that describes the same events.
    pub(crate) fn replace(&mut self, table: &Arc<HeadTable>) {
        if let Some(mut kept) = Self::new(table) {
            kept.truncate(self.len);
            kept.reads = self.reads;
            *self = kept;
        }
    }

    /// Whether look-ups read from the file, or fail with [`Defect::Unread`].
    pub(crate) fn set_reads(&mut self, reads: Reads) {
        self.reads = reads;
    }

    /// An entry of a section.
    fn look_up(&self, section: Section, index: usize, size: usize) -> Result<&[u8], Defect> {
        let found = self.table.file().entry_with(self.reads, section, index, size);
        found.map_err(|defect| self.table.named(defect))
    }

    /// The beginning of a section.
    fn all(&self, section: Section, len: usize) -> Result<&[u8], Defect> {
        let found = self.table.file().get_with(self.reads, section, 0, len);
        found.map_err(|defect| self.table.named(defect))
    }

    /// An entry of a section in which chains are followed.
    fn follow(&self, section: Section, index: usize, size: usize) -> Result<&[u8], Defect> {
        self.look_up(section, index, size).map_err(|defect| match defect {
            Defect::Unread { checkpoint, offset, len } => {
                let from = offset.saturating_sub(READ_BEFORE).max(section.offset);
                let before = usize::try_from(offset - from).unwrap_or(0);
                Defect::Unread { checkpoint, offset: from, len: before + len }
            }
            defect => defect,
        })
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Removes all events from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn offset(&self, ordinal: usize) -> Result<u32, Defect> {
        self.follow(self.offsets, ordinal, 4).map(LE::read_u32)
    }

    pub(crate) fn previous(&self, ordinal: usize) -> Result<u64, Defect> {
        self.follow(self.previous, ordinal, 8).map(LE::read_u64)
    }

    /// The ordinal of the target of an event's shortcut; [`NONE`] if it has none.
    pub(crate) fn shortcut(&self, ordinal: usize) -> Result<u32, Defect> {
        if self.shortcuts.len == 0 {
            return Ok(NONE);
        }
        self.follow(self.shortcuts, ordinal, 4).map(LE::read_u32)
    }

    pub(crate) fn shortcuts(&self) -> Result<Cow<'_, [u8]>, Defect> {
        if self.shortcuts.len == 0 {
            return Ok(Cow::Owned(vec![0xFF; self.len * 4]));
        }
        self.all(self.shortcuts, self.len * 4).map(Cow::Borrowed)
    }

    pub(crate) fn offsets(&self) -> Result<&[u8], Defect> {
        self.all(self.offsets, self.len * 4)
    }

    pub(crate) fn previous_positions(&self) -> Result<&[u8], Defect> {
        self.all(self.previous, self.len * 8)
    }

    pub(crate) fn ids(&self) -> Result<&[u8], Defect> {
        self.all(self.ids, self.len * 16)
    }

    /// The event with this id, by binary search; whole ids are compared.
    pub(crate) fn find_id(&self, id: &[u8; 16]) -> Result<Option<usize>, Defect> {
        let wanted = hash_id(id) & HASH;
        let (mut low, mut high) = (0, self.entries()?);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.entry(middle)? < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let count = self.entries()?;
        while low < count {
            let entry = self.entry(low)?;
            if entry & HASH != wanted {
                break;
            }
            let ordinal = usize::try_from(entry & !HASH).unwrap_or(usize::MAX);
            if ordinal < self.len && self.look_up(self.ids, ordinal, 16)? == id {
                return Ok(Some(ordinal));
            }
            low += 1;
        }
        Ok(None)
    }

    /// The number of entries in order; entries of removed events are skipped.
    fn entries(&self) -> Result<usize, Defect> {
        let count = self.ids.count(16);
        if self.order.count(8) != count && self.sorted.get().is_none() {
            let ids = self.all(self.ids, count * 16)?;
            self.sorted.get_or_init(|| order_of(ids));
        }
        Ok(count)
    }

    fn entry(&self, index: usize) -> Result<u64, Defect> {
        match self.sorted.get() {
            Some(sorted) => sorted.get(index).copied().ok_or(Defect::TooShort),
            None => self.look_up(self.order, index, 8).map(LE::read_u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checkpoint::CheckpointMeta;
    use crate::format::container::{self, CHECKPOINT_MAGIC};
    use crate::index::Head;
    use crate::index::active::ActiveIndex;
    use crate::index::block_file::BlockFile;
    use crate::index::jumps::Steps;

    fn id(ordinal: u32) -> [u8; 16] {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&ordinal.to_le_bytes());
        id
    }

    fn before(ordinal: u32) -> Head {
        Head { version: 1, last_position: u64::from(ordinal) * 3 }
    }

    fn bytes(events: u32, with_order: bool) -> Vec<u8> {
        let meta = CheckpointMeta {
            position: 10 + u64::from(events),
            recorded_at: 0,
            link: 0,
            segment: 1,
            offset: 0,
            base_position: 11,
            streams: 0,
            commits: 0,
            segment_commits: 0,
            last_frame: 0,
            first_recorded_at: 0,
        };
        let mut index = ActiveIndex::new(11);
        for ordinal in 0..events {
            index.push(ordinal * 8, before(ordinal), Steps::UNKNOWN, id(ordinal));
        }
        let (offsets, previous) =
            (index.encode_offsets().unwrap(), index.encode_previous().unwrap());
        let ids = index.encode_ids().unwrap();
        let order: Vec<u8> = order_of(&ids).iter().flat_map(|e| e.to_le_bytes()).collect();
        let mut sections: Vec<(u32, &[u8])> = Vec::new();
        let meta = meta.encode();
        sections.push((layout::META, &meta));
        sections.push((layout::OFFSETS, &offsets));
        sections.push((layout::PREVIOUS, &previous));
        sections.push((layout::IDS, &ids));
        if with_order {
            sections.push((layout::ORDER, &order));
        }
        container::encode(CHECKPOINT_MAGIC, [0; 16], &sections)
    }

    fn index_of(bytes: Vec<u8>) -> Result<ActiveIndex, Defect> {
        let table = HeadTable::new(BlockFile::from_bytes(bytes, CHECKPOINT_MAGIC)?)?;
        Ok(ActiveIndex::restore(11, CheckpointedActive::new(&Arc::new(table)).unwrap()))
    }

    #[test]
    fn events_of_a_checkpoint_and_pushed_ones_are_one_index() {
        for with_order in [true, false] {
            let mut index = index_of(bytes(500, with_order)).unwrap();
            for ordinal in 500..600 {
                index.push(ordinal * 8, before(ordinal), Steps::UNKNOWN, id(ordinal));
            }
            let check = |index: &ActiveIndex, len: u32| {
                assert_eq!(index.len(), len as usize);
                for ordinal in 0..600 {
                    let at = ordinal as usize;
                    let there = ordinal < len;
                    assert_eq!(index.find_id(&id(ordinal)), Ok(there.then_some(at)), "{ordinal}");
                    if there {
                        assert_eq!(index.offset(at), Ok(Some(ordinal * 8)));
                        assert_eq!(index.previous(at), Ok(u64::from(ordinal) * 3));
                    }
                }
                assert_eq!(index.offset(len as usize), Ok(None));
                let whole: Vec<u8> = (0..len).flat_map(|o| (o * 8).to_le_bytes()).collect();
                assert_eq!(index.encode_offsets(), Ok(whole));
                assert_eq!(index.encode_previous().unwrap().len(), len as usize * 8);
                let ids: Vec<u8> = (0..len).flat_map(id).collect();
                assert_eq!(index.encode_ids(), Ok(ids));
            };
            check(&index, 600);
            index.truncate(550);
            check(&index, 550);
            // Truncates into the kept part, and continues from there.
            index.truncate(300);
            check(&index, 300);
            for ordinal in 300..400 {
                index.push(ordinal * 8, before(ordinal), Steps::UNKNOWN, id(ordinal));
            }
            check(&index, 400);
        }
    }

    #[test]
    fn damaged_block_is_an_error_and_never_an_answer() {
        let whole = bytes(1_500, true);
        for at in (0..whole.len()).step_by(509) {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            let Ok(index) = index_of(bad) else { continue };
            for ordinal in (0..1_500).step_by(7) {
                let place = ordinal as usize;
                assert!(
                    index.offset(place).is_err() || index.offset(place) == Ok(Some(ordinal * 8))
                );
                let previous = index.previous(place);
                assert!(previous.is_err() || previous == Ok(u64::from(ordinal) * 3));
                let found = index.find_id(&id(ordinal));
                assert!(found.is_err() || found == Ok(Some(place)), "byte {at}: {found:?}");
            }
        }
    }
}
