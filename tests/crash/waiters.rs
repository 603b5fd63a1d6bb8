//! Many commits wait while a sync fails: all of them are told.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use annals::testing::{
    DirEntry, EntryKind, File, LockGuard, Mapping, OpenMode, SimStorage, Storage,
};
use annals::{Error, ExpectedVersion, NewEvent, Options};

/// A disk whose syncs wait, once they are told to, and then fail.
#[derive(Debug, Default)]
struct Gate {
    closed: AtomicBool,
    entered: Mutex<(bool, bool)>,
    changed: Condvar,
}

#[derive(Debug)]
struct Gated {
    sim: SimStorage,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        if !self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut state = self.entered.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
        Err(io::Error::other("the gate is closed"))
    }

    fn wait_until_entered(&self) {
        let mut state = self.entered.lock().unwrap();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn let_fail(&self) {
        self.entered.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Storage for Gated {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.sim.open(path, mode)?;
        Ok(Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) }))
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

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
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

/// Found by the schedules of `tests/shuttle`: only one of the commits behind the failed group was
/// woken, and it woke no other.
#[test]
fn of_the_next_group_are_all_told_of_a_failed_sync() {
    let gate = Arc::new(Gate::default());
    let storage = Gated { sim: SimStorage::new(1), gate: Arc::clone(&gate) };
    let options = Options::new().storage(Arc::new(storage));
    let store = options.segment_size(Options::MIN_SEGMENT_SIZE).open("/store").unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    gate.closed.store(true, Ordering::SeqCst);
    let (told, outcomes) = mpsc::channel();
    let append = || {
        let (store, told) = (store.clone(), told.clone());
        thread::spawn(move || {
            let done = store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
            told.send(done).unwrap();
        });
    };
    append();
    gate.wait_until_entered();
    for _ in 0..3 {
        append();
    }
    // Counted under the lock that each lets go of when it waits.
    while store.stats().appends < 5 {
        thread::yield_now();
    }
    gate.let_fail();
    let mut unknown = 0;
    for _ in 0..4 {
        match outcomes.recv_timeout(Duration::from_secs(60)).expect("a commit is never told") {
            Err(Error::OutcomeUnknown { .. }) => unknown += 1,
            Err(Error::WriterPoisoned { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unknown, 1);
}
