//! Tenants: streams, scans and snapshots of one do not show in another.

use std::sync::Arc;

use adapter_tests::Life;
use annals_evento::AnnalsExecutor;
use evento::cursor::{Args, Value};
use evento::{Event, EventFilter, Executor, RoutingKey, TenantFilter};

use crate::support::{TYPE, by_id, by_type, end_step, event, executor};

fn of(tenant: &str, id: &str, version: u16) -> Event {
    Event { tenant: tenant.to_owned(), ..event(id, version, Some("eu")) }
}

async fn found(
    executor: &AnnalsExecutor,
    filters: Option<Arc<[EventFilter]>>,
    tenant: TenantFilter,
) -> Vec<(String, u16)> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let key = Some(RoutingKey::Value(Some("eu".to_owned())));
        let args = Args::forward(2, after);
        let page = executor.read(filters.clone(), key, tenant.clone(), args, None).await.unwrap();
        after = page.page_info.end_cursor;
        all.extend(page.edges.into_iter().map(|it| (it.node.tenant, it.node.version)));
        if !page.page_info.has_next_page {
            return all;
        }
    }
}

#[tokio::test]
async fn aggregate_of_one_id_is_a_stream_in_each_tenant() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let long = "t".repeat(255);
        for event in [
            of("", "a", 1),
            of("acme", "a", 1),
            of("ac-me", "a", 1),
            of("acme", "a", 2),
            of(&long, "a", 1),
            of("", "a", 2),
            of("acme", "b", 1),
        ] {
            executor.write(vec![event]).await.unwrap();
            executor = end_step(&mut life, executor);
        }
        let only = |tenant: &str| TenantFilter::Only(tenant.to_owned());
        let places = |wanted: &[(&str, u16)]| -> Vec<(String, u16)> {
            wanted.iter().map(|(tenant, version)| ((*tenant).to_owned(), *version)).collect()
        };
        let everywhere =
            places(&[("", 1), ("acme", 1), ("ac-me", 1), ("acme", 2), (&long, 1), ("", 2)]);
        assert_eq!(found(&executor, by_id("a"), TenantFilter::All).await, everywhere);
        let named = Some(Arc::from([EventFilter::exact_raw(TYPE, "a", "Named0")]));
        let expected = places(&[("acme", 2), ("", 2)]);
        assert_eq!(found(&executor, named, TenantFilter::All).await, expected);
        for (tenant, versions) in [("", 1..=2), ("acme", 1..=2), ("ac-me", 1..=1), (&*long, 1..=1)]
        {
            let expected: Vec<_> = versions.map(|it| (tenant.to_owned(), it)).collect();
            assert_eq!(found(&executor, by_id("a"), only(tenant)).await, expected);
            let latest = executor.latest_version(tenant.to_owned(), TYPE.into(), "a".into());
            assert_eq!(usize::from(latest.await.unwrap()), expected.len());
        }
        let expected = places(&[("acme", 1), ("acme", 2), ("acme", 1)]);
        for filters in [None, by_type()] {
            assert_eq!(found(&executor, filters.clone(), only("acme")).await, expected);
            assert_eq!(found(&executor, filters.clone(), only("")).await.len(), 2);
            assert_eq!(found(&executor, filters.clone(), TenantFilter::All).await.len(), 7);
            assert_eq!(found(&executor, filters, only("nobody")).await, []);
        }
        let acme = executor.latest_timestamp(None, None, only("nobody")).await.unwrap();
        assert_eq!(acme, 0);
    }
}

#[tokio::test]
async fn snapshot_belongs_to_tenant_type_projection_and_id() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let keys = [
            ["", "t", "p", "a"],
            ["acme", "t", "p", "a"],
            ["", "t", "pa", ""],
            ["", "tp", "", "a"],
        ];
        let owned = |key: [&str; 4]| key.map(str::to_owned);
        let load = |executor: AnnalsExecutor, key, revision: &str| {
            let ([tenant, of_type, projection, id], revision) = (owned(key), revision.to_owned());
            async move {
                executor.get_snapshot(tenant, of_type, projection, revision, id).await.unwrap()
            }
        };
        let save = |executor: AnnalsExecutor, key, revision: &str, data: u8| {
            let ([tenant, of_type, projection, id], revision) = (owned(key), revision.to_owned());
            async move {
                let cursor = Value(format!("cursor {data}"));
                executor
                    .save_snapshot(tenant, of_type, projection, revision, id, vec![data], cursor)
                    .await
                    .unwrap();
            }
        };
        for (data, key) in (0..).zip(keys) {
            assert_eq!(load(executor.clone(), key, "1").await, None);
            save(executor.clone(), key, "1", data).await;
            executor = end_step(&mut life, executor);
        }
        for (data, key) in (0..).zip(keys) {
            let expected = (vec![data], Value(format!("cursor {data}")));
            assert_eq!(load(executor.clone(), key, "1").await, Some(expected));
            assert_eq!(load(executor.clone(), key, "2").await, None);
        }
        // The last save counts, with and without events in between, and whatever its cursor.
        for (round, data) in (10..14).enumerate() {
            if round % 2 == 1 {
                let version = u16::try_from(round / 2 + 1).unwrap();
                executor.write(vec![event("a", version, None)]).await.unwrap();
            }
            save(executor.clone(), keys[0], "2", 30 - data).await;
            executor = end_step(&mut life, executor);
            let (found, _) = load(executor.clone(), keys[0], "2").await.unwrap();
            assert_eq!(found, [30 - data]);
            assert_eq!(load(executor.clone(), keys[0], "1").await, None);
        }
        for _ in 0..2 {
            let [tenant, of_type, projection, id] = owned(keys[0]);
            executor.delete_snapshot(tenant, of_type, projection, id).await.unwrap();
            executor = end_step(&mut life, executor);
            assert_eq!(load(executor.clone(), keys[0], "2").await, None);
        }
        assert!(load(executor.clone(), keys[1], "1").await.is_some());
    }
}
