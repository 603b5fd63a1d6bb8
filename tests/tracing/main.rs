//! The feature `tracing`: each event appears, with its fields.

#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod collector;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::testing::{Call, Hook, HookedStorage, Operation, SimStorage};
use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};
use collector::{of, start, wait_for};
use tracing::Level;

/// A directory for a store; the path is what the store calls its root.
fn directory() -> (tempfile::TempDir, PathBuf) {
    start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("store");
    (dir, path)
}

fn append(store: &Store, bytes: usize) {
    let event = NewEvent::new("Noted", vec![b'x'; bytes]);
    store.append("a-1", ExpectedVersion::Any, [event]).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn opening_and_closing_are_reported() {
    let (_dir, path) = directory();
    let store = Store::open(&path).unwrap();
    append(&store, 1);
    let refused = Store::open(&path).unwrap_err();
    store.close().unwrap();
    drop(Store::open(&path).unwrap());
    let spans = of("open", &path);
    assert_eq!(spans.len(), 3);
    assert_eq!((spans[0].level, &*spans[0].fields["read_only"]), (Level::DEBUG, "false"));
    let opened = of("store opened", &path);
    let outcomes: Vec<&str> = opened.iter().map(|it| it.fields["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["created", "clean"]);
    assert_eq!((opened[1].level, opened[1].number("head")), (Level::INFO, 1));
    assert!(opened[0].fields.contains_key("micros"));
    let failed = &of("store not opened", &path)[0];
    assert_eq!(failed.level, Level::WARN);
    assert!(failed.fields["error"].starts_with(&refused.to_string()), "{failed:?}");
    assert_eq!(of("store closed", &path).len(), 2);
}

#[test]
fn recovery_and_damage_are_reported() {
    let (dir, path) = directory();
    let store = Store::open(&path).unwrap();
    append(&store, 100);
    let torn = dir.path().canonicalize().unwrap().join("torn");
    copy(&path, &torn);
    append(&store, 5000);
    let segment = "log/00000000000000000001.seg";
    let mut bytes = std::fs::read(path.join(segment)).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end - 2000..=end].fill(0);
    std::fs::write(torn.join(segment), &bytes).unwrap();
    let broken = dir.path().canonicalize().unwrap().join("broken");
    copy(&path, &broken);
    store.close().unwrap();
    drop(Store::open(&torn).unwrap());
    let recovered = &of("store recovered", &torn)[0];
    assert_eq!(recovered.level, Level::WARN);
    assert!(recovered.number("dropped_bytes") > 0, "{recovered:?}");
    assert!(recovered.fields["quarantined"].contains("quarantine"), "{recovered:?}");
    assert!(
        recovered.fields.contains_key("rewritten_bytes")
            && recovered.fields.contains_key("rebuilt")
    );
    assert_eq!(of("store opened", &torn)[0].fields["outcome"], "recovered");

    let mut bytes = std::fs::read(broken.join(segment)).unwrap();
    let at = bytes.windows(50).position(|window| window == [b'x'; 50]).unwrap();
    bytes[at] = b'y';
    std::fs::write(broken.join(segment), &bytes).unwrap();
    drop(Options::new().read_only(true).open(&broken).unwrap());
    let damaged = &of("store damaged", &broken)[0];
    assert_eq!((damaged.level, damaged.number("expected_position")), (Level::ERROR, 1));
    assert!(damaged.fields["file"].ends_with(segment), "{damaged:?}");
    assert!(damaged.number("offset") > 0 && !damaged.fields["evidence"].is_empty(), "{damaged:?}");
}

#[test]
fn rollovers_seals_checkpoints_and_merges_are_reported() {
    let (_dir, path) = directory();
    let options = Options::new().segment_size(64 << 10).durability(Durability::BUFFERED);
    let store = options.compaction(false).open(&path).unwrap();
    for _ in 0..200 {
        append(&store, 4000);
    }
    wait_for("checkpoint written", &path);
    wait_for("segment sealed", &path);
    store.close().unwrap();
    let rollovers = of("segment rolled over", &path);
    let segments: Vec<u64> = rollovers.iter().map(|it| it.number("segment")).collect();
    let expected: Vec<u64> = (2..).take(segments.len()).collect();
    assert_eq!(segments, expected, "each one once, in order");
    assert!(segments.len() > 5 && rollovers[0].level == Level::DEBUG);
    let sealed = of("segment sealed", &path);
    assert_eq!(sealed[0].number("segment"), 1);
    assert_eq!(sealed[0].number("events") + 1, rollovers[0].number("first_position"));
    assert!(sealed[0].number("bytes") > 4000 && sealed[0].fields.contains_key("micros"));
    assert_eq!(of("seal", &path).len(), sealed.len(), "each in its span");
    let checkpoint = &of("checkpoint written", &path)[0];
    assert!(checkpoint.number("position") > 0 && checkpoint.number("number") > 0);

    // The merges of this call alone.
    let store = Options::new().compaction(false).open(&path).unwrap();
    let done = store.compact().unwrap();
    assert!(done.merges > 0);
    let merged = of("indexes merged", &path);
    let files: u64 = merged.iter().map(|it| it.number("files")).sum();
    assert_eq!((merged.len() as u64, files), (done.merges, done.merged_files));
    assert!(merged[0].number("first_segment") < merged[0].number("last_segment"));
    assert!(merged[0].number("bytes") > 0 && merged[0].fields.contains_key("micros"));
    assert_eq!(of("merge", &path).len(), merged.len());
    store.close().unwrap();
}

#[test]
fn only_slow_appends_are_reported() {
    let (_dir, path) = directory();
    let store = Options::new().slow_append(Duration::from_secs(3600)).open(&path).unwrap();
    append(&store, 10);
    store.close().unwrap();
    assert!(of("append slow", &path).is_empty());
    let store = Options::new().slow_append(Duration::ZERO).open(&path).unwrap();
    append(&store, 10);
    let event = || NewEvent::new("Noted", "");
    let transaction = store.transaction().append("b", ExpectedVersion::Any, [event(), event()]);
    transaction.commit().unwrap();
    let slow = of("append slow", &path);
    assert_eq!(slow.len(), 2, "{slow:?}");
    assert_eq!((slow[0].level, slow[0].number("events")), (Level::WARN, 1));
    assert_eq!((slow[1].number("events"), slow[1].number("last_position")), (2, 4));
    assert!(slow[0].fields.contains_key("micros"));
}

#[cfg(unix)]
#[test]
fn writer_that_stops_is_reported() {
    let (dir, path) = directory();
    let store = Store::open(&path).unwrap();
    append(&store, 10);
    std::fs::rename(&path, dir.path().join("aside")).unwrap();
    std::fs::create_dir(&path).unwrap();
    store.sync().unwrap_err();
    let stopped = of("writer stopped", &path);
    assert_eq!(stopped[0].level, Level::ERROR);
    assert!(!stopped[0].fields["error"].is_empty(), "{stopped:?}");
}

/// Fails an operation on segments or index files, from a moment on.
#[derive(Default)]
struct Failing {
    writes: AtomicBool,
    syncs: AtomicBool,
    indexes: AtomicBool,
}

impl Hook for Failing {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let fails = match call.operation {
            Operation::Write if call.is_segment() => self.writes.load(Ordering::Relaxed),
            Operation::Sync if call.is_segment() => self.syncs.load(Ordering::Relaxed),
            Operation::Open if call.path.to_string_lossy().contains(".idx") => {
                self.indexes.load(Ordering::Relaxed)
            }
            _ => false,
        };
        if fails { Err(io::Error::other("the test's failure")) } else { Ok(()) }
    }
}

#[test]
fn failures_are_reported() {
    start();
    for (what, level) in [
        ("write failed", Level::ERROR),
        ("sync failed", Level::ERROR),
        ("maintenance failed", Level::WARN),
    ] {
        // Stores on simulated disks share no paths with those of other tests.
        let path = PathBuf::from(format!("/failing-{}", what.replace(' ', "-")));
        let disk = HookedStorage::new(SimStorage::new(1), Failing::default());
        let options =
            Options::new().storage(Arc::new(disk.clone())).background(false).segment_size(64 << 10);
        let store = options.open(&path).unwrap();
        append(&store, 10);
        assert!(of(what, &path).is_empty(), "{what}");
        match what {
            "write failed" => disk.hook().writes.store(true, Ordering::Relaxed),
            "sync failed" => disk.hook().syncs.store(true, Ordering::Relaxed),
            _ => disk.hook().indexes.store(true, Ordering::Relaxed),
        }
        for _ in 0..40 {
            let event = NewEvent::new("Noted", vec![b'x'; 4000]);
            let _fails = store.append("a-1", ExpectedVersion::Any, [event]);
        }
        let failed = &of(what, &path)[0];
        assert_eq!(failed.level, level);
        assert!(failed.fields["error"].contains("the test's failure"), "{failed:?}");
        if what == "maintenance failed" {
            assert_eq!(failed.fields["task"], "write the index of segment 1");
        }
        let _closed = store.close();
    }
}
