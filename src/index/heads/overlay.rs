//! The heads of streams in memory, found by name.
//!
//! Owns the table and the entries. Must never touch all entries at once: an append waits meanwhile, for milliseconds
//! with some hundred thousand streams.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use smol_str::SmolStr;

use crate::index::Head;
use crate::index::jumps::Steps;

/// Entries that are allocated together.
const CHUNK: usize = 1024;

/// Heads in memory. A version of 0 hides what is older: the stream does not exist.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    table: HashTable<Place>,
    /// Full chunks, and one that is not. Entries are never moved, as they would be in one vector that grows.
    chunks: Vec<Vec<Entry>>,
    hasher: foldhash::fast::RandomState,
}

/// Where an entry is, with its hash: a table that grows reads no entries.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    place: u32,
}

/// A stream in memory: a cache line, so that an append touches one.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    /// Names of up to 23 bytes are stored inline, which saves a cache miss per look-up.
    pub(super) name: SmolStr,
    pub(super) head: Head,
    /// Of the head in the active index.
    pub(super) steps: Steps,
}

/// The hash twice: the table takes the place in it from the lowest bits, and compares the highest seven.
fn twice(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Overlay {
    /// The hash of a stream's name.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of a hash are one")]
    pub(super) fn hash(&self, name: &str) -> u32 {
        self.hasher.hash_one(name) as u32
    }

    /// The place of a stream, if it is here; it stays the same.
    #[inline]
    pub(super) fn place(&self, hash: u32, name: &str) -> Option<u32> {
        let is_it = |it: &Place| it.hash == hash && *self.entry(it.place).name == *name;
        self.table.find(twice(hash), is_it).map(|it| it.place)
    }

    /// The entry at a place that was found.
    #[inline]
    pub(super) fn entry(&self, place: u32) -> &Entry {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// The entry at a place that was found, to be changed.
    #[inline]
    pub(super) fn entry_mut(&mut self, place: u32) -> &mut Entry {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// Adds a stream that is not here.
    pub(super) fn insert(&mut self, hash: u32, name: &str, head: Head, steps: Steps) {
        // 2^32 streams between two checkpoints would need hundreds of gigabytes of log.
        let place = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let entry = Entry { name: SmolStr::new(name), head, steps };
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(entry),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        self.table.insert_unique(twice(hash), Place { hash, place }, |it| twice(it.hash));
    }

    /// Takes room in the table for this many streams.
    pub(super) fn reserve(&mut self, streams: usize) {
        self.table.reserve(streams.saturating_sub(self.len()), |it| twice(it.hash));
    }

    /// The number of streams.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// All entries in the order of their places.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_in_their_places_while_their_number_grows() {
        let mut overlay = Overlay::default();
        overlay.reserve(100);
        let head = |version| Head { version, last_position: version * 10 };
        for at in 0..3_000_u32 {
            assert_eq!(overlay.len(), at as usize);
            let name = format!("stream-{at}");
            let hash = overlay.hash(&name);
            assert_eq!(overlay.place(hash, &name), None);
            overlay.insert(hash, &name, head(at.into()), Steps::UNKNOWN);
        }
        for at in 0..3_000_u32 {
            let name = format!("stream-{at}");
            assert_eq!(overlay.place(overlay.hash(&name), &name), Some(at));
            overlay.entry_mut(at).head = head(u64::from(at) + 1);
            assert_eq!(*overlay.entry(at).name, *name);
        }
        let heads: Vec<u64> = overlay.entries().map(|entry| entry.head.version).collect();
        assert_eq!(heads, (1..=3_000).collect::<Vec<_>>());
    }

    #[test]
    fn streams_with_the_same_hash_are_kept_apart() {
        let mut overlay = Overlay::default();
        for name in ["a", "b", "c"] {
            overlay.insert(7, name, Head::default(), Steps::UNKNOWN);
        }
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| overlay.place(7, name)),
            [Some(0), Some(1), Some(2), None]
        );
    }
}
