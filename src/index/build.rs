//! Builds the index file of a segment from its records, in order.
//!
//! Owns the grouping by stream, type, tag and category. Runs in the background or at recovery, never
//! on the path of an append, but at the same time as appends on few cores: therefore an event adds
//! one number to a list that is written in order, and events are grouped at the end.

use std::collections::HashMap;

use crate::event::category_of;
use crate::format::checksum::Seed;
use crate::format::container;
use crate::format::hashes::{HASH_HALF, encode_hashes};
use crate::format::index_file::{
    self as layout, IndexMeta, NamedRecord, StreamEntry, TermEntry, filter_add, filter_len,
    hash_id, hash_term,
};
use crate::format::level_file::{CHUNK, Skip};
use crate::format::metadata::{Change, ChangeNumber, DerivedChange, RecordEntry};
use crate::format::record::RecordRef;
use crate::format::varint;

type Hasher = foldhash::fast::RandomState;

/// Ascending ordinals, coded as they come.
#[derive(Debug, Default)]
struct ListBuilder {
    bytes: Vec<u8>,
    count: u32,
    last: u32,
    /// Places in the middle of a long list at which decoding can begin.
    table: Vec<Skip>,
}

impl ListBuilder {
    fn push(&mut self, ordinal: u32) {
        if self.count > 0 && self.count.is_multiple_of(CHUNK) {
            // Far below 4 GiB, because the segment is.
            let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
            self.table.push(Skip { before: self.last, offset });
        }
        varint::put(&mut self.bytes, ordinal - self.last);
        self.last = ordinal;
        self.count += 1;
    }
}

/// A stream of the segment.
#[derive(Debug)]
struct Stream {
    name: Box<str>,
    first_version: u64,
    first_ordinal: u32,
}

/// The known facts about the previous event of the same stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PreviousEvent {
    Unknown,
    /// The stream's event is in an earlier segment.
    Outside,
    /// The stream's event has this ordinal.
    At(u32),
}

#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    streams: Vec<Stream>,
    /// The index of each stream in `streams`, for events without a known predecessor.
    by_name: HashMap<Box<str>, u32, Hasher>,
    /// For each event, the index of its stream in `streams`.
    stream_of: Vec<u32>,
    types: HashMap<Box<str>, ListBuilder, Hasher>,
    tags: HashMap<Box<str>, ListBuilder, Hasher>,
    hashes: Vec<u64>,
    /// The section CHANGES; empty if there are none.
    changes: Vec<u8>,
    /// The number of record changes that follow the changes entered there.
    record_changes: u64,
    records: HashMap<Box<str>, RecordEntry, Hasher>,
}

