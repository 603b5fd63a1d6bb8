//! The conformance tests that factstr has for each of its stores, retold: appends, queries, payload predicates and
//! conditional appends. Those of streams are in `streams.rs`.

#![allow(clippy::unwrap_used)]

mod support;

use annals_factstr::FactStore;
use annals_factstr::factstr::{
    AppendResult, EventFilter, EventQuery, EventStore, EventStoreError, QueryResult,
};
use serde_json::{Value, json};
use support::{append, fact, filters, found, on_stores, payload};

fn account(id: &str) -> Value {
    json!({ "accountId": id })
}

fn conflict(expected: Option<u64>, actual: Option<u64>) -> EventStoreError {
    EventStoreError::ConditionalAppendConflict { expected, actual }
}

fn result(first: u64, last: u64) -> AppendResult {
    AppendResult {
        first_sequence_number: first,
        last_sequence_number: last,
        committed_count: last - first + 1,
    }
}

#[test]
fn append_assigns_consecutive_numbers() {
    on_stores(|store| {
        let two = vec![fact("opened", account("a1")), fact("credited", account("a1"))];
        assert_eq!(store.append(two), Ok(result(1, 2)));
        assert_eq!(store.append(vec![fact("opened", account("a2"))]), Ok(result(3, 3)));
    });
}

#[test]
fn append_without_events_is_refused() {
    on_stores(|store| {
        assert_eq!(store.append(vec![]), Err(EventStoreError::EmptyAppend));
        let condition = store.append_if(vec![], &EventQuery::all(), None);
        assert_eq!(condition, Err(EventStoreError::EmptyAppend));
        assert_eq!(store.query(&EventQuery::all()), Ok(QueryResult::default()));
    });
}

#[test]
fn query_of_an_empty_store_has_no_version() {
    on_stores(|store| {
        for query in [EventQuery::all(), payload(json!({})), EventQuery::for_event_types(["x"])] {
            assert_eq!(store.query(&query), Ok(QueryResult::default()));
            let after = query.with_min_sequence_number(3);
            assert_eq!(store.query(&after), Ok(QueryResult::default()));
        }
    });
}

#[test]
fn query_returns_records_in_order_with_their_times() {
    on_stores(|store| {
        let before = time::OffsetDateTime::now_utc() - time::Duration::seconds(1);
        append(store, [("opened", account("a1")), ("renamed", account("a1"))]);
        append(store, [("opened", account("a2"))]);
        let all = store.query(&EventQuery::all()).unwrap();
        assert_eq!(support::numbers(&all.event_records), [1, 2, 3]);
        assert_eq!(all.last_returned_sequence_number, Some(3));
        assert!(all.event_records.is_sorted_by_key(|it| it.occurred_at));
        let after = time::OffsetDateTime::now_utc() + time::Duration::seconds(1);
        assert!(
            all.event_records.iter().all(|it| before < it.occurred_at && it.occurred_at < after)
        );
        assert_eq!(all.event_records[1].event_type, "renamed");
        assert_eq!(all.event_records[1].payload, account("a1"));
    });
}

#[test]
fn minimal_number_narrows_rows_and_not_the_context() {
    on_stores(|store| {
        append(
            store,
            [("opened", account("a1")), ("opened", account("a2")), ("opened", account("a1"))],
        );
        append(store, [("debited", account("a3"))]);
        let of_a1 = || payload(account("a1"));
        // Each case: the query, the rows, and the version of the context.
        let cases = [
            (EventQuery::all(), vec![1, 2, 3, 4], Some(4)),
            (EventQuery::all().with_min_sequence_number(2), vec![3, 4], Some(4)),
            (EventQuery::all().with_min_sequence_number(4), vec![], Some(4)),
            (EventQuery::all().with_min_sequence_number(u64::MAX), vec![], Some(4)),
            (of_a1(), vec![1, 3], Some(3)),
            (of_a1().with_min_sequence_number(1), vec![3], Some(3)),
            (of_a1().with_min_sequence_number(3), vec![], Some(3)),
            (EventQuery::for_event_types(["opened"]).with_min_sequence_number(3), vec![], Some(3)),
            (payload(account("a9")).with_min_sequence_number(1), vec![], None),
        ];
        for (query, rows, version) in cases {
            let result = store.query(&query).unwrap();
            assert_eq!(support::numbers(&result.event_records), rows, "{query:?}");
            assert_eq!(result.last_returned_sequence_number, rows.last().copied(), "{query:?}");
            assert_eq!(result.current_context_version, version, "{query:?}");
        }
    });
}

