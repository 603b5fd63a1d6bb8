//! Index keys; each scenario in four ways.

use adapter_tests::in_every_way;
use annals_nautilus::nautilus_event_store::{AppendEntry, EventStore, IndexKey, IndexKind};

use crate::support::{
    CLIENT, VENUE, attach, attach_to, backend_text, entry, key, keyed, plain, takes_large_commits,
};

fn sorted(mut pairs: Vec<(String, u64)>) -> Vec<(String, u64)> {
    pairs.sort();
    pairs
}

fn with_keys(seq: u64, keys: Vec<IndexKey>) -> AppendEntry {
    AppendEntry::new(entry(seq), keys)
}

#[test]
fn first_entry_of_a_key_is_found_by_kind() {
    in_every_way(|life| {
        let both = vec![key(CLIENT, "O-1"), key(VENUE, "V-1"), key(CLIENT, "O-1")];
        let batch = [with_keys(1, both), keyed(2, &["O-1", "O-2"])];
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        let swapped = vec![key(VENUE, "O-2"), key(CLIENT, "V-1"), key(CLIENT, "")];
        let batch = [with_keys(3, swapped)];
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        life.step(|store| {
            let backend = attach(store);
            let found = |kind: IndexKind, key: &str| backend.lookup(kind, key).unwrap();
            assert_eq!([found(CLIENT, "O-1"), found(CLIENT, "O-2")], [Some(1), Some(2)]);
            assert_eq!([found(VENUE, "V-1"), found(VENUE, "O-2")], [Some(1), Some(3)]);
            assert_eq!([found(CLIENT, "V-1"), found(CLIENT, "")], [Some(3), Some(3)]);
            assert_eq!([found(VENUE, "O-1"), found(CLIENT, "O")], [None, None]);
            let pairs = |kind| sorted(backend.iter_index_keys(kind).unwrap());
            let client = [("", 3), ("O-1", 1), ("O-2", 2), ("V-1", 3)];
            assert_eq!(pairs(CLIENT), client.map(|(key, seq)| (key.to_owned(), seq)));
            let venue = [("O-2", 3), ("V-1", 1)];
            assert_eq!(pairs(VENUE), venue.map(|(key, seq)| (key.to_owned(), seq)));
        });
    });
}

#[test]
fn keys_of_another_run_are_not_found() {
    in_every_way(|life| {
        life.step(|store| attach_to(store, "run-1").append_batch(&[keyed(1, &["O-1"])]).unwrap());
        let batch = [keyed(1, &["O-2"]), keyed(2, &["O-1"])];
        life.step(|store| attach_to(store, "run-2").append_batch(&batch).unwrap());
        let find = |run: &'static str, id: &'static str| {
            move |store: &annals_nautilus::annals::Store| {
                attach_to(store, run).lookup(CLIENT, id).unwrap()
            }
        };
        assert_eq!(life.step(find("run-1", "O-1")), Some(1));
        assert_eq!(life.step(find("run-2", "O-1")), Some(2));
        assert_eq!(life.step(find("run-1", "O-2")), None);
    });
}

#[test]
fn entry_with_more_keys_than_an_event_has_tags_is_found_by_each() {
    in_every_way(|life| {
        if !takes_large_commits(life.way()) {
            return;
        }
        // 120 KB of keys, twice the limit of an event.
        let ids: Vec<String> = (0..4000).map(|id| format!("O-{id:028}")).collect();
        let keys = |ids: &[String]| ids.iter().map(|id| key(CLIENT, id)).collect::<Vec<_>>();
        let batch = [keyed(1, &["O-first"]), with_keys(2, keys(&ids)), keyed(3, &[&ids[3999]])];
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        // A key of an earlier entry, among further keys.
        let mut again = keys(&ids);
        again.push(key(CLIENT, "O-first"));
        life.step(|store| attach(store).append_batch(&[with_keys(4, again)]).unwrap());
        life.step(|store| {
            let backend = attach(store);
            for id in ids.iter().step_by(500).chain([&ids[3999]]) {
                assert_eq!(backend.lookup(CLIENT, id).unwrap(), Some(2), "{id}");
            }
            assert_eq!(backend.lookup(CLIENT, "O-first").unwrap(), Some(1));
            let all = backend.iter_index_keys(CLIENT).unwrap();
            assert_eq!(all.len(), 4001);
            assert!(all.iter().all(|(id, seq)| *seq == if id == "O-first" { 1 } else { 2 }));
            assert_eq!(backend.scan_seq(4).unwrap(), Some(entry(4)));
        });
    });
}

#[test]
fn key_longer_than_a_tag_is_refused_and_nothing_is_lost() {
    in_every_way(|life| {
        if !takes_large_commits(life.way()) {
            return;
        }
        let limit = 65_533 - "client_order_id:".len();
        let (longest, longer) = ("x".repeat(limit), "x".repeat(limit + 1));
        let batch = [keyed(1, &["O-1", &longest, "O-2"])];
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        let refused = life.step(|store| attach(store).append_batch(&[keyed(2, &[&longer])]));
        assert!(backend_text(refused).contains("65535"));
        life.step(|store| {
            let mut backend = attach(store);
            assert_eq!(backend.lookup(CLIENT, &longest).unwrap(), Some(1));
            assert_eq!(backend.lookup(CLIENT, &longer).unwrap(), None);
            assert_eq!(backend.lookup(CLIENT, "O-2").unwrap(), Some(1));
            assert_eq!(backend.append_batch(&plain(2..=2)).unwrap(), 2);
        });
    });
}
