//! What a store contains: the catalog of segments and streams, and the metadata (cursors, hidden
//! streams, recent records) as readers see it.
//!
//! Owns both and their locks, and answers look-ups ([`lookup`]). A look-up that meets a damaged
//! derived file rebuilds it from the log and tries again ([`heal`]). Callers see the catalog inside a
//! closure, for moments: no file is read or written while it is locked.

mod heal;
mod locate;
mod lookup;
mod names;
mod records;

use std::sync::Arc;

use crate::catalog::{Catalog, Part, RecordFiles};
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::format::metadata::ChangeNumber;
use crate::index::metadata::Metadata;
use crate::log::segment::Segment;
use crate::storage::Mappings;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, Rank, RwLock};

pub(super) use heal::covers_of;

/// The catalog and the metadata of an open store.
#[derive(Debug)]
pub(crate) struct Contents {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    catalog: RwLock<Catalog>,
    /// Cursors and hidden streams, as readers see them.
    metadata: RwLock<Metadata>,
    /// Whether anything is hidden: for a read to ask of each event, without a lock.
    hides: AtomicBool,
    /// Held while index files on disk and the indexes in use change together.
    index_files: Mutex<()>,
    /// Held while a checkpoint is rebuilt.
    rebuilding: Mutex<()>,
    /// The number of mappings ever made at which they are counted again.
    counts_mappings_at: AtomicUsize,
}

impl Contents {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        mut catalog: Catalog,
        metadata: Metadata,
    ) -> Self {
        catalog.stop_reading();
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            catalog: RwLock::new(Rank::Catalog, catalog),
            hides: AtomicBool::new(!metadata.hides_nothing()),
            metadata: RwLock::new(Rank::Metadata, metadata),
            index_files: Mutex::new(Rank::IndexFiles, ()),
            rebuilding: Mutex::new(Rank::Rebuilding, ()),
            counts_mappings_at: AtomicUsize::new(0),
        }
    }

    /// Looks at the catalog, which is locked meanwhile.
    pub(crate) fn with_catalog<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.read())
    }

    /// Changes the catalog, which is locked meanwhile.
    pub(super) fn change_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        change(&mut self.catalog.write())
    }

    /// All segments but the active one.
    pub(crate) fn parts(&self) -> Arc<Vec<Part>> {
        Arc::clone(&self.catalog.read().parts)
    }

    /// The segment that takes frames.
    pub(crate) fn active_segment(&self) -> Arc<Segment> {
        Arc::clone(&self.catalog.read().active.segment)
    }

    /// Looks at the metadata, which is locked meanwhile.
    pub(crate) fn with_metadata<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        look(&self.metadata.read())
    }

    /// Looks at the metadata, and at what of the records is in files. Both are locked meanwhile.
    pub(super) fn with_records<T>(&self, look: impl FnOnce(RecordFiles, &Metadata) -> T) -> T {
        let catalog = self.catalog.read();
        look(catalog.record_files(), &self.metadata.read())
    }

    /// Changes the metadata that readers see.
    pub(super) fn change_metadata<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        let mut metadata = self.metadata.write();
        let changed = change(&mut metadata);
        self.hides.store(!metadata.hides_nothing(), Ordering::Release);
        changed
    }

    /// Runs a change of index files on disk and of the indexes in use; one thread at a time.
    pub(super) fn with_index_files<T>(&self, change: impl FnOnce() -> T) -> T {
        let _files = self.index_files.lock();
        change()
    }

    /// Changes the catalog and the metadata together: no reader sees one without the other.
    pub(super) fn change_all<T>(&self, change: impl FnOnce(&mut Catalog, &mut Metadata) -> T) -> T {
        let mut catalog = self.catalog.write();
        self.change_metadata(|metadata| change(&mut catalog, metadata))
    }

    /// The number of the last change of the metadata that readers see.
    pub(crate) fn last_change(&self) -> ChangeNumber {
        self.metadata.read().last_change()
    }

    /// Whether any event is hidden from reads.
    pub(crate) fn hides_events(&self) -> bool {
        self.hides.load(Ordering::Acquire)
    }

    /// Drops mappings where there are more than [`Options::max_mappings`](crate::Options::max_mappings)
    /// permits. They are counted each time that another quarter of that number was made. Mappings that
    /// events and reads in progress hold, and those of segments that are not sealed, stay and count too.
    pub(crate) fn bound_mappings(&self) {
        let Mappings { now, ever } = self.shared.storage().mappings();
        if ever < self.counts_mappings_at.load(Ordering::Relaxed) {
            return;
        }
        let limit = self.shared.options().max_mappings;
        let step = limit / 4;
        self.counts_mappings_at.store(ever + step, Ordering::Relaxed);
        if now >= limit - step {
            // Unmapping takes time: not under the lock.
            let excess = now - (limit - 2 * step);
            let dropped = self.change_catalog(|catalog| catalog.drop_mappings(excess));
            drop(dropped);
        }
    }

    /// The most index files that one look-up asks, since it keeps them mapped.
    pub(crate) fn most_asked_at_once(&self) -> usize {
        self.shared.options().max_mappings / 4
    }
}
