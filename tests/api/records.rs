//! Records: alone, in transactions, and across close, kill, rollover, merges and reopening.
#![allow(clippy::disallowed_methods, reason = "the test removes derived files behind the store")]

use annals::{
    Applied, Durability, Error, ExpectedRecord, ExpectedVersion, FailedCheck, NewEvent, Options,
    Record, Records, Store, Uuid, verify,
};

use super::support::copy_tree;

fn event() -> NewEvent {
    NewEvent::new("T", "x")
}

fn refusals<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<FailedCheck> {
    match result {
        Err(Error::Conflict { failed, .. }) => failed,
        other => panic!("{other:?}"),
    }
}

fn wrong(key: &str, expected: ExpectedRecord, actual: u64) -> Vec<FailedCheck> {
    vec![FailedCheck::WrongRecordVersion { key: key.into(), expected, actual }]
}

fn keys(list: annals::RecordList) -> Vec<String> {
    list.map(|record| record.unwrap().key).collect()
}

fn small_segments() -> Options {
    Options::new().segment_size(64 << 10).durability(Durability::BUFFERED)
}

#[test]
fn record_version_counts_changes_and_goes_on_after_a_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let records = store.records();
    assert_eq!(records.get("r").unwrap(), None);
    assert_eq!(records.put("r", "one", ExpectedRecord::NoRecord).unwrap(), 1);
    assert_eq!(records.put("r", "two", ExpectedRecord::Exact(1)).unwrap(), 2);
    for expected in [ExpectedRecord::NoRecord, ExpectedRecord::Exact(1), ExpectedRecord::Exact(0)] {
        assert_eq!(refusals(records.put("r", "no", expected)), wrong("r", expected, 2));
        assert_eq!(refusals(records.delete("r", expected)), wrong("r", expected, 2));
    }
    records.delete("r", ExpectedRecord::Exact(2)).unwrap();
    assert_eq!(records.get("r").unwrap(), None);
    for expected in [ExpectedRecord::Exists, ExpectedRecord::Exact(2), ExpectedRecord::Exact(3)] {
        assert_eq!(refusals(records.put("r", "no", expected)), wrong("r", expected, 0));
    }
    let unknown = vec![FailedCheck::UnknownRecord { key: "r".into() }];
    assert_eq!(refusals(records.delete("r", ExpectedRecord::Any)), unknown);
    assert_eq!(records.put("r", "three", ExpectedRecord::Exact(0)).unwrap(), 4);
    let found = records.get("r").unwrap().unwrap();
    assert_eq!((&found.value[..], found.version), (&b"three"[..], 4));
    // Records take no positions.
    let done = store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    assert_eq!(done.last_position.get(), 1);
    store.close().unwrap();
    // The value outlives the store.
    assert_eq!(&found.value[..], b"three");
}

#[test]
fn large_values_are_read_after_a_kill_a_close_and_a_merge() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let value = |first: u8, len: usize| -> Vec<u8> {
        std::iter::successors(Some(first), |last| Some(last.wrapping_mul(5).wrapping_add(1)))
            .take(len)
            .collect()
    };
    let put = |store: &Store, key: &str, value: Vec<u8>| {
        store.records().put(key, value, ExpectedRecord::Any).unwrap();
    };
    let store = Options::new().segment_size(72 << 20).open(&path).unwrap();
    put(&store, "most", value(1, Records::MAX_VALUE_LEN));
    put(&store, "r", value(2, 1 << 20));
    let copy = dir.path().join("copy");
    copy_tree(&path, &copy, &|_| true);
    put(&store, "r", value(3, (64 << 10) + 1));
    let check = |store: &Store, r: Vec<u8>| {
        assert!(
            store.records().get("most").unwrap().unwrap().value == value(1, Records::MAX_VALUE_LEN)
        );
        assert!(store.records().get("r").unwrap().unwrap().value == r);
        let listed: Vec<_> = store.records().list().map(|it| it.unwrap().value.len()).collect();
        assert_eq!(listed, [Records::MAX_VALUE_LEN, r.len()]);
    };
    check(&store, value(3, (64 << 10) + 1));
    store.close().unwrap();
    check(&Store::open(&copy).unwrap(), value(2, 1 << 20));

    let store = Store::open(&path).unwrap();
    check(&store, value(3, (64 << 10) + 1));
    while store.stats().sealed_segments < 2 {
        let fill = NewEvent::new("T", vec![0; 15 << 20]);
        store.append("s", ExpectedVersion::Any, [fill]).unwrap();
    }
    store.compact().unwrap();
    check(&store, value(3, (64 << 10) + 1));
    store.close().unwrap();
    assert_eq!(verify(&path, |_| {}).unwrap().faults, []);
    check(&Store::open(&path).unwrap(), value(3, (64 << 10) + 1));
}

