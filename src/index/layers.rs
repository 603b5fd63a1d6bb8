//! Entries by name of which newer ones are in memory and older ones in a checkpoint: both in one listing, and
//! the sections of the next checkpoint.

use smol_str::SmolStr;

use crate::format::Defect;
use crate::format::hashes::{HASH_HALF, encode_hashes};
use crate::format::index_file::hash_term;

/// Calls `each` with the newest entry of each name, by name. `newer` is sorted by name, and `older` calls what
/// it is given in that order.
pub(super) fn newest_by_name<T>(
    newer: impl IntoIterator<Item = (SmolStr, T)>,
    older: impl FnOnce(&mut dyn FnMut(&str, T)) -> Result<(), Defect>,
    mut each: impl FnMut(&str, T),
) -> Result<(), Defect> {
    let mut newer = newer.into_iter().peekable();
    older(&mut |name, entry| {
        while let Some((new, entry)) = newer.next_if(|(new, _)| **new < *name) {
            each(&new, entry);
        }
        match newer.next_if(|(new, _)| **new == *name) {
            Some((_, newer)) => each(name, newer),
            None => each(name, entry),
        }
    })?;
    newer.for_each(|(name, entry)| each(&name, entry));
    Ok(())
}

/// Four sections of a checkpoint: entries sorted by name, the names, and their hashes in buckets.
#[derive(Debug, Default)]
pub(crate) struct NamedSections {
    pub(crate) entries: Vec<u8>,
    pub(crate) names: Vec<u8>,
    pub(crate) hashes: Vec<u8>,
    pub(crate) buckets: Vec<u8>,
}

/// Collects [`NamedSections`].
#[derive(Debug)]
pub(super) struct SectionsBuilder {
    /// The section of an index file in whose way names are hashed.
    hashed_as: u32,
    sections: NamedSections,
    hashes: Vec<u64>,
}

impl SectionsBuilder {
    pub(super) fn new(hashed_as: u32) -> Self {
        Self { hashed_as, sections: NamedSections::default(), hashes: Vec::new() }
    }

    /// Adds the next name; `entry` appends its entry, which has this offset and this length of the name.
    pub(super) fn add(&mut self, name: &str, entry: impl FnOnce(u64, u16, &mut Vec<u8>)) {
        let NamedSections { entries, names, .. } = &mut self.sections;
        self.hashes.push(hash_term(self.hashed_as, name) & HASH_HALF | self.hashes.len() as u64);
        // No name in a record or a change is longer.
        entry(names.len() as u64, u16::try_from(name.len()).unwrap_or(u16::MAX), entries);
        names.extend_from_slice(name.as_bytes());
    }

    pub(super) fn finish(self) -> NamedSections {
        let (hashes, buckets) = encode_hashes(self.hashes);
        NamedSections { hashes, buckets, ..self.sections }
    }
}
