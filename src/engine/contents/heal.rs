//! Rebuilds a damaged checkpoint or index while the store is open.
//!
//! Opening checks no more of a derived file than it reads, so damage may show at any look-up later,
//! as an error and never as an answer. Then the same is built again from the log and takes the place
//! of what is damaged, in memory and on disk; in the place of a level file come the index files of
//! its segments. Must not be called with the catalog locked.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::catalog::{Catalog, Part, PartIndex, units};
use crate::derived::{Output, index_meta, open_level, rebuild_checkpoint, rebuild_index};
use crate::engine::contents::Contents;
use crate::error::{Error, Result};
use crate::index::covers::Covers;
use crate::index::heads::HeadTable;
use crate::index::sealed::SealedIndex;
use crate::log::rotation::remove_leftover;
use crate::log::segment::Segment;

impl Contents {
    /// Checks the checkpoints in use, whole, and rebuilds those that are damaged.
    pub(in crate::engine) fn rebuild_checkpoints(&self) -> Result<()> {
        let _one_at_a_time = self.rebuilding.lock();
        let in_use = self.with_catalog(checkpoints_of);
        for table in in_use {
            if table.file().verify().is_err() {
                self.rebuild_checkpoint(&table)?;
            }
        }
        Ok(())
    }

    /// The checkpoint, or, if its file is damaged, its replacement.
    pub(in crate::engine) fn sound(&self, table: &Arc<HeadTable>) -> Result<Arc<HeadTable>> {
        let _one_at_a_time = self.rebuilding.lock();
        if table.file().verify().is_ok() {
            Ok(Arc::clone(table))
        } else {
            self.rebuild_checkpoint(table)
        }
    }

    fn rebuild_checkpoint(&self, damaged: &Arc<HeadTable>) -> Result<Arc<HeadTable>> {
        let number = damaged.meta.segment;
        let (parts, active) = {
            let catalog = self.catalog.read();
            (Arc::clone(&catalog.parts), Arc::clone(&catalog.active.segment))
        };
        let at = parts.partition_point(|part| part.segment.number() < number);
        let segment = parts.get(at).map_or(&active, |part| &part.segment);
        let output = Output::of(self.shared.options().read_only);
        let table = rebuild_checkpoint(self.shared.dir(), damaged, &parts[..at], segment, output)?;
        let mut catalog = self.catalog.write();
        catalog.active.heads.swap_base(damaged, &table);
        catalog.active.index.replace_kept(damaged, &table);
        // Full segments that are not sealed yet are few.
        for part in Arc::make_mut(&mut catalog.parts) {
            let PartIndex::Frozen { index, heads, .. } = &mut part.index else { continue };
            if index.kept_in().is_some_and(|kept| Arc::ptr_eq(kept, damaged)) {
                *index = Arc::new(index.with_kept(damaged, &table));
            }
            if heads.base().is_some_and(|base| Arc::ptr_eq(base, damaged)) {
                *heads = Arc::new(heads.with_base_swapped(damaged, &table));
            }
        }
        Ok(table)
    }

    /// [`Contents::rebuild`] for an index that a look-up found damaged, if it is in use still: look-ups
    /// hold no lock, and meanwhile it may have been rebuilt, or merged and its file removed. Returns
    /// whether it was rebuilt.
    pub(super) fn rebuild_failed(&self, failed: &Arc<SealedIndex>) -> Result<bool> {
        let segment = *failed.segments().start();
        let _files = self.index_files.lock();
        let in_use = |index: &Arc<SealedIndex>| Arc::ptr_eq(index, failed);
        if !sealed_index(&self.parts(), segment).is_some_and(in_use) {
            return Ok(false);
        }
        self.rebuild_locked(segment)
    }

    /// Rebuilds the index of a segment, and of all that share it, from the log. Returns whether that
    /// was needed: a reader may find that the writer in another process has merged the file.
    pub(in crate::engine) fn rebuild(&self, segment: u64) -> Result<bool> {
        let _files = self.index_files.lock();
        self.rebuild_locked(segment)
    }

    /// [`Contents::rebuild`]; the caller holds `index_files`.
    fn rebuild_locked(&self, segment: u64) -> Result<bool> {
        if self.shared.options().read_only && self.share_writers_level(segment)? {
            return Ok(false);
        }
        self.rebuild_shared(segment).map(|()| true)
    }

