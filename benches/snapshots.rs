//! A commit with a snapshot beside the same commit with as many more bytes of data, in one run.
//!
//! `cargo bench --bench snapshots`. Each commit has an event of 256 bytes; one side saves a snapshot of its
//! stream with it, the other has the bytes of the state in its event. The sides alternate, and the ratio
//! is that of the medians: 1.00 means that a snapshot costs its bytes. The stores are in the system's directory
//! for temporary files.

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

mod common;

use std::path::Path;
use std::time::Instant;

use annals::snapshot::Snapshot;
use annals::{ExpectedVersion, NewEvent, Options, Store};
use common::{PAYLOAD, buffered, directory, median, synced};

const ROUNDS: usize = 11;

/// A store, and the number of commits to each of its streams.
struct Side {
    store: Store,
    streams: u64,
    done: u64,
    snapshots: bool,
}

impl Side {
    fn open(path: &Path, options: &Options, streams: u64, snapshots: bool) -> Self {
        Self { store: options.clone().open(path).expect("open"), streams, done: 0, snapshots }
    }

    /// Makes `commits` commits with `size` more bytes; returns the µs of each.
    fn run(&mut self, commits: u64, size: usize) -> f64 {
        let (data, state) = (vec![7_u8; PAYLOAD + size], vec![7_u8; size]);
        let begin = Instant::now();
        for _ in 0..commits {
            let stream = format!("account-{}", self.done % self.streams);
            let version = self.done / self.streams + 1;
            self.done += 1;
            let len = if self.snapshots { PAYLOAD } else { data.len() };
            let event = NewEvent::new("MoneyDeposited", &data[..len]);
            let mut commit = self.store.transaction().append(
                stream.as_str(),
                ExpectedVersion::Exact(version - 1),
                [event],
            );
            if self.snapshots {
                commit = commit.snapshot(Snapshot::new(stream, version, &state[..]));
            }
            commit.commit().expect("commit");
        }
        // The snapshots of a buffered store are saved once their commits are durable.
        self.store.sync().expect("sync");
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(commits).expect("few"))
    }
}

fn compare(name: &str, options: &Options, streams: u64, commits: u64, size: usize) {
    let dir = directory();
    let mut sides = [false, true].map(|snapshots| {
        Side::open(&dir.path().join(snapshots.to_string()), options, streams, snapshots)
    });
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let time = side.run(commits, size);
            if round > 0 {
                times.push(time);
            }
        }
    }
    let [data, snapshot] = times.map(median);
    let ratio = data / snapshot;
    println!(
        "{name:<9} {streams:>7} streams  {size:>7} bytes  data {data:>9.1} µs  \
         snapshot {snapshot:>9.1} µs  ratio {ratio:.2}"
    );
}

fn main() {
    for (size, commits) in [(256, 400), (4 << 10, 400), (64 << 10, 100), (1 << 20, 20)] {
        for streams in [1, 100_000] {
            compare("sync", &synced(), streams, commits, size);
        }
    }
    for (size, commits) in [(256, 20_000), (4 << 10, 4_000), (64 << 10, 400)] {
        for streams in [1, 100_000] {
            compare("buffered", &buffered(), streams, commits, size);
        }
    }
}
