//! Puts right, in a store that is open, a checkpoint whose file turns out damaged.
//!
//! Opening checks no more of a checkpoint than it reads, so damage may show at any look-up later,
//! as an error and never as an answer. Then the same checkpoint is built again from the log and
//! takes the place of the damaged one, in memory and on disk. Must not be called with the catalog
//! locked.

use std::sync::Arc;

use crate::catalog::{Catalog, PartIndex};
use crate::engine::Engine;
use crate::error::Result;
use crate::index::heads::HeadTable;
use crate::recovery::{Mode, rebuild_checkpoint};

impl Engine {
    /// Checks the checkpoints in use, whole, and rebuilds those that are damaged.
    pub(crate) fn mend_checkpoints(&self) -> Result<()> {
        let _one_at_a_time = self.mending.lock();
        let in_use = checkpoints_of(&self.catalog.read());
        for table in in_use {
            if table.file().verify().is_err() {
                self.mend(&table)?;
            }
        }
        Ok(())
    }

    /// The checkpoint, or, if its file is damaged, what is in its place now.
    pub(crate) fn sound(&self, table: &Arc<HeadTable>) -> Result<Arc<HeadTable>> {
        let _one_at_a_time = self.mending.lock();
        if table.file().verify().is_ok() { Ok(Arc::clone(table)) } else { self.mend(table) }
    }

    fn mend(&self, damaged: &Arc<HeadTable>) -> Result<Arc<HeadTable>> {
        let number = damaged.meta.segment;
        let (parts, active) = {
            let catalog = self.catalog.read();
            (Arc::clone(&catalog.parts), Arc::clone(&catalog.active.segment))
        };
        let at = parts.partition_point(|part| part.segment.number() < number);
        let segment = parts.get(at).map_or(&active, |part| &part.segment);
        let mode = if self.options.read_only { Mode::Read } else { Mode::Write };
        let table =
            rebuild_checkpoint(&*self.storage, &self.root, damaged, &parts[..at], segment, mode)?;
        let mut catalog = self.catalog.write();
        catalog.heads.swap_base(damaged, &table);
        catalog.active.index.replace_kept(damaged, &table);
        // Full segments that are not sealed yet are few.
        for part in Arc::make_mut(&mut catalog.parts) {
            if let PartIndex::Frozen { index, .. } = &mut part.index
                && index.kept_in().is_some_and(|kept| Arc::ptr_eq(kept, damaged))
            {
                *index = Arc::new(index.with_kept(damaged, &table));
            }
        }
        Ok(table)
    }
}

/// The checkpoints that the catalog reads from, each once.
fn checkpoints_of(catalog: &Catalog) -> Vec<Arc<HeadTable>> {
    let frozen = catalog.parts.iter().filter_map(|part| match &part.index {
        PartIndex::Frozen { index, .. } => index.kept_in(),
        PartIndex::Sealed(_) => None,
    });
    let mut found: Vec<Arc<HeadTable>> = Vec::new();
    for table in
        catalog.heads.base().into_iter().chain(catalog.active.index.kept_in()).chain(frozen)
    {
        if !found.iter().any(|known| Arc::ptr_eq(known, table)) {
            found.push(Arc::clone(table));
        }
    }
    found
}
