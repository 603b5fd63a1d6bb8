//! Backups of a store that is in use: what they hold, which directories take one, and what becomes of a copy.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use annals::snapshot::Snapshot;
use annals::{
    Durability, Error, ExpectedRecord, ExpectedVersion, MappedWrites, NewEvent, Opened, Options,
    Store,
};

/// Segments of the smallest size.
fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

fn append(store: &Store, events: u64) {
    for _ in 0..events {
        let stream = format!("account-{}", store.head().get() % 7);
        let event = NewEvent::new("Moved", vec![7; 1_000]).tag("kind:test").metadata("{}");
        store.append(&stream, ExpectedVersion::Any, [event]).unwrap();
    }
}

fn filled(path: &Path) -> Store {
    let store = options().open(path).unwrap();
    append(&store, 200);
    store.cursors().advance("reader", 150).unwrap();
    store.truncate_before("account-1", 4).unwrap();
    store.archive("account-2").unwrap();
    store.records().put("settings", "dark", ExpectedRecord::Any).unwrap();
    store.snapshots().save(&Snapshot::new("account-3", 5, "a small state")).unwrap();
    store.snapshots().save(&Snapshot::new("account-4", 5, vec![1; 200_000])).unwrap();
    store
}

/// Everything that a store shows.
fn shown(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    let event = |event: annals::EventRef<'_>| {
        format!(
            "{} {} {} {} {} {:?} {:?} {:?}",
            event.position(),
            event.stream(),
            event.version(),
            event.id(),
            event.recorded_at(),
            event.event_type(),
            event.data(),
            event.tags().collect::<Vec<_>>(),
        )
    };
    store.read_all().include_hidden().for_each(|found| lines.push(event(found))).unwrap();
    store.read_all().for_each(|found| lines.push(format!("visible {}", found.position()))).unwrap();
    // When a cursor was moved is not known after a close.
    for cursor in store.cursors().list().unwrap() {
        lines.push(format!("{} {} {}", cursor.name, cursor.position, cursor.lag));
    }
    lines.push(format!("{:?}", store.records().get("settings").unwrap()));
    for key in ["account-3", "account-4"] {
        lines.push(format!("{:?}", store.snapshots().load(key).unwrap()));
    }
    for stream in 0..7 {
        lines.push(format!("{:?}", store.stream_info(&format!("account-{stream}")).unwrap()));
    }
    lines.push(store.stats().store_id.to_string());
    lines
}

fn read(path: &Path) -> Store {
    Options::new().read_only(true).open(path).unwrap()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn backup_of_a_store_in_use_shows_the_same_as_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let store = filled(&path);
    let mut progress = Vec::new();
    let done = store.backup_to(&copy, |at| progress.push(at)).unwrap();
    assert_eq!(done.position, store.head());
    assert_eq!(done.store_id, store.stats().store_id);
    assert!(done.segments > 3 && done.copied_bytes > 0 && done.kept_bytes == 0, "{done:?}");
    assert!(progress.is_sorted_by_key(|at| at.done_bytes), "{progress:?}");
    assert!(progress.iter().all(|at| at.done_bytes <= at.total_bytes));
    assert_eq!(progress.last().map(|at| at.done_bytes), progress.last().map(|at| at.total_bytes));
    assert_eq!(shown(&read(&copy)), shown(&store));
    let report = annals::verify(&copy, |_| {}).unwrap();
    assert_eq!(report.faults, []);
    assert_eq!(report.backup, Some(store.head()));
    assert_eq!(annals::verify(&path, |_| {}).unwrap().backup, None);
    // A token of the store is one of its copy.
    let token = store.checkpoint_token(100).unwrap();
    assert_eq!(read(&copy).verify_token(&token).unwrap().get(), 100);
}

