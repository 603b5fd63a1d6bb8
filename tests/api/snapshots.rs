//! Snapshots: saved, loaded, skipped if damaged, refused if ahead of the stream.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use annals::snapshot::Snapshot;
use annals::{
    AsOf, Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Position, Store,
    Timestamp, snapshot::Mark,
};

#[test]
fn newest_intact_snapshot_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::BUFFERED).open(dir.path()).unwrap();
    let events = (0..5).map(|_| NewEvent::new("T", "x"));
    store.append("account-1", ExpectedVersion::Any, events).unwrap();
    let snapshots = store.snapshots();
    assert_eq!(snapshots.load("account-1").unwrap(), None);

    for version in 1..=4_u64 {
        let snapshot =
            Snapshot::new("account-1", version, version.to_string()).with_schema_version(3);
        snapshots.save(&snapshot).unwrap();
    }
    let newest = snapshots.load("account-1").unwrap().unwrap();
    assert_eq!((newest.mark(), newest.state()), (Mark::Version(4), &b"4"[..]));
    assert_eq!(newest.schema_version(), 3);
    let older = snapshots.load_at_most("account-1", 3).unwrap().unwrap();
    assert_eq!(older.mark(), Mark::Version(3));
    assert_eq!(snapshots.load_at_most("account-1", 2).unwrap(), None, "two are kept");

    let ahead = snapshots.save(&Snapshot::new("account-1", 6, "x"));
    assert!(matches!(ahead, Err(Error::SnapshotAhead { mark: 6, reached: 5, .. })), "{ahead:?}");
    let ahead = snapshots.save(&Snapshot::new("free name", Position::new(6), "x"));
    assert!(matches!(ahead, Err(Error::SnapshotAhead { .. })));

    snapshots.save(&Snapshot::new("free name", Position::new(4), "p")).unwrap();
    assert_eq!(snapshots.load_at_most("free name", 9).unwrap(), None, "kinds are kept apart");
    let by_position = snapshots.load("free name").unwrap().unwrap();
    assert_eq!(by_position.mark(), Mark::Position(Position::new(4)));
    assert!(snapshots.delete("free name").unwrap());
    assert!(!snapshots.delete("free name").unwrap());
    assert!(snapshots.load("account-1").unwrap().is_some());
}

/// A state of the past is the newest snapshot as of then and the events between.
#[test]
fn snapshot_as_of_a_time_a_position_or_a_version_is_the_newest_covered() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().snapshots_kept(10);
    let store = options.open(dir.path()).unwrap();
    let mut commits = Vec::new();
    for number in 1..=20_u64 {
        let time = Timestamp::from_micros(1_600_000_000_000_000 + number * 1_000_000);
        let mut commit = store
            .transaction()
            .append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "1")])
            .append("other", ExpectedVersion::Any, [NewEvent::new("Noise", "")])
            .recorded_at(time);
        if number % 5 == 0 {
            let state = number.to_string();
            commit = commit
                .snapshot(Snapshot::new("account-1", number, state.clone()))
                .snapshot(Snapshot::new("balances", Position::new(2 * number), state));
        }
        commits.push(commit.commit().unwrap());
    }
    let snapshots = store.snapshots();
    for (number, commit) in (1_u64..).zip(&commits) {
        let covered = (number / 5 * 5 > 0).then_some(number / 5 * 5);
        let first = commit.first_position;
        for as_of in [first.into(), commit.recorded_at.into(), AsOf::Version(number)] {
            let found = snapshots.load_as_of("account-1", as_of).unwrap();
            assert_eq!(found.as_ref().map(Snapshot::mark), covered.map(Mark::Version), "{as_of:?}");
            let (mut balance, mut version) = (0, 0);
            if let (Some(found), Some(covered)) = (&found, covered) {
                balance = std::str::from_utf8(found.state()).unwrap().parse().unwrap();
                version = covered;
            }
            let after = store.read_stream("account-1").from_version(version + 1).as_of(as_of);
            let read = after.into_iter().map(Result::unwrap).count() as u64;
            assert!(read < 5, "{read} events are read after a snapshot");
            balance += read;
            assert_eq!(balance, number);
        }
        // Before the commit's last event, a snapshot of that event is not covered.
        let by_position = snapshots.load_as_of("balances", commit.last_position).unwrap();
        let mark = |number: u64| Mark::Position(Position::new(2 * number));
        assert_eq!(by_position.map(|it| it.mark()), covered.map(mark));
        let by_position = snapshots.load_as_of("balances", first).unwrap();
        let covered = ((number - 1) / 5 * 5 > 0).then_some((number - 1) / 5 * 5);
        assert_eq!(by_position.map(|it| it.mark()), covered.map(mark));
        let before = Position::new(first.get() - 1);
        let earlier = snapshots.load_as_of("account-1", before).unwrap();
        assert_eq!(earlier.map(|it| it.mark()), covered.map(Mark::Version));
    }
    let early = Timestamp::from_micros(1);
    assert_eq!(snapshots.load_as_of("account-1", early).unwrap(), None);
    assert_eq!(snapshots.load_as_of("balances", AsOf::Version(20)).unwrap(), None);
    let newest = snapshots.load_as_of("account-1", Position::new(u64::MAX)).unwrap();
    assert_eq!(newest, snapshots.load("account-1").unwrap());
    assert!(snapshots.load_as_of("", early).is_err());
}