#[test]
fn filters_are_alternatives_and_their_conditions_are_not() {
    on_stores(|store| {
        append(
            store,
            [("opened", account("a1")), ("renamed", account("a2")), ("closed", account("a1"))],
        );
        let typed = |types: &[&str]| EventFilter::for_event_types(types.iter().copied());
        let cases = [
            (filters([typed(&["opened"]), typed(&["closed"])]), vec![1, 3]),
            (filters([typed(&["opened", "renamed"])]), vec![1, 2]),
            (
                filters([
                    EventFilter::default().with_payload_predicates([account("a1"), account("a2")])
                ]),
                vec![1, 2, 3],
            ),
            (filters([typed(&["closed"]).with_payload_predicates([account("a1")])]), vec![3]),
            (filters([typed(&["renamed"]).with_payload_predicates([account("a1")])]), vec![]),
            (
                filters([
                    typed(&["renamed"]).with_payload_predicates([account("a1")]),
                    typed(&["closed"]),
                ]),
                vec![3],
            ),
            // Without filters everything matches; a filter without values matches nothing.
            (filters([]), vec![1, 2, 3]),
            (filters([EventFilter::default()]), vec![1, 2, 3]),
            (filters([typed(&[])]), vec![]),
            (filters([EventFilter::default().with_payload_predicates([])]), vec![]),
            (filters([typed(&[]), typed(&["closed"])]), vec![3]),
        ];
        for (query, rows) in cases {
            let result = store.query(&query).unwrap();
            assert_eq!(support::numbers(&result.event_records), rows, "{query:?}");
            assert_eq!(result.current_context_version, rows.last().copied(), "{query:?}");
        }
    });
}

#[test]
fn payload_predicate_matches_parts_of_payloads() {
    let payloads = [
        json!({ "accountId": "a1", "amount": 10, "active": true, "note": null }),
        json!({ "customer": { "name": "Ann", "address": { "city": "Bern", "zip": 3000 } } }),
        json!({ "tags": ["red", "green", "blue"] }),
        json!({ "items": [{ "sku": "x", "count": 1 }, { "sku": "y", "count": 2, "size": [1, 2] }] }),
        json!([1, [2, 3]]),
        json!("text"),
        json!(-0.0),
        json!(null),
        json!({}),
    ];
    // Each case: a predicate, and the numbers of the payloads that contain it.
    let cases = [
        (json!({ "accountId": "a1" }), vec![1]),
        (json!({ "amount": 10 }), vec![1]),
        (json!({ "amount": 10.0 }), vec![]),
        (json!({ "amount": "10" }), vec![]),
        (json!({ "active": true, "note": null }), vec![1]),
        (json!({ "active": false }), vec![]),
        (json!({ "accountId": "a2" }), vec![]),
        (json!({ "customer": { "name": "Ann" } }), vec![2]),
        (json!({ "customer": { "address": { "city": "Bern" } } }), vec![2]),
        (json!({ "customer": { "address": { "city": "Rome" } } }), vec![]),
        (json!({ "customer": {} }), vec![2]),
        (json!({ "customer": [] }), vec![]),
        (json!({ "city": "Bern" }), vec![]),
        (json!({ "tags": ["green"] }), vec![3]),
        (json!({ "tags": ["blue", "red"] }), vec![3]),
        (json!({ "tags": ["red", "red"] }), vec![3]),
        (json!({ "tags": ["red", "black"] }), vec![]),
        (json!({ "tags": [] }), vec![3]),
        (json!({ "tags": "red" }), vec![]),
        (json!({ "items": [{ "sku": "y" }] }), vec![4]),
        (json!({ "items": [{ "sku": "y", "count": 2 }, { "sku": "x" }] }), vec![4]),
        // The two values are in one payload, and not in one element.
        (json!({ "items": [{ "sku": "x", "count": 2 }] }), vec![]),
        (json!({ "items": [{ "size": [2] }] }), vec![4]),
        (json!([[3], 1]), vec![5]),
        (json!([2]), vec![]),
        (json!("text"), vec![6]),
        (json!(0.0), vec![7]),
        (json!(0), vec![]),
        (json!(null), vec![8]),
        (json!({}), vec![1, 2, 3, 4, 9]),
        (json!([]), vec![5]),
    ];
    on_stores(|store| {
        for payload in &payloads {
            append(store, [("fact", payload.clone())]);
        }
        for (predicate, rows) in &cases {
            assert_eq!(found(store, &payload(predicate.clone())), *rows, "{predicate}");
        }
    });
}