#[test]
fn record_over_a_limit_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let records = store.records();
    let limit = |error: Error| match error {
        Error::LimitExceeded { what, size, max, .. } => (what, size, max),
        other => panic!("{other:?}"),
    };
    let long = "k".repeat(1025);
    let value = vec![0_u8; (16 << 20) + 1];
    let error = records.put("r", value, ExpectedRecord::Any).unwrap_err();
    assert_eq!(limit(error), ("a record's value in bytes", 16_777_217, 16_777_216));
    for error in [
        records.put(&long, "", ExpectedRecord::Any).unwrap_err(),
        records.delete(&long, ExpectedRecord::Any).unwrap_err(),
        records.get(&long).unwrap_err(),
        store.transaction().check_record(&long, ExpectedRecord::Exists).commit().unwrap_err(),
    ] {
        assert_eq!(limit(error), ("a record's key in bytes", 1025, 1024));
    }
    for error in [
        records.put("", "", ExpectedRecord::Any).map(drop).unwrap_err(),
        records.get("").map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidArgument { what: "key", .. }), "{error:?}");
    }
    let nothing = store.transaction().check_record("r", ExpectedRecord::Any).commit();
    assert!(matches!(nothing, Err(Error::EmptyCommit)));
    assert_eq!(store.stats().commits, 0);
    let (key, value) = ("k".repeat(1024), vec![7_u8; 64 << 10]);
    records.put(&key, value.clone(), ExpectedRecord::Any).unwrap();
    records.put("empty", "", ExpectedRecord::Any).unwrap();
    assert_eq!(records.get(&key).unwrap().unwrap().value, value);
    assert_eq!(records.get("empty").unwrap().unwrap().value, "");
}

#[test]
fn transaction_with_records_is_made_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let done = store
        .transaction()
        .append("s", ExpectedVersion::NoStream, [event()])
        .put("a", "1", ExpectedRecord::NoRecord)
        .put("a", "2", ExpectedRecord::Exact(1))
        .put("b", "1", ExpectedRecord::Any)
        .delete_record("b", ExpectedRecord::Exists)
        .check_record("a", ExpectedRecord::Exact(2))
        .commit()
        .unwrap();
    assert_eq!(done.record_versions, [1, 2, 1, 2, 2]);
    let failed = refusals(
        store
            .transaction()
            .append("s", ExpectedVersion::Any, [event()])
            .put("c", "1", ExpectedRecord::Any)
            .put("a", "3", ExpectedRecord::Exact(1))
            .delete_record("b", ExpectedRecord::Any)
            .check_record("d", ExpectedRecord::Exists)
            .commit(),
    );
    let expected = [
        wrong("a", ExpectedRecord::Exact(1), 2),
        vec![FailedCheck::UnknownRecord { key: "b".into() }],
        wrong("d", ExpectedRecord::Exists, 0),
    ];
    assert_eq!(failed, expected.concat());
    assert_eq!((store.head().get(), store.records().get("c").unwrap()), (1, None));
    // A transaction that only checks writes nothing.
    let commits = store.stats().commits;
    let checked = store.transaction().check_record("a", ExpectedRecord::Exact(2)).commit().unwrap();
    assert_eq!((checked.record_versions, store.stats().commits), (vec![2], commits));
    assert_eq!(keys(store.records().list()), ["a"]);
}

