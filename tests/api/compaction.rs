//! Merged indexes give the same answers as the index files that they were merged from.

#![allow(clippy::disallowed_methods, reason = "it waits for a thread")]

use std::time::{Duration, Instant};

use annals::{
    Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Position, Query, QueryItem,
    Store,
};

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE).durability(Durability::BUFFERED)
}

/// Appends events with rare and frequent tags, to streams of various lengths.
fn fill(store: &Store, from: u64, to: u64) {
    for batch in (from..to).step_by(50) {
        let mut transaction = store.transaction();
        for number in batch..(batch + 50).min(to) {
            let mut event = NewEvent::new(["Often", "Seldom"][usize::from(number % 97 == 0)], "");
            if number % 2 == 0 {
                event = event.tag("half");
            }
            if number % 1000 == 7 {
                event = event.tag("rare");
            }
            let stream =
                if number % 3 == 0 { "long-1".into() } else { format!("s-{}", number % 700) };
            transaction = transaction.append(stream, ExpectedVersion::Any, [event]);
        }
        transaction.commit().unwrap();
    }
}

fn queries() -> Vec<Query> {
    let item = QueryItem::new;
    let one = |item: QueryItem| Query::none().or(item);
    vec![
        one(item().types(["Often"])),
        one(item().types(["Seldom"])),
        one(item().tags(["half"])),
        one(item().tags(["rare"])),
        one(item().tags(["rare", "half"])),
        one(item().types(["Often"]).tags(["half"])),
        one(item().types(["Seldom"]).tags(["half"]).after(9_000_u64)),
        one(item().category("long")),
        one(item().stream("s-10").types(["Often"])),
        one(item().tags(["nobody"])),
        one(item().types(["Often", "Seldom"])).or(item().tags(["rare"])),
        one(item().tags(["rare"])).or(item().stream("s-11")),
    ]
}

/// The answers to every kind of read.
fn answers(store: &Store) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    let head = store.head().get();
    for query in queries() {
        for from in [1, head / 3] {
            let read = store.read_all().matching(query.clone()).after(from);
            all.push(read.into_iter().map(|event| event.unwrap().position().get()).collect());
            let read = store
                .read_all()
                .matching(query.clone())
                .backwards()
                .as_of(Position::new(head - from));
            all.push(read.into_iter().map(|event| event.unwrap().position().get()).collect());
        }
    }
    for stream in ["long-1", "s-1", "s-10", "s-699"] {
        for from in [1, 2, 1030, 6000] {
            let read = store.read_stream(stream).from_version(from);
            all.push(read.into_iter().map(|event| event.unwrap().position().get()).collect());
        }
        let read = store.read_stream(stream).backwards().limit(5);
        all.push(read.into_iter().map(|event| event.unwrap().position().get()).collect());
        let read = store.read_stream(stream).as_of(Position::new(head / 2));
        all.push(read.into_iter().map(|event| event.unwrap().position().get()).collect());
    }
    all
}

/// For each query, the newest match after position `after` that a boundary reports.
fn newest(store: &Store, after: u64) -> Vec<Option<u64>> {
    let ask = |query: Query| match store.transaction().fail_if(query.after(after)).commit() {
        Ok(_) => None,
        Err(Error::Conflict { failed, .. }) => match failed[..] {
            [FailedCheck::AppendConditionFailed { position, .. }] => Some(position.get()),
            _ => panic!("{failed:?}"),
        },
        Err(error) => panic!("{error}"),
    };
    queries().into_iter().map(ask).collect()
}

/// A boundary skips segments by their filters alone, and has to stop at the segment of the match.
#[test]
fn boundaries_find_the_same_matches_in_merged_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().compaction(false).open(dir.path()).unwrap();
    fill(&store, 0, 12_000);
    store.close().unwrap();
    let store = options().compaction(false).open(dir.path()).unwrap();
    let ask = || [0, 3_000, 11_500].map(|after| newest(&store, after));
    let before = ask();
    // Two of the queries match nothing, and two more match nothing at the end.
    assert_eq!(before.each_ref().map(|found| found.iter().flatten().count()), [10, 10, 8]);
    store.compact().unwrap();
    assert_eq!(store.stats().level_files, 1);
    assert_eq!(ask(), before);
}

#[test]
fn compact_call_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    // More events than are read in one batch, in dozens of segments.
    let store = options().compaction(false).open(&path).unwrap();
    fill(&store, 0, 24_000);
    store.close().unwrap();
    let store = options().compaction(false).open(&path).unwrap();
    let before = answers(&store);
    let files = store.stats().index_files;
    assert!(files > 10, "{files} index files");
    let done = store.compact().unwrap();
    assert!(done.merges == 1 && done.bytes_written > 0, "{done:?}");
    assert!(done.merged_files > 10, "{done:?}");
    assert!(answers(&store) == before, "merged indexes answer something else");
    assert_eq!(store.stats().level_files, 1, "an index was rebuilt");
    fill(&store, 24_000, 26_000);
    let before = answers(&store);
    store.close().unwrap();
    let store = options().compaction(false).open(&path).unwrap();
    assert!(answers(&store) == before);
    assert!(store.stats().index_files > 1);
    store.compact().unwrap();
    assert!(answers(&store) == before);
    assert_eq!(store.stats().index_files, 1);
    store.close().unwrap();
    let report = annals::verify(&path, |_| {}).unwrap();
    assert!(report.faults.is_empty() && report.notes.is_empty(), "{report:?}");
}

#[test]
fn background_compaction_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options().open(&path).unwrap();
    fill(&store, 0, 24_000);
    let before = answers(&store);
    // The compaction thread pauses between merges, longer on a busy machine.
    let until = Instant::now() + Duration::from_secs(120);
    while store.stats().level_files == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stats = store.stats();
    assert!(stats.level_files > 0 && stats.compacted_bytes >= stats.level_bytes, "{stats:?}");
    assert!(answers(&store) == before);
    store.close().unwrap();
    let store = options().read_only(true).open(&path).unwrap();
    assert!(answers(&store) == before);
    assert!(store.stats().level_files > 0);
}
