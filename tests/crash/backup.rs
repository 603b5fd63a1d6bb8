//! Backups that end early: by a power loss at any operation, a full disk, or a writer that lost what was not synced.

use std::path::Path;

use annals::testing::{Crash, Keep, SimStorage, Storage};
use annals::{Backup, Error, Result, Store};

use super::support::*;

const COPY: &str = "/copy";
/// Six events fill a segment.
const LARGE: usize = 9_000;

fn back_up(store: &Store) -> Result<Backup> {
    store.backup_to(COPY, |_| {})
}

/// The number of events in the copy, all of which are right, by every path.
fn events_in_copy(sim: &SimStorage, size: usize) -> u64 {
    let copy = options(sim).read_only(true).open(COPY).expect("the copy opens");
    assert!(!matches!(copy.opened(), annals::Opened::Damaged { .. }), "{:?}", copy.opened());
    read_back(&copy, size).expect("the copy is read")
}

/// The report of a verification, on a disk of its own: there the copy is the store.
fn faults_in_copy(sim: &SimStorage) -> Vec<String> {
    let real = tempfile::tempdir().unwrap();
    sim.export_dir(Path::new(COPY), &real.path().join("copy")).unwrap();
    let report = annals::verify(real.path().join("copy"), |_| {}).unwrap();
    assert_eq!(report.backup.is_some(), report.faults.is_empty());
    report.faults.into_iter().map(|fault| fault.what).collect()
}

#[test]
fn backup_that_ends_at_any_operation_leaves_the_earlier_one_whole() {
    let sim = SimStorage::new(11);
    let store = open(&sim).unwrap();
    append(&store, 1, 9, LARGE);
    assert_eq!(back_up(&store).unwrap().position.get(), 9);
    append(&store, 10, 27, LARGE);
    store.sync().unwrap();
    stop(&sim, store);
    let (mut ended, mut continued) = (0, 0);
    for operations in 0.. {
        let sim = sim.fork();
        let store = open(&sim).unwrap();
        sim.fail_after_ops(operations);
        let done = back_up(&store);
        sim.crash(Crash::new(operations).keep(Keep::Random));
        drop(store);
        let found = events_in_copy(&sim, LARGE);
        if done.is_ok() {
            assert_eq!(found, 27);
            break;
        }
        ended += 1;
        assert!((9..=27).contains(&found), "after {operations} operations: {found} events");
        assert_eq!(faults_in_copy(&sim), Vec::<String>::new(), "after {operations} operations");
        // The next backup continues.
        let store = open(&sim).unwrap();
        let done = back_up(&store).unwrap();
        continued += u64::from(done.kept_bytes > 0);
        assert_eq!(done.position.get(), 27);
        stop(&sim, store);
        assert_eq!(events_in_copy(&sim, LARGE), 27, "after {operations} operations");
        assert_eq!(faults_in_copy(&sim), Vec::<String>::new(), "after {operations} operations");
    }
    assert!(ended > 20 && continued > 20, "{ended} ended, {continued} continued");
}

#[test]
fn first_backup_that_ends_early_is_no_store_and_is_continued() {
    let sim = SimStorage::new(12);
    let store = open(&sim).unwrap();
    append(&store, 1, 15, LARGE);
    stop(&sim, store);
    let mut refused = 0;
    for operations in 0.. {
        let sim = sim.fork();
        let store = open(&sim).unwrap();
        sim.fail_after_ops(operations);
        let done = back_up(&store);
        sim.crash(Crash::new(operations).keep(Keep::Random));
        drop(store);
        if done.is_ok() {
            break;
        }
        // Either nothing is there, or it is refused: an unfinished copy is never taken for the store.
        let mut is_own = false;
        for read_only in [true, false] {
            match options(&sim).read_only(read_only).create(false).open(COPY) {
                Err(Error::NotAStore { .. }) => refused += 1,
                // The last operations come after the manifest.
                Ok(copy) => {
                    assert_eq!(copy.head().get(), 15, "after {operations} operations");
                    is_own |= !read_only;
                }
                Err(other) => panic!("after {operations} operations: {other:?}"),
            }
        }
        let store = open(&sim).unwrap();
        match back_up(&store) {
            Ok(done) => assert_eq!(done.position.get(), 15),
            // Opened for writing above, it is a store of its own.
            Err(Error::BackupRefused { .. }) if is_own => continue,
            Err(other) => panic!("after {operations} operations: {other:?}"),
        }
        stop(&sim, store);
        assert_eq!(events_in_copy(&sim, LARGE), 15);
    }
    assert!(refused > 40, "{refused} refused");
}

