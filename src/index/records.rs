//! The newest change of each record in the segments that are not sealed.
//!
//! Owns one map for each segment, which is dropped when the segment's index file takes its place. Commits look
//! up and change a record by the hash of its key; the order of keys, which only listings need, is kept beside
//! the entries, in sorted runs that are merged as they become as long as their neighbours. Must never hold a
//! value: an entry is a place in the log.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::format::metadata::RecordEntry;

/// Entries by key, in the order of keys.
pub(crate) type RecordPage = BTreeMap<SmolStr, RecordEntry>;

/// Entries by key, in no order.
pub(crate) type RecordMap = HashMap<SmolStr, RecordEntry, foldhash::fast::RandomState>;

/// The number of new keys that are sorted into a run.
const SHORTEST_RUN: usize = 256;

/// Runs of this length are not merged any more: a merge delays the commit that causes it.
const LONGEST_RUN: usize = 64 * SHORTEST_RUN;

#[derive(Debug, Clone, Default)]
pub(crate) struct RecentRecords {
    segments: BTreeMap<u64, SegmentRecords>,
    /// The number of maps that were dropped.
    drops: u64,
}

/// The newest changes of records in one segment.
#[derive(Debug, Clone, Default)]
struct SegmentRecords {
    entries: RecordMap,
    /// The keys of the entries, each in one run, without those in `unsorted`. No run is shorter than the
    /// next.
    runs: Vec<Vec<SmolStr>>,
    unsorted: Vec<SmolStr>,
}

impl SegmentRecords {
    fn apply(&mut self, key: &SmolStr, entry: RecordEntry) {
        match self.entries.get_mut(key) {
            Some(known) if known.version >= entry.version => {}
            Some(known) => *known = entry,
            None => {
                self.entries.insert(key.clone(), entry);
                self.unsorted.push(key.clone());
                if self.unsorted.len() == SHORTEST_RUN {
                    self.add_run();
                }
            }
        }
    }

    /// Makes a run of the keys that are in none, and merges it with runs that are not longer.
    fn add_run(&mut self) {
        self.unsorted.sort_unstable();
        let mut run = std::mem::replace(&mut self.unsorted, Vec::with_capacity(SHORTEST_RUN));
        while let Some(mut before) = self.runs.pop_if(|b| b.len() <= run.len().min(LONGEST_RUN - 1))
        {
            before.append(&mut run);
            // A stable sort finds the two runs, and merges them.
            before.sort();
            run = before;
        }
        self.runs.push(run);
    }

    /// Calls `each` with up to `most` entries from `start` on, by key, and then with those whose keys are in
    /// no run.
    fn page(&self, start: PageStart<'_>, most: usize, mut each: impl FnMut(&SmolStr, RecordEntry)) {
        let mut enter = |key: &SmolStr| {
            if let Some(entry) = self.entries.get(key) {
                each(key, *entry);
            }
        };
        let mut next: BinaryHeap<Reverse<&[SmolStr]>> = BinaryHeap::with_capacity(self.runs.len());
        let takes = |rest: &[SmolStr]| rest.first().is_some_and(|key| start.takes(key));
        let rests = self.runs.iter().map(|run| start.rest_of(run));
        next.extend(rests.filter(|rest| takes(rest)).map(Reverse));
        for _ in 0..most {
            // Slices are compared by their first keys, which differ.
            let Some(Reverse([key, rest @ ..])) = next.pop() else { break };
            enter(key);
            if takes(rest) {
                next.push(Reverse(rest));
            }
        }
        self.unsorted.iter().filter(|key| start.includes(key)).for_each(&mut enter);
    }
}

/// The keys that a page of records begins with and comes after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageStart<'a> {
    pub(crate) prefix: &'a str,
    /// Exclusive; empty: none.
    pub(crate) after: &'a str,
}

impl PageStart<'_> {
    /// Where the page begins.
    pub(crate) fn bound(&self) -> Bound<&str> {
        if self.after < self.prefix || self.after.is_empty() {
            Bound::Included(self.prefix)
        } else {
            Bound::Excluded(self.after)
        }
    }

    /// Whether the page may hold a key at or after its beginning.
    pub(crate) fn takes(&self, key: &str) -> bool {
        key.starts_with(self.prefix)
    }

    /// The keys of a run at which the page may begin, and all after them.
    fn rest_of<'r>(&self, run: &'r [SmolStr]) -> &'r [SmolStr] {
        let from = match self.bound() {
            Bound::Excluded(after) => run.partition_point(|key| key.as_str() <= after),
            Bound::Included(first) => run.partition_point(|key| key.as_str() < first),
            Bound::Unbounded => 0,
        };
        &run[from..]
    }

    /// Whether a key belongs to the page or to a later one.
    fn includes(&self, key: &str) -> bool {
        self.takes(key) && (self.after.is_empty() || key > self.after)
    }
}

