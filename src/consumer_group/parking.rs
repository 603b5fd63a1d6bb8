//! Events that a group could not handle, recorded as events of a separate stream.
//!
//! Parking an event appends an `EventParked` to the stream `$parked-<group>`: tags identify the
//! event, the data is the text of the last error. A later event of that stream records that a
//! parked event is settled, and hides events that are no longer needed. The parked event itself is
//! not moved.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::event::{ExpectedVersion, NewEvent, Position, Timestamp};
use crate::read::event::Event;
use crate::store::Store;
use crate::store::transaction::Transaction;

/// The category of the streams with parked events.
const CATEGORY: &str = "$parked";
const PARKED: &str = "EventParked";
/// In bytes. Longer error texts are cut, and marked as cut.
const MAX_ERROR_LEN: usize = 4096;
const CUT: &str = " […]";

/// An event that a group could not handle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parked {
    /// The event.
    pub event: Event,
    /// The number of attempts before it was last parked.
    pub attempts: u32,
    /// The last error of the handler.
    pub error: String,
    /// The time at which it was parked.
    pub parked_at: Timestamp,
    /// Its version in the stream of parked events.
    pub(super) version: u64,
}

pub(super) fn stream(group: &str) -> String {
    format!("{CATEGORY}-{group}")
}

/// Whether this event records the parking of another one.
pub(super) fn is_note(event: &Event) -> bool {
    crate::event::category_of(event.stream()) == CATEGORY
}

/// The event that records a parked event.
pub(super) fn note(event: &Event, attempts: u32, error: &str) -> NewEvent {
    let mut text = error;
    let mut shortened;
    if text.len() > MAX_ERROR_LEN {
        let mut end = MAX_ERROR_LEN - CUT.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        shortened = text[..end].to_owned();
        shortened.push_str(CUT);
        text = &shortened;
    }
    NewEvent::new(PARKED, text)
        .tag(position_tag(event.position()))
        .tag(format!("attempts:{attempts}"))
        .tag(format!("event:{}", event.id()))
}

fn position_tag(position: Position) -> String {
    format!("position:{position}")
}

fn number(event: &Event, name: &str) -> Option<u64> {
    event.tags().find_map(|tag| tag.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

/// The parked events that are not settled, by position.
pub(super) fn list(store: &Store, group: &str) -> Result<Vec<Parked>> {
    let mut open: BTreeMap<u64, (Event, u64)> = BTreeMap::new();
    for note in store.read_stream(stream(group)) {
        let note = note?;
        let Some(position) = number(&note, "position") else { continue };
        if note.event_type() == PARKED {
            let version = open.get(&position).map_or(note.version(), |(_, version)| *version);
            open.insert(position, (note, version));
        } else {
            open.remove(&position);
        }
    }
    let mut all = Vec::with_capacity(open.len());
    for (position, (note, version)) in open {
        // An `EventParked` that another program appended may name a position without an event.
        let Some(event) = store.event_at(Position::new(position))? else { continue };
        all.push(Parked {
            event,
            attempts: number(&note, "attempts").and_then(|n| n.try_into().ok()).unwrap_or(0),
            error: String::from_utf8_lossy(note.data()).into_owned(),
            parked_at: note.recorded_at(),
            version,
        });
    }
    Ok(all)
}

/// Records that a parked event is settled.
pub(super) fn settle(store: &Store, group: &str, position: Position, how: &str) -> Result<()> {
    settled_in(store.transaction(), group, position, how).commit().map(drop)
}

/// Adds to a transaction the record that a parked event is settled.
pub(super) fn settled_in<'a>(
    transaction: Transaction<'a>,
    group: &str,
    position: Position,
    how: &str,
) -> Transaction<'a> {
    let note = NewEvent::new(how, "").tag(position_tag(position));
    transaction.append(stream(group), ExpectedVersion::Any, [note])
}

/// Hides the records before the first one that is still needed.
pub(super) fn tidy(store: &Store, group: &str) -> Result<()> {
    let stream = stream(group);
    let Some(head) = store.stream_head(&stream)? else { return Ok(()) };
    let needed = list(store, group)?.iter().map(|parked| parked.version).min();
    store.truncate_before(&stream, needed.unwrap_or(head.version + 1)).map(drop)
}
