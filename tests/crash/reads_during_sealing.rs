//! Reading and verifying while a writer seals a segment.

use std::sync::atomic::{AtomicU64, Ordering};

use annals::testing::{Call, Fault, Hook, HookedStorage, Operation, SimStorage, verify_on};

use super::support::*;

const SIZE: usize = 300;
/// Enough for two segments to be sealed.
const MANY: u64 = 400;

/// The status was read before the writer sealed the segment.
#[test]
fn verify_with_an_outdated_status_reports_no_fault() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    let status = format!("{ROOT}/STATUS");
    append(&store, 1, 20, SIZE);
    let asked = sim.read_file(&status).unwrap();
    append(&store, 21, MANY, SIZE);
    assert!(store.stats().sealed_segments >= 2);
    sim.write_file(&status, &asked).unwrap();
    let report = verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
    // The visible events, and the rest of the sealed segments, which is durable.
    assert!(report.events >= 20, "{}", report.events);
}

/// Regression: the changes of segments that were walked over before the failure were visible, and
/// their events were not.
#[test]
fn failed_walk_of_a_follower_shows_whole_commits_only() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    let reader = options(&sim).read_only(true).open(ROOT).unwrap();
    append(&store, 1, MANY, SIZE);
    let behind = store.stats().segments;
    assert!(behind > 2);
    sim.inject_at(&format!("{behind:020}.seg"), Fault::Fail { operation: Operation::Open, nth: 1 });
    assert!(reader.read_all().start().is_err());
    let entered = reader.head().get();
    assert!((20..MANY).contains(&entered), "{entered} events are shown");
    assert_eq!(read_back(&reader, SIZE).unwrap(), MANY);
}

/// A hook of a disk: a number of times, it reports the length that a segment had before it was sealed.
struct OldLength(AtomicU64);

impl Hook for OldLength {
    fn after_read(&self, call: Call<'_>, read: usize) {
        if call.is_segment() && (read as u64) < call.len {
            // The read has reached the new end: the old length is not reported any more.
            self.0.store(0, Ordering::Relaxed);
        }
    }

    fn len_of(&self, call: Call<'_>, len: u64) -> u64 {
        if !call.is_segment() {
            return len;
        }
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 0 { 64 << 10 } else { len }
    }
}

/// The seal cuts the file between the query of its length and the read.
#[test]
fn segment_cut_by_its_seal_during_verify_is_no_fault() {
    for questions in 0..12 {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 20, 9_000);
        let sealed = sim.read_file(segment(1)).unwrap();
        assert!(store.stats().sealed_segments >= 2 && sealed.len() < 64 << 10);
        let late = HookedStorage::new(sim.process(), OldLength(AtomicU64::new(questions)));
        let report = verify_on(&late, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{questions} questions");
        assert_eq!(report.events, 20);
    }
}

/// The seal of a segment that is full to its last bytes makes the file longer.
#[test]
fn segment_grown_by_its_seal_during_verify_is_no_fault() {
    for questions in 0..12 {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, MANY, SIZE);
        let sealed = sim.read_file(segment(1)).unwrap();
        assert!(store.stats().sealed_segments >= 2 && sealed.len() > 64 << 10);
        let late = HookedStorage::new(sim.process(), OldLength(AtomicU64::new(questions)));
        let report = verify_on(&late, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{questions} questions");
        assert_eq!(report.events, MANY);
    }
}