impl RecentRecords {
    /// Enters a change, unless a newer one is known.
    pub(crate) fn apply(&mut self, key: &SmolStr, entry: RecordEntry) {
        self.segments.entry(entry.segment).or_default().apply(key, entry);
    }

    /// The newest change of a record.
    pub(crate) fn get(&self, key: &str) -> Option<RecordEntry> {
        self.segments.values().rev().find_map(|records| records.entries.get(key)).copied()
    }

    /// The records with a change in a segment, except those that a checkpoint alone has.
    pub(crate) fn of_segment(&self, segment: u64) -> RecordMap {
        self.segments.get(&segment).map(|records| records.entries.clone()).unwrap_or_default()
    }

    /// Up to `most` records, from `start` on.
    pub(crate) fn page(&self, start: PageStart<'_>, most: usize) -> RecordPage {
        let mut found = RecordPage::new();
        for records in self.segments.values() {
            records.page(start, most, |key, entry| add_newest(&mut found, key, entry));
        }
        keep_first(&mut found, most);
        found
    }

    /// Drops the map of a segment whose index file is in use.
    pub(crate) fn drop_segment(&mut self, segment: u64) {
        self.drops += u64::from(self.segments.remove(&segment).is_some());
    }

    /// The number of maps that were dropped: while it is the same, what index files and a checkpoint were
    /// asked for is current.
    pub(crate) fn drops(&self) -> u64 {
        self.drops
    }
}

/// Adds an entry to a page that has none for the key, or an older one.
pub(crate) fn add_newest(page: &mut RecordPage, key: &SmolStr, entry: RecordEntry) {
    let known = page.entry(key.clone()).or_insert(entry);
    if known.version < entry.version {
        *known = entry;
    }
}

/// Keeps the first `most` entries.
pub(crate) fn keep_first(page: &mut RecordPage, most: usize) {
    while page.len() > most {
        page.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(segment: u64, version: u64) -> RecordEntry {
        RecordEntry { version, deleted: false, segment, offset: 8192, value_len: 1 }
    }

    #[test]
    fn newest_change_of_a_record_is_found_until_its_segment_is_dropped() {
        let mut records = RecentRecords::default();
        records.apply(&"a".into(), entry(2, 1));
        records.apply(&"a".into(), entry(3, 2));
        records.apply(&"a".into(), entry(3, 1));
        assert_eq!(records.get("a"), Some(entry(3, 2)));
        records.drop_segment(2);
        records.drop_segment(2);
        assert_eq!((records.get("a"), records.drops()), (Some(entry(3, 2)), 1));
        records.drop_segment(3);
        assert_eq!((records.get("a"), records.drops()), (None, 2));
    }

    #[test]
    fn page_of_records_continues_after_its_last_key() {
        let mut records = RecentRecords::default();
        for (number, key) in (1..).zip(["a/1", "b/1", "b/2", "b/3", "c"]) {
            records.apply(&key.into(), entry(1 + number % 2, 1));
        }
        records.apply(&"b/2".into(), entry(4, 2));
        let page = |after: &str, most| {
            let page = records.page(PageStart { prefix: "b/", after }, most);
            page.iter().map(|(key, entry)| (key.to_string(), entry.version)).collect::<Vec<_>>()
        };
        assert_eq!(page("", 2), [("b/1".into(), 1), ("b/2".into(), 2)]);
        assert_eq!(page("a/1", 1), [("b/1".into(), 1)]);
        assert_eq!(page("b/2", 9), [("b/3".into(), 1)]);
        assert!(page("b/3", 9).is_empty() && page("c", 9).is_empty());
    }

    #[test]
    fn page_of_records_has_keys_of_all_runs_and_those_in_none() {
        let mut records = RecentRecords::default();
        let count = 2 * LONGEST_RUN + 5 * SHORTEST_RUN + 7;
        // 3 has no common divisor with the count.
        let keys = (0..count).map(|n| SmolStr::from(format!("k/{:05}", n * 3 % count)));
        keys.for_each(|key| records.apply(&key, entry(1, 1)));
        records.apply(&"j".into(), entry(1, 1));
        records.apply(&"k/00002".into(), entry(1, 9));
        let (mut seen, mut after) = (Vec::new(), SmolStr::default());
        loop {
            let page = records.page(PageStart { prefix: "k/", after: &after }, 1000);
            let Some((last, _)) = page.last_key_value() else { break };
            after = last.clone();
            seen.extend(page);
        }
        assert!(
            seen.iter()
                .map(|(key, _)| key.clone())
                .eq((0..count).map(|n| SmolStr::from(format!("k/{n:05}"))))
        );
        assert_eq!(seen[2].1.version, 9);
        let lengths: Vec<_> = records.segments[&1].runs.iter().map(Vec::len).collect();
        assert_eq!(lengths, [64, 64, 4, 1].map(|runs| runs * SHORTEST_RUN));
        assert_eq!(records.of_segment(1).len(), count + 1);
    }
}