#[test]
fn events_that_an_unfinished_backup_copied_and_the_store_lost_are_not_in_the_next() {
    // In the segment that the copy ends in, and in later ones.
    for last in [6, 16] {
        let sim = SimStorage::new(13);
        let store = open(&sim).unwrap();
        append(&store, 1, 3, LARGE);
        back_up(&store).unwrap();
        let lost = sim.fork();
        append(&store, 4, last, LARGE);
        back_up(&store).unwrap();
        stop(&sim, store);
        // What that backup copied, beside the manifest of the one before.
        for file in sim.files().into_iter().filter(|file| file.starts_with(format!("{COPY}/log"))) {
            lost.write_file(&file, &sim.read_file(&file).unwrap()).unwrap();
        }
        // The machine stopped, and the store has none of it.
        lost.crash(Crash::new(0).keep(Keep::Everything));
        let store = open(&lost).unwrap();
        assert_eq!(store.head().get(), 3);
        append(&store, 4, 4, 100);
        assert_eq!(back_up(&store).unwrap().position.get(), 4);
        drop(store);
        assert_eq!(faults_in_copy(&lost), Vec::<String>::new(), "{last} events");
        let copy = options(&lost).read_only(true).open(COPY).unwrap();
        let mut lengths = Vec::new();
        copy.read_all().for_each(|event| lengths.push(event.data().len())).unwrap();
        assert_eq!(lengths, [LARGE, LARGE, LARGE, 100]);
    }
}

#[test]
fn short_copy_is_refused_and_named() {
    let sim = SimStorage::new(14);
    let store = open(&sim).unwrap();
    append(&store, 1, 9, LARGE);
    let done = back_up(&store).unwrap();
    assert_eq!((done.position.get(), done.segments), (9, 2));
    stop(&sim, store);
    assert_eq!(faults_in_copy(&sim), Vec::<String>::new());
    let last = format!("{COPY}/log/{:020}.seg", 2);
    let whole = sim.read_file(&last).unwrap();
    for len in [whole.len() - 8, whole.len() / 2, DATA_START as usize] {
        let sim = sim.fork();
        sim.write_file(&last, &whole[..len]).unwrap();
        assert!(matches!(options(&sim).open(COPY), Err(Error::Corrupt { .. })), "{len}");
        let faults = faults_in_copy(&sim);
        assert!(faults.iter().any(|it| it.contains("does not hold that place")), "{faults:?}");
    }
    // Without the last segment.
    sim.remove_file(Path::new(&last)).unwrap();
    assert!(matches!(options(&sim).open(COPY), Err(Error::Corrupt { .. })));
    let faults = faults_in_copy(&sim);
    assert!(faults.iter().any(|it| it.contains("does not hold that place")), "{faults:?}");
}

#[test]
fn full_disk_ends_a_backup_and_the_store_goes_on() {
    let sim = SimStorage::new(15);
    let store = open(&sim).unwrap();
    append(&store, 1, 9, LARGE);
    back_up(&store).unwrap();
    append(&store, 10, 20, LARGE);
    sim.set_free_space(Some(20_000));
    assert!(matches!(back_up(&store), Err(Error::DiskFull { .. })));
    sim.set_free_space(None);
    assert!((9..20).contains(&events_in_copy(&sim, LARGE)));
    append(&store, 21, 21, LARGE);
    assert_eq!(back_up(&store).unwrap().position.get(), 21);
    assert_eq!(events_in_copy(&sim, LARGE), 21);
}

#[test]
fn what_a_backup_holds_is_durable_in_the_store() {
    let sim = SimStorage::new(16);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, 100);
    append_buffered(&store, 4, 100);
    assert_eq!(back_up(&store).unwrap().position.get(), 4);
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    drop(store);
    let store = open(&sim).unwrap();
    assert_eq!(read_back(&store, 100).unwrap(), 4);
    assert_eq!(back_up(&store).unwrap().position.get(), 4);
}
