//! The index of a segment that is not sealed yet.
//!
//! An append pays three pushes an event and no hashing beyond its stream's head: the previous
//! position of each event's stream makes the events of a stream a linked list through the
//! segment, and ids are hashed only when somebody first looks one up. Grouping by stream, type
//! and tag is left to the background, when the segment is sealed.

use hashbrown::HashTable;

use super::terms::ActiveTerms;
use crate::event::NewEvent;
use crate::format::index_file::hash_id;
use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(crate) struct ActiveIndex {
    base_position: u64,
    offsets: Vec<u32>,
    previous: Vec<u64>,
    ids: Vec<[u8; 16]>,
    by_id: Mutex<IdTable>,
    terms: Mutex<ActiveTerms>,
    /// Every append adds its terms; all of those before are in.
    keeps_terms: bool,
    pub(crate) commits: u64,
    /// Changes in the metadata of this segment.
    pub(crate) changes: u64,
    pub(crate) first_recorded_at: u64,
    pub(crate) last_recorded_at: u64,
}

/// Ordinals by id, for the first `hashed` events.
#[derive(Debug, Default)]
struct IdTable {
    table: HashTable<u32>,
    hashed: usize,
}

impl ActiveIndex {
    pub(crate) fn new(base_position: u64) -> Self {
        Self { base_position, ..Self::default() }
    }

    /// Takes what a checkpoint kept; the three describe the same events.
    pub(crate) fn restore(
        base_position: u64,
        offsets: Vec<u32>,
        previous: Vec<u64>,
        ids: Vec<[u8; 16]>,
    ) -> Self {
        Self { base_position, offsets, previous, ids, ..Self::default() }
    }

    pub(crate) fn base_position(&self) -> u64 {
        self.base_position
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Adds the next event: where its record is, and its stream's event before it (0: none).
    pub(crate) fn push(&mut self, offset: u32, previous_position: u64, id: [u8; 16]) {
        self.offsets.push(offset);
        self.previous.push(previous_position);
        self.ids.push(id);
    }

    /// Adds the terms of the event that was pushed last, if they are kept.
    pub(crate) fn push_terms(&mut self, stream: &str, event: &NewEvent) {
        if self.keeps_terms {
            let tags = event.tags.iter().map(|tag| &**tag);
            self.terms.get_mut().push(stream, &event.event_type, tags);
        }
    }

    /// From now on appends add their terms. Those of all events so far are in.
    pub(crate) fn keep_terms(&mut self) {
        self.keeps_terms = true;
    }

    pub(crate) fn keeps_terms(&self) -> bool {
        self.keeps_terms
    }

    /// The postings of the events whose terms are in.
    pub(crate) fn terms(&self) -> MutexGuard<'_, ActiveTerms> {
        self.terms.lock()
    }

    /// A commit was added. One without events is not counted, but takes its time.
    pub(crate) fn note_commit(&mut self, recorded_at: u64, has_events: bool) {
        if has_events {
            if self.commits == 0 {
                self.first_recorded_at = recorded_at;
            }
            self.commits += 1;
        }
        self.last_recorded_at = recorded_at;
    }

    /// Forgets everything from `len` events on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len);
        self.previous.truncate(len);
        self.ids.truncate(len);
        *self.by_id.get_mut() = IdTable::default();
        self.terms.get_mut().truncate(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// The ordinal of a position, if the event is in this segment.
    pub(crate) fn ordinal(&self, position: u64) -> Option<usize> {
        let ordinal = usize::try_from(position.checked_sub(self.base_position)?).ok()?;
        (ordinal < self.len()).then_some(ordinal)
    }

    pub(crate) fn offset(&self, ordinal: usize) -> Option<u32> {
        self.offsets.get(ordinal).copied()
    }

    /// The position of the stream's event before the one at `ordinal`; 0: none.
    pub(crate) fn previous(&self, ordinal: usize) -> u64 {
        self.previous.get(ordinal).copied().unwrap_or(0)
    }

    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(crate) fn previous_positions(&self) -> &[u64] {
        &self.previous
    }

    pub(crate) fn ids(&self) -> &[[u8; 16]] {
        &self.ids
    }

    /// The event with this id. Ids are compared whole, so equal hashes cost time and nothing else.
    pub(crate) fn find_id(&self, id: &[u8; 16]) -> Option<usize> {
        let mut by_id = self.by_id.lock();
        let IdTable { table, hashed } = &mut *by_id;
        for (ordinal, new) in self.ids.iter().enumerate().skip(*hashed) {
            // A segment holds at most 2^30 / 48 events.
            let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
            table.insert_unique(hash_id(new), ordinal, |&o| hash_id(&self.ids[o as usize]));
        }
        *hashed = self.ids.len();
        table.find(hash_id(id), |&o| self.ids[o as usize] == *id).map(|&o| o as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_while_it_grows_and_after_a_truncation() {
        let mut index = ActiveIndex::new(11);
        index.push(100, 0, [1; 16]);
        assert_eq!(index.find_id(&[1; 16]), Some(0));
        index.push(200, 11, [2; 16]);
        assert_eq!(index.find_id(&[2; 16]), Some(1));
        assert_eq!(index.find_id(&[3; 16]), None);
        index.truncate(1);
        assert_eq!((index.find_id(&[2; 16]), index.find_id(&[1; 16])), (None, Some(0)));
        assert_eq!(
            (index.ordinal(11), index.ordinal(12), index.ordinal(10)),
            (Some(0), None, None)
        );
    }
}
