//! Runs the scenarios of the adapters' tests in four ways.
//!
//! Owns the store between the steps of a scenario. Must never know an adapter.

// A test stops at the first operation that fails.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]
#![allow(clippy::disallowed_methods, reason = "a crash is a copy of the directory")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(feature = "import")]
use annals::ExpectedVersion;
use annals::{Options, Store};
#[cfg(feature = "import")]
use annals_lines::events_table::{Form, Table};
use tempfile::TempDir;

/// How a scenario's store lives between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It stays open.
    Straight,
    /// It is closed and opened again after each step.
    Reopened,
    /// After each step its directory is copied while the store is open, and the copy is opened: what a crash
    /// leaves.
    Crashed,
    /// It stays open, with the smallest segments, caches and buffers.
    Smallest,
}

impl Way {
    /// All four ways.
    pub const ALL: [Self; 4] = [Self::Straight, Self::Reopened, Self::Crashed, Self::Smallest];

    fn options(self) -> Options {
        match self {
            Self::Straight => Options::new(),
            Self::Reopened | Self::Crashed => Options::new().segment_size(1 << 20),
            Self::Smallest => Options::new()
                .segment_size(Options::MIN_SEGMENT_SIZE)
                .max_pending_bytes(1)
                .snapshots_kept(1)
                .max_open_files(Options::MIN_OPEN_FILES)
                .max_mappings(Options::MIN_MAPPINGS),
        }
    }
}

/// The store of one run of a scenario.
#[derive(Debug)]
pub struct Life {
    way: Way,
    root: TempDir,
    directory: PathBuf,
    copies: usize,
    store: Option<Store>,
}

impl Life {
    /// A new, empty store.
    pub fn new(way: Way) -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("store-0");
        let store = way.options().open(&directory).unwrap();
        Self { way, root, directory, copies: 0, store: Some(store) }
    }

    /// A new, empty store for each way.
    pub fn each() -> impl Iterator<Item = Self> {
        Way::ALL.into_iter().map(Self::new)
    }

    /// The way of this run.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The store of the current step.
    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Appends the rows of a table of a SQL backend, which the code of the command line reads, as one step.
    #[cfg(feature = "import")]
    pub fn import(&mut self, form: Form, rows: &[u8]) {
        let mut table = Table::new(form);
        for row in rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
            if let Some(record) = table.decode(row).unwrap_or_else(|bad| panic!("{bad:?}")) {
                let last = record.number().unwrap().unwrap() - 1;
                let expected = ExpectedVersion::Exact(last);
                self.store().append(&record.stream, expected, [record.to_event()]).unwrap();
            }
            // The end of the output of COPY.
            if row == b"\\." {
                break;
            }
        }
        self.end_step();
    }

    /// Runs one step, and then does what the way does between steps. The step must not keep a handle of
    /// the store.
    pub fn step<T>(&mut self, step: impl FnOnce(&Store) -> T) -> T {
        let result = step(self.store());
        self.end_step();
        result
    }

    /// Does what the way does between steps; for steps of tasks, which [`Life::step`] cannot run. No handle of
    /// the store may be left.
    pub fn end_step(&mut self) {
        let store = self.store.take().unwrap();
        self.store = Some(match self.way {
            Way::Straight | Way::Smallest => store,
            Way::Reopened => {
                store.close().unwrap();
                self.way.options().open(&self.directory).unwrap()
            }
            Way::Crashed => {
                self.copies += 1;
                let copy = self.root.path().join(format!("store-{}", self.copies));
                copy_directory(&self.directory, &copy);
                drop(store);
                fs::remove_dir_all(&self.directory).unwrap();
                self.directory = copy;
                self.way.options().open(&self.directory).unwrap()
            }
        });
    }
}

/// Runs a scenario in all four ways.
pub fn in_every_way(mut scenario: impl FnMut(&mut Life)) {
    for way in Way::ALL {
        scenario(&mut Life::new(way));
    }
}

/// Copies a directory as it was at one moment: again if threads of the store have created or removed files meanwhile.
fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let mut before = names(from);
    loop {
        for name in &before {
            copy(&from.join(name), &to.join(name));
        }
        let after = names(from);
        if after == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
        fs::create_dir(to).unwrap();
        before = after;
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        return copy_directory(from, to);
    }
    match fs::copy(from, to) {
        Ok(_) => {}
        // It was removed meanwhile, and everything is copied again.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("{error}"),
    }
}

fn names(directory: &Path) -> BTreeSet<OsString> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}
