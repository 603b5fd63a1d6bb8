//! Shared by the criterion benches: the same streams and bytes in every run, and stores for them.
//! The distance to the machine's limits is measured by `--bench limits`.

#![allow(dead_code, reason = "each bench uses a part")]
#![allow(clippy::disallowed_methods, reason = "benches measure time and copy stores")]

use std::path::Path;
use std::time::Duration;

use annals::{Durability, NewEvent, Options, Uuid};
use criterion::Criterion;

/// Bytes of data in an event.
pub(crate) const PAYLOAD: usize = 256;
/// How many streams appends are spread over.
pub(crate) const STREAMS: u64 = 10_000;
const TYPES: [&str; 4] = ["AccountOpened", "MoneyDeposited", "MoneyWithdrawn", "AccountClosed"];

/// Small samples: a whole bench ends in about a minute.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
}

/// Incompressible data, streams and ids, the same in every run.
pub(crate) struct Input {
    state: u64,
    payloads: Vec<Vec<u8>>,
}

impl Input {
    pub(crate) fn new(seed: u64) -> Self {
        let mut input = Self { state: seed | 1, payloads: Vec::new() };
        input.payloads = (0..64)
            .map(|_| (0..PAYLOAD / 8).flat_map(|_| input.number().to_le_bytes()).collect())
            .collect();
        input
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// One of the streams of one of ten categories.
    pub(crate) fn stream(&mut self) -> String {
        let number = self.below(STREAMS);
        format!("account{}-{number:08}", number % 10)
    }

    pub(crate) fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.number(), self.number())
    }

    pub(crate) fn event(&mut self) -> NewEvent {
        let random = self.number();
        let event_type = TYPES[usize::try_from(random % 4).unwrap_or(0)];
        let payload = &self.payloads[usize::try_from(random >> 8 & 63).unwrap_or(0)];
        NewEvent::new(event_type, payload)
    }

    /// The value of a record, of the size of an event's data.
    pub(crate) fn value(&mut self) -> Vec<u8> {
        let number = usize::try_from(self.number() & 63).unwrap_or(0);
        self.payloads[number].clone()
    }

    pub(crate) fn events(&mut self, count: usize) -> Vec<NewEvent> {
        (0..count).map(|_| self.event()).collect()
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Buffered, with an interval longer than any run: syncing is left to the system.
pub(crate) fn buffered() -> Options {
    Options::new().durability(Durability::Buffered { interval: Duration::from_secs(3600) })
}

pub(crate) fn synced() -> Options {
    Options::new().durability(Durability::Sync)
}

/// A temporary directory that goes with the value.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Copies a store's directory, as it is.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create a directory");
    for entry in std::fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

/// Removes the files of a directory, and keeps the directory.
pub(crate) fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("list a directory") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("remove a file");
    }
}