#[test]
fn damaged_snapshot_is_skipped_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    let events = (0..2).map(|_| NewEvent::new("T", "x"));
    store.append("s", ExpectedVersion::Any, events).unwrap();
    for version in 1..=2_u64 {
        store.snapshots().save(&Snapshot::new("s", version, "state")).unwrap();
    }
    let pack = dir.path().join("snapshots/00000000000000000001.pack");
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.len() - 6;
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert_eq!(store.snapshots().load("s").unwrap().unwrap().mark(), Mark::Version(1));
    store.close().unwrap();
    let report = annals::verify(dir.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 1));
}

#[test]
fn snapshot_in_a_transaction_appears_with_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    for background in [true, false] {
        let store = Options::new().background(background).open(dir.path()).unwrap();
        let version = store.stream_head("s").unwrap().map_or(0, |head| head.version);
        let with = |mark: u64| {
            store
                .transaction()
                .append("s", ExpectedVersion::Exact(version), [NewEvent::new("T", "x")])
                .snapshot(Snapshot::new("s", mark, "state"))
        };
        let ahead = with(version + 2).commit();
        let Err(Error::Conflict { failed, .. }) = ahead else { panic!("{ahead:?}") };
        let (key, mark, reached) = ("s".to_owned(), version + 2, version + 1);
        assert_eq!(failed, [FailedCheck::SnapshotAhead { key, mark, reached }]);
        with(version + 1).commit().unwrap();
        let loaded = store.snapshots().load("s").unwrap().unwrap();
        assert_eq!(loaded.mark(), Mark::Version(version + 1));
        // A refused commit saves no snapshot.
        assert!(with(1).commit().is_err());
        assert_eq!(store.snapshots().list("").unwrap().len() as u64, version + 1);
        store.close().unwrap();
    }
}

#[test]
fn snapshot_of_a_dropped_ticket_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().snapshots_kept(100).open(dir.path()).unwrap();
    for version in 1..=50_u64 {
        let ticket = store
            .transaction()
            .append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")])
            .snapshot(Snapshot::new("s", version, "state"))
            .submit()
            .unwrap();
        drop(ticket);
    }
    store.close().unwrap();
    let store = Options::new().read_only(true).open(dir.path()).unwrap();
    let mut marks: Vec<_> =
        store.snapshots().list("s").unwrap().into_iter().map(|found| found.mark).collect();
    marks.sort_unstable();
    assert_eq!(marks, (1..=50).map(Mark::Version).collect::<Vec<_>>());
    assert!(store.snapshots().list("t").unwrap().is_empty());
}

/// The names in the directory of snapshots with this suffix.
fn files(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.join("snapshots")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

fn small() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE).durability(Durability::BUFFERED)
}

