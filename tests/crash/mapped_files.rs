//! A disk that neither removes, replaces nor cuts a file while it is mapped, as on Windows. A
//! change to a derived file that is refused is made later, and no answer depends on it.

use annals::testing::{SimStorage, verify_on};
use annals::{Opened, Store};

use super::support::*;

const LARGE: usize = 9_000;
const EVENTS: u64 = 36;

fn pinning() -> SimStorage {
    let sim = closed(EVENTS, LARGE);
    sim.pin_mapped_files();
    sim
}

fn reader(sim: &SimStorage) -> Store {
    options(sim).read_only(true).open(ROOT).unwrap()
}

/// Reads through every index file, so that all of them are mapped.
fn touch(store: &Store, events: u64) {
    assert_eq!(read_back(store, LARGE).unwrap(), events);
    for number in 1..=events {
        assert!(store.event(id_of(number)).unwrap().is_some());
    }
}

#[test]
fn merged_files_that_no_reader_has_mapped_are_removed_at_once() {
    let sim = pinning();
    let store = open(&sim).unwrap();
    touch(&store, EVENTS);
    assert_eq!(store.compact().unwrap().merges, 1);
    assert_eq!(files_in(&sim, "index").len(), 1);
    touch(&store, EVENTS);
}

#[test]
fn merged_files_that_a_reader_has_mapped_are_removed_by_a_later_merge() {
    let sim = pinning();
    let beside = reader(&sim);
    touch(&beside, EVENTS);
    let store = open(&sim).unwrap();
    touch(&store, EVENTS);
    let before = files_in(&sim, "index").len();
    assert_eq!(store.compact().unwrap().merges, 1);
    assert_eq!(files_in(&sim, "index").len(), before + 1);
    touch(&store, EVENTS);
    touch(&beside, EVENTS);
    drop(beside);
    assert_eq!(store.compact().unwrap().merges, 0);
    assert_eq!(files_in(&sim, "index").len(), 1);
    assert_eq!(store.stats().maintenance_failures, 0);
}

/// Damage at the end of the file is detected by the opening, elsewhere by a read.
#[test]
fn damaged_index_file_that_is_mapped_is_answered_from_memory_and_replaced_later() {
    for merged in [false, true] {
        for quarter in 1..=4 {
            damage_mapped_index_file(merged, quarter);
        }
    }
}

fn damage_mapped_index_file(merged: bool, quarter: u64) {
    let case = format!("merged {merged}, quarter {quarter}");
    let sim = pinning();
    if merged {
        open(&sim).unwrap().compact().unwrap();
    }
    let beside = reader(&sim);
    touch(&beside, EVENTS);
    let path = files_in(&sim, "index").pop().unwrap();
    let len = sim.read_file(&path).unwrap().len() as u64;
    sim.flip_bit(&path, len * quarter / 4 - 1, 1).unwrap();
    assert!(!verify_on(&sim.process(), ROOT, |_| {}).unwrap().faults.is_empty(), "{case}");
    let store = open(&sim).unwrap();
    touch(&store, EVENTS);
    append(&store, EVENTS + 1, EVENTS + 2, LARGE);
    assert_eq!(store.stats().maintenance_failures, 0, "{case}");
    drop(beside);
    store.close().unwrap();
    let store = open(&sim).unwrap();
    touch(&store, EVENTS + 2);
    store.compact().unwrap();
    touch(&store, EVENTS + 2);
    store.close().unwrap();
    let report = verify_on(&sim.process(), ROOT, |_| {}).unwrap();
    assert!(report.faults.is_empty(), "{case}: {:?}", report.faults);
}

#[test]
fn checkpoints_that_a_reader_has_mapped_are_removed_by_a_later_close() {
    let sim = pinning();
    let mut last = EVENTS;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let beside = reader(&sim);
        touch(&beside, last);
        readers.push(beside);
        let store = open(&sim).unwrap();
        append(&store, last + 1, last + 8, LARGE);
        last += 8;
        assert_eq!(store.stats().maintenance_failures, 0);
        store.close().unwrap();
    }
    assert!(files_in(&sim, "checkpoints").len() > 2, "readers keep some");
    drop(readers);
    let store = open(&sim).unwrap();
    assert_eq!(*store.opened(), Opened::Clean);
    append(&store, last + 1, last + 8, LARGE);
    store.close().unwrap();
    assert_eq!(files_in(&sim, "checkpoints").len(), 2);
    touch(&open(&sim).unwrap(), last + 8);
}
