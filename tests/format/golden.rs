//! The golden files, which earlier versions wrote, read through the public API.

use std::collections::BTreeMap;
use std::fs;

use annals::{
    Event, ExpectedRecord, ExpectedVersion, NewEvent, Opened, Position, Query, Store, verify,
};

use crate::support::{GOLDEN, copy_of, expected_ndjson, golden, ndjson, open, segment};

#[test]
fn golden_stores_read_as_they_were_written() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        let store = open(copy.path());
        assert_eq!(*store.opened(), Opened::Clean, "{name}");
        assert!(ndjson(&store) == expected_ndjson(name), "{name}");
    }
}

#[test]
fn golden_stores_verify_without_a_fault() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        let report = verify(copy.path(), |_| {}).unwrap();
        assert_eq!(report.faults, [], "{name}");
        assert_eq!(report.notes, Vec::<String>::new(), "{name}");
        let events = expected_ndjson(name).lines().count();
        assert_eq!(report.events, events as u64, "{name}");
    }
}

#[test]
fn opening_and_reading_golden_stores_changes_no_byte() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        let store = open(copy.path());
        let _ = ndjson(&store);
        store.close().unwrap();
        for directory in ["log", "index", "checkpoints"] {
            let path = golden(name).join(directory);
            let before = fs::read_dir(&path).map_or(0, Iterator::count);
            let after: Vec<_> =
                fs::read_dir(copy.path().join(directory)).unwrap().map(Result::unwrap).collect();
            assert_eq!(after.len(), before, "{name}/{directory}");
            for entry in after {
                let golden = fs::read(path.join(entry.file_name())).unwrap();
                assert!(fs::read(entry.path()).unwrap() == golden, "{:?}", entry.path());
            }
        }
    }
}

#[test]
fn golden_stores_read_the_same_without_their_derived_files() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        for directory in ["index", "checkpoints"] {
            fs::remove_dir_all(copy.path().join(directory)).unwrap();
        }
        let store = open(copy.path());
        assert!(ndjson(&store) == expected_ndjson(name), "{name}");
        store.close().unwrap();
        assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, [], "{name}");
    }
}

#[test]
fn golden_stores_accept_new_events() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        let before = expected_ndjson(name);
        let store = open(copy.path());
        let done = store
            .append("golden-1", ExpectedVersion::NoStream, [NewEvent::new("Added", "1")])
            .unwrap();
        assert_eq!(done.first_position, Position::new(before.lines().count() as u64 + 1));
        let after = ndjson(&store);
        assert!(after.starts_with(&before), "{name}");
        store.close().unwrap();
        assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, [], "{name}");
    }
}

#[test]
fn golden_store_without_metadata_takes_metadata_into_its_next_segment() {
    let copy = copy_of(&golden("basic"));
    let store = open(copy.path());
    store.cursors().advance("reader", 3).unwrap();
    store.archive("account-2").unwrap();
    store.close().unwrap();
    let store = open(copy.path());
    assert_eq!(*store.opened(), Opened::Clean);
    assert_eq!(store.cursors().get("reader").unwrap(), Some(Position::new(3)));
    assert!(store.stream_info("account-2").unwrap().unwrap().archived);
    store.close().unwrap();
    assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, []);
}

#[test]
fn golden_metadata_reads_as_it_was_written() {
    for derived in [true, false] {
        let copy = copy_of(&golden("metadata"));
        if !derived {
            for directory in ["index", "checkpoints"] {
                fs::remove_dir_all(copy.path().join(directory)).unwrap();
            }
        }
        let store = open(copy.path());
        let head = store.head().get();
        let cursors = store.cursors().list().unwrap();
        let cursors: Vec<_> = cursors.iter().map(|c| (c.name.as_str(), c.position.get())).collect();
        let last = |remainder: u64| (1..=head).rev().find(|n| n % 3 == remainder).unwrap() - 1;
        assert_eq!(cursors, [("größe", 20), ("reader-0", last(0)), ("reader-2", last(2))]);
        let info = |n: u64| store.stream_info(&format!("sensor-{n}")).unwrap().unwrap();
        assert_eq!((info(0).first_version, info(1).archived, info(3).archived), (3, false, true));
        assert_eq!(info(2).metadata.max_count, Some(4));
    }
}

