//! Opening a store that was not closed, with helper threads that prove and search segments, and
//! without: the result is the same for any damage and any failed read.

use std::sync::Arc;

use annals::testing::{Fault, Operation, SimStorage};
use annals::{Opened, Options, Result, Store};

use super::support::*;

const SIZE: usize = 9_000;
const EVENTS: u64 = 150;
const SEGMENT: u64 = 2 << 20;

fn opened(sim: &SimStorage, threads: bool) -> Result<Store> {
    let options = Options::new().storage(Arc::new(sim.process())).segment_size(SEGMENT);
    options.background(threads).open(ROOT)
}

/// A store whose active segment is more than half full, so that the next one is prepared.
fn stopped_in_a_large_segment() -> SimStorage {
    let sim = SimStorage::new(11);
    let store = opened(&sim, false).unwrap();
    append(&store, 1, EVENTS, SIZE);
    assert!(sim.read_file(segment(2)).is_ok(), "there is a segment that was prepared");
    stop(&sim, store);
    sim
}

/// The result of the opening and of reading everything.
fn outcome(sim: &SimStorage, threads: bool) -> String {
    let store = match opened(sim, threads) {
        Ok(store) => store,
        Err(error) => return format!("refused: {error}"),
    };
    let read = read_back(&store, SIZE).map_err(|error| error.to_string());
    let what = match store.opened() {
        // The name of the quarantined file is random and left out.
        Opened::Recovered(recovery) => format!(
            "{} cut, {} rewritten, {} rebuilt, kept: {}",
            recovery.dropped_bytes,
            recovery.rewritten_bytes,
            recovery.rebuilt,
            recovery.quarantined.is_some()
        ),
        other => format!("{other:?}"),
    };
    store.close().unwrap();
    format!("{read:?}: {what}")
}

#[track_caller]
fn same_either_way(base: &SimStorage, what: &str, change: impl Fn(&SimStorage)) -> String {
    let [with, without] = [true, false].map(|threads| {
        let sim = base.fork();
        change(&sim);
        outcome(&sim, threads)
    });
    assert_eq!(with, without, "{what}");
    with
}

#[test]
fn sound_store_opens_alike_with_and_without_threads() {
    let base = stopped_in_a_large_segment();
    let outcome = same_either_way(&base, "nothing is damaged", |_| {});
    assert!(outcome.starts_with(&format!("Ok({EVENTS}): 0 cut")), "{outcome}");
}

#[test]
fn damaged_store_opens_alike_with_and_without_threads() {
    let base = stopped_in_a_large_segment();
    let end = base.read_file(segment(1)).unwrap().iter().rposition(|&byte| byte != 0).unwrap();
    let mut refused = 0;
    // Helper threads get pieces of 256 KiB after the headers.
    for offset in (DATA_START..end as u64).step_by(29_989).chain([262_143, 270_336, end as u64]) {
        let flip = |sim: &SimStorage| sim.flip_bit(segment(1), offset, 3).unwrap();
        let outcome = same_either_way(&base, &format!("a bit at {offset}"), flip);
        refused += u64::from(outcome.starts_with("refused"));
    }
    assert!(refused > 30, "{refused} were refused");
}

#[test]
fn data_in_the_prepared_segment_is_cut_alike_with_and_without_threads() {
    let base = stopped_in_a_large_segment();
    for offset in [DATA_START, DATA_START + 47, DATA_START + 48, 600_000, SEGMENT - 1] {
        let write = |sim: &SimStorage| {
            let mut bytes = sim.read_file(segment(2)).unwrap();
            bytes[usize::try_from(offset).unwrap()] = 1;
            sim.write_file(segment(2), &bytes).unwrap();
        };
        let outcome = same_either_way(&base, &format!("a byte at {offset}"), write);
        let cut = offset + 1 - DATA_START;
        assert!(outcome.contains(&format!(" {cut} cut")), "{offset}: {outcome}");
    }
}

/// A helper thread whose read fails leaves the rest to the opening thread.
#[test]
fn failed_read_in_a_helper_thread_is_never_damage() {
    let base = stopped_in_a_large_segment();
    let mut whole = 0;
    for file in [1, 2] {
        for nth in 1..30 {
            let sim = base.fork();
            let fault = Fault::Fail { operation: Operation::Read, nth };
            sim.inject_at(&format!("{file:020}.seg"), fault);
            match opened(&sim, true) {
                Ok(store) => {
                    whole += 1;
                    sim.clear_faults();
                    assert_eq!(read_back(&store, SIZE).unwrap(), EVENTS);
                }
                Err(error) => assert!(!error.is_store_damage(), "read {nth} of {file}: {error}"),
            }
            assert!(!outcome(&sim, true).starts_with("refused"));
        }
    }
    assert!(whole > 0, "{whole} openings did not fail");
}
