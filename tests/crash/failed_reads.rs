//! I/O errors at each stat, listing, open and read of an opening.

use annals::snapshot::Snapshot;
use annals::testing::{Fault, Operation, SimStorage};
use annals::{Error, ExpectedVersion, NewEvent, Store};

use super::support::*;

/// Six events fill a segment.
const LARGE: usize = 9_000;
const MOST: u64 = 80;

/// Opens with the fault, which succeeds with every event or fails with an I/O error; then opens
/// without it, which has every event.
fn at_every(operation: Operation, base: &SimStorage, read_only: bool) -> u64 {
    let mut refused = 0;
    // An opening has fewer operations of each kind; after the last of them nothing fails.
    for nth in 1..=MOST {
        let name = format!("{operation:?} {nth}, read only: {read_only}");
        let sim = base.fork();
        sim.inject(Fault::Fail { operation, nth });
        let opened = options(&sim).read_only(read_only).open(ROOT);
        match opened {
            Ok(store) => {
                sim.clear_faults();
                assert_eq!(read_back(&store, LARGE).unwrap(), 14, "{name}");
            }
            Err(Error::Io { .. }) => refused = nth,
            Err(other) => panic!("{name}: not the disk's error: {other:?}"),
        }
        sim.kill();
        let store = open(&sim).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(read_back(&store, LARGE).unwrap(), 14, "{name}");
    }
    assert!(refused < MOST, "an opening has more operations than {MOST}");
    refused
}

#[test]
fn failed_reads_of_an_opening_are_io_errors_and_never_damage() {
    for base in [closed(14, LARGE), stopped(14, LARGE)] {
        for read_only in [false, true] {
            for operation in [Operation::Open, Operation::ReadDir, Operation::Read] {
                let refused = at_every(operation, &base, read_only);
                assert!(refused > 0, "{operation:?} never mattered");
            }
        }
    }
}

/// What cannot be read is not taken for missing, and no merge drops it.
#[test]
fn failed_read_of_packed_snapshots_is_an_error_and_loses_nothing() {
    let base = SimStorage::new(12);
    let save = |store: &Store, key: &str| {
        let commit =
            store.transaction().append(key, ExpectedVersion::Any, [NewEvent::new("T", "x")]);
        commit.snapshot(Snapshot::new(key, 1, "state")).commit().unwrap();
    };
    let store = open(&base).unwrap();
    save(&store, "merged");
    store.compact().unwrap();
    save(&store, "packed");
    store.close().unwrap();
    let mut failed = 0;
    for operation in [Operation::ReadDir, Operation::Open, Operation::Read] {
        for nth in 1..16 {
            let name = format!("{operation:?} {nth}");
            let sim = base.fork();
            let store = open(&sim).unwrap();
            sim.inject_at("/snapshots", Fault::Fail { operation, nth });
            for key in ["merged", "packed"] {
                let loaded = store.snapshots().load(key);
                assert!(!matches!(loaded, Ok(None)), "{name}");
                failed += u32::from(loaded.is_err());
            }
            failed += u32::from(store.compact().is_err());
            sim.clear_faults();
            for _ in 0..2 {
                for key in ["merged", "packed"] {
                    assert!(store.snapshots().load(key).unwrap().is_some(), "{name}: {key}");
                }
                store.compact().unwrap();
            }
            store.close().unwrap();
        }
    }
    assert!(failed > 6, "{failed} calls failed");
}