#[test]
fn golden_records_read_as_they_were_written() {
    for derived in [true, false] {
        let copy = copy_of(&golden("records"));
        if !derived {
            for directory in ["index", "checkpoints"] {
                fs::remove_dir_all(copy.path().join(directory)).unwrap();
            }
        }
        let store = open(copy.path());
        let head = store.head().get();
        let get = |key: &str| store.records().get(key).unwrap();
        let sum = get("sum/größe").unwrap();
        assert_eq!((sum.value, sum.version), (head.to_string().into(), head));
        let once = get("once").unwrap();
        assert_eq!((once.value, once.version), (vec![255; 3000].into(), 2));
        assert_eq!(get("view/2"), None);
        assert_eq!(get("view/0").unwrap().value, vec![3; 40]);
        let keys: Vec<_> = store.records().list().map(|record| record.unwrap().key).collect();
        let expected = ["new", "once", "sum/größe", "view/0", "view/1", "view/3", "view/4"];
        assert_eq!(keys, expected);
        assert_eq!(store.cursors().get("reader").unwrap(), Some(Position::new(7)));
    }
}

#[test]
fn golden_store_without_records_takes_records_into_its_next_segment() {
    for name in ["basic", "metadata"] {
        let copy = copy_of(&golden(name));
        let store = open(copy.path());
        let before = store.stats().segments;
        store.records().put("view", "1", ExpectedRecord::NoRecord).unwrap();
        assert_eq!(store.stats().segments, before + 1, "{name}");
        store.close().unwrap();
        let store = open(copy.path());
        assert_eq!(*store.opened(), Opened::Clean);
        assert_eq!(store.records().get("view").unwrap().unwrap().value, "1");
        store.close().unwrap();
        assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, []);
    }
}

#[test]
fn golden_extended_events_read_as_they_were_written() {
    for derived in [true, false] {
        let copy = copy_of(&golden("extended"));
        if !derived {
            for directory in ["index", "checkpoints"] {
                fs::remove_dir_all(copy.path().join(directory)).unwrap();
            }
        }
        let store = open(copy.path());
        let events: Vec<Event> =
            store.read_stream("sensor-2").into_iter().map(Result::unwrap).collect();
        let origins: Vec<_> = events.iter().map(Event::id_given).collect();
        assert_eq!(origins, [Some(true), Some(true), Some(false), Some(true)]);
        let tags = |at: usize| events[at].tags().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((events[0].event_type(), events[0].data()), ("", &b"no type"[..]));
        assert_eq!(tags(1), ["", "", "x"]);
        assert_eq!(tags(2), [&*"l".repeat(300), "", "größe"]);
        assert_eq!(tags(3).len(), 70);
        let of_stream = |name| store.stream_info(name).unwrap().unwrap().version;
        let rounds = (of_stream("sensor-1") + of_stream("sensor-2")) / 4;
        for (query, per_round) in
            [("type:\"\"", 1), ("tag:\"\"", 2), ("tag:n69", 1), ("tag:größe", 1)]
        {
            let query: Query = query.parse().unwrap();
            let found = store.read_all().matching(query.clone()).into_iter().count() as u64;
            assert_eq!(found, per_round * rounds, "{query}");
        }
    }
}

#[test]
fn golden_store_without_extended_events_takes_them_into_its_next_segment() {
    for name in ["basic", "metadata", "records"] {
        for event in [
            NewEvent::new("", ""),
            NewEvent::new("T", "").tag(""),
            NewEvent::new("T", "").tags(vec!["t"; 65]),
            NewEvent::new("T", "").tag("t".repeat(256)),
        ] {
            let copy = copy_of(&golden(name));
            let store = open(copy.path());
            let before = store.stats().segments;
            let plain = NewEvent::new("T", "").tags(vec!["t"; 63]).tag("t".repeat(255));
            store.append("s-1", ExpectedVersion::NoStream, [plain]).unwrap();
            assert_eq!(store.stats().segments, before, "{name}");
            store.append("s-1", ExpectedVersion::Exact(1), [event.clone()]).unwrap();
            assert_eq!(store.stats().segments, before + 1, "{name}");
            store.close().unwrap();
            let may = |n| fs::read(segment(copy.path(), n)).unwrap()[16] & 4 != 0;
            assert!((1..=before).all(|number| !may(number)) && may(before + 1), "{name}");

            let store = open(copy.path());
            assert_eq!(*store.opened(), Opened::Clean);
            let last = store.read_stream("s-1").into_iter().last().unwrap().unwrap();
            assert_eq!(last.event_type(), if event == NewEvent::new("", "") { "" } else { "T" });
            assert_eq!(last.id_given(), Some(false));
            store.close().unwrap();
            assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, []);
        }
    }
}

