//! The newest event of each term.
//!
//! May state a later event than the newest one, and never an earlier one.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Bits of an entry that have the ordinal after the newest event's. A segment has fewer than 2^32 bytes,
/// and an event takes 48 of them.
const ORDINAL_BITS: u32 = 27;
const ORDINAL: u64 = (1 << ORDINAL_BITS) - 1;

#[derive(Debug, Default)]
pub(super) struct NewestEvents {
    /// The lower bits of a term's hash, and the ordinal.
    table: HashTable<u64>,
}

/// What the table goes by, from the part of a hash that an entry has.
fn spread(entry: u64) -> u64 {
    (entry >> ORDINAL_BITS).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl NewestEvents {
    pub(super) fn get(&self, hash: u64) -> Option<u32> {
        let key = hash << ORDINAL_BITS;
        let found = self.table.find(spread(key), |entry| entry & !ORDINAL == key)?;
        u32::try_from(found & ORDINAL).ok()?.checked_sub(1)
    }

    /// The event at `ordinal` is the newest one of a term.
    #[inline]
    pub(super) fn set(&mut self, hash: u64, ordinal: u32) {
        let key = hash << ORDINAL_BITS;
        let new = key | (u64::from(ordinal) + 1).min(ORDINAL);
        let same = |entry: &u64| entry & !ORDINAL == key;
        match self.table.entry(spread(key), same, |&entry| spread(entry & !ORDINAL)) {
            Entry::Occupied(mut entry) => *entry.get_mut() = new,
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
        }
    }

    /// There are no events from `events` on.
    pub(super) fn truncate(&mut self, events: u32) {
        for entry in &mut self.table {
            *entry = (*entry & !ORDINAL) | (*entry & ORDINAL).min(events.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_events_are_never_stated_too_early() {
        let mut newest = NewestEvents::default();
        let hash = |term: u64| term.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        for ordinal in 0..5_000 {
            newest.set(hash(u64::from(ordinal) % 700), ordinal);
        }
        for term in 0..700 {
            let found = newest.get(hash(term)).unwrap();
            assert_eq!(u64::from(found) % 700, term);
            assert!(found >= 5_000 - 700);
        }
        assert_eq!(newest.get(hash(701)), None);
        newest.truncate(4_990);
        for term in 0..700 {
            assert!((4_290..4_990).contains(&newest.get(hash(term)).unwrap()));
        }
        newest.truncate(0);
        assert_eq!(newest.get(hash(1)), None);
    }
}