/// Appends an event to the stream, and saves a snapshot of it with a state of `size` bytes.
fn append_with_snapshot(store: &Store, stream: &str, size: usize) -> u64 {
    let version = store.stream_head(stream).unwrap().map_or(0, |head| head.version) + 1;
    let state = format!("{stream} {version} {}", "x".repeat(size));
    store
        .transaction()
        .append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")])
        .snapshot(Snapshot::new(stream, version, state))
        .durability(Durability::Sync)
        .commit()
        .unwrap();
    version
}

fn assert_loaded(store: &Store, stream: &str, version: u64) {
    let found = store.snapshots().load(stream).unwrap().expect(stream);
    assert_eq!(found.mark(), Mark::Version(version), "{stream}");
    assert!(found.state().starts_with(format!("{stream} {version} ").as_bytes()), "{stream}");
}

#[test]
fn packs_are_merged_and_keep_the_newest_snapshots_of_each_key() {
    for background in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = small().background(background).snapshots_kept(2);
        let store = options.clone().open(dir.path()).unwrap();
        let streams: Vec<_> = (0..20).map(|number| format!("s-{number}")).collect();
        for round in 1..=30 {
            for stream in &streams {
                assert_eq!(append_with_snapshot(&store, stream, 100), round);
            }
        }
        for stream in &streams {
            assert_loaded(&store, stream, 30);
        }
        if !background {
            // Of 600 snapshots with more than 200 bytes each, 40 are kept.
            let size =
                |name: &String| fs::metadata(dir.path().join("snapshots").join(name)).unwrap();
            let all = files(dir.path(), "").iter().map(|name| size(name).len()).sum::<u64>();
            assert!(all < 60_000, "{all} bytes: {:?}", files(dir.path(), ""));
            assert!(files(dir.path(), ".pack").len() <= 4, "{:?}", files(dir.path(), ""));
        }
        store.compact().unwrap();
        assert_eq!((files(dir.path(), ".lvl").len(), files(dir.path(), ".pack").len()), (1, 0));
        store.close().unwrap();
        for read_only in [true, false] {
            let store = options.clone().read_only(read_only).open(dir.path()).unwrap();
            for stream in &streams {
                assert_loaded(&store, stream, 30);
                let older = store.snapshots().load_at_most(stream, 29).unwrap().unwrap();
                assert_eq!(older.mark(), Mark::Version(29));
                assert_eq!(store.snapshots().load_at_most(stream, 28).unwrap(), None);
            }
            assert_eq!(store.snapshots().list("").unwrap().len(), 40);
            assert_eq!(store.snapshots().list("s-19").unwrap().len(), 2);
        }
        let report = annals::verify(dir.path(), |_| {}).unwrap();
        assert_eq!((report.faults.len(), &report.notes[..]), (0, &[][..]));
    }
}

#[test]
fn deleted_snapshots_stay_deleted_when_packs_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    for stream in ["a", "b"] {
        append_with_snapshot(&store, stream, 10);
    }
    // Large enough to stay apart from the small packs below.
    for number in 0..200 {
        append_with_snapshot(&store, &format!("other-{number}"), 100);
    }
    store.compact().unwrap();
    append_with_snapshot(&store, "a", 10);
    assert!(store.snapshots().delete("a").unwrap());
    assert_eq!(store.snapshots().load("a").unwrap(), None);
    assert!(!store.snapshots().delete("a").unwrap());
    // Small packs of several sessions are merged without the older level file.
    store.close().unwrap();
    for _ in 0..6 {
        let store = small().background(false).open(dir.path()).unwrap();
        assert_eq!(store.snapshots().load("a").unwrap(), None);
        append_with_snapshot(&store, "b", 10);
        store.close().unwrap();
    }
    assert_eq!(files(dir.path(), ".lvl").len(), 2, "{:?}", files(dir.path(), ""));
    let store = small().open(dir.path()).unwrap();
    assert_eq!(store.snapshots().load("a").unwrap(), None);
    append_with_snapshot(&store, "a", 10);
    assert_loaded(&store, "a", 3);
    store.compact().unwrap();
    assert_loaded(&store, "a", 3);
    assert_loaded(&store, "b", 7);
    assert_eq!(store.snapshots().load_at_most("a", 2).unwrap(), None);
    assert_eq!(store.snapshots().list("a").unwrap().len(), 1);
    let listed = store.snapshots().list("").unwrap();
    for key in listed.iter().map(|found| &found.key).collect::<BTreeSet<_>>() {
        assert!(store.snapshots().delete(key).unwrap());
    }
    store.compact().unwrap();
    assert!(store.snapshots().list("").unwrap().is_empty());
    assert!(files(dir.path(), "").is_empty(), "nothing is left to store");
}

