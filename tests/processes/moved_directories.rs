//! Directories that are renamed, replaced or removed under an open store, and a changed working
//! directory: a store touches only the directory that it was opened in, and returns `StoreGone` if
//! that is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Error, ExpectedVersion, NewEvent, Options, Position, Result, Store};

use super::life::child::{Running, command};
use super::life::writer::{Life, say};
use super::namespace::{inside, skipped, tmpfs, try_mount};

/// A bound for the time until a store notices.
const PATIENCE: Duration = Duration::from_secs(20);
/// Size of an event, 20 of which fill a small segment.
const SIZE: usize = 3_000;

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

fn append(store: &Store, name: &str) -> Result<()> {
    let event = NewEvent::new(name, vec![7; SIZE]);
    store.append(name, ExpectedVersion::Any, [event]).map(drop)
}

/// Creates a store of this many events, and closes it.
fn a_store(path: &Path, name: &str, events: u64) {
    let store = options().open(path).unwrap();
    for _ in 0..events {
        append(&store, name).unwrap();
    }
    store.close().unwrap();
}

/// All files below a directory, with their contents.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

/// Asserts that the store has no fault and holds this many events, all of this stream.
fn check(path: &Path, name: &str, events: u64) {
    assert_eq!(annals::verify(path, |_| {}).unwrap().faults, []);
    let store = options().open(path).unwrap();
    assert_eq!(store.head().get(), events);
    for event in store.read_all().start().unwrap() {
        assert_eq!(event.unwrap().stream(), name);
    }
}

/// Repeats a call until it fails, which must be because the store is gone; returns the number of
/// successes.
fn until_gone<T>(mut call: impl FnMut() -> Result<T>) -> u64 {
    let until = Instant::now() + PATIENCE;
    let mut worked = 0;
    loop {
        match call() {
            Ok(_) => worked += 1,
            Err(Error::StoreGone { .. }) => return worked,
            Err(error) => panic!("{error:?}"),
        }
        assert!(Instant::now() < until, "nobody noticed in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The child opens the store `ledger` in the directory `one`, changes to `two`, and appends.
pub(crate) fn append_after_a_change_of_directory(path: &Path, life: Life) {
    std::env::set_current_dir(path.join("one")).unwrap();
    let store = options().open("ledger").unwrap();
    std::env::set_current_dir(path.join("two")).unwrap();
    for _ in 0..100 {
        append(&store, "one").unwrap();
    }
    store.compact().unwrap();
    if life.seed == 1 {
        store
            .snapshots()
            .save(&annals::snapshot::Snapshot::new("one", 3, b"state".to_vec()))
            .unwrap();
    }
    store.close().unwrap();
    say("end");
}

/// A relative path is resolved when the store is opened, and not against a later working directory.
#[test]
fn changed_working_directory_does_not_move_the_store() {
    for (seed, exists) in [(0, true), (1, true), (2, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        if exists {
            a_store(&two.join("ledger"), "two", 30);
        }
        let before = contents(&two);
        let life = Life { seed, number: 1, synced: true };
        let child = Running::start(command("change-directory", dir.path(), life));
        let status = child.wait(|_| {});
        assert!(status.success(), "{status}");
        assert!(contents(&two) == before, "the other store was touched");
        check(&one.join("ledger"), "one", 100);
        if exists {
            check(&two.join("ledger"), "two", 30);
        }
    }
}

/// A store whose directory is renamed goes on in it.
#[test]
fn renamed_store_goes_on_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("ledger"), dir.path().join("moved"));
    let store = options().open(&path).unwrap();
    append(&store, "one").unwrap();
    fs::rename(&path, &moved).unwrap();
    for _ in 0..60 {
        append(&store, "one").unwrap();
    }
    assert!(matches!(options().open(&moved), Err(Error::Locked { .. })));
    store.close().unwrap();
    assert!(!path.exists(), "the old name was used again");
    check(&moved, "one", 61);
}

/// If another store replaces an open one, the writer stops without writing to it.
#[test]
fn writer_whose_directory_was_replaced_stops() {
    for linked in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        a_store(&new, "two", 30);
        if linked {
            fs::create_dir(&old).unwrap();
            symlink(&old, &path).unwrap();
        }
        let store = options().open(&path).unwrap();
        append(&store, "one").unwrap();
        let (place, before);
        if linked {
            fs::remove_file(&path).unwrap();
            symlink(&new, &path).unwrap();
            (place, before) = (new.clone(), contents(&new));
        } else {
            fs::rename(&path, &old).unwrap();
            fs::rename(&new, &path).unwrap();
            (place, before) = (path.clone(), contents(&path));
        }
        let more = until_gone(|| append(&store, "one"));
        assert!(matches!(store.sync(), Err(Error::StoreGone { .. })));
        assert!(matches!(store.close(), Err(Error::StoreGone { .. })));
        assert!(contents(&place) == before, "the other store was touched");
        check(&place, "two", 30);
        check(&old, "one", 1 + more);
    }
}

/// Without its directory or a part of it, a store stops, and reports no damage.
#[test]
fn writer_whose_files_are_gone_stops() {
    for name in ["", "log", "index", "checkpoints", "LOCK"] {
        for replaced in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (path, aside) = (dir.path().join("ledger"), dir.path().join("aside"));
            let store = options().open(&path).unwrap();
            for _ in 0..50 {
                append(&store, "one").unwrap();
            }
            let part = path.join(name);
            if part.is_dir() && !replaced {
                // A thread of the store may add a file meanwhile.
                while fs::remove_dir_all(&part).is_err() && part.exists() {}
            } else {
                fs::rename(&part, &aside).unwrap();
                if aside.is_dir() {
                    fs::create_dir(&part).unwrap();
                } else {
                    fs::write(&part, "").unwrap();
                }
            }
            until_gone(|| append(&store, "one"));
            until_gone(|| store.sync());
            assert!(matches!(store.close(), Err(Error::StoreGone { .. })), "{name:?}");
            if replaced && part.is_dir() && name != "LOCK" {
                assert_eq!(contents(&part), [], "{name:?}");
            }
        }
    }
}

