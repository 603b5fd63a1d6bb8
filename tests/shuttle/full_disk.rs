//! A disk that fills up under a group with others waiting: the group and the one behind it are
//! taken back, and the store goes on.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::testing::{DirEntry, EntryKind, File, LockGuard, Mapping, OpenMode};
use annals::testing::{SimStorage, Storage};
use shuttle::rand::{Rng as _, thread_rng};

use super::failures::{Told, appender, check_outcomes};
use super::support::*;

/// A disk on which one write to a segment finds no space, after half of it was written.
#[derive(Debug, Clone)]
struct Filling {
    sim: SimStorage,
    /// Writes to segments until then; 0: it was, or is not to be yet.
    left: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FillingFile {
    file: Arc<dyn File>,
    left: Arc<AtomicU64>,
}

impl Storage for Filling {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.sim.open(path, mode)?;
        let is_segment = path.to_string_lossy().contains("/log/");
        let left = Arc::clone(&self.left);
        Ok(if is_segment { Arc::new(FillingFile { file, left }) } else { file })
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

impl File for FillingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let before = self.left.load(Ordering::Relaxed);
        self.left.store(before.saturating_sub(1), Ordering::Relaxed);
        if before == 1 {
            self.file.write_at(&buf[..buf.len() / 2], offset)?;
            return Err(ErrorKind::StorageFull.into());
        }
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
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

fn fills_up(size: usize) {
    let sim = SimStorage::new(1);
    let disk = Filling { sim: sim.process(), left: Arc::default() };
    let store = options(disk.clone()).open(ROOT).unwrap();
    append(&store, "first", 10).unwrap();
    disk.left.store(thread_rng().gen_range(1..6), Ordering::Relaxed);
    let appenders = ["a", "b", "c"].map(|name| appender(&store, name, size));
    let outcomes: Vec<_> = appenders.into_iter().flat_map(|it| it.join().unwrap()).collect();
    disk.left.store(0, Ordering::Relaxed);
    let went_on = append(&store, "last", 10);
    // Only what spans two segments cannot be taken back.
    let poisoned = outcomes.iter().any(|(_, told)| *told == Told::Unknown);
    assert!(went_on.is_ok() || poisoned, "{went_on:?} after {outcomes:?}");
    check_outcomes(&store, &outcomes);
    let _ = store.close();
    check_outcomes(&after_power_loss(&sim), &outcomes);
}

#[test]
fn tells_everybody_and_goes_on() {
    explore(|| fills_up(10));
}

#[test]
fn tells_everybody_beside_a_rollover() {
    explore(|| fills_up(7_500));
}
