//! Index keys as tags.
//!
//! Owns the names of the tags, and their division among events. Must never let an entry be stored without one of its
//! keys.
//!
//! An event takes a limited size of tags. The keys of an entry that exceed it are the tags of further events, in a
//! stream beside the run's, in the same commit. The data of such an event is the sequence number of the entry, 8 bytes,
//! little-endian.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use annals::{Event, NewEvent, Query, QueryItem, Store};
use nautilus_event_store::{EventStoreError, IndexKey, IndexKind};

use crate::Result;
use crate::error::{corrupted, from_annals};
use crate::run::RunName;

/// The size of the tags of an event, with the two bytes of each tag's length.
const MAX_TAGS: usize = 65_535;

/// The type of events that have the keys that exceed the limit.
const KEYS_TYPE: &str = "IndexKeys";

fn prefix(kind: IndexKind) -> &'static str {
    match kind {
        IndexKind::ClientOrderId => "client_order_id:",
        IndexKind::VenueOrderId => "venue_order_id:",
    }
}

/// The tags of an entry, in parts that an event can take. One key that is too long for an event is a part that the
/// append refuses.
pub(crate) fn parts(keys: &[IndexKey]) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut size = MAX_TAGS;
    let mut seen = HashSet::with_capacity(keys.len());
    for key in keys.iter().filter(|key| seen.insert(*key)) {
        let tag = format!("{}{}", prefix(key.kind), key.key);
        let needed = tag.len() + 2;
        if size + needed > MAX_TAGS {
            parts.push(Vec::new());
            size = 0;
        }
        size += needed;
        if let Some(part) = parts.last_mut() {
            part.push(tag);
        }
    }
    parts
}

/// The event of further keys of an entry.
pub(crate) fn further(seq: u64, tags: Vec<String>) -> NewEvent {
    NewEvent::new(KEYS_TYPE, &seq.to_le_bytes()).tags(tags)
}

/// The first sequence number under a key.
pub(crate) fn first(
    store: &Store,
    run: &RunName,
    kind: IndexKind,
    key: &str,
    has_further: bool,
) -> Result<Option<u64>> {
    let tag = format!("{}{key}", prefix(kind));
    if tag.len() + 2 > MAX_TAGS {
        return Ok(None);
    }
    let item = |stream: &str| Query::none().or(QueryItem::new().stream(stream).tag(tag.clone()));
    let read = |stream: &str| store.read_all().matching(item(stream)).include_hidden().limit(1);
    let found = read(run.stream()).try_for_each(|event| ControlFlow::Break(event.version()));
    let of_entry = found.map_err(|error| from_annals(&error))?.break_value();
    if !has_further {
        return Ok(of_entry);
    }
    let further = read(run.keys_stream()).into_iter().next();
    let further = further.transpose().map_err(|error| from_annals(&error))?;
    let of_further = further.map(|event| seq_of(&event)).transpose()?;
    Ok(of_entry.into_iter().chain(of_further).min())
}

/// All keys of a kind, each with its first sequence number.
pub(crate) fn all(
    store: &Store,
    run: &RunName,
    kind: IndexKind,
    has_further: bool,
) -> Result<Vec<(String, u64)>> {
    let mut found: HashMap<String, u64> = HashMap::new();
    let mut add = |tags: annals::Tags<'_>, seq: u64| {
        for key in tags.filter_map(|tag| tag.strip_prefix(prefix(kind))) {
            match found.get_mut(key) {
                Some(first) => *first = seq.min(*first),
                None => drop(found.insert(key.to_owned(), seq)),
            }
        }
    };
    let read = store.read_stream(run.stream()).include_hidden();
    read.for_each(|event| add(event.tags(), event.version())).map_err(|it| from_annals(&it))?;
    if has_further {
        for event in store.read_stream(run.keys_stream()).include_hidden() {
            let event = event.map_err(|error| from_annals(&error))?;
            add(event.tags(), seq_of(&event)?);
        }
    }
    Ok(found.into_iter().collect())
}

fn seq_of(event: &Event) -> Result<u64, EventStoreError> {
    let bytes = event.data().try_into();
    bytes.map(u64::from_le_bytes).map_err(|error| {
        corrupted(format!("event {} is no event of index keys", event.position()), &error)
    })
}
