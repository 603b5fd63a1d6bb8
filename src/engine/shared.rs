//! Facts about an open store that every part of the engine needs: where it is, how it was opened,
//! whether it is still open.
//!
//! Owns no lock. Must never depend on another part of the engine.

use std::path::Path;

use crate::dir::StoreDir;
use crate::engine::counters::Counters;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::recovery::Opened;
use crate::storage::Storage;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The constants of an open store, and whether it is open.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: StoreDir,
    options: Options,
    store_id: [u8; 16],
    created_at: u64,
    opened: Opened,
    closed: AtomicBool,
    counters: Counters,
}

impl Shared {
    pub(super) fn new(
        dir: StoreDir,
        options: Options,
        opened: Opened,
        store_id: [u8; 16],
        created_at: u64,
    ) -> Self {
        Self {
            dir,
            options,
            store_id,
            created_at,
            opened,
            closed: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// The path of the store's directory.
    pub(crate) fn root(&self) -> &Path {
        self.dir.root()
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.dir.storage()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The time in µs, by the clock of the options or the storage's.
    pub(crate) fn now_micros(&self) -> u64 {
        self.options.given_time().unwrap_or_else(|| self.storage().now_micros())
    }

    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// When the store was created, in µs since 1970.
    pub(crate) fn created_at(&self) -> u64 {
        self.created_at
    }

    /// What recovery found when the store was opened.
    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Marks the store as closed. Returns whether it was closed before.
    pub(super) fn close(&self) -> bool {
        self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.options.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Whether the store is open for reading only and no thread of it follows the writer: each read
    /// has to look for new events itself.
    pub(crate) fn follows_without_thread(&self) -> bool {
        self.options.read_only && !self.options.background
    }
}
