//! Cold segments: what is read back from a source, when, and what happens if it does not arrive.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use annals::cold::{ColdSegment, SegmentSource};
use annals::repair::{RepairOptions, repair};
use annals::snapshot::Snapshot;
use annals::verify::verify_with_cold_segments;
use annals::{Error, ExpectedVersion, NewEvent, Options, Query, Store, verify};
use tempfile::TempDir;

/// Copies in memory, and the number of times that one was fetched.
#[derive(Debug, Default)]
struct Copies {
    segments: Mutex<HashMap<u64, Vec<u8>>>,
    fetched: AtomicUsize,
}

impl Copies {
    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }

    fn change(&self, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.segments.lock().unwrap().get_mut(&segment).unwrap());
    }

    /// Takes a copy of each full segment.
    fn take(&self, store: &Store) -> Vec<u64> {
        let log = store.durable_log().unwrap();
        let full = log.segments().filter(|segment| segment.full().is_some());
        full.map(|segment| {
            let mut bytes = vec![0; usize::try_from(segment.len()).unwrap()];
            segment.read_at(&mut bytes, 0).unwrap();
            self.segments.lock().unwrap().insert(segment.number(), bytes);
            segment.number()
        })
        .collect()
    }
}

impl SegmentSource for Copies {
    fn holds(&self, segment: &ColdSegment) -> io::Result<bool> {
        Ok(self.segments.lock().unwrap().contains_key(&segment.number()))
    }

    fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        match self.segments.lock().unwrap().get(&segment.number()) {
            Some(bytes) => to.write_all(bytes),
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

fn with(copies: &Arc<Copies>) -> Options {
    options().cold_segments(Arc::clone(copies) as _)
}

/// A directory, the path of a store in it, and a source without segments.
fn place() -> (TempDir, PathBuf, Arc<Copies>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    (dir, path, Arc::default())
}

/// A store of 400 events in several segments, with all that may be cold made cold.
fn with_cold(path: &Path, copies: &Arc<Copies>) -> (Store, Vec<u64>) {
    let store = with(copies).open(path).unwrap();
    for number in 0..400 {
        let event = NewEvent::new("Moved", vec![7; 1_000]).tag("kind:test");
        store.append(format!("account-{}", number % 7), ExpectedVersion::Any, [event]).unwrap();
    }
    store.snapshots().save(&Snapshot::new("account-3", 2, "a state")).unwrap();
    // The index of the last full segment may be on its way: a close waits for it.
    store.close().unwrap();
    let store = with(copies).open(path).unwrap();
    let full = copies.take(&store);
    assert!(full.len() > 4, "{full:?}");
    for &number in &full {
        assert!(store.make_cold(number).unwrap() > 0);
        assert_eq!(store.make_cold(number).unwrap(), 0, "it is cold already");
    }
    (store, full)
}

fn positions(store: &Store) -> annals::Result<Vec<u64>> {
    let mut positions = Vec::new();
    store.read_all().for_each(|event| positions.push(event.position().get()))?;
    Ok(positions)
}

fn segment_path(path: &Path, number: u64) -> PathBuf {
    path.join("log").join(format!("{number:020}.seg"))
}

fn stub_path(path: &Path, number: u64) -> PathBuf {
    segment_path(path, number).with_extension("cold")
}

#[test]
fn cold_segments_are_fetched_when_an_event_in_them_is_read_and_not_before() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    assert!(full.iter().all(|&number| !segment_path(&path, number).exists()));
    assert_eq!(store.cold_segments().unwrap(), full);
    store.close().unwrap();

    let store = with(&copies).open(&path).unwrap();
    assert_eq!(store.stream_head("account-3").unwrap().map(|head| head.version), Some(57));
    assert_eq!(store.read_all().matching(Query::tagged(["kind:test"])).count().unwrap(), 400);
    assert_eq!(store.streams().into_iter().count(), 7);
    store.append("account-1", ExpectedVersion::Exact(57), [NewEvent::new("T", "")]).unwrap();
    assert_eq!(copies.fetched(), 0, "indexes answer all of this");

    let event = store.read_stream("account-3").limit(1).into_iter().next().unwrap().unwrap();
    assert_eq!(event.data(), [7; 1_000]);
    assert_eq!(copies.fetched(), 1, "one event needs one segment");
    assert_eq!(positions(&store).unwrap(), (1..=401).collect::<Vec<_>>());
    assert_eq!(copies.fetched(), full.len());
    positions(&store).unwrap();
    assert_eq!(copies.fetched(), full.len(), "all of them fit into the memory for them");
}

#[test]
fn memory_for_cold_segments_is_bounded_and_one_of_them_always_fits() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    store.close().unwrap();
    let store = with(&copies).cold_cache(0).open(&path).unwrap();
    for round in 1..=3 {
        assert_eq!(positions(&store).unwrap().len(), 400);
        assert_eq!(copies.fetched(), round * full.len());
    }
}

