//! A writer that opens, appends and closes at any moment of a reader's opening, reading or
//! verifying.

use std::io;
use std::sync::Arc;

use annals::testing::{Call, Hook, HookedStorage, SimStorage, verify_on};
use annals::{Durability, ExpectedVersion, Opened, Store};
use parking_lot::Mutex;

use super::support::*;

/// An action that is taken once, before the reader's operation with a number.
struct Planned {
    /// Number of operations up to and including that one.
    left: u64,
    action: Option<Box<dyn FnOnce() + Send>>,
}

/// The hook of the reader's disk: takes the planned action, and refuses to change the disk.
struct AtMoment {
    sim: SimStorage,
    planned: Mutex<Planned>,
}

impl AtMoment {
    /// Takes `action` before the operation with this number from now on.
    fn plan(&self, number: u64, action: impl FnOnce() + Send + 'static) {
        *self.planned.lock() = Planned { left: number, action: Some(Box::new(action)) };
    }

    fn has_happened(&self) -> bool {
        self.planned.lock().action.is_none()
    }
}

impl Hook for AtMoment {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        assert!(!call.changes_the_disk(), "a reader changes nothing: {call:?}");
        let mut planned = self.planned.lock();
        planned.left = planned.left.saturating_sub(1);
        let due = if planned.left == 0 { planned.action.take() } else { None };
        drop(planned);
        if let Some(action) = due {
            // In another thread: the reader's own thread holds locks of its store.
            std::thread::spawn(action).join().unwrap();
        }
        Ok(())
    }

    fn permits_mappings(&self) -> bool {
        false
    }
}

type ReaderDisk = HookedStorage<AtMoment>;

fn reader_disk(sim: &SimStorage) -> ReaderDisk {
    let planned = Mutex::new(Planned { left: u64::MAX, action: None });
    HookedStorage::new(sim.process(), AtMoment { sim: sim.clone(), planned })
}

const SIZE: usize = 700;

/// What the writer does during its visit.
#[derive(Debug, Clone, Copy)]
struct Visit {
    appends: u64,
    closes: bool,
    /// The durability of the store, and the one of its commits.
    of: (Durability, Durability),
}

const SYNCED: (Durability, Durability) = (Durability::Sync, Durability::Sync);
const BUFFERED: (Durability, Durability) = (Durability::BUFFERED, Durability::BUFFERED);
/// Commits that are written and not visible yet.
const NOT_YET: (Durability, Durability) = (Durability::Sync, Durability::BUFFERED);

const VISITS: [Visit; 7] = [
    Visit { appends: 0, closes: true, of: SYNCED },
    Visit { appends: 3, closes: false, of: SYNCED },
    Visit { appends: 3, closes: true, of: SYNCED },
    // Past the end of one segment or two.
    Visit { appends: 150, closes: true, of: SYNCED },
    Visit { appends: 3, closes: false, of: BUFFERED },
    Visit { appends: 150, closes: true, of: BUFFERED },
    Visit { appends: 3, closes: false, of: NOT_YET },
];

impl Visit {
    fn open(self, sim: &SimStorage) -> Store {
        options(sim).durability(self.of.0).open(ROOT).unwrap()
    }

    /// Appends after the first `there` events; returns the store if the visit leaves it open.
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

/// Runs `look` once for each moment at which a writer may make a visit meanwhile; `begin` runs
/// before. The writer opens the store at that moment, or has it open since before the reader began.
fn at_each_moment<T>(
    begin: impl Fn(&ReaderDisk) -> T,
    look: impl Fn(T, &ReaderDisk, u64) -> annals::Result<u64>,
) {
    // The third store has a segment that is almost full, and the fourth has a sealed one.
    let stores =
        [|| closed(3, SIZE), || stopped(3, SIZE), || closed(72, SIZE), || stopped(90, SIZE)];
    for make in stores {
        let there = open(&make()).unwrap().head().get();
        let visits = VISITS.into_iter().flat_map(|visit| [(visit, false), (visit, true)]);
        for (visit, is_open_before) in visits {
            for moment in 1.. {
                let sim = make();
                let disk = reader_disk(&sim);
                let writer = is_open_before.then(|| visit.open(&sim));
                let prepared = begin(&disk);
                let staying = Arc::new(Mutex::new(None));
                let held = Arc::clone(&staying);
                disk.hook().plan(moment, move || {
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
                if !disk.hook().has_happened() {
                    assert!(moment > 5, "a reader that does almost nothing");
                    break;
                }
            }
        }
    }
}

fn reader(disk: &ReaderDisk) -> Store {
    let options = options(&disk.hook().sim).storage(Arc::new(disk.clone()));
    options.read_only(true).open(ROOT).unwrap()
}

#[test]
fn read_only_opening_beside_a_writer_reports_no_damage() {
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
fn reader_beside_a_writer_reads_on_into_new_commits() {
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
fn verify_beside_a_writer_reports_no_damage() {
    at_each_moment(
        |_| (),
        |(), disk, there| {
            let report = verify_on(disk, ROOT, |_| {})?;
            assert_eq!(report.faults, []);
            // Verify counts every proven event, durable or not.
            Ok(report.events.min(there))
        },
    );
}
