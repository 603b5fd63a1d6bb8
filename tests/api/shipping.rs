//! The log as bytes: out of a store in use, into a directory, up to now and up to an earlier moment.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;
use std::path::Path;

use annals::shipping::{LogCopy, LogEnd, Until};
use annals::{Error, ExpectedVersion, NewEvent, Opened, Options, Position, Store, Timestamp};

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

fn append(store: &Store, commits: u64) {
    for _ in 0..commits {
        let stream = format!("account-{}", store.head().get() % 7);
        let events = (0..=store.head().get() % 3).map(|_| NewEvent::new("Moved", vec![7; 900]));
        store.append(&stream, ExpectedVersion::Any, events).unwrap();
        if store.head().get().is_multiple_of(5) {
            store.cursors().advance("reader", store.head()).unwrap();
        }
    }
}

/// Copies every segment whole, without the end of the copy.
fn copy_segments(store: &Store, to: &Path) -> (LogCopy, LogEnd) {
    let log = store.durable_log().unwrap();
    let copy = LogCopy::open(to, log.store_id()).unwrap();
    for segment in log.segments() {
        let mut bytes = vec![0; usize::try_from(segment.len()).unwrap()];
        segment.read_at(&mut bytes, 0).unwrap();
        let mut file = copy.create_segment(segment.number()).unwrap();
        file.write(&bytes).unwrap();
        file.finish().unwrap();
    }
    (copy, log.end())
}

/// Brings a finished copy up to now, as a standby does.
fn follow(store: &Store, copy: &mut LogCopy) {
    let log = store.durable_log().unwrap();
    let (before, end) = (copy.end().unwrap(), log.end());
    assert!(log.contains(&before).unwrap());
    let bytes = |number: u64, from: u64| {
        let segment = log.segment(number).unwrap();
        let mut bytes = vec![0; usize::try_from(segment.len() - from).unwrap()];
        segment.read_at(&mut bytes, from).unwrap();
        bytes
    };
    for number in before.segment..=end.segment {
        if number < end.segment {
            // A seal proves that there is a next segment.
            let mut next = copy.create_segment(number + 1).unwrap();
            next.write(&bytes(number + 1, 0)[..8192]).unwrap();
            next.finish().unwrap();
        }
        let from = if number == before.segment { before.offset } else { 8192 };
        let mut file = copy.extend_segment(number, from).unwrap();
        file.write(&bytes(number, from)).unwrap();
        file.finish().unwrap();
    }
    copy.finish(&end).unwrap();
}

fn events(store: &Store) -> Vec<(u64, String, Timestamp)> {
    let mut all = Vec::new();
    let read = store.read_all().include_hidden();
    read.for_each(|event| {
        all.push((event.position().get(), event.stream().to_owned(), event.recorded_at()));
    })
    .unwrap();
    all
}

#[test]
fn copied_log_is_the_store_and_can_be_followed_by_readers() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    append(&store, 150);
    let to = dir.path().join("copy");
    let (mut copy, end) = copy_segments(&store, &to);
    assert!(end.segment > 2, "the log has several segments");
    assert!(Options::new().read_only(true).open(&to).is_err(), "it is no store yet");
    copy.finish(&end).unwrap();
    assert!(matches!(options().open(&to), Err(Error::Locked { .. })));

    let reader = Options::new().read_only(true).open(&to).unwrap();
    assert_eq!(events(&reader), events(&store));
    for _ in 0..4 {
        append(&store, 60);
        follow(&store, &mut copy);
        assert_eq!(events(&reader), events(&store), "the reader sees what was finished");
        assert_eq!(reader.cursors().list().unwrap().len(), 1);
    }
    drop((reader, copy));
    let report = annals::verify(&to, |_| {}).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(report.backup, Some(store.head()));
    let copied = options().open(&to).unwrap();
    assert_eq!(events(&copied), events(&store));
    append(&copied, 3);
}

