//! Waiting for the writer's lock, and the process that holds it.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Options, Store};

/// A bound; every wait ends far earlier.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn opening_that_waits_gets_the_lock_when_the_store_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let old = Store::open(dir.path()).unwrap();
    let path = dir.path().to_path_buf();
    let (sender, opened) = channel();
    thread::spawn(move || sender.send(Options::new().lock_timeout(PATIENCE).open(path)));
    // The opening waits as long as the store is open.
    assert!(opened.recv_timeout(Duration::from_millis(100)).is_err());
    old.append("s", ExpectedVersion::Any, [NewEvent::new("T", "of the old")]).unwrap();
    old.close().unwrap();
    let new = opened.recv_timeout(PATIENCE).expect("it does not wait for ever").unwrap();
    assert_eq!(new.head().get(), 1, "what the old one did before it closed is there");
    new.append("s", ExpectedVersion::Exact(1), [NewEvent::new("T", "of the new")]).unwrap();
}

#[test]
fn opening_whose_wait_ends_without_the_lock_is_refused_as_locked() {
    let dir = tempfile::tempdir().unwrap();
    let held = Store::open(dir.path()).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(80)] {
        let (path, (sender, ended)) = (dir.path().to_path_buf(), channel());
        thread::spawn(move || sender.send(Options::new().lock_timeout(timeout).open(path)));
        let refused = ended.recv_timeout(PATIENCE).expect("it ends soon after its timeout");
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    }
    held.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
}

#[test]
fn read_only_opening_waits_for_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Store::open(dir.path()).unwrap();
    let options = Options::new().read_only(true).lock_timeout(Duration::MAX);
    assert_eq!(options.open(dir.path()).unwrap().head().get(), 0);
}

#[test]
fn threads_waiting_for_the_lock_all_get_it_in_turn() {
    const THREADS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
                let store = options.lock_timeout(PATIENCE).open(dir.path()).unwrap();
                store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
                store.close().unwrap();
            });
        }
    });
    assert_eq!(Store::open(dir.path()).unwrap().head().get(), THREADS);
}

#[cfg(target_os = "linux")]
#[test]
fn lock_held_by_this_process_is_reported_as_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let held = Store::open(dir.path()).unwrap();
    let Err(error) = Store::open(dir.path()) else { panic!("two writers") };
    let Error::Locked { holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(error.to_string().contains(" in this process; Options::lock_timeout"), "{error}");
    held.close().unwrap();
    Store::open(dir.path()).unwrap();
}
