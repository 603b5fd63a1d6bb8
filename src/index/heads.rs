//! Stream heads: which version and last position each stream has.
//!
//! Three layers, newest first: an overlay that appends write to, the overlay being written to a
//! checkpoint (if one is under way), and the mapped table of the last checkpoint. Starting and
//! finishing a checkpoint swaps layers and never walks them, so appends do not stall.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};
use hashbrown::HashTable;
use smol_str::SmolStr;

use super::block_file::{BlockFile, Reads};
use super::metadata::Metadata;
use super::{Head, search_names};
use crate::format::checkpoint::{self as layout, CheckpointMeta, HeadEntry, SegmentEntry};
use crate::format::container::Section;
use crate::format::{Defect, MAX_NUMBER};

/// Heads in memory. A version of 0 hides the layers below: the stream does not exist.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    table: HashTable<u32>,
    /// Names of up to 23 bytes are stored inline, which saves a cache miss per look-up.
    entries: Vec<(SmolStr, Head)>,
    hasher: foldhash::fast::RandomState,
}

/// The place of a stream's head; valid until a checkpoint begins or ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    hash: u64,
    /// The place in the overlay, if it has the stream.
    place: Option<u32>,
    head: Head,
}

impl Slot {
    /// The head; version 0 if there is no such stream.
    pub(crate) fn head(self) -> Head {
        self.head
    }
}

impl Overlay {
    fn place(&self, hash: u64, name: &str) -> Option<u32> {
        self.table.find(hash, |&slot| *self.entries[slot as usize].0 == *name).copied()
    }

    fn get(&self, name: &str) -> Option<Head> {
        let place = self.place(self.hasher.hash_one(name), name)?;
        Some(self.entries[place as usize].1)
    }

    fn insert(&mut self, hash: u64, name: &str, head: Head) {
        let Self { table, entries, hasher } = self;
        // 2^32 streams between two checkpoints would need hundreds of gigabytes of log.
        let place = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        entries.push((SmolStr::new(name), head));
        table.insert_unique(hash, place, |&place| hasher.hash_one(&*entries[place as usize].0));
    }
}

/// The heads of a checkpoint, mapped.
#[derive(Debug)]
pub(crate) struct HeadTable {
    file: BlockFile,
    heads: Section,
    names: Section,
    pub(crate) meta: CheckpointMeta,
    /// The number of its file; 0 if it is in no file.
    pub(crate) number: u64,
}

impl HeadTable {
    pub(crate) fn new(file: BlockFile) -> Result<Self, Defect> {
        let section = file.section(layout::META);
        let meta = CheckpointMeta::decode(file.get(section, 0, layout::META_LEN)?)?;
        let (heads, names) = (file.section(layout::HEADS), file.section(layout::NAMES));
        // A writer beside this reader removes a checkpoint when it has written two newer ones.
        if let Some(handle) = file.mapped_from() {
            handle.keep_open(true);
        }
        Ok(Self { file, heads, names, meta, number: 0 })
    }

    pub(crate) fn file(&self) -> &BlockFile {
        &self.file
    }

    /// The bytes of the section METADATA.
    pub(crate) fn metadata_bytes(&self) -> Result<&[u8], Defect> {
        let section = self.file.section(layout::METADATA);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        self.file.get(section, 0, len)
    }

