//! Streams that are truncated, archived or limited: reads skip hidden events, and no event is lost.

use std::time::Duration;

use annals::{
    Error, ExpectedVersion, FailedCheck, NewEvent, Options, Query, Store, StreamMetadata,
};

fn versions(store: &Store, stream: &str) -> Vec<u64> {
    store.read_stream(stream).into_iter().map(|event| event.unwrap().version()).collect()
}

fn positions(store: &Store) -> Vec<u64> {
    let all = positions_of(store.read_all());
    let mut borrowed = Vec::new();
    store.read_all().for_each(|event| borrowed.push(event.position().get())).unwrap();
    assert_eq!(all, borrowed);
    let mut backwards = positions_of(store.read_all().backwards());
    backwards.reverse();
    assert_eq!(all, backwards);
    assert_eq!(all, positions_of(store.read_all().matching(Query::types(["T"]))));
    all
}

fn positions_of(read: annals::ReadAll) -> Vec<u64> {
    read.into_iter().map(|event| event.unwrap().position().get()).collect()
}

fn filled(dir: &std::path::Path) -> Store {
    let store = Store::open(dir).unwrap();
    for _ in 0..5 {
        for stream in ["a-1", "b-1"] {
            store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "x")]).unwrap();
        }
    }
    store
}

#[test]
fn truncated_stream_hides_its_beginning_and_keeps_its_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    store.truncate_before("a-1", 4).unwrap();
    assert_eq!(versions(&store, "a-1"), [4, 5]);
    assert_eq!(positions(&store), [2, 4, 6, 7, 8, 9, 10]);
    assert_eq!(store.stream_head("a-1").unwrap().unwrap().version, 5);
    let done = store.append("a-1", ExpectedVersion::Exact(5), [NewEvent::new("T", "y")]).unwrap();
    assert_eq!(done.version, 6);
    assert_eq!(store.stream_info("a-1").unwrap().unwrap().first_version, 4);
    let kept: Vec<_> = store.read_stream("a-1").include_hidden().into_iter().collect();
    assert_eq!(kept.len(), 6);
    // Truncation reaches at most the next version, which hides the whole stream.
    store.truncate_before("a-1", 7).unwrap();
    assert!(versions(&store, "a-1").is_empty());
    assert_eq!(store.streams().into_iter().count(), 1);
    assert_eq!(store.streams().include_hidden().into_iter().count(), 2);
    let ahead = store.truncate_before("a-1", 8);
    let check = FailedCheck::TruncateAhead { stream: "a-1".into(), before: 8, version: 6 };
    assert!(matches!(ahead, Err(e) if e.failed_checks() == [check]));
    let unknown = store.truncate_before("c-1", 1);
    let check = FailedCheck::UnknownStream { stream: "c-1".into() };
    assert!(matches!(unknown, Err(e) if e.failed_checks() == [check]));
    store.truncate_before("a-1", 1).unwrap();
    assert_eq!(versions(&store, "a-1").len(), 6);
}

#[test]
fn archived_stream_is_hidden_until_it_is_unarchived() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    store.archive("b-1").unwrap();
    store.append("b-1", ExpectedVersion::Exact(5), [NewEvent::new("T", "")]).unwrap();
    assert!(versions(&store, "b-1").is_empty());
    assert_eq!(positions(&store), [1, 3, 5, 7, 9]);
    let listed = |store: &Store| -> Vec<String> {
        store.streams().into_iter().map(|info| info.unwrap().name).collect()
    };
    assert_eq!(listed(&store), ["a-1"]);
    // A boundary sees events that reads hide.
    let exists = store.transaction().fail_if_exists(Query::category("b")).commit();
    assert!(matches!(exists, Err(Error::Conflict { .. })));
    store.close().unwrap();

    let store = Store::open(dir.path()).unwrap();
    assert!(versions(&store, "b-1").is_empty());
    assert!(store.stream_info("b-1").unwrap().unwrap().archived);
    store.transaction().unarchive("b-1").truncate_before("b-1", 6).commit().unwrap();
    assert_eq!(versions(&store, "b-1"), [6]);
    assert_eq!(listed(&store), ["a-1", "b-1"]);
    let of_category: Vec<_> = store.streams().category("b").into_iter().collect();
    assert_eq!(of_category.len(), 1);
    assert!(store.streams().category("b").prefix("a").into_iter().next().is_none());
}

#[test]
fn follower_hides_what_the_writer_has_hidden_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(positions(&reader).len(), 10);
    // The follower applies the rules as of the last event that it sees.
    let append = || store.append("a-1", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    store.archive("b-1").unwrap();
    append();
    assert_eq!(positions(&reader), [1, 3, 5, 7, 9, 11]);
    store.truncate_before("a-1", 5).unwrap();
    store.unarchive("b-1").unwrap();
    append();
    assert_eq!(positions(&reader), [2, 4, 6, 8, 9, 10, 11, 12]);
}

#[test]
fn stream_limits_in_metadata_apply_to_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    store.set_stream_metadata("a-1", StreamMetadata::new().max_count(2)).unwrap();
    assert_eq!(versions(&store, "a-1"), [4, 5]);
    store.append("a-1", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    assert_eq!(versions(&store, "a-1"), [5, 6]);
    assert_eq!(positions(&store), [2, 4, 6, 8, 9, 10, 11]);
    let age = StreamMetadata::new().max_age(Duration::from_secs(3600));
    store.set_stream_metadata("a-1", age).unwrap();
    assert_eq!(versions(&store, "a-1").len(), 6);
    store.set_stream_metadata("a-1", StreamMetadata::new().max_age(Duration::ZERO)).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    assert!(versions(&store, "a-1").is_empty());
    store.close().unwrap();
    let store = Options::new().read_only(true).open(dir.path()).unwrap();
    let info = store.stream_info("a-1").unwrap().unwrap();
    assert_eq!(info.metadata.max_age, Some(Duration::from_micros(1)));
    assert!(versions(&store, "a-1").is_empty());
    assert!(matches!(store.archive("a-1"), Err(Error::ReadOnly)));
}