#[test]
fn store_without_a_source_opens_and_reads_what_is_not_cold() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    drop(store);
    for read_only in [true, false] {
        let store = options().read_only(read_only).open(&path).unwrap();
        let error = positions(&store).unwrap_err();
        let Error::ColdSegment { segment: 1, source: None, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(error.to_string().contains("Options::cold_segments"), "{error}");
        let last = store.read_all().backwards().limit(1).into_iter().next().unwrap().unwrap();
        assert_eq!(last.position().get(), 400);
        if !read_only {
            let refused = store.make_cold(full[0]).unwrap_err();
            assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused:?}");
            assert!(matches!(store.make_local(1), Err(Error::ColdSegment { segment: 1, .. })));
        }
    }
}

/// A part of the expected message, and a change to a copy.
type Change = (&'static str, fn(&mut Vec<u8>));

#[test]
fn copy_with_other_bytes_is_refused_and_the_next_read_tries_again() {
    let (_dir, path, copies) = place();
    let (store, _) = with_cold(&path, &copies);
    let whole = copies.segments.lock().unwrap()[&2].clone();
    let changes: [Change; 4] = [
        ("another checksum", |bytes| bytes[20_000] ^= 1),
        ("shorter", |bytes| bytes.truncate(30_000)),
        ("could not be fetched", |bytes| bytes.push(0)),
        ("shorter", Vec::clear),
    ];
    for (what, change) in changes {
        copies.change(2, change);
        let error = positions(&store).unwrap_err();
        assert!(matches!(error, Error::ColdSegment { segment: 2, .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
        copies.change(2, |bytes| bytes.clone_from(&whole));
    }
    copies.segments.lock().unwrap().remove(&2);
    let error = positions(&store).unwrap_err();
    let Error::ColdSegment { source: Some(source), .. } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    copies.segments.lock().unwrap().insert(2, whole);
    assert_eq!(positions(&store).unwrap().len(), 400);
}

#[test]
fn segment_stays_unless_its_source_has_it_and_it_is_full() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    store.make_local(1).unwrap();
    copies.segments.lock().unwrap().clear();
    assert!(matches!(store.make_cold(1), Err(Error::ColdSegment { segment: 1, .. })));
    assert!(segment_path(&path, 1).exists() && !stub_path(&path, 1).exists());
    for number in [0, full.len() as u64 + 1, 99] {
        let refused = store.make_cold(number).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument { .. }), "{number}: {refused:?}");
    }
    let reader = with(&copies).read_only(true).open(&path).unwrap();
    assert!(matches!(reader.make_cold(1), Err(Error::ReadOnly)));
    assert!(matches!(reader.make_local(1), Err(Error::ReadOnly)));
}

#[test]
fn segment_that_comes_back_is_the_one_that_went() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    let reader = with(&copies).read_only(true).open(&path).unwrap();
    for &number in &full {
        store.make_local(number).unwrap();
        store.make_local(number).unwrap();
        assert_eq!(
            fs::read(segment_path(&path, number)).unwrap(),
            copies.segments.lock().unwrap()[&number]
        );
        assert!(!stub_path(&path, number).exists());
    }
    let fetched = copies.fetched();
    assert_eq!(positions(&store).unwrap().len(), 400);
    assert_eq!(positions(&reader).unwrap().len(), 400);
    assert_eq!(copies.fetched(), fetched, "they are in the directory");
    drop((store, reader));
    assert_eq!(positions(&options().open(&path).unwrap()).unwrap().len(), 400);
}

#[test]
fn readers_and_reads_in_progress_go_on_when_their_segment_becomes_cold() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    for &number in &full {
        store.make_local(number).unwrap();
    }
    // With few open files, some are closed and opened again.
    let reader =
        with(&copies).read_only(true).max_open_files(Options::MIN_OPEN_FILES).open(&path).unwrap();
    let (mut own, mut beside) = (store.read_all().into_iter(), reader.read_all().into_iter());
    let first = (own.next().unwrap().unwrap(), beside.next().unwrap().unwrap());
    for &number in &full {
        store.make_cold(number).unwrap();
    }
    assert_eq!(own.map(Result::unwrap).count(), 399);
    assert_eq!(beside.map(Result::unwrap).count(), 399);
    assert_eq!(first.0.data(), first.1.data());
    assert_eq!(positions(&reader).unwrap().len(), 400);
}

#[test]
fn reader_follows_a_segment_that_goes_comes_back_and_goes_again() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    // One segment at a time is kept in memory, and most files are closed.
    let options = with(&copies).read_only(true).cold_cache(0);
    let reader = options.max_open_files(Options::MIN_OPEN_FILES).open(&path).unwrap();
    for _ in 0..3 {
        assert_eq!(positions(&reader).unwrap().len(), 400);
        for &number in &full {
            store.make_local(number).unwrap();
        }
        let fetched = copies.fetched();
        assert_eq!(positions(&reader).unwrap().len(), 400);
        assert!(copies.fetched() <= fetched + 1, "the files are there");
        for &number in &full {
            store.make_cold(number).unwrap();
        }
    }
}

