//! The newest change of each record in the segments that are not sealed.
//!
//! Owns one map for each segment, which is dropped when the segment's index file takes its place. Must never
//! hold a value: an entry is a place in the log.

use std::collections::BTreeMap;
use std::ops::Bound;

use smol_str::SmolStr;

use crate::format::metadata::RecordEntry;

/// Entries by key.
pub(crate) type RecordPage = BTreeMap<SmolStr, RecordEntry>;

#[derive(Debug, Clone, Default)]
pub(crate) struct RecentRecords {
    segments: BTreeMap<u64, RecordPage>,
    /// The number of maps that were dropped.
    drops: u64,
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
}

impl RecentRecords {
    /// Enters a change, unless a newer one is known.
    pub(crate) fn apply(&mut self, key: &SmolStr, entry: RecordEntry) {
        let page = self.segments.entry(entry.segment).or_default();
        match page.get_mut(key) {
            Some(known) if known.version >= entry.version => {}
            Some(known) => *known = entry,
            None => {
                page.insert(key.clone(), entry);
            }
        }
    }

    /// The newest change of a record.
    pub(crate) fn get(&self, key: &str) -> Option<RecordEntry> {
        self.segments.values().rev().find_map(|page| page.get(key)).copied()
    }

    /// The records with a change in a segment, except those that a checkpoint alone has.
    pub(crate) fn of_segment(&self, segment: u64) -> RecordPage {
        self.segments.get(&segment).cloned().unwrap_or_default()
    }

    /// Up to `most` records, from `start` on.
    pub(crate) fn page(&self, start: PageStart<'_>, most: usize) -> RecordPage {
        let mut found = RecordPage::new();
        for page in self.segments.values() {
            let range = page.range::<str, _>((start.bound(), Bound::Unbounded));
            let range = range.take_while(|(key, _)| start.takes(key)).take(most);
            for (key, entry) in range {
                add_newest(&mut found, key, *entry);
            }
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
}
