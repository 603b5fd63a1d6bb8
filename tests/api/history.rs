//! Positions and snapshots of another history: an older copy of the log below files derived from a
//! newer one.

#![allow(clippy::disallowed_methods, reason = "tests copy stores")]

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use annals::testing::decode::patch;
use annals::{
    CheckpointToken, Error, ExpectedVersion, NewEvent, Options, Position, Store,
    snapshot::{Mark, Snapshot},
    verify,
};

use super::support::copy_tree;

fn copy(from: &Path, to: &Path) {
    copy_tree(from, to, &|_| false);
}

fn append(store: &Store, events: u64, data: &str) {
    for _ in 0..events {
        store.append("s", ExpectedVersion::Any, [NewEvent::new("T", data)]).unwrap();
    }
}

/// A directory with a store of 20 events, and a copy of it from when it had 10.
fn branched() -> (tempfile::TempDir, Store, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    append(&store, 10, "common");
    store.close().unwrap();
    copy(&dir.path().join("ledger"), &dir.path().join("older"));
    let store = Store::open(dir.path().join("ledger")).unwrap();
    append(&store, 10, "first");
    let older = Store::open(dir.path().join("older")).unwrap();
    (dir, store, older)
}

#[test]
fn token_is_accepted_in_its_own_history_only() {
    let (dir, store, older) = branched();
    let tokens: Vec<CheckpointToken> = (0..=20_u64)
        .map(|position| store.checkpoint_token(position).unwrap().to_string().parse().unwrap())
        .collect();
    for (token, position) in tokens.iter().zip(0..) {
        assert_eq!(store.verify_token(token).unwrap(), Position::new(position));
    }
    let ahead = store.checkpoint_token(21);
    assert!(matches!(ahead, Err(Error::PositionAhead { head, .. }) if head == Position::new(20)));
    // In the older copy, the newer positions do not exist at first; later, other events have them.
    let refused = older.verify_token(&tokens[15]);
    assert!(matches!(refused, Err(Error::PositionAhead { .. })), "{refused:?}");
    append(&older, 10, "second");
    for (token, position) in tokens.iter().zip(0_u64..) {
        let verified = older.verify_token(token);
        let read = older.read_all().after_token(*token).start().map(Iterator::count);
        let subscribed = older.subscribe().after_token(*token).start().map(drop);
        if position <= 10 {
            assert_eq!(verified.unwrap(), Position::new(position));
            assert_eq!(read.unwrap() as u64, 20 - position);
            subscribed.unwrap();
        } else {
            let other =
                |error| matches!(error, Error::OtherHistory { position: p } if p.get() == position);
            assert!(other(verified.unwrap_err()), "{position}");
            assert!(other(read.unwrap_err()) && other(subscribed.unwrap_err()), "{position}");
        }
    }
    let other = Store::open(dir.path().join("other")).unwrap();
    let refused = other.verify_token(&tokens[0]);
    assert!(matches!(refused, Err(Error::OtherStore { .. })), "{refused:?}");
    // Tokens stay valid for a sealed segment, after reopening, and in a reader.
    store.close().unwrap();
    let reader = Options::new().read_only(true).open(dir.path().join("ledger")).unwrap();
    assert!(tokens.iter().all(|token| reader.verify_token(token).is_ok()));
}

