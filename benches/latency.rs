//! How long single appends take while segments roll over and are sealed, checkpoints are written and
//! indexes are merged, beside a store in which none of that happens, in turn within one run; and the same where commits are
//! written with system calls instead of copied into a mapping.
//!
//! `cargo bench --bench latency` prints the medians of five repetitions. Appends are buffered and come
//! at a steady pace, so that the work beside them finds time; the segments are small, so that there is
//! much of it.

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::print_stdout, reason = "its result")]

mod common;

use std::time::{Duration, Instant};

use annals::{ExpectedVersion, MappedWrites, Options};
use common::{Input, buffered, directory};

const REPETITIONS: usize = 5;
const APPENDS: usize = 200_000;
/// From the beginning of one append to that of the next: 50,000 a second.
const PACE: Duration = Duration::from_micros(20);
const SMALL: u64 = 1 << 20;

struct Side {
    name: &'static str,
    options: fn() -> Options,
    /// The figures of each repetition.
    seen: Vec<Figures>,
}

struct Figures {
    /// Nanoseconds.
    sorted: Vec<u64>,
    sealed: u64,
    compactions: u64,
}

impl Figures {
    fn at(&self, per_million: usize) -> u64 {
        self.sorted[(self.sorted.len() - 1) * per_million / 1_000_000]
    }
}

fn run(options: Options) -> Figures {
    let dir = directory();
    let store = options.open(dir.path().join("store")).expect("open");
    let mut input = Input::new(7);
    let mut sorted = Vec::with_capacity(APPENDS);
    let mut next = Instant::now();
    for _ in 0..APPENDS {
        let (stream, events) = (input.stream(), input.events(1));
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        let started = Instant::now();
        store.append(stream, ExpectedVersion::Any, events).expect("append");
        sorted.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        // A slow one is not followed by a burst.
        next = started + PACE;
    }
    let stats = store.stats();
    store.close().expect("close");
    sorted.sort_unstable();
    Figures { sorted, sealed: stats.sealed_segments, compactions: stats.compactions }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of[of.len() / 2]
}

fn main() {
    let small = || buffered().segment_size(SMALL);
    let mut sides = [
        Side { name: "one segment, nothing beside", options: buffered, seen: Vec::new() },
        Side {
            name: "rollover, sealing, checkpoints",
            options: || buffered().segment_size(SMALL).compaction(false),
            seen: Vec::new(),
        },
        Side { name: "those and compaction", options: small, seen: Vec::new() },
        Side {
            name: "one segment, written with system calls",
            options: || buffered().mapped_writes(MappedWrites::Never),
            seen: Vec::new(),
        },
        Side {
            name: "all, written with system calls",
            options: || buffered().segment_size(SMALL).mapped_writes(MappedWrites::Never),
            seen: Vec::new(),
        },
    ];
    for _ in 0..REPETITIONS {
        for side in &mut sides {
            side.seen.push(run((side.options)()));
        }
    }
    println!(
        "| single buffered appends | p50, µs | p99, µs | p99.9, µs | max, ms | against the first | segments sealed | merges |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let of =
        |side: &Side, what: &dyn Fn(&Figures) -> u64| median(side.seen.iter().map(what).collect());
    let base = of(&sides[0], &|seen| seen.at(999_000));
    for side in &sides {
        let p = |at: usize| micros(of(side, &|seen| seen.at(at)));
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
            side.name,
            p(500_000),
            p(990_000),
            p(999_000),
            p(1_000_000) / 1e3,
            p(999_000) / micros(base),
            of(side, &|seen| seen.sealed),
            of(side, &|seen| seen.compactions),
        );
    }
}
