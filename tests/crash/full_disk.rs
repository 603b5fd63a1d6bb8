//! A full disk: no event is lost, no refused commit is stored, and appends go on when space is free
//! again.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::testing::{Call, Crash, Fault, File, Hook, HookedStorage, Keep, Operation, SimStorage};
use annals::{Error, ExpectedVersion, Options, Result, Store};
use parking_lot::Mutex;

use super::support::*;

const SIZE: usize = 300;
const LARGE: usize = 9_000;

fn append_one(store: &Store, number: u64, size: usize) -> Result<annals::Appended> {
    store.append(stream_of(number), ExpectedVersion::Any, [event(number, size)])
}

#[test]
fn disk_full_at_any_amount_of_free_space_loses_nothing_acknowledged() {
    let mut refused = 0;
    for free in (0..260_000).step_by(2_600) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 2, LARGE);
        sim.set_free_space(Some(free));
        let mut number = 2;
        while number < 22 {
            match append_one(&store, number + 1, LARGE) {
                Ok(done) => {
                    number += 1;
                    assert_eq!(done.last_position.get(), number);
                }
                Err(Error::DiskFull { .. }) => {
                    refused += 1;
                    assert_eq!(read_back(&store, LARGE).unwrap(), number, "{free} bytes free");
                    assert!(matches!(
                        append_one(&store, number + 1, LARGE),
                        Err(Error::DiskFull { .. })
                    ));
                    let crashed = sim.fork();
                    crashed.crash(Crash::new(free).keep(Keep::Random));
                    crashed.set_free_space(None);
                    assert_eq!(read_back(&open(&crashed).unwrap(), LARGE).unwrap(), number);
                    sim.set_free_space(None);
                }
                Err(error) => panic!("{free} bytes free: {error:?}"),
            }
        }
        sim.set_free_space(None);
        assert_eq!(read_back(&store, LARGE).unwrap(), 22, "{free} bytes free");
        store.close().unwrap();
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, LARGE).unwrap(), 22, "{free} bytes free");
        drop(store);
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{free} bytes free");
    }
    assert!(refused > 20, "the disk was full {refused} times");
}

/// The error names the file that did not fit, the bytes needed, and what to do.
#[test]
fn disk_full_error_names_file_size_and_next_step() {
    let log = Path::new(ROOT).join("log");
    let (mut writes, mut segments) = (0, 0);
    for free in (0..260_000).step_by(20_000) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        sim.set_free_space(Some(free));
        let error = (1..60).find_map(|number| append_one(&store, number, LARGE).err()).unwrap();
        let text = error.to_string();
        let Error::DiskFull { path, needed } = error else { panic!("{free}: {error:?}") };
        assert!(path.starts_with(&log), "{path:?}");
        let needed = needed.unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "seg" => {
                writes += 1;
                assert!(needed > LARGE as u64 && needed < 2 * LARGE as u64, "{needed} bytes");
            }
            "tmp" => {
                segments += 1;
                assert_eq!(needed, Options::MIN_SEGMENT_SIZE);
            }
            _ => panic!("{path:?}"),
        }
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains(&format!("{needed} bytes")) && text.contains("free space"), "{text}");
    }
    assert!(segments > 3, "{segments} new segments and {writes} writes did not fit");
}

/// A full segment without room for its seal is no damage, not even to a verification beside the
/// writer.
#[test]
fn segment_without_room_for_its_seal_is_no_fault() {
    let mut unsealed = 0;
    for free in (64 << 10..68 << 10).step_by(128) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        sim.set_free_space(Some(free));
        let mut number = 0;
        while number < 250 && append_one(&store, number + 1, SIZE).is_ok() {
            number += 1;
        }
        let stats = store.stats();
        unsealed += stats.segments - 1 - stats.sealed_segments;
        let beside = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(beside.faults, [], "{free} bytes free");
        stop(&sim, store);
        sim.set_free_space(None);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), number, "{free} bytes free");
    }
    assert!(unsealed > 3, "{unsealed} segments were not sealed");
}

#[test]
fn store_creation_on_a_full_disk_can_be_repeated() {
    for free in [0, 100, 8_000, 60_000, 66_000] {
        let sim = SimStorage::new(1);
        sim.set_free_space(Some(free));
        if let Err(error) = open(&sim) {
            assert!(matches!(error, Error::DiskFull { .. }), "{free}: {error:?}");
        }
        sim.set_free_space(None);
        let store = open(&sim).unwrap();
        append(&store, 1, 2, SIZE);
    }
}

#[test]
fn opening_without_room_for_the_quarantine_can_be_repeated() {
    let base = SimStorage::new(1);
    let store = open(&base).unwrap();
    append(&store, 1, 4, SIZE);
    for number in 5..=9 {
        append_buffered(&store, number, SIZE);
    }
    stop(&base, store);
    let frame = *frames_of(&base, 1).iter().find(|frame| frame.first_position == 6).unwrap();
    overwrite(&base, &segment(1), frame.offset, &[0; 64]);
    for free in [0, 1, 500, 5_000] {
        let sim = base.fork();
        sim.set_free_space(Some(free));
        match open(&sim) {
            Ok(store) => assert_eq!(read_back(&store, SIZE).unwrap(), 5),
            Err(error) => assert!(matches!(error, Error::DiskFull { .. }), "{free}: {error:?}"),
        }
        sim.kill();
        sim.set_free_space(None);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 5, "{free}");
    }
}