/// The lock is valid only while its file is the one in the directory.
#[test]
fn lock_file_that_was_removed_lets_no_second_writer_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let first = options().open(&path).unwrap();
    append(&first, "one").unwrap();
    fs::remove_file(path.join("LOCK")).unwrap();
    until_gone(|| append(&first, "one"));
}

fn a_follower(path: &Path, events: u64) -> Store {
    let store = options().read_only(true).open(path).unwrap();
    assert_eq!(store.head().get(), events);
    store
}

/// A file that was closed to limit open files, and was replaced before it is opened again, is not
/// read.
#[test]
fn closed_file_that_was_replaced_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("ledger"), dir.path().join("other"));
    a_store(&path, "one", 900);
    a_store(&other, "two", 900);
    let few = options().max_open_files(Options::MIN_OPEN_FILES).max_mappings(Options::MIN_MAPPINGS);
    for read_only in [false, true] {
        let store = few.clone().read_only(read_only).open(&path).unwrap();
        let read =
            || store.read_all().start()?.try_fold(0, |count, event| event.map(|_| count + 1));
        assert_eq!(read().unwrap(), 900);
        let name = "log/00000000000000000002.seg";
        let aside = dir.path().join("aside");
        fs::rename(path.join(name), &aside).unwrap();
        fs::copy(other.join(name), path.join(name)).unwrap();
        let failed = read();
        assert!(matches!(failed, Err(Error::StoreGone { .. })), "{failed:?}");
        fs::rename(&aside, path.join(name)).unwrap();
        assert_eq!(read().unwrap(), 900);
    }
}

/// Asserts that every call of a follower fails, and reports no damage.
fn assert_follower_says_so(store: &Store, what: &str) {
    let gone = |result: Result<()>| {
        assert!(matches!(result, Err(Error::StoreGone { .. })), "{what}: {result:?}");
    };
    let read = || store.read_all().start()?.try_for_each(|event| event.map(drop));
    gone(read());
    gone(store.read_stream("one").start().map(drop));
    gone(store.stream_head("one").map(drop));
    gone(store.wait_for(Position::new(1_000), PATIENCE).map(drop));
    let subscribed = store.subscribe().start().and_then(|mut subscription| {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            subscription.next_timeout(PATIENCE)?;
        }
        Ok(())
    });
    gone(subscribed);
}