#[test]
fn golden_store_without_large_records_takes_them_into_its_next_segment() {
    let copy = copy_of(&golden("plain-records"));
    let store = Store::open(copy.path()).unwrap();
    let put = |len: usize| store.records().put("r", vec![1; len], ExpectedRecord::Any).unwrap();
    put(64 << 10);
    assert_eq!(store.stats().segments, 1);
    put((64 << 10) + 1);
    assert_eq!(store.stats().segments, 2);
    store.close().unwrap();
    let may = |n| fs::read(segment(copy.path(), n)).unwrap()[16] & 8 != 0;
    assert!(!may(1) && may(2));

    let store = open(copy.path());
    assert_eq!(*store.opened(), Opened::Clean);
    assert_eq!(store.records().get("r").unwrap().unwrap().value.len(), (64 << 10) + 1);
    store.close().unwrap();
    assert_eq!(verify(copy.path(), |_| {}).unwrap().faults, []);
}

#[test]
fn golden_store_of_before_states_the_origin_of_an_id_where_its_form_proves_it() {
    let copy = copy_of(&golden("basic"));
    let store = open(copy.path());
    let origin = |store: &Store| -> Vec<_> {
        store.read_all().into_iter().map(|event| event.unwrap().id_given()).collect()
    };
    let before = origin(&store);
    let (last, rest) = before.split_last().unwrap();
    assert!(rest.iter().all(|given| *given == Some(true)), "their ids are not of version 7");
    assert_eq!(*last, None, "the store generated it");
    // The segment in use cannot hold the origin.
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("", "")]).unwrap();
    assert_eq!(origin(&store)[before.len()..], [None, Some(false)]);
}

#[test]
fn golden_heads_are_found_where_each_version_wrote_them() {
    for name in GOLDEN {
        let copy = copy_of(&golden(name));
        let store = open(copy.path());
        let mut heads = BTreeMap::new();
        for event in store.read_all() {
            let event = event.unwrap();
            heads.insert(event.stream().to_owned(), (event.version(), event.position()));
        }
        for (stream, &(version, position)) in &heads {
            let head = store.stream_head(stream).unwrap().unwrap();
            assert_eq!((head.version, head.last_position), (version, position), "{name}: {stream}");
        }
        let listed: Vec<_> = store.streams().into_iter().map(|s| s.unwrap().name).collect();
        assert_eq!(listed, heads.into_keys().collect::<Vec<_>>(), "{name}");
        assert_eq!(store.stream_head("never").unwrap(), None);
    }
}

#[test]
fn golden_record_table_reads_as_it_was_written() {
    let copy = copy_of(&golden("record-table"));
    let store = open(copy.path());
    let found: Vec<_> = store.records().list().map(Result::unwrap).collect();
    let versions: Vec<_> = found.iter().map(|r| (r.key.as_str(), r.version)).collect();
    let get = |key: &str| store.records().get(key).unwrap();
    assert_eq!(found.len(), 5, "{versions:?}");
    for record in &found {
        assert_eq!(get(&record.key).as_ref(), Some(record));
    }
    assert_eq!(get("view/1").unwrap().value, vec![3; 40]);
    assert_eq!((get("view/4"), get("view/5")), (None, None));
    let refused = store.records().put("view/1", "", ExpectedRecord::Exact(1)).unwrap_err();
    assert!(refused.to_string().contains("view/1"), "{refused}");
    store.records().put("view/4", "", ExpectedRecord::NoRecord).unwrap();
    store.close().unwrap();
    let store = open(copy.path());
    assert_eq!(store.records().list().count(), 6);
}

#[test]
fn golden_records_are_found_by_hash_in_index_files_and_level_files() {
    let copy = copy_of(&golden("record-hashes"));
    let store = open(copy.path());
    let found: Vec<_> = store.records().list().map(Result::unwrap).collect();
    for record in &found {
        assert_eq!(store.records().get(&record.key).unwrap().as_ref(), Some(record));
    }
    let versions: Vec<_> = found.iter().map(|r| (r.key.as_str(), r.version)).collect();
    assert!(
        versions.len() > 20 && versions.iter().any(|&(_, version)| version > 2),
        "{versions:?}"
    );
    for absent in ["view/größe-2", "view/größe-99", "view/", "w"] {
        assert_eq!(store.records().get(absent).unwrap(), None);
    }
}

#[test]
fn golden_checkpoints_have_the_times_of_cursors_or_none_of_them() {
    let times = |name: &str| -> Vec<_> {
        let copy = copy_of(&golden(name));
        let store = open(copy.path());
        let listed = store.cursors().list().unwrap().into_iter();
        let last = |cursor: &str| store.cursors().history(cursor).next().unwrap().unwrap();
        listed.map(|it| (it.moved_at, last(&it.name).recorded_at, it.name)).collect()
    };
    let found = times("cursor-times");
    assert!(found.iter().map(|it| &it.2).eq(["both", "early", "late"]));
    assert!(found.iter().all(|(moved_at, last, _)| *moved_at == Some(*last)), "{found:?}");
    let found = times("metadata");
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(moved_at, _, _)| moved_at.is_none()), "{found:?}");
}