#[test]
fn reader_beside_the_writer_finds_snapshots_before_and_after_a_merge() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().durability(Durability::Sync).open(dir.path()).unwrap();
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.snapshots().load("a").unwrap(), None);
    for round in 1..=3 {
        let version = append_with_snapshot(&store, "a", 10);
        assert_eq!(version, 2 * round - 1);
        assert_loaded(&reader, "a", version);
        store.compact().unwrap();
        assert_loaded(&reader, "a", version);
        let version = append_with_snapshot(&store, "a", 10);
        assert_loaded(&reader, "a", version);
    }
    store.snapshots().delete("a").unwrap();
    assert_eq!(reader.snapshots().load("a").unwrap(), None);
}

#[test]
fn large_and_small_states_of_a_key_supersede_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    let mut own_files = Vec::new();
    for size in [10_000, 10, 10_000, 10_000, 10, 10, 10_000, 10] {
        let version = append_with_snapshot(&store, "a", size);
        assert_loaded(&store, "a", version);
        let fan_out = files(dir.path(), "").into_iter().find(|name| name.len() == 3).unwrap();
        own_files.push(fs::read_dir(dir.path().join("snapshots").join(fan_out)).unwrap().count());
    }
    assert_eq!(own_files, [1, 1, 1, 2, 1, 0, 1, 1], "two snapshots are kept");
    // A state of a higher schema version replaces one of either kind.
    for (schema_version, size) in [(1, 10_000), (2, 10), (3, 10_000), (4, 9_000), (5, 20)] {
        let state = "y".repeat(size);
        let again = Snapshot::new("a", 8, state).with_schema_version(schema_version);
        store.snapshots().save(&again).unwrap();
        store.snapshots().save(&again).unwrap();
        let lower = Snapshot::new("a", 8, "z").with_schema_version(schema_version - 1);
        let refused = store.snapshots().save(&lower);
        assert!(matches!(refused, Err(Error::SnapshotExists { .. })), "{refused:?}");
        let found = store.snapshots().load("a").unwrap().unwrap();
        assert_eq!((found.schema_version(), found.state().len()), (schema_version, size));
    }
    store.close().unwrap();
    let store = small().open(dir.path()).unwrap();
    assert_eq!(store.snapshots().load("a").unwrap().unwrap().schema_version(), 5);
    assert!(store.snapshots().delete("a").unwrap());
    assert!(store.snapshots().list("").unwrap().is_empty());
}

#[test]
fn pack_that_is_cut_short_keeps_the_snapshots_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    let streams = ["a", "b", "c"];
    for stream in streams {
        append_with_snapshot(&store, stream, 10);
    }
    store.close().unwrap();
    let pack = dir.path().join("snapshots").join(&files(dir.path(), ".pack")[0]);
    let whole = fs::read(&pack).unwrap();
    let entry = (whole.len() - 64) / 3;
    for len in (0..=whole.len()).step_by(entry / 4) {
        fs::write(&pack, &whole[..len]).unwrap();
        let left = len.saturating_sub(64) / entry;
        let store = small().read_only(true).open(dir.path()).unwrap();
        for (number, stream) in streams.iter().enumerate() {
            assert_eq!(store.snapshots().load(stream).unwrap().is_some(), number < left, "{len}");
        }
        drop(store);
        let report = annals::verify(dir.path(), |_| {}).unwrap();
        let ends = len >= 64 && (len - 64) % entry == 0;
        assert_eq!((report.faults.len(), report.notes.len()), (0, usize::from(!ends)), "{len}");
    }
    // The writer appends to another pack.
    let store = small().open(dir.path()).unwrap();
    append_with_snapshot(&store, "c", 10);
    store.close().unwrap();
    assert_eq!(files(dir.path(), ".pack").len(), 2);
    let store = small().open(dir.path()).unwrap();
    assert_loaded(&store, "a", 1);
    assert_loaded(&store, "c", 2);
}

