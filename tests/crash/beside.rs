//! Reading and verifying beside a writer that seals a segment at that very moment.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::testing::{
    DirEntry, EntryKind, Fault, File, LockGuard, Mapping, OpenMode, Operation, SimStorage, Storage,
    verify_on,
};

use super::support::*;

const SIZE: usize = 300;
/// Enough for two segments to be sealed.
const MANY: u64 = 400;

/// What the writer had made visible was asked for before it sealed the segment.
#[test]
fn a_segment_that_was_sealed_meanwhile_does_not_contradict_itself() {
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
    // What is visible, and the rest of sealed segments, which is durable.
    assert!(report.events >= 20, "{}", report.events);
}

/// What it had walked over was entered, its changes were shown, and its events were not.
#[test]
fn a_walk_that_fails_shows_what_it_has_entered_and_no_half_of_a_commit() {
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

/// A disk on which a segment seems as long as before it was sealed, to so many questions.
#[derive(Debug)]
struct Late {
    sim: SimStorage,
    questions: Arc<AtomicU64>,
}

#[derive(Debug)]
struct LateFile {
    file: Arc<dyn File>,
    questions: Arc<AtomicU64>,
}

impl Storage for Late {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.sim.open(path, mode)?;
        if path.to_string_lossy().contains(".seg") {
            return Ok(Arc::new(LateFile { file, questions: Arc::clone(&self.questions) }));
        }
        Ok(file)
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        self.sim.entry_kind(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.sim.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.sim.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.sim.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sim.sync_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        self.sim.try_lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.sim.is_locked(path)
    }

    fn now_micros(&self) -> u64 {
        self.sim.now_micros()
    }

    fn random_u64(&self) -> u64 {
        self.sim.random_u64()
    }
}

impl File for LateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, offset)?;
        if read < buf.len() {
            // Who has met the new end finds the file cut from then on.
            self.questions.store(0, Ordering::Relaxed);
        }
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        let len = self.file.len()?;
        let left = self.questions.load(Ordering::Relaxed);
        self.questions.store(left.saturating_sub(1), Ordering::Relaxed);
        Ok(if left > 0 { 64 << 10 } else { len })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        self.file.map(len, live)
    }
}

/// Its file is cut between the question how long it is and the reading of it.
#[test]
fn a_segment_that_is_cut_meanwhile_is_read_to_its_end() {
    for questions in 0..12 {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 20, 9_000);
        let sealed = sim.read_file(segment(1)).unwrap();
        assert!(store.stats().sealed_segments >= 2 && sealed.len() < 64 << 10);
        let questions = Arc::new(AtomicU64::new(questions));
        let late = Late { sim: sim.process(), questions };
        let report = verify_on(&late, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{:?}", late.questions);
        assert_eq!(report.events, 20);
    }
}

/// The seal of a segment that is full to its last bytes makes the file longer.
#[test]
fn a_segment_that_grows_by_its_seal_meanwhile_is_no_fault() {
    for questions in 0..12 {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, MANY, SIZE);
        let sealed = sim.read_file(segment(1)).unwrap();
        assert!(store.stats().sealed_segments >= 2 && sealed.len() > 64 << 10);
        let late = Late { sim: sim.process(), questions: Arc::new(AtomicU64::new(questions)) };
        let report = verify_on(&late, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{questions} questions");
        assert_eq!(report.events, MANY);
    }
}