#[test]
fn next_backup_copies_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    // After a close every full segment has an index file: nothing else changes the store's files.
    filled(&path).close().unwrap();
    let store = options().open(&path).unwrap();
    store.backup_to(&copy, |_| {}).unwrap();
    let again = store.backup_to(&copy, |_| {}).unwrap();
    assert_eq!((again.copied_bytes, again.linked_bytes), (0, 0), "{again:?}");
    append(&store, 1);
    let more = store.backup_to(&copy, |_| {}).unwrap();
    // The event may have taken the next segment into use.
    assert!((1_000..100_000).contains(&more.copied_bytes), "{more:?}");
    append(&store, 150);
    // And all of these can be merged.
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    store.compact().unwrap();
    let more = store.backup_to(&copy, |_| {}).unwrap();
    assert!(more.kept_bytes > 100_000, "{more:?}");
    assert_eq!(shown(&read(&copy)), shown(&store));
    // Index files that were merged in the store are not kept in its copy.
    let names = |path: &Path| -> Vec<String> {
        let mut names: Vec<_> = files(&path.join("index"))
            .iter()
            .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let (in_copy, in_store) = (names(&copy), names(&path));
    assert!(in_copy.iter().all(|name| in_store.contains(name)), "{in_copy:?}, {in_store:?}");
    assert!(in_copy.iter().any(|name| name.contains("-0")), "{in_copy:?}");
    assert_eq!(annals::verify(&copy, |_| {}).unwrap().faults, []);
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reader_in_another_handle_makes_a_backup_while_the_writer_appends() {
    for durability in [Durability::Sync, Durability::BUFFERED] {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let options = options().durability(durability).mapped_writes(MappedWrites::WhereSafe);
        let store = options.open(&path).unwrap();
        append(&store, 50);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    append(&store, 1);
                    store.cursors().advance("reader", store.head()).unwrap();
                    // A buffered writer would be far ahead of every copy.
                    std::thread::sleep(std::time::Duration::from_micros(500));
                }
            });
            // Also if a check fails: the scope waits for the other thread.
            let _stopping = StopAtEnd(&stop);
            let mut last = 0;
            for _ in 0..20 {
                // A reader, and the writer's own handle, in turn.
                let from_reader = read(&path).backup_to(&copy, |_| {}).unwrap();
                let from_writer = store.backup_to(&copy, |_| {}).unwrap();
                for done in [from_reader, from_writer] {
                    assert!(done.position.get() >= last, "{done:?} after {last}");
                    last = done.position.get();
                }
                let copied = read(&copy);
                assert_eq!(copied.head().get(), last);
                assert!(copied.cursors().get("reader").unwrap().is_none_or(|at| at.get() <= last));
                assert!(!matches!(copied.opened(), Opened::Damaged { .. }));
                let report = annals::verify(&copy, |_| {}).unwrap();
                assert_eq!(report.faults, []);
            }
        });
        let done = store.backup_to(&copy, |_| {}).unwrap();
        assert_eq!(done.position, store.head());
        let heads = |store: &Store| {
            let mut events = Vec::new();
            store.read_all().for_each(|event| events.push((event.id(), event.version()))).unwrap();
            events
        };
        store.sync().unwrap();
        assert_eq!(heads(&read(&copy)), heads(&store));
    }
}

#[test]
fn directory_that_is_no_backup_of_the_store_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store"));
    let other = options().open(dir.path().join("other")).unwrap();
    append(&other, 1);
    let refused = |path: &Path| {
        let before = files(path).len();
        let refused = store.backup_to(path, |_| {});
        assert!(matches!(refused, Err(Error::BackupRefused { .. })), "{refused:?}");
        assert_eq!(files(path).len(), before);
        refused.unwrap_err().to_string()
    };
    // A store, also this one.
    assert!(refused(&dir.path().join("other")).contains("is not a backup"));
    assert!(refused(&dir.path().join("store")).contains("is not a backup"));
    // Something else.
    let path = dir.path().join("documents");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter.txt"), "text").unwrap();
    assert!(refused(&path).contains("letter.txt"));
    // A backup of another store.
    let path = dir.path().join("of the other");
    other.backup_to(&path, |_| {}).unwrap();
    assert!(refused(&path).contains(&other.stats().store_id.to_string()));
    // A damaged manifest.
    let path = dir.path().join("damaged");
    store.backup_to(&path, |_| {}).unwrap();
    let mut manifest = fs::read(path.join("BACKUP")).unwrap();
    manifest[40] ^= 1;
    fs::write(path.join("BACKUP"), manifest).unwrap();
    assert!(refused(&path).contains("damaged"));
    assert_eq!(annals::verify(&path, |_| {}).unwrap().faults.len(), 1);
    // A file.
    let path = dir.path().join("file");
    fs::write(&path, "text").unwrap();
    assert!(store.backup_to(&path, |_| {}).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"text");
    // A missing parent is not created.
    assert!(store.backup_to(dir.path().join("missing/copy"), |_| {}).is_err());
}