#[test]
fn damaged_level_file_of_snapshots_is_skipped_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    for number in 0..100 {
        append_with_snapshot(&store, &format!("s-{number}"), 100);
    }
    store.compact().unwrap();
    store.close().unwrap();
    let level = dir.path().join("snapshots").join(&files(dir.path(), ".lvl")[0]);
    let whole = fs::read(&level).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&level, bytes).unwrap();
        let store = small().read_only(true).open(dir.path()).unwrap();
        let mut found = 0;
        for number in 0..100 {
            let stream = format!("s-{number}");
            if store.snapshots().load(&stream).unwrap().is_some() {
                assert_loaded(&store, &stream, 1);
                found += 1;
            }
        }
        assert!(found > 0 || at > whole.len() - 200 || at < 4096, "{at}: one block is damaged");
        drop(store);
        let report = annals::verify(dir.path(), |_| {}).unwrap();
        assert!(report.faults.is_empty() && !report.notes.is_empty(), "{at}: {report:?}");
    }
    fs::write(&level, &whole[..whole.len() - 1]).unwrap();
    let store = small().open(dir.path()).unwrap();
    assert_eq!(store.snapshots().load("s-1").unwrap(), None);
    append_with_snapshot(&store, "s-1", 100);
    store.compact().unwrap();
    assert_loaded(&store, "s-1", 2);
}

/// A crash, or a reader on Windows, can leave the inputs of a merge.
#[test]
fn files_that_a_merge_left_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path()).unwrap();
    let mut inputs = Vec::new();
    for _ in 0..2 {
        append_with_snapshot(&store, "a", 10);
        append_with_snapshot(&store, "b", 10);
        for suffix in [".pack", ".lvl"] {
            for name in files(dir.path(), suffix) {
                let path = dir.path().join("snapshots").join(name);
                inputs.push((fs::read(&path).unwrap(), path));
            }
        }
        if inputs.len() > 1 {
            store.snapshots().delete("a").unwrap();
        }
        store.compact().unwrap();
    }
    store.close().unwrap();
    assert_eq!(inputs.len(), 3);
    for (bytes, path) in inputs {
        fs::write(path, bytes).unwrap();
    }
    for read_only in [true, false] {
        let store = small().read_only(read_only).open(dir.path()).unwrap();
        assert_eq!(store.snapshots().load("a").unwrap(), None);
        assert_loaded(&store, "b", 2);
    }
    let unfinished = "snapshots/00000000000000000001-00000000000000000007.lvl.tmp";
    fs::write(dir.path().join(unfinished), "half").unwrap();
    let store = small().open(dir.path()).unwrap();
    append_with_snapshot(&store, "b", 10);
    assert_loaded(&store, "b", 3);
    store.compact().unwrap();
    assert_eq!(files(dir.path(), ""), files(dir.path(), ".lvl"));
    assert_eq!(files(dir.path(), ".lvl").len(), 1);
    assert_loaded(&store, "b", 3);
}

#[test]
fn snapshots_that_wait_for_a_sync_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let never = Durability::Buffered { interval: Duration::from_secs(3600) };
    let options = Options::new().background(false).durability(never);
    let store = options.open(dir.path()).unwrap();
    for version in 1..=40_u64 {
        let state = vec![u8::try_from(version).unwrap(); 1 << 20];
        let commit = store
            .transaction()
            .append("a", ExpectedVersion::Any, [NewEvent::new("T", "")])
            .snapshot(Snapshot::new("a", version, state));
        commit.commit().unwrap();
    }
    // Past 32 MiB of states, a commit is synced early, and they are saved.
    let saved = store.snapshots().load("a").unwrap().map(|it| it.mark());
    assert_eq!(saved, Some(Mark::Version(33)));
    assert_eq!(store.stats().syncs, 1);
}