#[test]
fn subscription_after_a_position_ahead_of_the_head_is_refused_at_its_start() {
    let (dir, store, _older) = branched();
    let start = |store: &Store, after: u64| store.subscribe().after(after).start().map(drop);
    let reader = Options::new().read_only(true).open(dir.path().join("ledger")).unwrap();
    for store in [&store, &reader] {
        start(store, 20).unwrap();
        for after in [21, u64::MAX] {
            let refused = start(store, after);
            let Err(Error::PositionAhead { position, head }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((position.get(), head.get()), (after, 20));
        }
    }
    // A submitted commit has its position at once; a reader sees it once it is acknowledged.
    let commit = store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
    let ticket = commit.submit().unwrap();
    start(&store, ticket.committed().last_position.get()).unwrap();
    let done = ticket.wait().unwrap();
    start(&reader, done.last_position.get()).unwrap();
    // A read ends at the head.
    assert_eq!(store.read_all().after(99).into_iter().count(), 0);
    // Cursors go back with the log, and are never ahead of it.
    assert!(store.subscribe().from_cursor("nobody").start().is_ok());
}

#[test]
fn reader_whose_log_went_back_returns_an_error() {
    let (dir, store, older) = branched();
    store.close().unwrap();
    older.close().unwrap();
    let (log, old) = (dir.path().join("ledger"), dir.path().join("older"));
    let reader = Options::new().read_only(true).open(&log).unwrap();
    assert_eq!(reader.read_all().into_iter().count(), 20);
    // The older files are written over those that the reader has open.
    let name = "log/00000000000000000001.seg";
    let bytes = fs::read(old.join(name)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(log.join(name)).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    drop(file);
    let read = reader.read_all().start().map(drop);
    assert!(matches!(read, Err(Error::OtherHistory { .. })), "{read:?}");
    let subscribed = reader.subscribe().after(30).start().map(drop);
    assert!(matches!(subscribed, Err(Error::OtherHistory { .. })), "{subscribed:?}");
}

fn snapshot_file(store: &Path, version: u64) -> std::path::PathBuf {
    let fan_out = fs::read_dir(store.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let end = format!("-v{version:020}.snap");
    let is_it = |path: &std::path::PathBuf| path.to_str().unwrap().ends_with(&end);
    fs::read_dir(fan_out).unwrap().map(|entry| entry.unwrap().path()).find(is_it).unwrap()
}

#[test]
fn snapshot_of_another_history_is_skipped_and_named() {
    let (dir, store, older) = branched();
    for version in [8_u64, 20] {
        store.snapshots().save(&Snapshot::new("s", version, "first")).unwrap();
        store.snapshots().save(&Snapshot::new("all", Position::new(version), "first")).unwrap();
    }
    store.close().unwrap();
    copy(&dir.path().join("ledger/snapshots"), &dir.path().join("older/snapshots"));
    let load = |key: &str| older.snapshots().load(key).unwrap().map(|it| it.mark());
    // The newest snapshot is ahead of the older log: the previous one is loaded.
    assert_eq!(load("s"), Some(Mark::Version(8)));
    assert_eq!(load("all"), Some(Mark::Position(Position::new(8))));
    append(&older, 10, "second");
    // The log has reached the snapshot's version, with other events.
    assert_eq!(load("s"), Some(Mark::Version(8)));
    assert_eq!(load("all"), Some(Mark::Position(Position::new(8))));
    assert_eq!(older.snapshots().list("").unwrap().len(), 2);
    // A snapshot of this history is not superseded by a newer one of another history.
    append(&older, 1, "second");
    older.snapshots().save(&Snapshot::new("s", 12, "second")).unwrap();
    older.snapshots().save(&Snapshot::new("s", 13, "second")).unwrap();
    assert_eq!(load("s"), Some(Mark::Version(13)));
    assert!(older.snapshots().load_at_most("s", 12).unwrap().is_some());
    older.close().unwrap();
    let report = verify(dir.path().join("older"), |_| {}).unwrap();
    assert_eq!((&report.faults[..], report.notes.len()), (&[][..], 2), "{:?}", report.notes);
    let named = |note: &String| note.contains("another history");
    assert!(report.notes.iter().all(named), "{:?}", report.notes);
    assert!(verify(dir.path().join("ledger"), |_| {}).unwrap().notes.is_empty());
}

/// Converts a snapshot file to version 1, without the fields that version 2 adds to the header.
fn without_binding(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.drain(64..80);
    bytes[8..16].copy_from_slice(&[1, 0, 1, 0, 64, 0, 0, 0]);
    patch::snapshot(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn snapshot_without_a_binding_is_taken_unless_its_event_came_later() {
    let (dir, store, older) = branched();
    // Large enough for a file of its own, as earlier versions wrote for each snapshot.
    let state = vec![1; 1 << 20];
    for version in [8_u64, 20] {
        store.snapshots().save(&Snapshot::new("s", version, state.clone())).unwrap();
    }
    store.close().unwrap();
    for version in [8, 20] {
        without_binding(&snapshot_file(&dir.path().join("ledger"), version));
    }
    copy(&dir.path().join("ledger/snapshots"), &dir.path().join("older/snapshots"));
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let load = |store: &Store| store.snapshots().load("s").unwrap().map(|it| it.mark());
    assert_eq!(load(&store), Some(Mark::Version(20)));
    assert!(verify(dir.path().join("ledger"), |_| {}).unwrap().notes.is_empty());
    assert_eq!(load(&older), Some(Mark::Version(8)), "the other is ahead");
    let ahead = verify(dir.path().join("older"), |_| {}).unwrap();
    older.close().unwrap();
    let at_rest = verify(dir.path().join("older"), |_| {}).unwrap();
    assert_eq!((ahead.notes.len(), at_rest.notes.len()), (0, 1), "{at_rest:?}");
    assert!(at_rest.notes[0].contains("ahead"), "{at_rest:?}");
    let older = Store::open(dir.path().join("older")).unwrap();
    append(&older, 10, "second");
    assert_eq!(load(&older), Some(Mark::Version(8)), "its event was recorded after it was saved");
    older.close().unwrap();
    let report = verify(dir.path().join("older"), |_| {}).unwrap();
    assert!(report.notes[0].contains("another history"), "{report:?}");
}

#[test]
fn one_of_racing_snapshots_of_one_mark_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, "");
    let barrier = Barrier::new(4);
    let save = |state: String| {
        barrier.wait();
        store.snapshots().save(&Snapshot::new("s", 1, state))
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|n| scope.spawn(move || (n, save(n.to_string())))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let exists = |error: &Error| matches!(error, Error::SnapshotExists { mark: 1, .. });
    assert_eq!(answers.iter().filter(|(_, it)| it.as_ref().is_err_and(exists)).count(), 3);
    let state = won[0].0.to_string();
    let snapshots = store.snapshots();
    let saved = |schema: u32| {
        snapshots.load("s").unwrap().map(|it| (it.state().to_vec(), it.schema_version()))
            == Some((state.clone().into_bytes(), schema))
    };
    assert!(saved(0));
    // Saving the same state again does nothing; another schema version replaces it, and an older
    // one does not.
    snapshots.save(&Snapshot::new("s", 1, state.clone())).unwrap();
    snapshots.save(&Snapshot::new("s", 1, state.clone()).with_schema_version(2)).unwrap();
    assert!(saved(2));
    let older = snapshots.save(&Snapshot::new("s", 1, state.clone()).with_schema_version(1));
    assert!(older.as_ref().is_err_and(exists), "{older:?}");
    assert!(snapshots.delete("s").unwrap());
    snapshots.save(&Snapshot::new("s", 1, "other")).unwrap();
}