#[test]
fn submitted_record_is_seen_by_checks_at_once_and_by_readers_when_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().background(false).open(dir.path()).unwrap();
    let put = |value: &str, expected| store.transaction().put("r", value.to_owned(), expected);
    let first = put("1", ExpectedRecord::NoRecord).submit().unwrap();
    assert_eq!(store.records().get("r").unwrap(), None);
    assert_eq!(
        refusals(put("2", ExpectedRecord::NoRecord).submit()),
        wrong("r", ExpectedRecord::NoRecord, 1)
    );
    let second = put("2", ExpectedRecord::Exact(1)).submit().unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(store.records().get("r").unwrap().unwrap().version, 2);
}

#[test]
fn repeated_transaction_leaves_a_record_that_was_changed_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = Uuid::from_u128(7);
    let commit = |value: &str, expected| {
        store
            .transaction()
            .append("s", ExpectedVersion::Any, [event().id(id)])
            .put("r", value.to_owned(), expected)
            .commit()
    };
    commit("1", ExpectedRecord::NoRecord).unwrap();
    // Whatever was expected: the put is in effect.
    for expected in [ExpectedRecord::NoRecord, ExpectedRecord::Any, ExpectedRecord::Exact(0)] {
        let again = commit("1", expected).unwrap();
        assert!(again.already_recorded && again.applied.is_empty());
        assert_eq!(again.record_versions, [1]);
    }
    store.records().put("r", "newer", ExpectedRecord::Exact(1)).unwrap();
    commit("1", ExpectedRecord::Any).unwrap();
    assert_eq!(store.records().get("r").unwrap().unwrap().value, "newer");
    // A record that the first commit did not have is put now.
    let done = store
        .transaction()
        .append("s", ExpectedVersion::Any, [event().id(id)])
        .put("q", "1", ExpectedRecord::NoRecord)
        .commit()
        .unwrap();
    assert_eq!(done.applied, [Applied::RecordPut { key: "q".into(), version: 1 }]);
    assert_eq!(store.records().get("q").unwrap().unwrap().value, "1");
}

/// The state of many records, some of them changed or deleted, over many segments.
fn fill(store: &Store) -> Vec<(String, String, u64)> {
    let records = store.records();
    for round in 0..6 {
        for key in 0..120 {
            let name = format!("r/{key:03}");
            if key % 7 == round {
                let deleted = records.delete(&name, ExpectedRecord::Any);
                assert!(deleted.is_ok() || round == 0);
            } else if key % 6 == 0 || round == 0 || key % 5 == round {
                let value = format!("{key}-{round}-{}", "x".repeat(300));
                records.put(&name, value, ExpectedRecord::Any).unwrap();
            }
            let data = vec![7_u8; 700];
            store.append("s", ExpectedVersion::Any, [NewEvent::new("T", data)]).unwrap();
        }
        records.put("hot", format!("{round}"), ExpectedRecord::Any).unwrap();
    }
    shown(store)
}

fn shown(store: &Store) -> Vec<(String, String, u64)> {
    let read = |record: Record| {
        let value = String::from_utf8(record.value.to_vec()).unwrap();
        (record.key, value, record.version)
    };
    store.records().list().map(|record| read(record.unwrap())).collect()
}

fn check(store: &Store, expected: &[(String, String, u64)]) {
    assert_eq!(shown(store), expected);
    for (key, value, version) in expected {
        let found = store.records().get(key).unwrap().unwrap();
        assert_eq!((&found.value[..], found.version), (value.as_bytes(), *version));
    }
    assert_eq!(store.records().get("r/2").unwrap(), None);
    for limit in [1, 7, 1000] {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = keys(store.records().list().prefix("r/0").after(&after).limit(limit));
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            found.extend(page);
        }
        let wanted = expected.iter().map(|(key, ..)| key).filter(|key| key.starts_with("r/0"));
        assert!(found.iter().eq(wanted), "{found:?}");
    }
}