#[test]
fn verification_counts_cold_segments_and_reads_them_with_a_source() {
    let (_dir, path, copies) = place();
    let (store, full) = with_cold(&path, &copies);
    store.close().unwrap();
    let report = verify(&path, |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 0), "{report:?}");
    assert_eq!(report.cold_segments, full.len() as u64);
    assert_eq!(report.events, 400);
    assert!(report.bytes < 200_000, "{} bytes", report.bytes);

    let source = Arc::clone(&copies) as Arc<dyn SegmentSource>;
    let report = verify_with_cold_segments(&path, Arc::clone(&source), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.cold_segments), (0, 0), "{report:?}");
    assert_eq!(report.events, 400);
    copies.change(3, |bytes| bytes[9_000] ^= 1);
    let report = verify_with_cold_segments(&path, source, |_| {}).unwrap();
    let named = report.faults.iter().any(|fault| fault.file == segment_path(&path, 3));
    assert!(named, "{:?}", report.faults);

    // A stub of another history does not fit between its neighbours.
    fs::copy(stub_path(&path, 2), stub_path(&path, 3)).unwrap();
    let report = verify(&path, |_| {}).unwrap();
    assert!(!report.faults.is_empty());
}

#[test]
fn backup_of_a_store_with_cold_segments_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("ledger"), dir.path().join("backup"));
    let copies = Arc::new(Copies::default());
    let (store, _) = with_cold(&path, &copies);
    store.backup_to(&backup, |_| {}).unwrap();
    assert!(verify(&backup, |_| {}).unwrap().faults.is_empty());
    let copy = options().read_only(true).open(&backup).unwrap();
    assert_eq!(positions(&copy).unwrap().len(), 400);
    drop(store);
    let store = options().open(&path).unwrap();
    let refused = store.backup_to(dir.path().join("other"), |_| {}).unwrap_err();
    assert!(matches!(refused, Error::ColdSegment { .. }), "{refused:?}");
}

#[test]
fn repair_does_not_take_cold_segments_for_lost_ones() {
    let (dir, path, copies) = place();
    let (to, backup) = (dir.path().join("repaired"), dir.path().join("backup"));
    let (store, _) = with_cold(&path, &copies);
    store.backup_to(&backup, |_| {}).unwrap();
    drop(store);
    let refused = repair(&path, &to, RepairOptions::new(), |_| {}).unwrap_err();
    assert!(matches!(refused, Error::ColdSegment { segment: 1, .. }), "{refused:?}");
    assert!(!to.exists());
    let report = repair(&path, &to, RepairOptions::new().segments_from(&backup), |_| {}).unwrap();
    assert_eq!(report.events, 400, "{report:?}");
}

#[test]
fn damaged_stub_is_named_and_its_segment_is_taken_from_a_backup() {
    let (dir, path, copies) = place();
    let (to, backup) = (dir.path().join("repaired"), dir.path().join("backup"));
    let (store, _) = with_cold(&path, &copies);
    store.backup_to(&backup, |_| {}).unwrap();
    drop(store);
    let stub = stub_path(&path, 3);
    let whole = fs::read(&stub).unwrap();
    for damage in 0..3 {
        let mut bytes = whole.clone();
        match damage {
            0 => bytes[100] ^= 1,
            1 => bytes.truncate(50),
            _ => bytes = fs::read(stub_path(&path, 2)).unwrap(),
        }
        fs::write(&stub, bytes).unwrap();
        let error = options().read_only(true).open(&path).and_then(|store| positions(&store));
        let error = error.unwrap_err();
        let Error::Corrupt { file, what, .. } = &error else { panic!("{damage}: {error:?}") };
        assert_eq!(*file, segment_path(&path, 3));
        assert!(what.contains(".cold"), "{what}");
        assert!(!verify(&path, |_| {}).unwrap().faults.is_empty());
        let _ = fs::remove_dir_all(&to);
        let options = RepairOptions::new().segments_from(&backup);
        assert_eq!(repair(&path, &to, options, |_| {}).unwrap().events, 400);
    }
    fs::remove_file(&stub).unwrap();
    let error = options().open(&path).and_then(|store| positions(&store)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[test]
fn lost_index_of_a_cold_segment_is_built_again_from_what_is_fetched() {
    let (_dir, path, copies) = place();
    let (store, _) = with_cold(&path, &copies);
    store.close().unwrap();
    for directory in ["index", "checkpoints"] {
        fs::remove_dir_all(path.join(directory)).unwrap();
    }
    let store = with(&copies).open(&path).unwrap();
    assert!(copies.fetched() > 0);
    assert_eq!(positions(&store).unwrap().len(), 400);
    let tagged = store.read_all().matching(Query::tagged(["kind:test"]));
    assert_eq!(tagged.count().unwrap(), 400);
    store.close().unwrap();
    assert!(verify(&path, |_| {}).unwrap().faults.is_empty());
}