impl IndexBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds the next record of the segment.
    pub(crate) fn add(&mut self, record: &RecordRef<'_>, before: PreviousEvent) {
        // A segment holds at most 2^30 / 48 events.
        let ordinal = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        let known = match before {
            PreviousEvent::At(ordinal) => self.stream_of.get(ordinal as usize).copied(),
            PreviousEvent::Outside => None,
            PreviousEvent::Unknown => self.by_name.get(record.stream()).copied(),
        };
        let stream = known.unwrap_or_else(|| self.add_stream(record, ordinal));
        self.stream_of.push(stream);
        push_term(&mut self.types, record.event_type(), ordinal);
        for tag in record.tags() {
            push_term(&mut self.tags, tag, ordinal);
        }
        self.hashes.push(hash_id(&record.id()));
    }

    fn add_stream(&mut self, record: &RecordRef<'_>, first_ordinal: u32) -> u32 {
        let name: Box<str> = record.stream().into();
        let place = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        self.by_name.insert(name.clone(), place);
        self.streams.push(Stream { name, first_version: record.version(), first_ordinal });
        place
    }

    /// Adds the next change of the segment with the number `segment`.
    pub(crate) fn add_change(&mut self, number: ChangeNumber, change: &Change, segment: u64) {
        if self.changes.is_empty() {
            self.changes.extend_from_slice(&number.get().to_le_bytes());
        }
        if let Change::Record(record) = change {
            self.record_changes += 1;
            // They come in the order of their versions.
            let entry = RecordEntry::of(record, segment);
            match self.records.get_mut(record.key.as_str()) {
                Some(known) => *known = entry,
                None => {
                    self.records.insert(record.key.as_str().into(), entry);
                }
            }
            return;
        }
        self.end_run();
        // Without records, a seed has no effect.
        change.encode(&mut self.changes, Seed::of_salt(0));
    }

    /// Enters the number of record changes that were added since the last other change.
    fn end_run(&mut self) {
        let count = std::mem::take(&mut self.record_changes);
        if count > 0 {
            DerivedChange::encode_run(count, &mut self.changes);
        }
    }

    /// The bytes of the index file. `previous` gives, for the ordinal of a stream's first event
    /// in the segment, the position of the stream's event before it (0: none).
    pub(crate) fn finish<E>(
        mut self,
        store_id: [u8; 16],
        meta: &IndexMeta,
        mut previous: impl FnMut(&str, u64, u32) -> Result<u64, E>,
    ) -> Result<Vec<u8>, E> {
        self.end_run();
        let mut out = Placed::default();
        let categories = self.categories();
        let term_filter = self.term_filter(&categories);
        let mut streams = Vec::with_capacity(self.streams.len() * layout::STREAM_LEN);
        let mut hashed = Vec::with_capacity(self.streams.len());
        for (stream, list) in self.stream_lists() {
            let hash = hash_term(layout::STREAMS, &stream.name);
            hashed.push(hash & HASH_HALF | hashed.len() as u64);
            let term = out.place(&stream.name, &list);
            let entry = StreamEntry {
                name_offset: term.name_offset,
                name_len: term.name_len,
                count: term.count,
                list_offset: term.list_offset,
                first_version: stream.first_version,
                previous_position: previous(
                    &stream.name,
                    stream.first_version,
                    stream.first_ordinal,
                )?,
            };
            entry.encode(&mut streams);
        }
        let mut terms = [self.types, self.tags, categories].map(|map| {
            let mut entries = Vec::with_capacity(map.len() * layout::TERM_LEN);
            for (name, list) in sorted(map) {
                out.place(&name, &list).encode(&mut entries);
            }
            entries
        });
        let [types, tags, categories] = &mut terms;
        let mut records = Vec::with_capacity(self.records.len() * layout::RECORD_LEN);
        let mut hashed_keys = Vec::with_capacity(self.records.len());
        for (key, entry) in sorted(self.records) {
            let hash = hash_term(layout::RECORDS, &key);
            hashed_keys.push(hash & HASH_HALF | hashed_keys.len() as u64);
            let (name_offset, name_len) = out.place_name(&key);
            let named = NamedRecord { name_offset, name_len, entry };
            records.extend_from_slice(&named.encode());
        }
        let (ids, filter) = encode_ids(&self.hashes);
        let (hashed, buckets) = encode_hashes(hashed);
        let (record_hashes, record_buckets) = encode_hashes(hashed_keys);
        let meta_bytes = meta.encode();
        let tables = out.tables();
        let mut sections: Vec<(u32, &[u8])> = vec![
            (layout::META, &meta_bytes),
            (layout::STREAMS, &streams),
            (layout::TYPES, types),
            (layout::TAGS, tags),
            (layout::CATEGORIES, categories),
            (layout::NAMES, &out.names),
            (layout::LISTS, &out.lists),
            (layout::IDS, &ids),
            (layout::FILTER, &filter),
            (layout::CHANGES, &self.changes),
            (layout::TERM_FILTER, &term_filter),
            (layout::TABLES, &tables),
            (layout::HASHES, &hashed),
            (layout::BUCKETS, &buckets),
        ];
        if !records.is_empty() {
            sections.push((layout::RECORDS, &records));
            sections.push((layout::RECORD_HASHES, &record_hashes));
            sections.push((layout::RECORD_BUCKETS, &record_buckets));
        }
        Ok(container::encode(container::INDEX_MAGIC, store_id, &sections))
    }

    /// The streams by name, each with its list.
    fn stream_lists(&self) -> impl Iterator<Item = (&Stream, ListBuilder)> {
        // The offset of each stream's ordinals in the concatenated list.
        let mut starts = vec![0_usize; self.streams.len() + 1];
        for &stream in &self.stream_of {
            starts[stream as usize + 1] += 1;
        }
        for stream in 1..starts.len() {
            starts[stream] += starts[stream - 1];
        }
        let mut next = starts.clone();
        let mut grouped = vec![0_u32; self.stream_of.len()];
        for (ordinal, &stream) in (0..).zip(&self.stream_of) {
            let at = &mut next[stream as usize];
            grouped[*at] = ordinal;
            *at += 1;
        }
        let mut order: Vec<usize> = (0..self.streams.len()).collect();
        order.sort_unstable_by(|&a, &b| self.streams[a].name.cmp(&self.streams[b].name));
        order.into_iter().map(move |stream| {
            let mut list = ListBuilder::default();
            grouped[starts[stream]..starts[stream + 1]].iter().for_each(|&o| list.push(o));
            (&self.streams[stream], list)
        })
    }

    fn categories(&self) -> HashMap<Box<str>, ListBuilder, Hasher> {
        let mut places: HashMap<&str, usize, Hasher> = HashMap::default();
        let mut lists: Vec<(&str, ListBuilder)> = Vec::new();
        let mut category_of_stream = Vec::with_capacity(self.streams.len());
        for stream in &self.streams {
            let name = category_of(&stream.name);
            let place = *places.entry(name).or_insert(lists.len());
            if place == lists.len() {
                lists.push((name, ListBuilder::default()));
            }
            category_of_stream.push(place);
        }
        for (ordinal, &stream) in (0..).zip(&self.stream_of) {
            lists[category_of_stream[stream as usize]].1.push(ordinal);
        }
        lists.into_iter().map(|(name, list)| (name.into(), list)).collect()
    }

    fn term_filter(&self, categories: &HashMap<Box<str>, ListBuilder, Hasher>) -> Vec<u8> {
        let streams = self.streams.iter().map(|stream| hash_term(layout::STREAMS, &stream.name));
        let terms = [
            (layout::TYPES, &self.types),
            (layout::TAGS, &self.tags),
            (layout::CATEGORIES, categories),
        ];
        let terms_len = terms.iter().map(|(_, map)| map.len()).sum::<usize>();
        let entries = terms_len + self.streams.len() + self.records.len();
        let mut filter = vec![0; filter_len(entries)];
        let names = terms
            .iter()
            .flat_map(|(section, map)| map.keys().map(|name| hash_term(*section, name)));
        let records = self.records.keys().map(|key| hash_term(layout::RECORDS, key));
        streams.chain(names).chain(records).for_each(|hash| filter_add(&mut filter, hash));
        filter
    }
}

