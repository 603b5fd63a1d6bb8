//! The adapter beside upstream's redb backend, through upstream's trait, at equal durability: each append is one synced
//! commit on both sides. Prints a Markdown table of medians with their quartiles.
//!
//! `cargo run --release --example beside_redb [ROUNDS [TEXT]]`, with the rows whose name has the text. The stores are in
//! the directory for temporary files; `TMPDIR` chooses another file system.

#![allow(clippy::unwrap_used, reason = "a measurement stops at the first failure")]
#![allow(clippy::print_stdout, reason = "its result")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use annals_nautilus::RunStore;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EventStore, EventStoreEntry, EventStoreError, Headers, IndexKey, IndexKind,
    PayloadType, RedbBackend, RunManifest, RunStatus, ScanDirection, Topic, compute_entry_hash,
};

/// The entries of a run that is read.
const FILLED: u64 = 100_000;
/// What upstream's reader and writer take at once.
const SCAN: u64 = 1024;
const BATCH: u64 = 100;

const SLICE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Work {
    Append(u64),
    Scan,
    ScanOne,
    LookUp,
    Open,
}

const ROWS: [(&str, Work); 7] = [
    ("append, 1 entry in a batch: batches", Work::Append(1)),
    ("append, 10 entries in a batch: batches", Work::Append(10)),
    ("append, 100 entries in a batch: batches", Work::Append(BATCH)),
    ("scan of 1,024 entries: scans", Work::Scan),
    ("one entry by its number: reads", Work::ScanOne),
    ("look-up of a client order id: look-ups", Work::LookUp),
    ("opening a run of 100,000 entries that was left open: openings", Work::Open),
];

type Backend = Box<dyn EventStore>;
type Open = fn(&Path) -> Backend;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: u64 = arguments.next().map_or(20, |it| it.parse().unwrap());
    let only = arguments.next().unwrap_or_default();
    println!("| per second | annals-nautilus | redb backend | ratio |");
    println!("|---|---:|---:|---:|");
    for (name, work) in ROWS.into_iter().filter(|(name, _)| name.contains(&only)) {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let openers: [Open; 2] = [annals, redb];
        let mut sides = [0, 1].map(|side| Some(openers[side](dirs[side].path())));
        if !matches!(work, Work::Append(_)) {
            sides.iter_mut().flatten().for_each(|side| fill(side.as_mut()));
        }
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..2 {
                let side = usize::try_from((turn + round) % 2).unwrap();
                let rate = match work {
                    Work::Open => reopen(&mut sides[side], openers[side], dirs[side].path()),
                    work => repeat(sides[side].as_mut().unwrap().as_mut(), work, round),
                };
                rates[side].push(rate);
            }
        }
        for side in sides.iter().flatten() {
            let last = side.high_watermark().unwrap();
            assert_eq!(side.scan_seq(last).unwrap().unwrap().seq, last);
        }
        println!("| {name} {}", row(rates));
    }
}

fn annals(dir: &Path) -> Backend {
    let runs = RunStore::open(dir.join("ledger")).unwrap();
    begun(Box::new(runs.backend()))
}

fn redb(dir: &Path) -> Backend {
    begun(Box::new(RedbBackend::new(dir)))
}

/// The backend with its run, new or continued.
fn begun(mut backend: Backend) -> Backend {
    match backend.open_run(manifest()) {
        Ok(()) | Err(EventStoreError::CrashedPredecessor) => backend,
        Err(error) => panic!("{error}"),
    }
}

fn fill(backend: &mut dyn EventStore) {
    for first in (1..FILLED).step_by(BATCH as usize) {
        backend.append_batch(&batch(first, BATCH)).unwrap();
    }
}

/// Closes the backend and opens its run again; only the opening is measured.
fn reopen(side: &mut Option<Backend>, open: Open, dir: &Path) -> f64 {
    drop(side.take());
    let started = Instant::now();
    let backend = open(dir);
    let rate = 1.0 / started.elapsed().as_secs_f64();
    assert_eq!(backend.high_watermark().unwrap(), FILLED);
    *side = Some(backend);
    rate
}

