//! Builds the index file of a segment from its records, in order.
//!
//! Owns the grouping by stream, type, tag and category. Runs in the background or at recovery,
//! never on the path of an append.

use std::collections::HashMap;

use crate::event::category_of;
use crate::format::container;
use crate::format::index_file::{
    self as layout, IndexMeta, StreamEntry, TermEntry, filter_add, filter_len, hash_id, hash_term,
};
use crate::format::metadata::Change;
use crate::format::record::RecordRef;
use crate::format::varint;

type Hasher = foldhash::fast::RandomState;

/// Ascending ordinals, coded as they come.
#[derive(Debug, Default)]
struct List {
    bytes: Vec<u8>,
    count: u32,
    last: u32,
}

impl List {
    fn push(&mut self, ordinal: u32) {
        varint::put(&mut self.bytes, ordinal - self.last);
        self.last = ordinal;
        self.count += 1;
    }
}

#[derive(Debug)]
struct StreamList {
    list: List,
    first_version: u64,
    first_ordinal: u32,
}

#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    streams: HashMap<Box<str>, StreamList, Hasher>,
    types: HashMap<Box<str>, List, Hasher>,
    tags: HashMap<Box<str>, List, Hasher>,
    categories: HashMap<Box<str>, List, Hasher>,
    hashes: Vec<u64>,
    /// The section CHANGES; empty if there are none.
    changes: Vec<u8>,
}

impl IndexBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds the next record of the segment.
    pub(crate) fn add(&mut self, record: &RecordRef<'_>) {
        // A segment holds at most 2^30 / 48 events.
        let ordinal = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        let stream = record.stream();
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.list.push(ordinal);
        } else {
            let mut list = List::default();
            list.push(ordinal);
            let entry =
                StreamList { list, first_version: record.version(), first_ordinal: ordinal };
            self.streams.insert(stream.into(), entry);
        }
        push_term(&mut self.types, record.event_type(), ordinal);
        push_term(&mut self.categories, category_of(stream), ordinal);
        for tag in record.tags() {
            push_term(&mut self.tags, tag, ordinal);
        }
        self.hashes.push(hash_id(&record.id()));
    }

    /// Adds the next change of the segment.
    pub(crate) fn add_change(&mut self, number: u64, change: &Change) {
        if self.changes.is_empty() {
            self.changes.extend_from_slice(&number.to_le_bytes());
        }
        change.encode(&mut self.changes);
    }

    /// The bytes of the index file. `previous` gives, for the ordinal of a stream's first event
    /// in the segment, the position of the stream's event before it (0: none).
    pub(crate) fn finish<E>(
        self,
        store_id: [u8; 16],
        meta: &IndexMeta,
        mut previous: impl FnMut(&str, u64, u32) -> Result<u64, E>,
    ) -> Result<Vec<u8>, E> {
        let mut names = Vec::new();
        let mut lists = Vec::new();
        let term_filter = self.term_filter();
        let mut streams = Vec::with_capacity(self.streams.len() * layout::STREAM_LEN);
        for (name, entry) in sorted(self.streams) {
            let term = place(&name, &entry.list, &mut names, &mut lists);
            let stream = StreamEntry {
                name_offset: term.name_offset,
                name_len: term.name_len,
                count: term.count,
                list_offset: term.list_offset,
                first_version: entry.first_version,
                previous_position: previous(&name, entry.first_version, entry.first_ordinal)?,
            };
            stream.encode(&mut streams);
        }
        let mut terms = [self.types, self.tags, self.categories].map(|map| {
            let mut out = Vec::with_capacity(map.len() * layout::TERM_LEN);
            for (name, list) in sorted(map) {
                place(&name, &list, &mut names, &mut lists).encode(&mut out);
            }
            out
        });
        let [types, tags, categories] = &mut terms;
        let (ids, filter) = encode_ids(&self.hashes);
        let sections: [(u32, &[u8]); 11] = [
            (layout::META, &meta.encode()),
            (layout::STREAMS, &streams),
            (layout::TYPES, types),
            (layout::TAGS, tags),
            (layout::CATEGORIES, categories),
            (layout::NAMES, &names),
            (layout::LISTS, &lists),
            (layout::IDS, &ids),
            (layout::FILTER, &filter),
            (layout::CHANGES, &self.changes),
            (layout::TERM_FILTER, &term_filter),
        ];
        Ok(container::encode(container::INDEX_MAGIC, store_id, &sections))
    }

    fn term_filter(&self) -> Vec<u8> {
        let streams = self.streams.keys().map(|name| hash_term(layout::STREAMS, name));
        let terms = [
            (layout::TYPES, &self.types),
            (layout::TAGS, &self.tags),
            (layout::CATEGORIES, &self.categories),
        ];
        let entries = terms.iter().map(|(_, map)| map.len()).sum::<usize>() + self.streams.len();
        let mut filter = vec![0; filter_len(entries)];
        let names = terms
            .iter()
            .flat_map(|(section, map)| map.keys().map(|name| hash_term(*section, name)));
        streams.chain(names).for_each(|hash| filter_add(&mut filter, hash));
        filter
    }
}

fn push_term(map: &mut HashMap<Box<str>, List, Hasher>, name: &str, ordinal: u32) {
    if let Some(list) = map.get_mut(name) {
        // An event that carries a tag twice is listed once.
        if list.last != ordinal {
            list.push(ordinal);
        }
    } else {
        let mut list = List::default();
        list.push(ordinal);
        map.insert(name.into(), list);
    }
}

fn sorted<V>(map: HashMap<Box<str>, V, Hasher>) -> Vec<(Box<str>, V)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Names and lists of a segment are smaller than the segment, which is below 4 GiB.
fn place(name: &str, list: &List, names: &mut Vec<u8>, lists: &mut Vec<u8>) -> TermEntry {
    let entry = TermEntry {
        name_offset: u32::try_from(names.len()).unwrap_or(u32::MAX),
        name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
        count: list.count,
        list_offset: u32::try_from(lists.len()).unwrap_or(u32::MAX),
    };
    names.extend_from_slice(name.as_bytes());
    lists.extend_from_slice(&list.bytes);
    entry
}

fn encode_ids(hashes: &[u64]) -> (Vec<u8>, Vec<u8>) {
    let mut filter = vec![0_u8; filter_len(hashes.len())];
    let mut sorted: Vec<u64> = Vec::with_capacity(hashes.len());
    for (ordinal, &hash) in hashes.iter().enumerate() {
        sorted.push(hash & 0xFFFF_FFFF_0000_0000 | ordinal as u64);
        filter_add(&mut filter, hash);
    }
    sorted.sort_unstable();
    let ids = sorted.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    (ids, filter)
}
