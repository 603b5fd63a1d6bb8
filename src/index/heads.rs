//! The heads of the streams that have events in one segment that is not sealed: version and last position.
//!
//! Two layers, newest first: an overlay that appends write to, and the mapped table of the checkpoint
//! that ends in the segment, if there is one. The head of any other stream is in the newest index before
//! that has the stream. When a segment is full, its heads stay with it until it is sealed and its index
//! file has them; nothing is copied, so appends do not stall.

mod copy;
mod overlay;
mod table;

use std::collections::BinaryHeap;
use std::sync::Arc;

pub(crate) use self::copy::HeadsCopy;
use self::overlay::{Entry, Overlay};
pub(crate) use self::table::HeadTable;
use super::Head;
use super::block_file::Reads;
use super::jumps::Steps;
use super::names::NameRange;
use crate::format::Defect;

/// The place of a stream's head; valid until the segment is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    hash: u32,
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

/// The heads of one segment's streams.
#[derive(Debug)]
pub(crate) struct Heads {
    overlay: Overlay,
    base: Option<Arc<HeadTable>>,
    reads: Reads,
}

impl Default for Heads {
    fn default() -> Self {
        Self::with_base(None)
    }
}

impl Heads {
    /// Those of the segment that a checkpoint ends in.
    pub(crate) fn with_base(base: Option<Arc<HeadTable>>) -> Self {
        Self { overlay: Overlay::default(), base, reads: Reads::Any }
    }

    /// Whether look-ups read from the base, or fail with [`Defect::Unread`] where it was not read so far.
    pub(crate) fn set_reads(&mut self, reads: Reads) {
        self.reads = reads;
    }

    /// The checkpoint in the base.
    pub(crate) fn base(&self) -> Option<&Arc<HeadTable>> {
        self.base.as_ref()
    }