/// A follower reports that its store was replaced or removed.
#[test]
fn follower_of_a_replaced_store_returns_store_gone() {
    for what in ["directory", "link", "contents", "removed", "log", "same name again"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        if what == "link" {
            fs::create_dir(&old).unwrap();
            symlink(&old, &path).unwrap();
        }
        a_store(&path, "one", 30);
        a_store(&new, "two", 50);
        let follower = a_follower(&path, 30);
        match what {
            "directory" => {
                fs::rename(&path, &old).unwrap();
                fs::rename(&new, &path).unwrap();
            }
            "link" => {
                fs::remove_file(&path).unwrap();
                symlink(&new, &path).unwrap();
            }
            // The state after one store was copied over another.
            "contents" => {
                for part in ["log", "index", "checkpoints"] {
                    for entry in fs::read_dir(path.join(part)).unwrap() {
                        fs::remove_file(entry.unwrap().path()).unwrap();
                    }
                    for entry in fs::read_dir(new.join(part)).unwrap() {
                        let entry = entry.unwrap();
                        let to = path.join(part).join(entry.file_name());
                        fs::copy(entry.path(), to).unwrap();
                    }
                }
                fs::copy(new.join("STATUS"), path.join("STATUS")).unwrap();
            }
            "removed" => fs::remove_dir_all(&path).unwrap(),
            "log" => fs::rename(path.join("log"), &old).unwrap(),
            _ => {
                fs::remove_dir_all(&path).unwrap();
                a_store(&path, "two", 50);
            }
        }
        assert_follower_says_so(&follower, what);
    }
}

/// A follower of a store whose directory is renamed follows it.
#[test]
fn follower_of_a_renamed_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("ledger"), dir.path().join("moved"));
    let store = options().open(&path).unwrap();
    append(&store, "one").unwrap();
    let follower = a_follower(&path, 1);
    fs::rename(&path, &moved).unwrap();
    for _ in 0..60 {
        append(&store, "one").unwrap();
    }
    assert!(follower.wait_for(Position::new(61), PATIENCE).unwrap());
    assert_eq!(follower.read_all().start().unwrap().map(Result::unwrap).count(), 61);
}

/// A reader on an overlay maps the lower file until the writer opens it, which copies it up; that
/// mapping shows no later append. The reader reads the upper file, and reports no damage.
#[test]
fn reader_on_an_overlay_reads_on_after_a_copy_up() {
    let test = "moved_directories::reader_on_an_overlay_reads_on_after_a_copy_up";
    inside(test, || {
        for apart in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let base = dir.path().join("base");
            tmpfs(&base, 64 << 10);
            let top = if apart { dir.path().join("top") } else { base.clone() };
            if apart {
                tmpfs(&top, 64 << 10);
            }
            let (lower, overlay) = (base.join("lower"), dir.path().join("overlay"));
            let (upper, work) = (top.join("upper"), top.join("work"));
            for path in [&lower, &upper, &work, &overlay] {
                fs::create_dir_all(path).unwrap();
            }
            a_store(&lower.join("ledger"), "one", 25);
            let flags = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                upper.display(),
                work.display()
            );
            if !try_mount(&["-t", "overlay", "-o", &flags, "overlay"], &overlay) {
                return skipped(test, "no overlay can be mounted here");
            }
            let path = overlay.join("ledger");
            let early = a_follower(&path, 25);
            // Makes the reader map the end of the log.
            let read =
                |store: &Store| store.read_all().start().unwrap().map(Result::unwrap).count();
            assert_eq!(read(&early), 25);
            let kept = early.read_all().start().unwrap().last().unwrap().unwrap();
            let store = options().open(&path).unwrap();
            for _ in 0..10 {
                append(&store, "one").unwrap();
            }
            assert!(early.wait_for(Position::new(35), PATIENCE).unwrap());
            assert_eq!(read(&early), 35);
            let stream = early.read_stream("one").start().unwrap();
            assert_eq!(stream.map(Result::unwrap).count(), 35);
            for _ in 0..60 {
                append(&store, "one").unwrap();
            }
            assert!(early.wait_for(Position::new(95), PATIENCE).unwrap());
            assert_eq!(read(&early), 95);
            assert_eq!((kept.version(), kept.data().len()), (25, SIZE));
            store.close().unwrap();
            drop(early);
            check(&path, "one", 95);
        }
    });
}