    /// Builds again the index of a segment and of all segments that share it. The caller holds
    /// `index_files`.
    fn rebuild_shared(&self, segment: u64) -> Result<()> {
        let parts = self.parts();
        let Some(damaged) = sealed_index(&parts, segment) else { return Ok(()) };
        for number in damaged.segments() {
            let shares = |index: &Arc<SealedIndex>| Arc::ptr_eq(index, damaged);
            if !sealed_index(&parts, number).is_some_and(shares) {
                continue;
            }
            let (segment, index) = self.index_again(number)?;
            let part = Part { segment, index: PartIndex::Sealed(index) };
            self.catalog.write().replace_part(part);
        }
        if damaged.is_level() && !self.shared.options().read_only {
            let (first, last) = damaged.segments().into_inner();
            // Windows removes no file while it is mapped; the next merge tries again.
            let _ =
                remove_leftover(self.shared.storage(), &self.shared.dir().level_path(first, last));
        }
        Ok(())
    }

    /// Builds the index file of a sealed segment from the log.
    fn index_again(&self, number: u64) -> Result<(Arc<Segment>, Arc<SealedIndex>)> {
        let output = Output::of(self.shared.options().read_only);
        loop {
            let parts = self.parts();
            let at = parts.partition_point(|part| part.segment.number() < number);
            let (before, segment) = (&parts[..at], &parts[at].segment);
            let index = rebuild_index(self.shared.dir(), segment, before, output);
            if !matches!(index, Err(Error::Corrupt { .. })) {
                return Ok((Arc::clone(segment), index?));
            }
            // It leads into the index files before, and one of those may be damaged as well.
            let damaged = units(before).find(|part| match &part.index {
                PartIndex::Sealed(index) => index.verify().is_err(),
                PartIndex::Frozen { .. } => false,
            });
            match damaged {
                Some(damaged) => self.rebuild_shared(damaged.segment.number())?,
                None => return Ok((Arc::clone(segment), index?)),
            }
        }
    }

    /// Looks for a level file into which the writer beside has merged the index of a segment.
    fn share_writers_level(&self, segment: u64) -> Result<bool> {
        let parts = self.parts();
        if !sealed_index(&parts, segment).is_some_and(|index| index.is_gone()) {
            return Ok(false);
        }
        for (first, last) in self.shared.dir().levels()? {
            if !(first..=last).contains(&segment) {
                continue;
            }
            let Some(covers) = covers_of(&parts, first..=last) else { continue };
            if let Some(level) = open_level(self.shared.dir(), self.shared.store_id(), covers) {
                self.catalog.write().share_index(&level);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The checkpoints that the catalog reads from, each once.
pub(super) fn checkpoints_of(catalog: &Catalog) -> Vec<Arc<HeadTable>> {
    let frozen = catalog.parts.iter().filter_map(|part| match &part.index {
        PartIndex::Frozen { index, heads, .. } => Some([heads.base(), index.kept_in()]),
        PartIndex::Sealed(_) => None,
    });
    let active = [catalog.active.heads.base(), catalog.active.index.kept_in()];
    let mut found: Vec<Arc<HeadTable>> = Vec::new();
    for table in frozen.chain([active]).flatten().flatten() {
        if !found.iter().any(|known| Arc::ptr_eq(known, table)) {
            found.push(Arc::clone(table));
        }
    }
    found
}

/// The coverage expected of a level file over these segments; `None` if they are not all sealed.
pub(in crate::engine) fn covers_of(
    parts: &[Part],
    segments: RangeInclusive<u64>,
) -> Option<Covers> {
    let first = parts.partition_point(|part| part.segment.number() < *segments.start());
    Covers::several(segments.zip(first..).map(|(number, at)| {
        let part = parts.get(at).filter(|part| part.segment.number() == number)?;
        let PartIndex::Sealed(_) = &part.index else { return None };
        Some((index_meta(&part.segment)?, part.segment.trailer.as_ref()?.change_count))
    }))
}

/// The index of a segment, if it is sealed.
fn sealed_index(parts: &[Part], number: u64) -> Option<&Arc<SealedIndex>> {
    let at = parts.binary_search_by_key(&number, |part| part.segment.number()).ok()?;
    match &parts[at].index {
        PartIndex::Sealed(index) => Some(index),
        PartIndex::Frozen { .. } => None,
    }
}