    /// Continues with a file that has the same heads, instead of `damaged`.
    pub(crate) fn swap_base(&mut self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
        if self.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, damaged)) {
            self.base = Some(Arc::clone(table));
        }
    }

    /// A copy that reads the same heads from another file instead of `damaged`.
    pub(crate) fn with_base_swapped(
        &self,
        damaged: &Arc<HeadTable>,
        table: &Arc<HeadTable>,
    ) -> Self {
        let mut copy = Self { reads: self.reads, ..Self::with_base(self.base.clone()) };
        for entry in self.overlay.entries() {
            copy.put(&entry.name, entry.head);
        }
        copy.swap_base(damaged, table);
        copy
    }

    /// The stream's head; version 0 if there is no such stream, `None` if the segment has no event of
    /// it and so does not know.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Head>, Defect> {
        Ok(self.find(name)?.map(Slot::head))
    }

    /// Like [`Heads::get`], but what was not read so far is [`Defect::Unread`].
    pub(crate) fn get_without_reading(&self, name: &str) -> Result<Option<Head>, Defect> {
        Ok(self.find_with(Reads::None, name)?.map(Slot::head))
    }

    /// Finds the stream's head, for a change that may follow.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Result<Option<Slot>, Defect> {
        self.find_with(self.reads, name)
    }

    #[inline]
    fn find_with(&self, reads: Reads, name: &str) -> Result<Option<Slot>, Defect> {
        let hash = self.overlay.hash(name);
        if let Some(place) = self.overlay.place(hash, name) {
            let head = self.overlay.entry(place).head;
            return Ok(Some(Slot { hash, place: Some(place), head }));
        }
        let Some(base) = &self.base else { return Ok(None) };
        let found = base.get(name, reads).map_err(|defect| base.named(defect))?;
        Ok(found.map(|head| Slot { hash, place: None, head }))
    }

    /// The slot of a stream that was not found, and whose head is this one.
    pub(crate) fn older(&self, name: &str, head: Head) -> Slot {
        Slot { hash: self.overlay.hash(name), place: None, head }
    }

    /// The present head of a stream that was found before, and its steps in the active index.
    pub(crate) fn current(&self, slot: &Slot, name: &str) -> (Head, Steps) {
        let place = slot.place.or_else(|| self.overlay.place(slot.hash, name));
        place.map_or((slot.head, Steps::UNKNOWN), |place| {
            let Entry { head, steps, .. } = self.overlay.entry(place);
            (*head, *steps)
        })
    }

    /// Sets the head of a stream that was found before, and its steps in the active index.
    pub(crate) fn set(&mut self, slot: &Slot, name: &str, head: Head, steps: Steps) {
        match slot.place.or_else(|| self.overlay.place(slot.hash, name)) {
            Some(place) => {
                let entry = self.overlay.entry_mut(place);
                (entry.head, entry.steps) = (head, steps);
            }
            None => self.overlay.insert(slot.hash, name, head, steps),
        }
    }

    /// Sets a stream's head.
    pub(crate) fn put(&mut self, name: &str, head: Head) {
        let slot = self.older(name, head);
        self.set(&slot, name, head, Steps::UNKNOWN);
    }

    /// Takes room for about as many streams as `full` has: to grow while an append waits takes milliseconds.
    pub(crate) fn reserve_like(&mut self, full: &Self) {
        let streams = full.overlay.len();
        self.overlay.reserve(streams + streams / 8);
    }

    /// A copy of the heads, those of the base not read yet.
    pub(crate) fn copy(&self) -> HeadsCopy {
        let newer = self.overlay.entries().map(|entry| (entry.name.clone(), entry.head)).collect();
        HeadsCopy { newer, base: self.base.clone() }
    }

    /// A copy of the first `most` heads of a range by name, those of the base not read yet.
    pub(crate) fn first(&self, range: &NameRange<'_>, most: usize) -> HeadsCopy {
        let mut first = BinaryHeap::new();
        for (entry, place) in self.overlay.entries().zip(0_u32..) {
            if !range.holds(&entry.name) {
                continue;
            }
            if first.len() < most {
                first.push((&entry.name, place));
            } else if let Some(mut last) = first.peek_mut()
                && entry.name < *last.0
            {
                *last = (&entry.name, place);
            }
        }
        let newer = first.into_iter();
        let newer = newer.map(|(name, place)| (name.clone(), self.overlay.entry(place).head));
        HeadsCopy { newer: newer.collect(), base: self.base.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checkpoint::{self as layout, CheckpointMeta};
    use crate::format::container::{self, CHECKPOINT_MAGIC};
    use crate::index::block_file::BlockFile;
    use crate::index::jumps::{self, Links, Member};
    use crate::index::layers::NamedSections;

    struct NoLinks;

    impl Links for NoLinks {
        fn previous(&self, _: u32) -> Result<Option<u32>, Defect> {
            Ok(None)
        }

        fn shortcut(&self, _: u32) -> Result<Option<u32>, Defect> {
            Ok(None)
        }
    }

    fn head(version: u64) -> Head {
        Head { version, last_position: version * 10 }
    }

    fn table(heads: &Heads, from: u64) -> Arc<HeadTable> {
        let sections = heads.copy().encode(from).unwrap();
        let NamedSections { entries: heads, names, hashes, buckets } = sections;
        let meta = CheckpointMeta {
            position: 1,
            recorded_at: 0,
            link: 0,
            segment: 1,
            offset: 0,
            base_position: 1,
            streams: 0,
            commits: 0,
            segment_commits: 0,
            last_frame: 0,
            first_recorded_at: 0,
        };
        let sections: [(u32, &[u8]); 5] = [
            (layout::META, &meta.encode()),
            (layout::HEADS, &heads),
            (layout::NAMES, &names),
            (layout::HASHES, &hashes),
            (layout::BUCKETS, &buckets),
        ];
        let bytes = container::encode(CHECKPOINT_MAGIC, [0; 16], &sections);
        let file = BlockFile::from_bytes(bytes, CHECKPOINT_MAGIC).unwrap();
        Arc::new(HeadTable::new(file).unwrap())
    }

    #[test]
    fn newer_layer_of_heads_hides_the_older_one_through_checkpoints() {
        let mut heads = Heads::default();
        heads.put("b", head(1));
        heads.put("d", head(1));
        let mut heads = Heads::with_base(Some(table(&heads, 1)));
        heads.put("b", head(2));
        heads.put("a", head(1));
        assert_eq!(heads.get("b"), Ok(Some(head(2))));
        assert_eq!(heads.get("d"), Ok(Some(head(1))));
        assert_eq!(heads.get("c"), Ok(None));
        let mut all = Vec::new();
        let again = table(&heads, 1);
        let each = |name: &str, head| all.push((name.to_owned(), head));
        again.for_each(&NameRange::ALL, usize::MAX, each).unwrap();
        assert_eq!(all, [("a".into(), head(1)), ("b".into(), head(2)), ("d".into(), head(1))]);
        let first = |after, most| {
            let range = NameRange { prefix: "", after };
            let mut listed: Vec<(Box<str>, Head)> = Vec::new();
            let end = heads.first(&range, most).add_to(&mut listed, &range, most).unwrap();
            let listed: Vec<(String, Head)> =
                listed.into_iter().map(|(name, it)| (name.into(), it)).collect();
            (listed, end.map(String::from))
        };
        let named = |name: &str, version| (name.to_owned(), head(version));
        // Of the checkpoint, and then newer ones; complete up to the nearer end.
        let all = vec![named("b", 1), named("d", 1), named("b", 2), named("a", 1)];
        let (mut listed, end) = first(None, 3);
        listed[2..].sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!((listed, end), (all, None));
        assert_eq!(first(None, 1), (vec![named("b", 1), named("a", 1)], Some("a".into())));
        assert_eq!(first(Some("b"), 1), (vec![named("d", 1)], Some("d".into())));
        assert_eq!(first(Some("d"), 1), (vec![], None));
        // Streams without events in the segment are left out.
        let mut all = Vec::new();
        let each = |name: &str, _| all.push(name.to_owned());
        table(&heads, 20).for_each(&NameRange::ALL, usize::MAX, each).unwrap();
        assert_eq!(all, ["b"]);
    }

    #[test]
    fn steps_of_a_stream_are_unknown_once_its_events_are_taken_back() {
        let mut heads = Heads::default();
        let (_, steps) =
            jumps::add(&NoLinks, Some(Member { node: 4, depth: 1 }), Steps::UNKNOWN).unwrap();
        heads.set(&heads.older("a", Head::default()), "a", head(2), steps);
        let slot = heads.find("a").unwrap().unwrap();
        assert_eq!(heads.current(&slot, "a"), (head(2), steps));
        heads.put("a", head(1));
        assert_eq!(heads.current(&slot, "a"), (head(1), Steps::UNKNOWN));
    }

    #[test]
    fn head_of_a_rolled_back_stream_is_known_to_be_none() {
        let mut heads = Heads::default();
        heads.put("a", head(1));
        heads.put("a", Head::default());
        assert_eq!(heads.get("a"), Ok(Some(Head::default())));
        assert!(heads.copy().encode(1).unwrap().entries.is_empty());
    }
}
