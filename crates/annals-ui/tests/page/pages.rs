//! What the pages show.

use annals::{ExpectedVersion, NewEvent, Options as StoreOptions, Store};
use axum::http::StatusCode;

use crate::support::{get, ledger, page, router};

#[tokio::test(flavor = "multi_thread")]
async fn start_page_shows_figures_bars_and_newest_events() {
    let (_dir, store) = ledger();
    let router = router(&store);
    page(&router, "/lists").await.has(&[
        "account-1",
        "Opened",
        "Moved",
        "account",
        "As of position 4",
    ]);
    let start = page(&router, "/").await;
    start.has(&[
        "<svg viewBox",
        "<rect ",
        "Newest events",
        "Largest streams",
        "account-2",
        "owner:7",
    ]);
    start.has(&[
        "<dt>Events</dt><dd>4</dd>",
        "<dt>Streams</dt><dd>3</dd>",
        "<dt>Commits</dt><dd>2</dd>",
    ]);
    let part = page(&router, "/lists?part=1").await;
    part.has(&["Categories"]);
    part.lacks(&["<html"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_store_has_a_start_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let router = router(&store);
    page(&router, "/").await.has(&["There are no events yet", "There is no event in this period"]);
    page(&router, "/streams").await.has(&["No stream is found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for number in 0..120 {
        let stream = format!("order-{number:03}");
        store.append(stream, ExpectedVersion::Any, [NewEvent::new("Placed", "")]).unwrap();
    }
    store.append("order-007", ExpectedVersion::Any, [NewEvent::new("Paid", "")]).unwrap();
    let router = router(&store);
    let first = page(&router, "/streams").await;
    first.has(&["order-000", "order-049", "after=order-049"]);
    first.lacks(&["order-050"]);
    let second = page(&router, "/streams?after=order-049").await;
    second.has(&["order-050", "order-099", "after=order-099"]);
    let last = page(&router, "/streams?after=order-099").await;
    last.has(&["order-119"]);
    last.lacks(&["Older", "order-099</bdi>"]);
    page(&router, "/streams?prefix=order-11").await.lacks(&["order-109"]);
    for sort in ["size", "changed"] {
        let sorted = page(&router, &format!("/streams?sort={sort}")).await;
        let first = sorted.text().find("order-").map(|at| &sorted.text()[at..at + 9]);
        assert_eq!(first, Some("order-007"), "{sort}");
    }
    assert_eq!(get(&router, "/streams?sort=colour").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_page_is_newest_first_and_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let events = (1..=120).map(|n| NewEvent::new(format!("T{n:03}"), ""));
    store.append("s", ExpectedVersion::Any, events.collect::<Vec<_>>()).unwrap();
    let router = router(&store);
    let first = page(&router, "/stream?name=s").await;
    first.has(&["T120", "T071", "before=71"]);
    first.lacks(&["T070"]);
    let second = page(&router, "/stream?name=s&before=71").await;
    second.has(&["T070", "T021", "before=21"]);
    let last = page(&router, "/stream?name=s&before=21").await;
    last.has(&["T020", "T001"]);
    last.lacks(&["Older"]);
    store.truncate_before("s", 100).unwrap();
    page(&router, "/stream?name=s").await.lacks(&["T099"]);
    page(&router, "/stream?name=s").await.has(&["shown from version 100"]);
    page(&router, "/stream?name=s&hidden=1").await.has(&["T099"]);
    store.archive("s").unwrap();
    page(&router, "/stream?name=s").await.has(&["archived", "No event is shown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_page_has_neighbours_mates_and_links() {
    let (_dir, store) = ledger();
    let router = router(&store);
    let event = page(&router, "/event?at=2").await;
    event.has(&[
        "Moved",
        "account-1@2",
        "← Version 1",
        "event?at=1",
        "3 events",
        "audit",
        "tag%3Aowner%3A42",
        "-5",
    ]);
    let id = store.event_at(2.into()).unwrap().unwrap().id();
    for at in [id.to_string(), "account-1@2".to_owned()] {
        page(&router, &format!("/event?at={at}")).await.has(&["account-1@2"]);
    }
    page(&router, "/event?at=1").await.has(&["Version 2 →", "this event alone", "Ann", "1000"]);
    let commit = page(&router, "/commit?at=3").await;
    commit.has(&["Commit at position 2", "account-1", "account-2", "audit", "Commit before"]);
    commit.lacks(&["Opened", "Commit after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_there_have_a_page_that_says_so() {
    let (_dir, store) = ledger();
    let router = router(&store);
    for (path, status, text) in [
        ("/stream?name=account-9", 404, "There is no stream &quot;account-9&quot;"),
        ("/stream?name=", 404, "There is no stream"),
        ("/stream", 400, "no parameter name"),
        ("/event?at=99", 404, "the store ends at position 4"),
        ("/event?at=18446744073709551615", 404, "the store ends at position 4"),
        ("/event?at=0", 404, "There is no event at position 0"),
        ("/event?at=account-1@7", 404, "has no version 7"),
        ("/event?at=00000000-0000-0000-0000-000000000001", 404, "no event with the id"),
        ("/event?at=what", 400, "names no event"),
        ("/data?at=1&part=all", 400, "data or metadata"),
        ("/stream?name=account-1&before=x", 400, "must be a number"),
        ("/commit?at=1&after=99999999999999999999", 400, "must be a number"),
        ("/nothing", 404, "no page at this address"),
    ] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        answer.has(&[text, "<nav"]);
    }
    page(&router, "/commit?at=1&after=99").await.has(&["Commit at position 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn field_goes_to_what_a_text_means() {
    let (_dir, store) = ledger();
    store.append("17", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    let router = router(&store);
    for (text, place) in [
        ("account-1", "/stream?name=account-1"),
        ("3", "/event?at=3"),
        ("17", "/stream?name=17"),
        ("account-1@2", "/event?at=account-1%402"),
        ("type:Opened", "/search?q=type%3AOpened"),
        ("acc", "/streams?prefix=acc"),
        ("", "/search"),
    ] {
        let answer = get(&router, &format!("/go?to={text}")).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, place));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_for_programs() {
    let (dir, store) = ledger();
    for number in 0..150 {
        store.cursors().advance(&format!("c{number:03}\"\n"), 1).unwrap();
    }
    let writer = router(&store);
    let health = page(&writer, "/health").await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&health.body).unwrap()["head"], 4);
    let metrics = page(&writer, "/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    metrics.has(&["annals_head 4\n", "annals_appends_total 152\n", "annals_cursors 150\n"]);
    metrics.has(&[
        "annals_cursor_lag{cursor=\"c099\\\"\\n\"} 3\n",
        "annals_sync_seconds_bucket{le=\"+Inf\"}",
    ]);
    metrics.lacks(&["c100", "account-1"]);
    assert!(metrics.text().ends_with("# EOF\n"));
    is_open_metrics(metrics.text());
    // A reader beside the writer has the same figures of the store.
    let reader = StoreOptions::new().read_only(true).open(dir.path().join("ledger")).unwrap();
    store.append("audit", ExpectedVersion::Any, [NewEvent::new("Checked", "")]).unwrap();
    page(&router(&reader), "/metrics").await.has(&["annals_head 5\n", "annals_cursors 150\n"]);
}

/// Checks that each metric is described once, before its lines, and that lines have a name, labels and a number.
fn is_open_metrics(text: &str) {
    let mut described = Vec::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let name = kind.split(' ').next().unwrap();
            assert!(!described.contains(&name), "{name} is described twice");
            described.push(name);
            continue;
        }
        let name = *described.last().expect("a description comes first");
        if let Some(rest) = line.strip_prefix("# ") {
            let rest = rest.strip_prefix("UNIT ").or_else(|| rest.strip_prefix("HELP ")).unwrap();
            assert!(rest.starts_with(&format!("{name} ")), "{line}");
            continue;
        }
        assert!(line.starts_with(name), "{line} after {name}");
        let value = line.rsplit_once(' ').unwrap().1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(described.len() > 30);
}
