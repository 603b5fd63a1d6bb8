//! Settings that a store keeps from one opening to the next.

use annals::{Error, ExpectedVersion, NewEvent, Options, Store};

/// Appends until one more segment is used.
fn fill_a_segment(store: &Store) {
    let before = store.stats().segments;
    while store.stats().segments == before {
        store.append("s", ExpectedVersion::Any, [NewEvent::new("T", vec![7; 3_000])]).unwrap();
    }
}

fn lengths(path: &std::path::Path) -> Vec<u64> {
    #[allow(clippy::disallowed_methods, reason = "the test looks at the files")]
    let entries = std::fs::read_dir(path.join("log")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    files.iter().map(|file| file.metadata().unwrap().len()).collect()
}

#[test]
fn segment_size_of_a_store_is_kept_by_openings_that_give_none() {
    let dir = tempfile::tempdir().unwrap();
    Options::new().segment_size(128 << 10).open(dir.path()).unwrap().close().unwrap();
    for opening in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.stats().segment_size, 128 << 10, "opening {opening}");
        fill_a_segment(&store);
        store.close().unwrap();
    }
    let last = *lengths(dir.path()).last().unwrap();
    assert_eq!(last, 128 << 10, "the newest segment's file");
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.stats().segment_size, 128 << 10);
}

#[test]
fn segment_size_given_at_an_opening_is_kept_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    Options::new().segment_size(64 << 10).open(dir.path()).unwrap().close().unwrap();
    let store = Options::new().segment_size(256 << 10).open(dir.path()).unwrap();
    fill_a_segment(&store);
    fill_a_segment(&store);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.stats().segment_size, 256 << 10);
    // A commit may take a quarter of the segment size.
    let large = |size| [NewEvent::new("T", vec![0; size])];
    store.append("s", ExpectedVersion::Any, large(60 << 10)).unwrap();
    let refused = store.append("s", ExpectedVersion::Any, large(64 << 10));
    assert!(matches!(refused, Err(Error::LimitExceeded { max: 65_536, .. })), "{refused:?}");
}

#[test]
fn segment_size_survives_a_repair() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = Options::new().segment_size(64 << 10).open(&from).unwrap();
    fill_a_segment(&store);
    store.close().unwrap();
    annals::repair::repair(&from, &to, annals::repair::RepairOptions::new(), |_| {}).unwrap();
    assert_eq!(Store::open(&to).unwrap().stats().segment_size, 64 << 10);
}

#[test]
fn new_store_has_the_default_segment_size() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.stats().segment_size, Options::DEFAULT_SEGMENT_SIZE);
}

#[test]
fn segments_are_counted_alike_by_stats_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    let mut prepared = 0;
    for size in [0, 3_000, 20_000, 40_000, 10_000, 60_000, 30_000, 50_000] {
        let store = open();
        for _ in 0..size / 1_000 {
            store.append("s", ExpectedVersion::Any, [NewEvent::new("T", vec![7; 1_000])]).unwrap();
        }
        store.close().unwrap();
        let report = annals::verify(dir.path(), |_| {}).unwrap();
        assert_eq!(report.faults, []);
        let reader = Options::new().read_only(true).open(dir.path()).unwrap();
        assert_eq!(report.segments, reader.stats().segments, "after {size} bytes more");
        assert_eq!(report.segments, open().stats().segments, "after {size} bytes more");
        let files = lengths(dir.path()).len() as u64;
        assert_eq!(report.segments + report.prepared_segments, files);
        prepared += report.prepared_segments;
    }
    assert!(prepared > 0, "none was ever prepared");
}

/// The status of the damaged store records where it ended, and the new store is on another directory:
/// each is read in its own.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test damages files")]
fn repair_counts_events_that_only_the_status_proves() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("damaged"), dir.path().join("repaired"));
    let store = Store::open(&from).unwrap();
    for number in 1..=5 {
        store.append("s", ExpectedVersion::Any, [NewEvent::new("T", format!("{number}"))]).unwrap();
    }
    store.close().unwrap();
    for entry in std::fs::read_dir(from.join("checkpoints")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    // The log from its first frame on.
    let segment = from.join("log/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8192..].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    let report =
        annals::repair::repair(&from, &to, annals::repair::RepairOptions::new(), |_| {}).unwrap();
    assert_eq!((report.events, report.missing_events), (0, 5));
}