#[test]
fn backup_of_another_history_is_refused() {
    // The histories part in the segment that the copies have in common, and after it.
    for events in [10, 200] {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let earlier = dir.path().join("earlier");
        let store = options().open(&path).unwrap();
        append(&store, events);
        store.backup_to(&earlier, |_| {}).unwrap();
        append(&store, 3);
        store.backup_to(&copy, |_| {}).unwrap();
        store.close().unwrap();
        // An older state is put in place of the store, and other events are recorded.
        let store = options().open(&earlier).unwrap();
        append(&store, 4);
        let refused = store.backup_to(&copy, |_| {});
        assert!(
            matches!(&refused, Err(Error::BackupRefused { why, .. }) if why.contains("another history")),
            "{refused:?}"
        );
        assert_eq!(annals::verify(&copy, |_| {}).unwrap().faults, []);
    }
}

#[test]
fn copy_that_is_opened_for_writing_is_a_store_of_its_own() {
    for durability in [Durability::Sync, Durability::BUFFERED] {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let store = filled(&path);
        store.backup_to(&copy, |_| {}).unwrap();
        let before = shown(&store);
        let taken = options().durability(durability).open(&copy).unwrap();
        assert!(!copy.join("BACKUP").exists());
        // Links or not, neither changes the other.
        append(&taken, 120);
        append(&store, 3);
        assert!(matches!(store.backup_to(&copy, |_| {}), Err(Error::BackupRefused { .. })));
        taken.close().unwrap();
        let taken = options().open(&copy).unwrap();
        assert_eq!(taken.head().get(), 320);
        taken.close().unwrap();
        assert_eq!(annals::verify(&copy, |_| {}).unwrap().faults, []);
        store.close().unwrap();
        assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, []);
        let store = options().open(&path).unwrap();
        assert_eq!(store.head().get(), 203);
        let events = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|line| !line.starts_with("visible")).take(200).collect()
        };
        assert_eq!(events(shown(&store)), events(before));
    }
}

#[test]
fn two_backups_into_one_directory_are_not_made_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store"));
    let copy = dir.path().join("copy");
    let mut second = None;
    store
        .backup_to(&copy, |_| {
            second.get_or_insert_with(|| store.backup_to(&copy, |_| {}).map(drop));
        })
        .unwrap();
    assert!(matches!(second, Some(Err(Error::Locked { .. }))), "{second:?}");
}

#[test]
fn backup_of_an_empty_store_and_of_a_closed_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let store = options().open(&path).unwrap();
    assert_eq!(store.backup_to(&copy, |_| {}).unwrap().position.get(), 0);
    assert_eq!(read(&copy).head().get(), 0);
    assert_eq!(annals::verify(&copy, |_| {}).unwrap().faults, []);
    append(&store, 10);
    store.close().unwrap();
    let reader = read(&path);
    assert_eq!(reader.backup_to(&copy, |_| {}).unwrap().position.get(), 10);
    assert_eq!(reader.backup_to(&copy, |_| {}).unwrap().copied_bytes, 0);
    assert_eq!(annals::verify(&copy, |_| {}).unwrap().faults, []);
    let store = options().open(&path).unwrap();
    let done = store.backup_to(&copy, |_| {}).unwrap();
    assert_eq!(done.copied_bytes, 0, "{done:?}");
    append(&store, 1);
    assert_eq!(store.backup_to(&copy, |_| {}).unwrap().position.get(), 11);
    assert_eq!(read(&copy).head().get(), 11);
    store.close().unwrap();
}

#[test]
fn copy_that_is_written_to_shows_what_it_appends() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store"));
    for to in ["closed", "open"] {
        let to = dir.path().join(to);
        store.backup_to(&to, |_| {}).unwrap();
        if to.ends_with("closed") {
            Options::new().open(&to).unwrap().close().unwrap();
        }
        let copy = options().open(&to).unwrap();
        // Without the space, each commit would change the length of the file.
        let segment = last_segment(&to);
        assert_eq!(fs::metadata(&segment).unwrap().len(), Options::MIN_SEGMENT_SIZE);
        let reader = options().read_only(true).open(&to).unwrap();
        for events in 0..40 {
            assert_eq!(events_of(&copy), 200 + events, "{}", to.display());
            assert_eq!(events_of(&reader), 200 + events, "{}", to.display());
            append(&copy, 1);
        }
    }
}

/// The last segment that has events.
fn last_segment(path: &Path) -> PathBuf {
    let mut segments: Vec<_> =
        fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let has_frames = |path: &PathBuf| fs::read(path).unwrap().get(8192).is_some_and(|it| *it != 0);
    segments.into_iter().rfind(has_frames).unwrap()
}

fn events_of(store: &Store) -> u64 {
    let mut events = 0;
    store.read_all().include_hidden().for_each(|_| events += 1).unwrap();
    events
}
