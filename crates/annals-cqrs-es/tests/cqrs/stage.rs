//! A store to which something happens between the steps of a scenario.
//!
//! Owns the directories. Must never keep a handle of a store over a step.
#![allow(clippy::disallowed_methods, reason = "a crash is simulated by a copy of the directory")]

use std::path::{Path, PathBuf};

use annals::{Options, Store};

/// What happens between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Nothing.
    Nothing,
    /// The store is closed and opened again.
    Reopening,
    /// The directory of the open store is copied, and the copy is opened.
    Crash,
    /// Nothing, in a store with the smallest segments, buffers and pools.
    NothingInSmallStore,
}

/// A store for one run of a scenario.
pub(crate) struct Stage {
    between: Between,
    scratch: tempfile::TempDir,
    stores: usize,
    store: Option<Store>,
}

impl Stage {
    /// A stage for each way to run a scenario.
    pub(crate) fn each() -> impl Iterator<Item = Self> {
        use Between::{Crash, Nothing, NothingInSmallStore, Reopening};
        [Nothing, Reopening, Crash, NothingInSmallStore].into_iter().map(Self::new)
    }

    pub(crate) fn new(between: Between) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut stage = Self { between, scratch, stores: 0, store: None };
        stage.store = Some(stage.open());
        stage
    }

    pub(crate) fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    /// The most events that a replay reads ahead.
    pub(crate) fn channel_size(&self) -> usize {
        if self.between == Between::NothingInSmallStore { 1 } else { 200 }
    }

    /// Ends a step. Handles of former steps must be gone.
    pub(crate) fn next(&mut self) {
        match self.between {
            Between::Nothing | Between::NothingInSmallStore => {}
            Between::Reopening => {
                self.store.take().unwrap().close().unwrap();
                self.store = Some(self.open());
            }
            Between::Crash => {
                let from = self.directory();
                self.stores += 1;
                copy(&from, &self.directory());
                drop(self.store.take());
                self.store = Some(self.open());
            }
        }
    }

    fn directory(&self) -> PathBuf {
        self.scratch.path().join(self.stores.to_string())
    }

    fn open(&self) -> Store {
        let options = match self.between {
            Between::NothingInSmallStore => Options::new()
                .segment_size(Options::MIN_SEGMENT_SIZE)
                .max_pending_bytes(1)
                .max_open_files(Options::MIN_OPEN_FILES)
                .max_mappings(Options::MIN_MAPPINGS)
                .snapshots_kept(1),
            _ => Options::new().segment_size(1 << 20),
        };
        options.open(self.directory()).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if let Err(error) = std::fs::copy(entry.path(), to) {
            // A thread of the store has given a file that it had written its final name.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}
