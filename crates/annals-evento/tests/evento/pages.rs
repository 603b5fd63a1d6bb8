//! Pages: every filter, cursor and direction against evento's own reader of a vector.

use std::sync::Arc;

use adapter_tests::Life;
use evento::cursor::{Args, Cursor, Reader};
use evento::{Event, EventFilter, Executor, RoutingKey, TenantFilter};

use crate::support::{
    Filters, TYPE, all, by_id, by_type, end_step, event, executor, nodes, places, stamped,
};

fn matches(event: &Event, filters: &Filters, key: Option<&RoutingKey>) -> bool {
    let is_wanted = |filter: &EventFilter| {
        filter.aggregate_type == event.aggregate_type
            && filter.aggregate_id.as_ref().is_none_or(|id| *id == event.aggregate_id)
            && filter.name.as_ref().is_none_or(|name| *name == event.name)
    };
    filters.as_ref().is_none_or(|filters| filters.iter().any(is_wanted))
        && match key {
            Some(RoutingKey::Value(key)) => *key == event.routing_key,
            _ => true,
        }
}

fn filters() -> Vec<Filters> {
    let named = EventFilter::by_event_raw;
    vec![
        None,
        by_type(),
        by_id("a"),
        by_id("nothing"),
        Some(Arc::from([])),
        Some(Arc::from([EventFilter::exact_raw(TYPE, "a", "Named0")])),
        Some(Arc::from([named(TYPE, "Named1"), named(TYPE, "Named1"), named(TYPE, "other")])),
        Some(Arc::from([EventFilter::by_id_raw(TYPE, "b"), named("test/Owner", "Named1")])),
    ]
}

#[tokio::test]
async fn pages_are_those_of_a_sorted_vector() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        for version in 1..=6 {
            let mut events = vec![event("a", version, Some("eu")), event("b", version, None)];
            let mut other = event("o", version, Some("eu").filter(|_| version % 3 == 0));
            other.aggregate_type = "test/Owner".to_owned();
            events.push(other);
            executor.write(events).await.unwrap();
            executor = end_step(&mut life, executor);
        }
        let written = all(&executor).await;
        assert_eq!(written.len(), 18);
        let mut cursors = vec![None];
        cursors.extend(written.iter().step_by(4).map(|it| Some(it.serialize_cursor().unwrap())));
        // Cursors of events that this store does not have.
        for near in [&written[0], &written[9], &written[17]] {
            for change in [-1, 1] {
                let millis = near.timestamp_micros() / 1000;
                let foreign =
                    stamped(event("x", near.version, None), millis.saturating_add_signed(change));
                cursors.push(Some(foreign.serialize_cursor().unwrap()));
            }
        }
        let keys =
            [None, Some(RoutingKey::All), Some(RoutingKey::Value(None))].into_iter().chain([
                Some(RoutingKey::Value(Some("eu".to_owned()))),
                Some(RoutingKey::Value(Some("us".to_owned()))),
            ]);
        for key in keys {
            for filters in filters() {
                let matching: Vec<Event> = written
                    .iter()
                    .filter(|event| matches(event, &filters, key.as_ref()))
                    .cloned()
                    .collect();
                for cursor in &cursors {
                    for limit in [1, 3, 40] {
                        let (forward, backward) = (
                            Args::forward(limit, cursor.clone()),
                            Args::backward(limit, cursor.clone()),
                        );
                        for args in [forward, backward] {
                            let expected =
                                Reader::new(matching.clone()).args(args.clone()).execute().unwrap();
                            for tenant in [TenantFilter::All, TenantFilter::Only(String::new())] {
                                let found = executor
                                    .read(filters.clone(), key.clone(), tenant, args.clone(), None)
                                    .await
                                    .unwrap();
                                assert_eq!(found, expected, "{filters:?} {key:?} {args:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn bound_on_stamps_is_exclusive_in_both_directions() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        for millis in [1_000, 1_001, 1_002, 9_000] {
            let new = stamped(event(&format!("a{millis}"), 1, None), millis);
            executor.replicate(vec![new]).await.unwrap();
            executor = end_step(&mut life, executor);
        }
        let bounds = [
            (0, 0),
            (1_000_000, 0),
            (1_000_001, 1),
            (1_001_000, 1),
            (1_001_001, 2),
            (1_002_001, 3),
            (9_000_000, 3),
            (u64::MAX, 4),
        ];
        for (bound, count) in bounds {
            for limit in 1..=2 {
                for args in [Args::forward(limit, None), Args::backward(limit, None)] {
                    let read = executor.read(by_type(), None, TenantFilter::All, args, Some(bound));
                    let (page, limit) = (read.await.unwrap(), usize::from(limit));
                    assert_eq!(page.edges.len(), count.min(limit), "{bound} {limit}");
                    let more = page.page_info.has_next_page || page.page_info.has_previous_page;
                    assert_eq!(more, count > limit, "{bound} {limit}");
                }
            }
        }
    }
}

#[tokio::test]
async fn long_stream_is_drained_page_by_page_in_both_directions() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        for first in (1..=300).step_by(20) {
            let events = (first..first + 20).map(|version| event("a", version, None)).collect();
            executor.write(events).await.unwrap();
        }
        executor = end_step(&mut life, executor);
        let versions: Vec<u16> = (1..=300).collect();
        for limit in [7, 256] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let args = Args::forward(limit, after);
                let only = TenantFilter::Only(String::new());
                let page = executor.read(by_id("a"), None, only, args, None).await.unwrap();
                after = page.page_info.end_cursor.clone();
                let more = page.page_info.has_next_page;
                found.extend(nodes(page).into_iter().map(|it| it.version));
                if !more {
                    break;
                }
            }
            assert_eq!(found, versions);
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let args = Args::backward(limit, before);
                let only = TenantFilter::Only(String::new());
                let page = executor.read(by_id("a"), None, only, args, None).await.unwrap();
                before = page.page_info.start_cursor.clone();
                let more = page.page_info.has_previous_page;
                found.extend(nodes(page).into_iter().rev().map(|it| it.version));
                if !more {
                    break;
                }
            }
            assert!(found.iter().rev().eq(&versions));
        }
        let sparse = nodes(
            executor
                .read(None, None, TenantFilter::All, Args::forward(2, None), None)
                .await
                .unwrap(),
        );
        assert_eq!(places(&sparse), [("a", 1), ("a", 2)]);
    }
}
