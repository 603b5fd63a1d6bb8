//! Searches, their number of matches, suggestions and exports.

use annals::{ContentType, ExpectedVersion, NewEvent, Options as StoreOptions, Store};
use annals_ui::Options;
use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::{get, ledger, page, request, router};

#[tokio::test(flavor = "multi_thread")]
async fn search_shows_matches_newest_first_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for number in 1..=120 {
        let kind = if number % 2 == 0 { "Even" } else { "Odd" };
        let event = NewEvent::new(kind, format!("number-{number:03}."));
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    let router = router(&store);
    let first = page(&router, "/search?q=type:Even").await;
    first.has(&["number-120.", "number-022.", "before=22", "Count the matches", "format=csv"]);
    first.lacks(&["number-020.", "number-119."]);
    let second = page(&router, "/search?q=type:Even&before=22").await;
    second.has(&["number-020.", "number-002."]);
    second.lacks(&["Older", "number-022."]);
    assert_eq!(page(&router, "/count?q=type:Even").await.text(), "60 events");
    page(&router, "/search?q=type:None").await.has(&["No event matches", "0 events"]);
    page(&router, "/search?q=all&before=1").await.has(&["No event matches"]);
    // Suggestions are those of lists that another page has asked for.
    page(&router, "/search").await.lacks(&["<option"]);
    page(&router, "/lists").await;
    page(&router, "/search").await.has(&[
        "type:A,B",
        "alternatives",
        "<option value=\"type:Even\">",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_query_is_marked_at_its_place() {
    let (_dir, store) = ledger();
    let router = router(&store);
    for path in ["/search", "/tail"] {
        let answer = get(&router, &format!("{path}?q=type:Opened+colour:red")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.has(&[
            "type:Opened <mark>c</mark>olour:red",
            "at byte 12",
            "value=\"type:Opened colour:red\"",
        ]);
        answer.has(&["aria-invalid=\"true\" aria-describedby=\"wrong\"", "id=\"wrong\""]);
    }
    for path in ["/count", "/export", "/tail-events"] {
        let answer = get(&router, &format!("{path}?q=colour:red")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        answer.has(&["at byte 0"]);
    }
    let answer = get(&router, "/search?q=all&since=tomorrow").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    answer.has(&["tomorrow", "2026-11-25 10:05"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn period_and_hidden_events_are_selected() {
    let dir = tempfile::tempdir().unwrap();
    let clock = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let now = std::sync::Arc::clone(&clock);
    let options = StoreOptions::new().clock(move || {
        annals::Timestamp::from_micros(now.load(std::sync::atomic::Ordering::Relaxed))
    });
    let store = options.open(dir.path().join("ledger")).unwrap();
    for (day, name) in [(25, "Early"), (26, "Middle"), (27, "Late")] {
        let time: annals::Timestamp = format!("2026-11-{day}T00:00:00Z").parse().unwrap();
        clock.store(time.as_micros(), std::sync::atomic::Ordering::Relaxed);
        store.append(name, ExpectedVersion::Any, [NewEvent::new(name, "")]).unwrap();
    }
    let router = router(&store);
    let middle = page(&router, "/search?q=all&since=2026-11-26&until=2026-11-26").await;
    middle.has(&["Middle"]);
    middle.lacks(&["Early</bdi>", "Late</bdi>"]);
    assert_eq!(page(&router, "/count?q=all&since=2026-11-26").await.text(), "2 events");
    store.archive("Late").unwrap();
    page(&router, "/search?q=all").await.lacks(&["Late</bdi>"]);
    page(&router, "/search?q=all&hidden=1").await.has(&["Late</bdi>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn suggestions_continue_a_condition() {
    let (_dir, store) = ledger();
    store.append("a b", ExpectedVersion::Any, [NewEvent::new("Open, again", "")]).unwrap();
    let router = router(&store);
    for (beginning, expected) in [
        ("ty", "[\"type:\"]"),
        ("type:Op", "[\"type:\\\"Open, again\\\"\",\"type:Opened\"]"),
        ("tag:owner:4", "[\"tag:owner:42\"]"),
        ("category:acc", "[\"category:account\"]"),
        ("stream:account-", "[\"stream:account-1\",\"stream:account-2\"]"),
        ("colour:", "[]"),
    ] {
        let answer = page(&router, &format!("/suggest?q={beginning}")).await;
        assert_eq!(answer.text(), expected, "{beginning}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_have_every_event_byte_for_byte() {
    let (_dir, store) = ledger();
    let odd = NewEvent::new("Odd", b"\xff\n".to_vec()).metadata("m,\"\n").tags(["a,b", "c"]);
    let broken = NewEvent::new("Broken", "{\n}").content_type(ContentType::Json).schema_version(3);
    store.append("s", ExpectedVersion::Any, [odd, broken]).unwrap();
    let router = router(&store);
    let lines = page(&router, "/export?q=all").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(lines.header("content-disposition"), "attachment; filename=\"events.ndjson\"");
    let lines: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["data"]["owner"], "Ann");
    assert_eq!((&lines[1]["commit"], &lines[3]["commit"]), (&2.into(), &2.into()));
    assert_eq!(
        (lines[4]["data_base64"].as_str(), lines[4]["tags"][0].as_str()),
        (Some("/wo="), Some("a,b"))
    );
    assert_eq!(lines[5]["content_type"], "json");
    assert_eq!(lines[5]["schema_version"], 3);
    let sheet = page(&router, "/export?q=type:Odd+or+type:Opened&format=csv").await;
    let mut reader = csv::Reader::from_reader(sheet.body.as_slice());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    let names = reader.headers().unwrap();
    let cell = |name| &rows[1][names.iter().position(|it| it == name).unwrap()];
    assert_eq!((cell("data"), cell("data_base64")), ("", "/wo="));
    assert_eq!((cell("tags"), cell("metadata")), ("[\"a,b\",\"c\"]", "m,\"\n"));
    assert_eq!(get(&router, "/export?format=xml").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_is_read_as_fast_as_the_client_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for _ in 0..100 {
        let events = (0..100).map(|_| NewEvent::new("T", vec![b'x'; 1000]));
        store.append("s", ExpectedVersion::Any, events.collect::<Vec<_>>()).unwrap();
    }
    // One thread may read, and one export may run.
    let options = Options::new().max_reads(1).max_exports(1);
    let router = annals_ui::router(store, options);
    let export = request("/export?q=all").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(export).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() < 200_000, "a batch of {} bytes", first.len());
    // While the client takes nothing, the thread is free, and the export is the only one.
    page(&router, "/").await.has(&["Newest events"]);
    let other = get(&router, "/export?q=all").await;
    assert_eq!(other.status, StatusCode::SERVICE_UNAVAILABLE);
    other.has(&["Other exports are running"]);
    let rest = body.collect().await.unwrap().to_bytes();
    let lines = [&first[..], &rest[..]].concat();
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 10_000);
    page(&router, "/export?q=none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn export_that_fails_is_no_whole_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let events = (0..2000).map(|_| NewEvent::new("T", vec![b'x'; 1000]));
    store.append("s", ExpectedVersion::Any, events.collect::<Vec<_>>()).unwrap();
    store.close().unwrap();
    let path = dir.path().join("ledger");
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    let export = request("/export?q=all").body(Body::empty()).unwrap();
    let mut body = router.oneshot(export).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    std::fs::rename(&path, dir.path().join("away")).unwrap();
    assert!(body.collect().await.is_err(), "an export that was cut off must not look whole");
}