    /// The cursors and rules at the checkpoint, and the changes in the segment that it names.
    pub(crate) fn metadata(&self) -> Result<(Metadata, u64), Defect> {
        let bytes = self.metadata_bytes()?;
        if bytes.is_empty() {
            return Ok((Metadata::default(), 0));
        }
        let (header, changes) =
            bytes.split_at_checked(layout::METADATA_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (last, in_segment) = (LE::read_u64(header), LE::read_u64(&header[8..]));
        if last > MAX_NUMBER || in_segment > last {
            return Err(Defect::Invalid("change numbers out of range"));
        }
        Ok((Metadata::decode(last, changes, self.meta.segment)?, in_segment))
    }

    /// The first sealed segments that the checkpoint lists, in order.
    pub(crate) fn sealed_segments(&self) -> Result<Vec<SegmentEntry>, Defect> {
        let section = self.file.section(layout::SEGMENTS);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        let bytes = self.file.get(section, 0, len)?.chunks(layout::SEGMENT_LEN);
        let mut next_position = 1;
        let segments = bytes.zip(1..self.meta.segment).map(|(bytes, number)| {
            let entry = SegmentEntry::decode(bytes, self.file.store_id(), number)?;
            if entry.trailer.base_position != next_position {
                return Err(Defect::Invalid("the segments do not follow each other"));
            }
            next_position += u64::from(entry.trailer.event_count);
            Ok(entry)
        });
        segments.collect()
    }

    fn len(&self) -> usize {
        self.heads.count(layout::HEAD_LEN)
    }

    fn entry(&self, index: usize, reads: Reads) -> Result<(&[u8], Head), Defect> {
        let bytes = self.file.entry_with(reads, self.heads, index, layout::HEAD_LEN)?;
        let entry = HeadEntry::decode(bytes)?;
        let name_len = usize::from(entry.name_len);
        let name = self.file.get_with(reads, self.names, entry.name_offset, name_len)?;
        Ok((name, Head { version: entry.version, last_position: entry.last_position }))
    }

    fn get(&self, name: &str, reads: Reads) -> Result<Option<Head>, Defect> {
        match search_names(self.len(), name.as_bytes(), |i| Ok(self.entry(i, reads)?.0))? {
            Ok(index) => Ok(Some(self.entry(index, reads)?.1)),
            Err(_) => Ok(None),
        }
    }

    /// Names this checkpoint in [`Defect::Unread`].
    pub(super) fn named(&self, defect: Defect) -> Defect {
        match defect {
            Defect::Unread { offset, len, .. } => {
                Defect::Unread { checkpoint: self.number, offset, len }
            }
            defect => defect,
        }
    }

    /// Calls `each` with all heads whose name begins with `prefix`, in order, until it returns a
    /// break.
    pub(crate) fn for_each(
        &self,
        prefix: &str,
        mut each: impl FnMut(&str, Head),
    ) -> Result<(), Defect> {
        let found =
            search_names(self.len(), prefix.as_bytes(), |i| Ok(self.entry(i, Reads::Any)?.0))?;
        let (Ok(start) | Err(start)) = found;
        let mut end_of_last = None;
        for index in start..self.len() {
            let (name, head) = self.entry(index, Reads::Any)?;
            // Names are adjacent, so that a listing is no larger than the file.
            let at = name.as_ptr().addr();
            if end_of_last.is_some_and(|end| end != at) {
                return Err(Defect::Invalid("names of streams overlap"));
            }
            end_of_last = Some(at + name.len());
            if !name.starts_with(prefix.as_bytes()) {
                break;
            }
            let name = std::str::from_utf8(name)
                .map_err(|_| Defect::Invalid("a stream's name is not UTF-8"))?;
            each(name, head);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Heads {
    overlay: Overlay,
    frozen: Option<Arc<Overlay>>,
    base: Option<Arc<HeadTable>>,
    streams: u64,
    reads: Reads,
}

impl Default for Heads {
    fn default() -> Self {
        Self::with_base(None)
    }
}

impl Heads {
    pub(crate) fn with_base(base: Option<Arc<HeadTable>>) -> Self {
        let streams = base.as_ref().map_or(0, |base| base.meta.streams);
        Self { overlay: Overlay::default(), frozen: None, base, streams, reads: Reads::Any }
    }

    /// From now on no look-up reads from the base: one that would have to is [`Defect::Unread`].
    pub(crate) fn stop_reading(&mut self) {
        self.reads = Reads::None;
    }

    /// The checkpoint in the base.
    pub(crate) fn base(&self) -> Option<&Arc<HeadTable>> {
        self.base.as_ref()
    }

    /// Continues with a file that has the same heads, instead of `damaged`.
    pub(crate) fn swap_base(&mut self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
        swap(&mut self.base, damaged, table);
    }

    /// The number of streams that have events.
    pub(crate) fn streams(&self) -> u64 {
        self.streams
    }

    /// The stream's head; version 0 if there is no such stream.
    pub(crate) fn get(&self, name: &str) -> Result<Head, Defect> {
        self.find(name).map(Slot::head)
    }

    /// Finds the stream's head, for a change that may follow.
    pub(crate) fn find(&self, name: &str) -> Result<Slot, Defect> {
        let hash = self.overlay.hasher.hash_one(name);
        let place = self.overlay.place(hash, name);
        let head = match (place, &self.frozen) {
            (Some(place), _) => self.overlay.entries[place as usize].1,
            (None, Some(frozen)) => match frozen.get(name) {
                Some(head) => head,
                None => self.in_base(name)?,
            },
            (None, None) => self.in_base(name)?,
        };
        Ok(Slot { hash, place, head })
    }

    fn in_base(&self, name: &str) -> Result<Head, Defect> {
        match &self.base {
            Some(base) => {
                let found = base.get(name, self.reads).map_err(|defect| base.named(defect))?;
                Ok(found.unwrap_or_default())
            }
            None => Ok(Head::default()),
        }
    }

    /// The present head of a stream that was found before.
    pub(crate) fn current(&self, slot: Slot, name: &str) -> Head {
        let place = slot.place.or_else(|| self.overlay.place(slot.hash, name));
        place.map_or(slot.head, |place| self.overlay.entries[place as usize].1)
    }

    /// Sets the head of a stream that was found before, and is now at version `before`.
    pub(crate) fn set(&mut self, slot: Slot, name: &str, before: u64, head: Head) {
        match (before, head.version) {
            (0, 1..) => self.streams += 1,
            (1.., 0) => self.streams = self.streams.saturating_sub(1),
            _ => {}
        }
        match slot.place.or_else(|| self.overlay.place(slot.hash, name)) {
            Some(place) => self.overlay.entries[place as usize].1 = head,
            None => self.overlay.insert(slot.hash, name, head),
        }
    }

    /// Sets a stream's head.
    pub(crate) fn put(&mut self, name: &str, head: Head) -> Result<(), Defect> {
        let slot = self.find(name)?;
        self.set(slot, name, slot.head.version, head);
        Ok(())
    }

    /// Begins a checkpoint: the present overlay is frozen, and later changes go to a new one.
    /// `None` if a checkpoint is in progress.
    pub(crate) fn freeze(&mut self) -> Option<FrozenHeads> {
        if self.frozen.is_some() {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut self.overlay));
        self.frozen = Some(Arc::clone(&frozen));
        Some(FrozenHeads { overlay: frozen, base: self.base.clone() })
    }

    /// Ends a checkpoint: the written table replaces the base and the frozen overlay.
    pub(crate) fn replace_base(&mut self, base: Arc<HeadTable>) {
        self.base = Some(base);
        self.frozen = None;
    }

    /// Ends a failed checkpoint: the frozen overlay becomes part of the overlay again.
    pub(crate) fn thaw(&mut self) {
        let Some(frozen) = self.frozen.take() else {
            return;
        };
        for (name, head) in &frozen.entries {
            let hash = self.overlay.hasher.hash_one(&**name);
            if self.overlay.place(hash, name).is_none() {
                self.overlay.insert(hash, name, *head);
            }
        }
    }

    /// The streams whose name begins with `prefix`.
    pub(crate) fn list(&self, prefix: &str) -> ListedHeads {
        let layers = self.frozen.as_deref().into_iter().chain([&self.overlay]);
        let named = |(name, _): &&(SmolStr, Head)| name.starts_with(prefix);
        let newer = layers.flat_map(|layer| layer.entries.iter().filter(named).cloned()).collect();
        ListedHeads { newer, base: self.base.clone() }
    }
}

/// A list of streams, of which those of the checkpoint are still to be read.
#[derive(Debug)]
pub(crate) struct ListedHeads {
    /// Later ones replace earlier ones and those of the base.
    newer: Vec<(SmolStr, Head)>,
    base: Option<Arc<HeadTable>>,
}

impl ListedHeads {
    /// Reads the streams whose name begins with `prefix`, which the list was made for, by name.
    pub(crate) fn read(self, prefix: &str) -> Result<BTreeMap<Box<str>, Head>, Defect> {
        let mut all = BTreeMap::new();
        if let Some(base) = &self.base {
            base.for_each(prefix, |name, head| {
                all.insert(name.into(), head);
            })?;
        }
        all.extend(self.newer.into_iter().map(|(name, head)| (name.as_str().into(), head)));
        all.retain(|_, head| head.version > 0);
        Ok(all)
    }
}

fn swap(base: &mut Option<Arc<HeadTable>>, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
    if base.as_ref().is_some_and(|base| Arc::ptr_eq(base, damaged)) {
        *base = Some(Arc::clone(table));
    }
}

/// All heads at the moment a checkpoint began.
#[derive(Debug)]
pub(crate) struct FrozenHeads {
    overlay: Arc<Overlay>,
    base: Option<Arc<HeadTable>>,
}

impl FrozenHeads {
    pub(crate) fn base(&self) -> Option<&Arc<HeadTable>> {
        self.base.as_ref()
    }

    /// Like [`Heads::swap_base`].
    pub(crate) fn swap_base(&mut self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
        swap(&mut self.base, damaged, table);
    }

    /// The sections HEADS and NAMES, and the number of streams.
    pub(crate) fn encode(&self) -> Result<(Vec<u8>, Vec<u8>, u64), Defect> {
        let mut newer: Vec<_> = self.overlay.entries.iter().collect();
        newer.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut newer = newer.into_iter().peekable();
        let (mut heads, mut names, mut streams) = (Vec::new(), Vec::new(), 0);
        let mut put = |name: &str, head: Head| {
            if head.version == 0 {
                return;
            }
            let entry = HeadEntry {
                name_offset: names.len() as u64,
                name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
                version: head.version,
                last_position: head.last_position,
            };
            entry.encode(&mut heads);
            names.extend_from_slice(name.as_bytes());
            streams += 1;
        };
        if let Some(base) = &self.base {
            base.for_each("", |name, head| {
                while let Some((new, head)) = newer.next_if(|(new, _)| **new < *name) {
                    put(new, *head);
                }
                match newer.next_if(|(new, _)| **new == *name) {
                    Some((_, newer)) => put(name, *newer),
                    None => put(name, head),
                }
            })?;
        }
        for (name, head) in newer {
            put(name, *head);
        }
        Ok((heads, names, streams))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::container::{self, CHECKPOINT_MAGIC};

    fn head(version: u64) -> Head {
        Head { version, last_position: version * 10 }
    }

    fn table(frozen: &FrozenHeads) -> Arc<HeadTable> {
        let (heads, names, streams) = frozen.encode().unwrap();
        let meta = CheckpointMeta {
            position: 1,
            recorded_at: 0,
            link: 0,
            segment: 1,
            offset: 0,
            base_position: 1,
            streams,
            commits: 0,
            segment_commits: 0,
            last_frame: 0,
            first_recorded_at: 0,
        };
        let sections: [(u32, &[u8]); 3] =
            [(layout::META, &meta.encode()), (layout::HEADS, &heads), (layout::NAMES, &names)];
        let bytes = container::encode(CHECKPOINT_MAGIC, [0; 16], &sections);
        let file = BlockFile::from_bytes(bytes, CHECKPOINT_MAGIC).unwrap();
        Arc::new(HeadTable::new(file).unwrap())
    }

    #[test]
    fn newer_layer_of_heads_hides_older_ones_through_a_checkpoint() {
        let mut heads = Heads::default();
        heads.put("b", head(1)).unwrap();
        heads.put("d", head(1)).unwrap();
        let frozen = heads.freeze().unwrap();
        assert!(heads.freeze().is_none());
        heads.put("b", head(2)).unwrap();
        heads.put("a", head(1)).unwrap();
        heads.replace_base(table(&frozen));
        assert_eq!(heads.get("b"), Ok(head(2)));
        assert_eq!(heads.get("d"), Ok(head(1)));
        assert_eq!(heads.get("c"), Ok(Head::default()));
        assert_eq!(heads.streams(), 3);

        let second = table(&heads.freeze().unwrap());
        assert_eq!(second.meta.streams, 3);
        heads.replace_base(second);
        let all: Vec<_> = heads.list("").read("").unwrap().into_iter().collect();
        assert_eq!(all, [("a".into(), head(1)), ("b".into(), head(2)), ("d".into(), head(1))]);
        assert_eq!(heads.list("b").read("b").unwrap().len(), 1);
    }

    #[test]
    fn failed_checkpoint_loses_no_head() {
        let mut heads = Heads::default();
        heads.put("a", head(1)).unwrap();
        heads.put("b", head(1)).unwrap();
        heads.freeze().unwrap();
        heads.put("a", head(2)).unwrap();
        heads.thaw();
        assert_eq!((heads.get("a"), heads.get("b")), (Ok(head(2)), Ok(head(1))));
        assert!(heads.freeze().is_some());
    }

    #[test]
    fn head_of_a_rolled_back_stream_is_removed() {
        let mut heads = Heads::default();
        heads.put("a", head(1)).unwrap();
        heads.put("a", Head::default()).unwrap();
        assert_eq!((heads.get("a"), heads.streams()), (Ok(Head::default()), 0));
        assert!(heads.list("").read("").unwrap().is_empty());
        assert_eq!(heads.freeze().unwrap().encode().unwrap().2, 0);
    }
}