#[test]
fn copy_ends_at_any_earlier_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path().join("store")).unwrap();
    append(&store, 120);
    let all = events(&store);
    let commits: Vec<u64> = commit_ends(&store);
    let log = store.durable_log().unwrap();
    let firsts: Vec<u64> = log.segments().map(|segment| segment.first_position()).collect();
    for (at, &position) in commits.iter().enumerate().step_by(9) {
        let to = dir.path().join(format!("copy-{position}"));
        let (mut copy, _) = copy_segments(&store, &to);
        let number = firsts.iter().take_while(|&&first| first <= position).count() as u64;
        let time = all[usize::try_from(position).unwrap() - 1].2;
        let by_time = at % 2 == 1;
        // Positions within the next commit lead to the same place.
        let until =
            if by_time { Until::Time(time) } else { Until::Position(Position::new(position)) };
        let end = copy.cut(number, until).unwrap().unwrap();
        let shown = all.iter().filter(|event| event.0 <= position || (by_time && event.2 <= time));
        let shown: Vec<_> = shown.cloned().collect();
        assert_eq!(end.position, shown.len() as u64);
        copy.finish(&end).unwrap();
        drop(copy);
        let report = annals::verify(&to, |_| {}).unwrap();
        assert!(report.faults.is_empty(), "{position}: {:?}", report.faults);
        let restored = options().open(&to).unwrap();
        assert!(!matches!(restored.opened(), Opened::Damaged { .. }));
        assert_eq!(events(&restored), shown);
        append(&restored, 2);
        drop(restored);
        fs::remove_dir_all(&to).unwrap();
    }
}

fn commit_ends(store: &Store) -> Vec<u64> {
    let mut ends = Vec::new();
    let head = store.head().get();
    let mut position = 0;
    while position < head {
        position += 1 + position % 3;
        ends.push(position.min(head));
    }
    ends
}

#[test]
fn place_of_another_history_is_not_contained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    append(&store, 10);
    let at_backup = store.durable_log().unwrap().end();
    for name in ["one", "other"] {
        store.backup_to(dir.path().join(name), |_| {}).unwrap();
    }
    append(&store, 20);
    let end = store.durable_log().unwrap().end();
    // Two stores that were restored to the same state, and went on with events of the same size.
    let open = |name| options().open(dir.path().join(name)).unwrap();
    let (one, other) = (open("one"), open("other"));
    let holds = |store: &Store, end| store.durable_log().unwrap().contains(end).unwrap();
    assert!(holds(&one, &at_backup) && !holds(&one, &end));
    append(&one, 1);
    append(&other, 1);
    let end_of_one = one.durable_log().unwrap().end();
    assert_eq!(end_of_one.offset, other.durable_log().unwrap().end().offset);
    assert!(!holds(&other, &end_of_one), "it has another event there");
    for continued in [&store, &one, &other] {
        append(continued, 20);
        assert!(holds(continued, &at_backup));
    }
    assert!(holds(&one, &end_of_one) && !holds(&other, &end_of_one));
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    append(&store, 100);
    // After a close every segment but the last is sealed.
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    let log = store.durable_log().unwrap();
    let segment = log.segment(1).unwrap();
    assert!(segment.full().is_some() && log.segment(0).is_none());
    let past = segment.read_at(&mut [0; 8], segment.len() - 4);
    assert!(matches!(past, Err(Error::InvalidArgument { .. })));
    let to = dir.path().join("copy");
    let (mut copy, end) = copy_segments(&store, &to);
    let wrong = LogEnd { offset: end.offset - 8, ..end };
    assert!(matches!(copy.finish(&wrong), Err(Error::Corrupt { .. })));
    assert!(copy.cut(end.segment, Until::Position(Position::START)).unwrap().is_none());
    copy.finish(&end).unwrap();
    let later = copy.cut(end.segment, Until::Position(Position::new(5)));
    assert!(matches!(later, Err(Error::InvalidArgument { .. })), "a whole backup is not cut");
    assert!(matches!(copy.finish(&wrong), Err(Error::InvalidArgument { .. })));
    drop(copy);
    let other = LogCopy::open(&to, annals::Uuid::from_u128(7));
    assert!(matches!(other, Err(Error::BackupRefused { .. })));
    let full = LogCopy::open(&path, log.store_id());
    assert!(matches!(full, Err(Error::BackupRefused { .. })));
}
