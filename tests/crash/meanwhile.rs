//! A writer that comes, and may go again, at any moment of a reader's opening, reading or verifying.

use std::io;
use std::path::Path;
use std::sync::Arc;

use annals::testing::{
    DirEntry, EntryKind, File, LockGuard, Mapping, OpenMode, SimStorage, Storage, verify_on,
};
use annals::{Durability, ExpectedVersion, Opened, Store};
use parking_lot::Mutex;

use super::support::*;

/// What happens once, before the reader's operation with a number.
struct Happening {
    left: u64,
    what: Option<Box<dyn FnOnce() + Send>>,
}

/// The reader's disk.
#[derive(Clone)]
struct Meanwhile {
    sim: SimStorage,
    happening: Arc<Mutex<Happening>>,
}

struct MeanwhileFile {
    file: Arc<dyn File>,
    disk: Meanwhile,
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl std::fmt::Debug for MeanwhileFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeanwhileFile")
    }
}

impl Meanwhile {
    fn new(sim: &SimStorage) -> Self {
        let happening = Happening { left: u64::MAX, what: None };
        Self { sim: sim.process(), happening: Arc::new(Mutex::new(happening)) }
    }

    /// Before the operation with this number from now on, `what` happens.
    fn plan(&self, number: u64, what: impl FnOnce() + Send + 'static) {
        *self.happening.lock() = Happening { left: number, what: Some(Box::new(what)) };
    }

    fn has_happened(&self) -> bool {
        self.happening.lock().what.is_none()
    }

    fn step(&self) -> &SimStorage {
        let mut happening = self.happening.lock();
        happening.left = happening.left.saturating_sub(1);
        let due = if happening.left == 0 { happening.what.take() } else { None };
        drop(happening);
        if let Some(what) = due {
            // By another thread: the reader's own holds locks of its store.
            std::thread::spawn(what).join().unwrap();
        }
        &self.sim
    }
}

impl Storage for Meanwhile {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.step().open(path, mode)?;
        Ok(Arc::new(MeanwhileFile { file, disk: self.clone() }))
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        self.step().entry_kind(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.step().read_dir(path)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader creates nothing")
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("a reader renames nothing")
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader removes nothing")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader syncs nothing")
    }

    fn try_lock(&self, _: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        unreachable!("a reader locks nothing")
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.step().is_locked(path)
    }

    fn now_micros(&self) -> u64 {
        self.sim.now_micros()
    }

    fn random_u64(&self) -> u64 {
        self.sim.random_u64()
    }
}

impl File for MeanwhileFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.step();
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("a reader writes nothing")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("a reader syncs nothing")
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.step();
        self.file.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("a reader cuts nothing")
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        unreachable!("a reader allocates nothing")
    }

    fn map(&self, _: u64, _: bool) -> io::Result<Option<Mapping>> {
        Ok(None)
    }
}

const SIZE: usize = 700;

/// What the writer does that comes.
#[derive(Debug, Clone, Copy)]
struct Visit {
    appends: u64,
    closes: bool,
    /// The durability of the store, and that of its commits.
    of: (Durability, Durability),
}

const SYNCED: (Durability, Durability) = (Durability::Sync, Durability::Sync);
const BUFFERED: (Durability, Durability) = (Durability::BUFFERED, Durability::BUFFERED);
/// Written, and not for others to read yet.
const NOT_YET: (Durability, Durability) = (Durability::Sync, Durability::BUFFERED);

const VISITS: [Visit; 7] = [
    Visit { appends: 0, closes: true, of: SYNCED },
    Visit { appends: 3, closes: false, of: SYNCED },
    Visit { appends: 3, closes: true, of: SYNCED },
    // Over the end of a segment, or of two.
    Visit { appends: 150, closes: true, of: SYNCED },
    Visit { appends: 3, closes: false, of: BUFFERED },
    Visit { appends: 150, closes: true, of: BUFFERED },
    Visit { appends: 3, closes: false, of: NOT_YET },
];

impl Visit {
    fn open(self, sim: &SimStorage) -> Store {
        options(sim).durability(self.of.0).open(ROOT).unwrap()
    }

    /// Appends after the first `there` events; returns the store if it stays open.
    fn make(self, store: Store, there: u64) -> Option<Store> {
        for number in there + 1..=there + self.appends {
            let transaction = store.transaction().durability(self.of.1);
            let event = event(number, SIZE);
            transaction.append(stream_of(number), ExpectedVersion::Any, [event]).commit().unwrap();
        }
        if self.closes {
            store.close().unwrap();
            return None;
        }
        Some(store)
    }
}

/// Tries each moment of what a reader does while a writer makes a visit. `begin` comes before that.
/// The writer opens the store at that moment, or has it open since before the reader began.
fn at_each_moment<T>(
    begin: impl Fn(&Meanwhile) -> T,
    look: impl Fn(T, &Meanwhile, u64) -> annals::Result<u64>,
) {
    // The third is as good as full, and the fourth has a sealed segment.
    let stores =
        [|| closed(3, SIZE), || stopped(3, SIZE), || closed(72, SIZE), || stopped(90, SIZE)];
    for make in stores {
        let there = open(&make()).unwrap().head().get();
        let visits = VISITS.into_iter().flat_map(|visit| [(visit, false), (visit, true)]);
        for (visit, is_open_before) in visits {
            for moment in 1.. {
                let sim = make();
                let disk = Meanwhile::new(&sim);
                let writer = is_open_before.then(|| visit.open(&sim));
                let prepared = begin(&disk);
                let staying = Arc::new(Mutex::new(None));
                let held = Arc::clone(&staying);
                disk.plan(moment, move || {
                    let writer = writer.unwrap_or_else(|| visit.open(&sim));
                    *held.lock() = visit.make(writer, there);
                });
                let read = look(prepared, &disk, there);
                let before = if is_open_before { ", open before," } else { "" };
                let what = format!("{visit:?}{before} after {there} at moment {moment}");
                let read = read.unwrap_or_else(|e| panic!("{what}: {e}"));
                let staying = staying.lock();
                let shown = staying.as_ref().map_or(there + visit.appends, |s| s.head().get());
                assert!((there..=shown).contains(&read), "{what}: {read} events");
                if !disk.has_happened() {
                    assert!(moment > 5, "a reader that does almost nothing");
                    break;
                }
            }
        }
    }
}

fn reader(disk: &Meanwhile) -> Store {
    options(&disk.sim).storage(Arc::new(disk.clone())).read_only(true).open(ROOT).unwrap()
}

#[test]
fn an_opening_for_reading_takes_no_new_commit_for_damage() {
    at_each_moment(
        |_| (),
        |(), disk, _| {
            let reader = reader(disk);
            let damaged = matches!(reader.opened(), Opened::Damaged { .. });
            assert!(!damaged, "{:?}", reader.opened());
            Ok(reader.head().get())
        },
    );
}

#[test]
fn a_reader_goes_on_into_what_is_written_meanwhile() {
    at_each_moment(reader, |reader, _, _| {
        let mut read = 0;
        for found in reader.read_all() {
            read += 1;
            check(&found?, read, SIZE);
        }
        Ok(read)
    });
}

#[test]
fn verifying_takes_no_new_commit_for_damage() {
    at_each_moment(
        |_| (),
        |(), disk, there| {
            let report = verify_on(disk, ROOT, |_| {})?;
            assert_eq!(report.faults, []);
            // It counts what it has proven, durable or not.
            Ok(report.events.min(there))
        },
    );
}