/// A hook of a disk that takes space when it is written to: a preallocated file can be full too.
struct CopyOnWrite {
    /// Bytes that can still be written to segments.
    left: Arc<AtomicU64>,
    /// Whether a segment is a hole at first: then zeros need space as well, but only once.
    sparse: bool,
    /// Where the hole begins, by the number of the open file.
    filled: Mutex<HashMap<u64, u64>>,
}

impl Hook for CopyOnWrite {
    fn write(&self, call: Call<'_>, file: &dyn File, buf: &[u8]) -> io::Result<usize> {
        let is_segment = call.path.to_string_lossy().contains(".seg");
        // Zeros need no space in a file that has no hole: the blocks are given back.
        if !is_segment || !self.sparse && buf.iter().all(|&byte| byte == 0) {
            return file.write_at(buf, call.offset);
        }
        let mut filled = self.filled.lock();
        let filled = filled.entry(call.handle.unwrap()).or_default();
        let below = filled.saturating_sub(call.offset);
        if self.sparse && below > 0 {
            let free = buf.len().min(usize::try_from(below).unwrap_or(usize::MAX));
            return file.write_at(&buf[..free], call.offset);
        }
        let left = usize::try_from(self.left.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if left == 0 {
            // An exceeded quota is a full disk, too.
            let kind = if self.sparse { ErrorKind::QuotaExceeded } else { ErrorKind::StorageFull };
            return Err(kind.into());
        }
        let written = file.write_at(&buf[..buf.len().min(left)], call.offset)?;
        self.left.fetch_sub(written as u64, Ordering::Relaxed);
        *filled = (*filled).max(call.offset + written as u64);
        Ok(written)
    }
}

pub(crate) const PLENTY: u64 = 1 << 40;

pub(crate) fn copy_on_write() -> (SimStorage, Arc<AtomicU64>, Store) {
    taking_space_when_written(false)
}

fn taking_space_when_written(sparse: bool) -> (SimStorage, Arc<AtomicU64>, Store) {
    let sim = SimStorage::new(1);
    let left = Arc::new(AtomicU64::new(PLENTY));
    let hook = CopyOnWrite { left: Arc::clone(&left), sparse, filled: Mutex::default() };
    let storage = HookedStorage::new(sim.process(), hook);
    let options = Options::new().background(false).segment_size(Options::MIN_SEGMENT_SIZE);
    let store = options.storage(Arc::new(storage)).open(ROOT).unwrap();
    (sim, left, store)
}

#[test]
fn commit_refused_within_a_write_is_taken_back() {
    for (fits, sparse) in (0..900).step_by(30).flat_map(|fits| [(fits, false), (fits, true)]) {
        let (sim, left, store) = taking_space_when_written(sparse);
        append(&store, 1, 3, SIZE);
        left.store(fits, Ordering::Relaxed);
        let full = append_one(&store, 4, SIZE);
        if full.is_ok() {
            continue;
        }
        assert!(matches!(full, Err(Error::DiskFull { .. })), "{fits} fit: {full:?}");
        assert_eq!(read_back(&store, SIZE).unwrap(), 3);
        assert_eq!((store.stats().events, store.stats().commits), (3, 3));
        left.store(PLENTY, Ordering::Relaxed);
        // Another commit takes its place; then the refused commit is accepted.
        let done = append_one(&store, 100, 17).unwrap();
        assert_eq!(done.last_position.get(), 4);
        let done = append_one(&store, 4, SIZE).unwrap();
        assert_eq!((done.last_position.get(), done.already_recorded), (5, false));
        stop(&sim, store);
        let store = open(&sim).unwrap();
        let found: Vec<_> = store.read_all().into_iter().map(|it| it.unwrap().id()).collect();
        assert_eq!(found, [1, 2, 3, 100, 4].map(id_of), "{fits} fit");
    }
}

/// A refused write is taken back to the beginning of its own segment, not to an offset of the
/// previous one.
#[test]
fn commit_refused_at_the_first_write_to_a_segment_is_taken_back() {
    for (fits, sparse) in (0..9_000).step_by(900).flat_map(|fits| [(fits, false), (fits, true)]) {
        let (sim, left, store) = taking_space_when_written(sparse);
        append(&store, 1, 6, LARGE);
        assert_eq!(store.stats().segments, 1);
        left.store(fits, Ordering::Relaxed);
        let full = append_one(&store, 7, LARGE);
        assert!(matches!(full, Err(Error::DiskFull { .. })), "{fits} fit: {full:?}");
        assert_eq!(store.stats().segments, 2);
        left.store(PLENTY, Ordering::Relaxed);
        // These would fit into the rest of the previous segment.
        append(&store, 7, 8, SIZE);
        append(&store, 9, 13, LARGE);
        stop(&sim, store);
        let store = open(&sim).unwrap();
        let found: Vec<_> = store.read_all().into_iter().map(|it| it.unwrap().id()).collect();
        let expected: Vec<_> = (1..=13).map(id_of).collect();
        assert_eq!(found, expected, "{fits} fit, sparse: {sparse}");
    }
}

#[test]
fn commit_refused_in_a_prepared_segment_is_taken_back() {
    let (sim, left, store) = copy_on_write();
    append(&store, 1, 6, LARGE);
    // The next commit needs the next segment, which is prepared and has no room.
    left.store(0, Ordering::Relaxed);
    assert!(matches!(append_one(&store, 7, LARGE), Err(Error::DiskFull { .. })));
    assert_eq!((store.stats().events, store.stats().commits), (6, 6));
    left.store(PLENTY, Ordering::Relaxed);
    // These would fit into the rest of the previous segment.
    append(&store, 7, 9, 20);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    let store = open(&sim).unwrap();
    assert_eq!(ids(&store), (1..=9).map(id_of).collect::<Vec<_>>());
    assert_eq!(store.stats().segments, 2);
}

fn ids(store: &Store) -> Vec<annals::Uuid> {
    store.read_all().into_iter().map(|event| event.unwrap().id()).collect()
}

#[test]
fn disk_full_found_by_any_operation_loses_nothing_acknowledged() {
    let (mut refused, mut poisoned) = (0, 0);
    for operation in [Operation::Write, Operation::Allocate, Operation::Open, Operation::Sync] {
        for nth in 1..40 {
            let sim = SimStorage::new(nth);
            let store = open(&sim).unwrap();
            sim.inject(Fault::Full { operation, nth });
            let (mut number, mut size) = (0, LARGE);
            while number < 12 {
                match append_one(&store, number + 1, size) {
                    Ok(_) => number += 1,
                    Err(Error::DiskFull { .. }) => {
                        refused += 1;
                        size = 20;
                    }
                    Err(Error::OutcomeUnknown { .. }) => {
                        poisoned += 1;
                        break;
                    }
                    Err(error) => panic!("{operation:?} {nth}: {error:?}"),
                }
            }
            sim.crash(Crash::new(nth).keep(Keep::Nothing));
            drop(store);
            let store = open(&sim).unwrap();
            let expected: Vec<_> = (1..=number).map(id_of).collect();
            assert_eq!(ids(&store), expected, "{operation:?} {nth}");
        }
    }
    assert!(refused > 10 && poisoned > 5, "{refused} times refused, {poisoned} times unknown");
}

#[test]
fn group_that_does_not_fit_the_disk_is_refused_whole() {
    for fits in (0..2_400).step_by(60) {
        let (sim, left, store) = copy_on_write();
        append(&store, 1, 3, SIZE);
        left.store(fits, Ordering::Relaxed);
        let submit = |number| {
            let events = [event(number, SIZE)];
            store.transaction().append(stream_of(number), ExpectedVersion::Any, events).submit()
        };
        let tickets: Vec<_> = (4..=6).map(|number| submit(number).unwrap()).collect();
        let last = append_one(&store, 7, SIZE);
        let all_or_none = last.is_ok();
        for ticket in tickets {
            let outcome = ticket.wait();
            let full = matches!(outcome, Err(Error::DiskFull { .. }));
            assert!(outcome.is_ok() == all_or_none && full != all_or_none, "{outcome:?}");
        }
        let kept = if all_or_none { 7 } else { 3 };
        assert_eq!(read_back(&store, SIZE).unwrap(), kept, "{fits} fit");
        left.store(PLENTY, Ordering::Relaxed);
        append(&store, kept + 1, 9, SIZE);
        stop(&sim, store);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 9, "{fits} fit");
    }
}

#[test]
fn commit_refused_by_a_full_disk_does_not_come_back_after_a_power_loss() {
    for fits in [200, 500, 700, 1_000, 1_500] {
        for seed in 0..40 {
            let (sim, left, store) = copy_on_write();
            append(&store, 1, 3, SIZE);
            let submit = |number| {
                let events = [event(number, SIZE)];
                store.transaction().append(stream_of(number), ExpectedVersion::Any, events).submit()
            };
            let tickets: Vec<_> = (4..=5).map(|number| submit(number).unwrap()).collect();
            left.store(fits, Ordering::Relaxed);
            let last = append_one(&store, 6, SIZE);
            if last.is_ok() {
                continue;
            }
            for ticket in tickets {
                assert!(matches!(ticket.wait(), Err(Error::DiskFull { .. })));
            }
            let keep = if seed % 2 == 0 { Keep::InOrder } else { Keep::Random };
            sim.crash(Crash::new(seed).keep(keep));
            drop(store);
            let store = open(&sim).unwrap();
            assert_eq!(store.head().get(), 3, "{fits} fit, seed {seed}: a refused commit is back");
        }
    }
}
