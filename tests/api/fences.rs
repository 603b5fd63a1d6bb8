//! Fences: what a fenced store refuses, what it permits, and the program that has it open.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Options, Store, fence};

/// A bound; every wait ends far earlier.
const PATIENCE: Duration = Duration::from_secs(60);

fn append(store: &Store, expected: u64) {
    let event = NewEvent::new("T", "");
    store.append("s", ExpectedVersion::Exact(expected), [event]).unwrap();
}

#[test]
fn fenced_store_is_read_and_not_written_until_the_fence_is_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0);
    store.close().unwrap();
    assert_eq!(fence::find(dir.path()).unwrap(), None);
    fence::raise(dir.path(), "elsewhere", Duration::ZERO).unwrap();
    fence::raise(dir.path(), "elsewhere", Duration::ZERO).expect("the same place again");

    let found = fence::find(dir.path()).unwrap().unwrap();
    assert_eq!((&*found.to, found.is_complete), ("elsewhere", true));
    for _ in 0..2 {
        let refused = Store::open(dir.path()).unwrap_err();
        let Error::Fenced { to, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(to, "elsewhere");
        assert!(refused.to_string().contains("fence::lift"), "it names the next step: {refused}");
    }
    let other = fence::raise(dir.path(), "a third place", Duration::ZERO);
    assert!(matches!(other, Err(Error::Fenced { to, .. }) if to == "elsewhere"));
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.head().get(), 1);
    annals::verify(dir.path(), |_| ()).unwrap();

    assert_eq!(fence::lift(dir.path()).unwrap().as_deref(), Some("elsewhere"));
    assert_eq!(fence::lift(dir.path()).unwrap(), None);
    append(&Store::open(dir.path()).unwrap(), 1);
}

#[test]
fn fence_waits_for_the_writer_and_refuses_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 0);
    let (path, (sender, raised)) = (dir.path().to_path_buf(), channel());
    thread::spawn(move || sender.send(fence::raise(path, "elsewhere", PATIENCE)));
    // An opening that waits for the writer finds the fence once it has the lock.
    while fence::find(dir.path()).unwrap().is_none() {
        thread::yield_now();
    }
    assert!(!fence::find(dir.path()).unwrap().unwrap().is_complete);
    let path = dir.path().to_path_buf();
    let next = thread::spawn(move || Options::new().lock_timeout(PATIENCE).open(path));
    append(&store, 1);
    assert!(raised.try_recv().is_err(), "it does not return while the store is open");
    store.close().unwrap();
    raised.recv_timeout(PATIENCE).expect("it does not wait for ever").unwrap();
    assert!(matches!(next.join().unwrap(), Err(Error::Fenced { .. })));
    assert!(fence::find(dir.path()).unwrap().unwrap().is_complete);
}

#[test]
fn fence_that_does_not_get_the_lock_is_removed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let refused = fence::raise(dir.path(), "elsewhere", Duration::from_millis(20));
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert_eq!(fence::find(dir.path()).unwrap(), None);
    store.close().unwrap();
    append(&Store::open(dir.path()).unwrap(), 0);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a file that somebody else has put there")]
fn fence_without_a_readable_place_is_a_fence() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap().close().unwrap();
    std::fs::write(dir.path().join("FENCE"), b"").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Fenced { to, .. }) if to.is_empty()));
    std::fs::remove_file(dir.path().join("FENCE")).unwrap();
    std::fs::create_dir(dir.path().join("FENCE")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Fenced { .. })));
}

#[test]
fn fence_of_nothing_and_a_place_that_is_no_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    assert!(matches!(fence::raise(&none, "x", Duration::ZERO), Err(Error::NotAStore { .. })));
    assert!(matches!(fence::lift(&none), Err(Error::NotAStore { .. })));
    assert!(matches!(fence::raise(dir.path(), "x", Duration::ZERO), Err(Error::NotAStore { .. })));
    let store = dir.path().join("store");
    Store::open(&store).unwrap().close().unwrap();
    for place in [String::new(), "a\nb".to_owned(), "x".repeat(fence::MAX_PLACE_LEN + 1)] {
        let refused = fence::raise(&store, &place, Duration::ZERO);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
    fence::raise(&store, &"x".repeat(fence::MAX_PLACE_LEN), Duration::ZERO).unwrap();
    assert_eq!(fence::find(&store).unwrap().unwrap().to.len(), fence::MAX_PLACE_LEN);
}