fn push_term(map: &mut HashMap<Box<str>, ListBuilder, Hasher>, name: &str, ordinal: u32) {
    if let Some(list) = map.get_mut(name) {
        // An event with a repeated tag is listed once.
        if list.last != ordinal {
            list.push(ordinal);
        }
    } else {
        let mut list = ListBuilder::default();
        list.push(ordinal);
        map.insert(name.into(), list);
    }
}

fn sorted<V>(map: HashMap<Box<str>, V, Hasher>) -> Vec<(Box<str>, V)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Names and lists in the order in which they are written, and the tables of long ones. All are smaller
/// than the segment, which is below 4 GiB.
#[derive(Debug, Default)]
struct Placed {
    names: Vec<u8>,
    lists: Vec<u8>,
    /// List offset, index of the first entry.
    long: Vec<(u32, u32)>,
    skips: Vec<Skip>,
}

impl Placed {
    /// The offset and length of a name, which is added.
    fn place_name(&mut self, name: &str) -> (u32, u16) {
        let offset = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.extend_from_slice(name.as_bytes());
        (offset, u16::try_from(name.len()).unwrap_or(u16::MAX))
    }

    fn place(&mut self, name: &str, list: &ListBuilder) -> TermEntry {
        let (name_offset, name_len) = self.place_name(name);
        let entry = TermEntry {
            name_offset,
            name_len,
            count: list.count,
            list_offset: u32::try_from(self.lists.len()).unwrap_or(u32::MAX),
        };
        self.lists.extend_from_slice(&list.bytes);
        if !list.table.is_empty() {
            let first = u32::try_from(self.skips.len()).unwrap_or(u32::MAX);
            self.long.push((entry.list_offset, first));
            self.skips.extend_from_slice(&list.table);
        }
        entry
    }

    /// The section TABLES; empty if no list is long.
    fn tables(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.long.is_empty() {
            out.extend_from_slice(&(self.long.len() as u64).to_le_bytes());
        }
        for (list, first) in &self.long {
            out.extend_from_slice(&list.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
        }
        out.extend(self.skips.iter().flat_map(|skip| skip.encode()));
        out
    }
}

/// The sections HASHES and BUCKETS, from the entries of the former in any order.
fn encode_ids(hashes: &[u64]) -> (Vec<u8>, Vec<u8>) {
    let mut filter = vec![0_u8; filter_len(hashes.len())];
    let mut sorted: Vec<u64> = Vec::with_capacity(hashes.len());
    for (ordinal, &hash) in hashes.iter().enumerate() {
        sorted.push(hash & HASH_HALF | ordinal as u64);
        filter_add(&mut filter, hash);
    }
    sorted.sort_unstable();
    let ids = sorted.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    (ids, filter)
}