/// Repeats the work for some time, and returns how often in a second.
fn repeat(backend: &mut dyn EventStore, work: Work, round: u64) -> f64 {
    let mut number = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |limit: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (number >> 33) % limit
    };
    let mut spent = Duration::ZERO;
    let mut calls = 0_u32;
    while spent < SLICE {
        // The input is made outside the measured time.
        let next = backend.high_watermark().unwrap() + 1;
        let append = if let Work::Append(count) = work { batch(next, count) } else { Vec::new() };
        let id = client_id(4 * random(FILLED / 4) + 1);
        let seq = random(FILLED - SCAN) + 1;
        let started = Instant::now();
        match work {
            Work::Append(_) => drop(black_box(backend.append_batch(&append).unwrap())),
            Work::Scan => {
                let scanned = backend.scan_range(seq, seq + SCAN - 1, ScanDirection::Forward);
                assert_eq!(black_box(scanned.unwrap()).len() as u64, SCAN);
            }
            Work::ScanOne => assert!(black_box(backend.scan_seq(seq).unwrap()).is_some()),
            Work::LookUp => {
                let found = backend.lookup(IndexKind::ClientOrderId, &id).unwrap();
                assert!(black_box(found).is_some());
            }
            Work::Open => unreachable!("it is measured apart"),
        }
        spent += started.elapsed();
        calls += 1;
    }
    f64::from(calls) / spent.as_secs_f64()
}

/// Entries of orders: four an order, each with the client's id, the last two with the venue's as well.
fn batch(first: u64, count: u64) -> Vec<AppendEntry> {
    (first..first + count)
        .map(|seq| {
            let mut keys = vec![IndexKey::new(IndexKind::ClientOrderId, client_id(seq))];
            if seq % 4 > 1 {
                let id = format!("V-{:012}", seq / 4);
                keys.push(IndexKey::new(IndexKind::VenueOrderId, id));
            }
            AppendEntry::new(entry(seq), keys)
        })
        .collect()
}

fn client_id(seq: u64) -> String {
    format!("O-20260101-000000-{:09}", seq / 4)
}

/// 300 bytes, about what upstream's encoders write for an event of an order.
fn entry(seq: u64) -> EventStoreEntry {
    let (topic, name) = ("events.order.EMACross-000", "OrderFilled");
    let payload: Vec<u8> = (0..300_u64).map(|at| ((seq * 31 + at * 7) % 251) as u8).collect();
    let (payload, time, headers) = (payload.into(), 1_000 + seq, Headers::empty());
    let hash = compute_entry_hash(seq, time.into(), time.into(), topic, name, &payload, &headers);
    let (topic, name) = (Topic::topic(topic).unwrap(), PayloadType::from(name));
    EventStoreEntry::new(hash, seq, headers, topic, name, payload, time.into(), time.into())
}

fn manifest() -> RunManifest {
    RunManifest {
        run_id: "run-1".into(),
        parent_run_id: None,
        instance_id: "trader-1".into(),
        binary_hash: String::new(),
        schema_version: 1,
        crate_versions: String::new(),
        feature_flags: Vec::new(),
        adapter_versions: indexmap::IndexMap::new(),
        config_hash: String::new(),
        registered_components: annals_nautilus::nautilus_event_store::RegisteredComponents::default(
        ),
        seed: None,
        start_ts_init: 1.into(),
        end_ts_init: None,
        high_watermark: 0,
        status: RunStatus::Running,
    }
}

/// Medians with quartiles, and the ratio of the medians. Nothing is rounded up.
fn row(rates: [Vec<f64>; 2]) -> String {
    let sides = rates.map(|mut side| {
        side.sort_by(f64::total_cmp);
        let at = |quarter: usize| side[(side.len() - 1) * quarter / 4];
        [at(1), at(2), at(3)]
    });
    let shown = |[low, median, high]: [f64; 3]| format!("{median:.0} ({low:.0}–{high:.0})");
    let shown = sides.map(|it| shown(it.map(f64::floor)));
    let ratio = (sides[0][1] / sides[1][1] * 100.0).floor() / 100.0;
    format!("| {} | {} | {ratio:.2} |", shown[0], shown[1])
}