#[test]
fn payload_with_many_scalars_is_found() {
    let large = |count: usize| {
        let fields = (0..count).map(|n| (format!("field-{n}"), json!(n)));
        Value::Object(fields.collect())
    };
    on_stores(|store| {
        for count in [63, 64, 65, 66, 300] {
            append(store, [("fact", large(count))]);
        }
        assert_eq!(found(store, &payload(json!({ "field-0": 0 }))), [1, 2, 3, 4, 5]);
        assert_eq!(found(store, &payload(json!({ "field-64": 64 }))), [3, 4, 5]);
        assert_eq!(found(store, &payload(json!({ "field-65": 65 }))), [4, 5]);
        for (count, rows) in [
            (63, vec![1, 2, 3, 4, 5]),
            (64, vec![2, 3, 4, 5]),
            (65, vec![3, 4, 5]),
            (66, vec![4, 5]),
            (300, vec![5]),
        ] {
            assert_eq!(found(store, &payload(large(count))), rows, "{count}");
        }
        // Equal scalars of one path count once.
        append(store, [("fact", json!({ "many": vec![7; 1000] }))]);
        assert_eq!(found(store, &payload(json!({ "many": [7] }))), [6]);
    });
}

#[test]
fn append_if_compares_the_version_of_the_context() {
    on_stores(|store| {
        append(store, [("opened", account("a1")), ("opened", account("a2"))]);
        append(store, [("renamed", account("a1"))]);
        let new = || vec![fact("credited", json!({ "n": 1 })), fact("credited", json!({ "n": 2 }))];
        let contexts = [
            (EventQuery::all(), Some(3)),
            (EventQuery::for_event_types(["opened"]), Some(2)),
            (EventQuery::for_event_types(["closed"]), None),
            (EventQuery::for_event_types([] as [&str; 0]), None),
            (payload(account("a1")), Some(3)),
            (payload(account("a2")), Some(2)),
            (payload(account("a3")), None),
        ];
        for (query, actual) in &contexts {
            // The cursor of a query does not narrow its context.
            for query in [query.clone(), query.clone().with_min_sequence_number(3)] {
                for expected in [None, Some(0), Some(1), Some(2), Some(3), Some(9), Some(u64::MAX)]
                {
                    if expected != *actual {
                        let refused = store.append_if(new(), &query, expected);
                        assert_eq!(refused, Err(conflict(expected, *actual)), "{query:?}");
                    }
                }
            }
        }
        // Failed appends take no numbers.
        assert_eq!(found(store, &EventQuery::all()), [1, 2, 3]);
        let mut last = 3;
        for (query, actual) in contexts.into_iter().skip(1) {
            assert_eq!(store.append_if(new(), &query, actual), Ok(result(last + 1, last + 2)));
            last += 2;
        }
    });
}

#[test]
fn concurrent_append_if_of_one_context_succeeds_once_per_version() {
    on_stores(|store| {
        let contexts =
            [EventQuery::for_event_types(["counted"]), payload(json!({ "counter": "a" }))];
        let count = |store: &FactStore, context: &EventQuery| {
            for _ in 0..10 {
                loop {
                    let version = store.query(context).unwrap().current_context_version;
                    // The other context has candidates of this one, which must not fail it for ever.
                    let new =
                        vec![fact("counted", json!({ "counter": "a", "other": [{ "x": 1 }] }))];
                    match store.append_if(new, context, version) {
                        Ok(_) => break,
                        Err(EventStoreError::ConditionalAppendConflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for context in contexts.iter().cycle().take(4) {
                scope.spawn(move || count(store, context));
            }
        });
        assert_eq!(store.store().head().get(), 40);
    });
}

#[test]
fn query_is_consistent_while_others_append() {
    on_stores(|store| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..200 {
                    append(store, [("fact", json!({ "n": n }))]);
                }
            });
            for _ in 0..50 {
                let result = store.query(&EventQuery::all()).unwrap();
                let last = result.event_records.last().map(|it| it.sequence_number);
                assert_eq!(result.last_returned_sequence_number, last);
                assert_eq!(result.current_context_version, last);
            }
        });
    });
}
