//! Snapshots: loads beside saves, deletions and merges of packs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::snapshot::{Mark, Snapshot};
use annals::testing::SimStorage;
use annals::{ExpectedVersion, Store};
use shuttle::sync::atomic::AtomicU64;
use shuttle::thread::{self, JoinHandle};

use super::support::*;

/// A state that is appended to a pack.
const SMALL: usize = 60;
/// A state that has a file of its own.
const LARGE: usize = 700;

fn snapshot(key: &str, version: u64, size: usize) -> Snapshot {
    Snapshot::new(key, version, vec![u8::try_from(version).unwrap(); size])
}

/// The version of the loaded snapshot, whose state is whole; 0 if there is none.
fn loaded(store: &Store, key: &str) -> u64 {
    let Some(found) = store.snapshots().load(key).unwrap() else { return 0 };
    let Mark::Version(version) = found.mark() else { panic!("{found:?}") };
    assert!([SMALL, LARGE].contains(&found.state().len()), "{found:?}");
    assert!(found.state().iter().all(|&byte| u64::from(byte) == version), "{found:?}");
    version
}

/// Loads while snapshots are saved: always the newest one that was saved before, or a newer one.
fn loader(store: &Store, saved: &Arc<AtomicU64>, rounds: u64) -> JoinHandle<()> {
    let (store, saved) = (store.clone(), Arc::clone(saved));
    thread::spawn(move || {
        for _ in 0..rounds {
            let least = saved.load(Ordering::SeqCst);
            let found = loaded(&store, "s");
            assert!(found >= least, "loaded {found}, and {least} was saved");
        }
    })
}

/// Merges whatever there is, as the maintenance thread does when packs are full.
fn merger(store: &Store, rounds: u64) -> JoinHandle<()> {
    let store = store.clone();
    thread::spawn(move || {
        for _ in 0..rounds {
            store.compact().unwrap();
        }
    })
}

/// Saves snapshots of these sizes, one after the other, with one of another key between.
fn saver(store: &Store, saved: &Arc<AtomicU64>, sizes: &'static [usize]) -> JoinHandle<()> {
    let (store, saved) = (store.clone(), Arc::clone(saved));
    thread::spawn(move || {
        for (version, &size) in (1..).zip(sizes) {
            store.snapshots().save(&snapshot("s", version, size)).unwrap();
            saved.store(version, Ordering::SeqCst);
            if version % 2 == 0 {
                store.snapshots().save(&snapshot("t", version, SMALL)).unwrap();
            }
        }
    })
}

/// A store with two streams of this many versions.
fn filled(sim: &SimStorage, versions: u64) -> Store {
    let store = open(sim);
    for _ in 0..versions.div_ceil(2) {
        append(&store, "s", 10).unwrap();
        append(&store, "t", 10).unwrap();
    }
    store
}

fn save_merge_and_load(sizes: &'static [usize], by_reader: bool) {
    let sim = SimStorage::new(1);
    let store = filled(&sim, sizes.len() as u64);
    let reader = by_reader.then(|| options(sim.process()).read_only(true).open(ROOT).unwrap());
    let saved = Arc::new(AtomicU64::new(0));
    let threads = [
        loader(reader.as_ref().unwrap_or(&store), &saved, 5),
        merger(&store, 3),
        saver(&store, &saved, sizes),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
    let last = sizes.len() as u64;
    let beside = [Some(&store), reader.as_ref()];
    for store in beside.into_iter().flatten() {
        assert_eq!((loaded(store, "s"), loaded(store, "t")), (last, last / 2 * 2));
    }
    if let Some(reader) = reader {
        reader.close().unwrap();
    }
    store.close().unwrap();
    let store = open(&sim);
    assert_eq!((loaded(&store, "s"), loaded(&store, "t")), (last, last / 2 * 2));
    store.close().unwrap();
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn load_beside_a_merge_of_packs_finds_the_newest_saved_snapshot() {
    explore(|| save_merge_and_load(&[SMALL; 6], false));
}

/// Files of their own are removed when they are superseded.
#[test]
fn load_beside_a_merge_finds_snapshots_in_packs_and_in_files() {
    explore(|| save_merge_and_load(&[SMALL, LARGE, LARGE, SMALL, LARGE, LARGE], false));
}

/// The reader takes the files as it lists them, and the writer removes them meanwhile.
#[test]
fn reader_beside_a_merge_of_packs_finds_the_newest_saved_snapshot() {
    explore(|| save_merge_and_load(&[SMALL; 6], true));
}

#[test]
fn deleted_snapshots_stay_deleted_during_merges_of_packs() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = filled(&sim, 4);
        // Even: the newest snapshot is deleted. Odd: it is saved, or being saved or deleted.
        let turn = Arc::new(AtomicU64::new(0));
        let loader = {
            let (store, turn) = (store.clone(), Arc::clone(&turn));
            thread::spawn(move || {
                for _ in 0..5 {
                    let before = turn.load(Ordering::SeqCst);
                    let found = loaded(&store, "s");
                    let after = turn.load(Ordering::SeqCst);
                    if before == after && before.is_multiple_of(2) {
                        assert_eq!(found, 0, "deleted {before}");
                    }
                    assert!(found == 0 || found > before / 2, "{found} was deleted by {before}");
                }
            })
        };
        let merger = merger(&store, 3);
        for version in 1..=3 {
            turn.fetch_add(1, Ordering::SeqCst);
            store.snapshots().save(&snapshot("s", version, SMALL)).unwrap();
            assert!(store.snapshots().delete("s").unwrap());
            turn.fetch_add(1, Ordering::SeqCst);
        }
        loader.join().unwrap();
        merger.join().unwrap();
        assert_eq!(loaded(&store, "s"), 0);
        store.close().unwrap();
        assert_eq!(loaded(&open(&sim), "s"), 0);
    });
}

/// The snapshots of commits are loaded once their commits are done.
#[test]
fn snapshot_of_a_commit_is_loaded_during_merges_of_packs() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = filled(&sim, 2);
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                for version in 3..=6 {
                    let committed = store
                        .transaction()
                        .append("s", ExpectedVersion::Exact(version - 1), [event(10)])
                        .snapshot(snapshot("s", version, SMALL))
                        .commit();
                    committed.unwrap();
                    assert_eq!(loaded(&store, "s"), version);
                }
            })
        };
        let merger = merger(&store, 3);
        store.snapshots().save(&snapshot("t", 2, LARGE)).unwrap();
        writer.join().unwrap();
        merger.join().unwrap();
        assert_eq!((loaded(&store, "s"), loaded(&store, "t")), (6, 2));
        store.close().unwrap();
        assert_eq!(loaded(&open(&sim), "s"), 6);
    });
}

#[test]
fn reader_beside_a_merge_finds_snapshots_in_packs_and_in_files() {
    explore(|| {
        save_merge_and_load(&[SMALL, LARGE, LARGE, SMALL, LARGE, LARGE], true);
    });
    explore(|| save_merge_and_load(&[SMALL, LARGE, SMALL, SMALL], true));
}
