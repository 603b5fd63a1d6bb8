//! The results of opening all kinds of paths.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;
use std::path::Path;

use annals::{Error, ExpectedVersion, NewEvent, Opened, Options, Store};

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn path_that_is_not_a_store_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(matches!(Store::open(&file), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"text");

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "text").unwrap();
    assert!(matches!(Store::open(&foreign), Err(Error::NotAStore { .. })));
    assert_eq!(names(&foreign), ["letter.txt"]);

    let with_log = dir.path().join("with-log");
    fs::create_dir_all(with_log.join("log")).unwrap();
    fs::write(with_log.join("other.txt"), "text").unwrap();
    assert!(matches!(Store::open(&with_log), Err(Error::NotAStore { .. })));
    assert_eq!(names(&with_log), ["log", "other.txt"]);
}

#[test]
fn empty_directory_becomes_a_store_only_if_creation_is_permitted() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |options: Options| {
        let result = options.open(dir.path());
        assert!(matches!(result, Err(Error::NotAStore { .. })), "{result:?}");
        assert!(names(dir.path()).is_empty());
    };
    refused(Options::new().create(false));
    refused(Options::new().read_only(true));
    assert_eq!(*Store::open(dir.path()).unwrap().opened(), Opened::Created);
    assert_eq!(*Store::open(dir.path()).unwrap().opened(), Opened::Clean);
}

#[test]
fn foreign_files_in_a_store_are_ignored_and_noted_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]).unwrap();
    store.close().unwrap();
    fs::write(dir.path().join("log/notes.txt"), "text").unwrap();
    fs::write(dir.path().join("log/1.seg"), "text").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(*store.opened(), Opened::Clean);
    assert_eq!(store.read_all().into_iter().count(), 1);
    drop(store);
    let report = annals::verify(dir.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 2));
}

#[test]
fn copy_of_a_closed_store_opens_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = Store::open(&from).unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]).unwrap();
    store.close().unwrap();
    fs::create_dir(&to).unwrap();
    for name in ["log", "index", "checkpoints"] {
        fs::create_dir(to.join(name)).unwrap();
        for file in names(&from.join(name)) {
            fs::copy(from.join(name).join(&file), to.join(name).join(&file)).unwrap();
        }
    }
    let copy = Store::open(&to).unwrap();
    assert_eq!(*copy.opened(), Opened::Clean);
    copy.append("s", ExpectedVersion::Exact(1), [NewEvent::new("T", "y")]).unwrap();
    assert_eq!(Store::open(&from).unwrap().head().get(), 1);
    assert_eq!(copy.head().get(), 2);
}

#[test]
fn settings_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for options in [
        Options::new().segment_size(0),
        Options::new().segment_size((1 << 30) + 1),
        Options::new().max_event_size(0),
        Options::new().max_event_size((256 << 20) + 1),
    ] {
        let result = options.open(dir.path().join("store"));
        assert!(matches!(result, Err(Error::InvalidArgument { .. })), "{result:?}");
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn read_only_store_refuses_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked { .. })));
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    let event = || [NewEvent::new("T", "x")];
    let refused = reader.append("s", ExpectedVersion::Any, event());
    assert!(matches!(refused, Err(Error::ReadOnly)));
    let done = writer.append("s", ExpectedVersion::Any, event()).unwrap();
    assert!(reader.wait_for(done.last_position, std::time::Duration::from_secs(10)).unwrap());
    assert_eq!(reader.stream_head("s").unwrap().unwrap().version, 1);
    writer.clone().close().unwrap();
    let closed = writer.append("s", ExpectedVersion::Any, event());
    assert!(matches!(closed, Err(Error::Closed)));
}

/// A reader inspects the lock by sharing it, and may be suspended meanwhile.
#[test]
fn reader_that_inspects_the_lock_does_not_refuse_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap().close().unwrap();
    let lock = fs::File::open(dir.path().join("LOCK")).unwrap();
    lock.lock_shared().unwrap();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(60));
        drop(lock);
    });
    Store::open(dir.path()).unwrap();
    reader.join().unwrap();
}

#[test]
fn clean_close_is_marked_in_the_status_file() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [annals::Durability::Sync, annals::Durability::BUFFERED] {
        let open = || Options::new().durability(durability).open(dir.path()).unwrap();
        for sessions in 0..3 {
            let store = open();
            if sessions != 1 {
                store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]).unwrap();
            }
            store.close().unwrap();
            let status = fs::read(dir.path().join("STATUS")).unwrap();
            assert_eq!(status[20], 1, "marked clean");
        }
    }
}

#[test]
fn reader_beside_a_buffered_writer_sees_events_before_they_are_synced() {
    let dir = tempfile::tempdir().unwrap();
    let interval = std::time::Duration::from_secs(3600);
    let buffered = Options::new().durability(annals::Durability::Buffered { interval });
    let writer = buffered.open(dir.path()).unwrap();
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    let done = writer.append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]).unwrap();
    assert!(reader.wait_for(done.last_position, std::time::Duration::from_secs(10)).unwrap());
}
