//! The health page, a run of `verify`, and the dashboard for Grafana.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cold::{ColdSegment, SegmentSource};
use annals::{ExpectedVersion, NewEvent, Options as StoreOptions};
use annals_ui::Options;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};

use crate::support::{Answer, get, ledger, page, router, send};

async fn start(router: &Router, origin: &str, form: String) -> Answer {
    let request =
        Request::post("/verify").header("host", "localhost:7878").header("origin", origin);
    send(router, request.body(Body::from(form)).unwrap()).await
}

/// The page after the run has ended.
async fn verified(router: &Router) -> Answer {
    let shown = page(router, "/status").await;
    let (_, rest) = shown.text().split_once("name=\"key\" value=\"").expect("a form");
    let form = format!("key={}", rest.split('"').next().unwrap());
    let foreign = start(router, "http://evil.example", form.clone()).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    assert_eq!(
        start(router, "http://localhost:7878", "key=1".to_owned()).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(page(router, "/verify-state").await.text(), "null");
    let started = start(router, "http://localhost:7878", form).await;
    assert_eq!((started.status, started.header("location")), (StatusCode::SEE_OTHER, "/status"));
    let begun = Instant::now();
    while !page(router, "/verify-state").await.text().contains("\"is_over\":true") {
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    page(router, "/status").await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_strips_and_verify_reports() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let store = StoreOptions::new().segment_size(64 << 10).open(&path).unwrap();
    for _ in 0..40 {
        let event = NewEvent::new("T", vec![b'x'; 8000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    let shown = page(&router, "/status").await;
    shown.has(&[
        "class=\"sealed\"",
        "class=\"active\"",
        "class=\"index\"",
        "class=\"checkpoint\"",
        "Verify now",
    ]);
    assert_eq!(shown.text().matches("class=\"active\"").count(), 1);
    verified(&router).await.has(&["No fault found", "40 events", "40 commits"]);
}

/// Cold storage that holds every segment, and returns none.
#[derive(Debug)]
struct Away;

impl SegmentSource for Away {
    fn holds(&self, _: &ColdSegment) -> io::Result<bool> {
        Ok(true)
    }

    fn fetch(&self, _: &ColdSegment, _: &mut dyn io::Write) -> io::Result<()> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_with_cold_segments_has_its_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let options = StoreOptions::new().segment_size(64 << 10).cold_segments(Arc::new(Away));
    let store = options.clone().open(&path).unwrap();
    for _ in 0..40 {
        let event = NewEvent::new("T", vec![b'x'; 8000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    let store = options.open(&path).unwrap();
    assert!(store.make_cold(1).unwrap() > 0);
    store.close().unwrap();
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    let shown = page(&router, "/status").await;
    assert_eq!(shown.text().matches("class=\"cold\"").count(), 1);
    assert_eq!(shown.text().matches("class=\"active\"").count(), 1);
    page(&router, "/").await.has(&["Newest events", "s</bdi>", "Not shown: segment 1 is in cold"]);
    let away = get(&router, "/event?at=1").await;
    assert!(away.status.is_server_error());
    away.has(&["cold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_lists_the_faults_of_a_damaged_store() {
    let (dir, store) = ledger();
    store.close().unwrap();
    let path = dir.path().join("ledger");
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    page(&router, "/").await;
    let segment = path.join("log").join(format!("{:020}.seg", 1));
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|it| it == b"Opened").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    verified(&router).await.has(&["found", "at offset", "annals repair"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_does_not_open_has_a_health_page() {
    let (dir, store) = ledger();
    store.close().unwrap();
    let path = dir.path().join("ledger");
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    page(&router, "/").await;
    std::fs::remove_file(path.join("log").join(format!("{:020}.seg", 1))).unwrap();
    // The first request notices it, and the second one cannot open the store.
    for _ in 0..2 {
        let refused = get(&router, "/stream?name=account-1").await;
        assert!(refused.status.is_server_error(), "{}", refused.text());
    }
    let health = get(&router, "/status").await;
    assert!(health.status.is_server_error(), "{}", health.text());
    health.has(&["Verify now", "The page keeps running"]);
    let (_, rest) = health.text().split_once("name=\"key\" value=\"").unwrap();
    let form = format!("key={}", rest.split('"').next().unwrap());
    let started = start(&router, "http://localhost:7878", form).await;
    assert_eq!(started.status, StatusCode::SEE_OTHER, "{}", started.text());
    let begun = Instant::now();
    while !page(&router, "/verify-state").await.text().contains("\"is_over\":true") {
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nothing of it is left to be verified, and the page says why.
    get(&router, "/status").await.has(&["The store cannot be verified", "Verify now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_dashboard_exists() {
    let (_dir, store) = ledger();
    store.cursors().advance("emailer", 1).unwrap();
    let metrics = page(&router(&store), "/metrics").await;
    let names: Vec<&str> = metrics
        .text()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let text = include_str!("../../grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            expressions.push(target["expr"].as_str().unwrap());
        }
    }
    assert!(expressions.len() > 10, "{expressions:?}");
    for expression in expressions {
        let mut found = 0;
        for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("annals_") {
                assert!(names.contains(&word), "{word} of {expression:?} does not exist");
                found += 1;
            }
        }
        assert!(found > 0, "{expression:?} names no metric");
    }
}