#[test]
fn records_are_the_same_after_rollover_merges_close_kill_and_loss_of_derived_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = small_segments().open(&path).unwrap();
    let expected = fill(&store);
    assert!(store.stats().segments > 8, "{}", store.stats().segments);
    assert!(expected.len() > 50);
    check(&store, &expected);
    store.sync().unwrap();
    let killed = dir.path().join("killed");
    copy_tree(&path, &killed, &|_| true);
    check(&small_segments().read_only(true).open(&path).unwrap(), &expected);
    assert!(store.compact().unwrap().merges > 0);
    check(&store, &expected);
    store.close().unwrap();
    for without in [None, Some("index"), Some("checkpoints"), Some("both")] {
        for (name, from) in [("closed", &path), ("killed", &killed)] {
            let copy = dir.path().join(format!("{name}-{}", without.unwrap_or("whole")));
            copy_tree(from, &copy, &|_| true);
            for part in ["index", "checkpoints"] {
                if without == Some("both") || without == Some(part) {
                    let files = std::fs::read_dir(copy.join(part)).unwrap();
                    files.for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
                }
            }
            for read_only in [true, false, false] {
                let store = small_segments().read_only(read_only).open(&copy).unwrap();
                check(&store, &expected);
                if !read_only {
                    let version = expected[0].2;
                    let put = store.records().put("hot", "5", ExpectedRecord::Exact(version + 9));
                    assert_eq!(
                        refusals(put),
                        wrong("hot", ExpectedRecord::Exact(version + 9), version)
                    );
                }
            }
            let report = annals::verify(&copy, |_| {}).unwrap();
            assert!(report.faults.is_empty(), "{report:?}");
        }
    }
}

#[test]
fn reader_beside_the_writer_sees_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().segment_size(64 << 10);
    let store = options().open(dir.path()).unwrap();
    store.records().put("a", "1", ExpectedRecord::Any).unwrap();
    // A frame without events is shown once an event follows it.
    store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    let reader = options().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.records().get("a").unwrap().unwrap().value, "1");
    for number in 0..400 {
        store
            .transaction()
            .append("s", ExpectedVersion::Any, [NewEvent::new("T", vec![1_u8; 300])])
            .put("a", format!("{number}"), ExpectedRecord::Exact(number + 1))
            .put(format!("b/{number:03}"), "1", ExpectedRecord::NoRecord)
            .commit()
            .unwrap();
        if number % 50 == 0 {
            assert_eq!(reader.records().get("a").unwrap().unwrap().value, format!("{number}"));
        }
    }
    assert_eq!(keys(reader.records().list().prefix("b/")).len(), 400);
    assert!(matches!(reader.records().put("a", "", ExpectedRecord::Any), Err(Error::ReadOnly)));
}

#[test]
fn repaired_store_has_the_records_of_the_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("store"), dir.path().join("new"));
    let store = small_segments().open(&path).unwrap();
    let expected = fill(&store);
    store.close().unwrap();
    let report =
        annals::repair::repair(&path, &new, annals::repair::RepairOptions::default(), |_| {})
            .unwrap();
    assert!(report.is_complete(), "{report:?}");
    check(&small_segments().open(&new).unwrap(), &expected);
}

#[test]
fn record_in_a_segment_without_an_index_file_does_not_hide_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = small_segments().open(&path).unwrap();
    let expected = fill(&store);
    store.close().unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(path.join("index")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for (number, file) in files.iter().filter(|file| file.is_file()).enumerate() {
        let copy = dir.path().join(number.to_string());
        copy_tree(&path, &copy, &|_| true);
        std::fs::remove_file(copy.join("index").join(file.file_name().unwrap())).unwrap();
        check(&small_segments().read_only(true).open(&copy).unwrap(), &expected);
        check(&small_segments().open(&copy).unwrap(), &expected);
    }
}
