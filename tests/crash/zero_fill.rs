//! Segments that are filled with zeros ahead of their use: a power loss or a full disk at any step
//! of it loses nothing.

use std::sync::Arc;

use annals::testing::{Crash, Fault, Keep, Operation, SimStorage};
use annals::{ExpectedVersion, Options, Result, Store};

use super::support::*;

/// Six events fill a segment.
const SIZE: usize = 9_000;

/// Large enough for several steps of filling.
const SEGMENT: u64 = 3 << 20;

fn open_filling(sim: &SimStorage, segment_size: u64) -> Result<Store> {
    let storage = Arc::new(sim.process());
    let options = Options::new().storage(storage).background(false);
    options.zero_fill(true).segment_size(segment_size).open(ROOT)
}

fn live(sim: &SimStorage, acknowledged: &mut u64) -> Result<()> {
    let store = open_filling(sim, Options::MIN_SEGMENT_SIZE)?;
    for number in 1..=14 {
        store.append(stream_of(number), ExpectedVersion::Any, [event(number, SIZE)])?;
        *acknowledged = number;
    }
    store.close()
}

#[test]
fn power_loss_at_each_step_of_zero_filling_loses_nothing_acknowledged() {
    let whole = SimStorage::new(1);
    live(&whole, &mut 0).unwrap();
    let operations = whole.op_count();
    for step in 0..=operations {
        let base = SimStorage::new(1);
        base.fail_after_ops(step);
        let mut acknowledged = 0;
        let _ = live(&base, &mut acknowledged);
        let crash = Crash::new(step);
        for crash in [crash, crash.keep(Keep::Nothing), crash.keep(Keep::Everything)] {
            let sim = base.fork();
            sim.crash(crash);
            let store = open(&sim).unwrap_or_else(|e| panic!("step {step}, {crash:?}: {e:?}"));
            let found = read_back(&store, SIZE).unwrap();
            let possible = acknowledged..=acknowledged + 1;
            assert!(possible.contains(&found), "step {step}: {found}, {acknowledged} acknowledged");
        }
    }
}

/// A store that has just prepared its second segment, and its disk.
fn prepared(zero_fill: bool) -> (SimStorage, Store) {
    let sim = SimStorage::new(1);
    let options = Options::new().storage(Arc::new(sim.process())).background(false);
    let store = options.zero_fill(zero_fill).segment_size(SEGMENT).open(ROOT).unwrap();
    let large = usize::try_from(SEGMENT / 5).unwrap();
    append(&store, 1, 3, large);
    (sim, store)
}

#[test]
fn prepared_segment_is_filled_with_zeros_and_reads_the_same() {
    let (filled, _) = prepared(true);
    let (allocated, _) = prepared(false);
    let writes = filled.op_count() - allocated.op_count();
    assert!(writes >= SEGMENT / (64 << 10), "{writes} operations more");
    let filled = filled.read_file(segment(2)).unwrap();
    assert_eq!(filled.len(), allocated.read_file(segment(2)).unwrap().len());
    assert!(filled[DATA_START as usize..].iter().all(|&byte| byte == 0));
}

#[test]
fn first_segment_is_filled_ahead_of_its_frames_in_steps() {
    let operations = |zero_fill: bool| {
        let sim = SimStorage::new(1);
        let options = Options::new().storage(Arc::new(sim.process())).background(false);
        let store = options.zero_fill(zero_fill).segment_size(SEGMENT).open(ROOT).unwrap();
        let mut before = sim.op_count();
        let mut counts = Vec::new();
        for number in 1..=40 {
            append(&store, number, number, SIZE);
            counts.push(sim.op_count() - before);
            before = sim.op_count();
        }
        counts
    };
    let (filled, plain) = (operations(true), operations(false));
    let more: Vec<_> = filled.iter().zip(&plain).map(|(filled, plain)| filled - plain).collect();
    // At first 256 KiB in pieces of 64 KiB, then nothing until frames reach the end of it.
    assert_eq!(more[0], 4);
    assert_eq!(more[1..].iter().filter(|&&more| more > 0).count(), 1, "{more:?}");
}

/// The copies of the header are written and synced first, then the zeros.
#[test]
fn failed_zero_filling_fails_no_append() {
    let faults = [
        Fault::Fail { operation: Operation::Write, nth: 3 },
        Fault::Full { operation: Operation::Write, nth: 3 },
        Fault::Fail { operation: Operation::Sync, nth: 2 },
    ];
    for fault in faults {
        let sim = SimStorage::new(1);
        let store = open_filling(&sim, Options::MIN_SEGMENT_SIZE).unwrap();
        sim.inject_at("00000000000000000002.seg.tmp", fault);
        append(&store, 1, 14, SIZE);
        assert_eq!(store.stats().maintenance_failures, 1, "{fault:?}");
        sim.crash(Crash::new(1).keep(Keep::Nothing));
        drop(store);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 14, "{fault:?}");
        assert!(!files_in(&sim, "log").iter().any(|path| path.contains(".tmp")));
    }
}
