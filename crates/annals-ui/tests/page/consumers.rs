//! Cursors, parked events, and who may change them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::consumer_group::{ConsumerGroup, Retry};
use annals::{ExpectedVersion, NewEvent, Options as StoreOptions, Store};
use annals_ui::Options;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};

use crate::support::{Answer, get, ledger, page, router, send};

/// Parks the events of a group that fails.
fn park(store: &Store, group: &str, error: &'static str) {
    let retry = Retry::new().attempts(2).first_delay(Duration::from_millis(1));
    let group = ConsumerGroup::new(store, group).retry(retry).start(move |_| Err(error)).unwrap();
    assert!(group.wait_for(store.head(), Duration::from_secs(60)));
    group.stop().unwrap();
}

/// The key of the forms of a page.
fn key(page: &Answer) -> String {
    let (_, rest) = page.text().split_once("name=\"key\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

async fn post(router: &Router, path: &str, origin: &str, form: &str) -> Answer {
    let request = Request::post(path).header("host", "localhost:7878").header("origin", origin);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    send(router, request.body(Body::from(form.to_owned())).unwrap()).await
}

const OWN: &str = "http://localhost:7878";

#[tokio::test(flavor = "multi_thread")]
async fn cursors_have_lag_and_come_in_pages() {
    let (_dir, store) = ledger();
    for number in 0..120 {
        store.cursors().advance(&format!("c-{number:03}"), 1).unwrap();
    }
    store.cursors().advance("<b>", 4).unwrap();
    let router = router(&store);
    let first = page(&router, "/consumers").await;
    first.has(&[
        "&lt;b&gt;",
        "c-000",
        "c-098",
        "after=c-098",
        "data-consumers=\"/consumers-data\"",
    ]);
    first.lacks(&["c-099", "<b>"]);
    page(&router, "/consumers?after=c-098").await.has(&["c-119", "consumers-data?after=c-098"]);
    let data = page(&router, "/consumers-data?after=c-118").await;
    assert_eq!(data.text(), "[{\"lag\":3,\"name\":\"c-119\",\"position\":1}]");
    page(&router, "/consumers").await.has(&["No consumer group has parked an event"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_of_a_cursor_come_in_pages() {
    let (_dir, store) = ledger();
    let router = router(&store);
    let unknown = get(&router, "/cursor?name=emailer").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let cursors = store.cursors();
    cursors.advance("emailer", 1).unwrap();
    page(&router, "/cursor?name=emailer").await.lacks(&["<svg", "Older"]);
    for number in 0..100 {
        cursors.reset("emailer", 1 + number % 2).unwrap();
    }
    cursors.advance("emailer", 4).unwrap();
    page(&router, "/consumers").await.has(&["href=\"/cursor?name=emailer\""]);
    let first = page(&router, "/cursor?name=emailer").await;
    first.has(&["At position 4, lag 0", "polyline", "+2<", "−1<", "skip=100", "at most 3 events"]);
    let second = page(&router, "/cursor?name=emailer&skip=100").await;
    assert_eq!(second.text().matches("data-row").count(), 2);
    second.has(&["Newest", "href=\"/cursor?name=emailer\""]);
    for name in ["emailer", "unknown"] {
        let beyond = get(&router, &format!("/cursor?name={name}&skip=1000")).await;
        assert_eq!(beyond.status, StatusCode::NOT_FOUND);
        beyond.lacks(&["At position", "It was deleted"]);
    }
    let far = get(&router, "/cursor?name=emailer&skip=1000001").await;
    assert_eq!(far.status, StatusCode::BAD_REQUEST);
    cursors.delete("emailer").unwrap();
    page(&router, "/cursor?name=emailer").await.has(&["It was deleted", "<i>deleted</i>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_shown_and_not_changed_by_default() {
    let (dir, store) = ledger();
    park(&store, "emailer", "no <address>");
    let reader = StoreOptions::new().read_only(true).open(dir.path().join("ledger")).unwrap();
    let reader = annals_ui::router(reader, Options::new().manage_parked());
    for router in [router(&store), reader] {
        let shown = page(&router, "/consumers").await;
        shown.has(&["4 parked events", "no &lt;address&gt;", "account-2</bdi>@1", "event?at=3"]);
        shown.lacks(&["<form method=\"post\"", "Discard"]);
        let answer = post(&router, "/parked", OWN, "action=discard&group=emailer&position=1").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(ConsumerGroup::new(&store, "emailer").parked().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_beyond_the_page_are_pointed_to() {
    let (_dir, store) = ledger();
    let parked = |number: usize| {
        let stream = format!("$parked-g{number:03}");
        store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    };
    (0..50).for_each(parked);
    let router = router(&store);
    page(&router, "/consumers").await.lacks(&["Only the first"]);
    parked(50);
    let shown = page(&router, "/consumers").await;
    shown.has(&["g049", "Only the first 50 groups", "/streams?category=%24parked"]);
    shown.lacks(&["g050"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_discarded_by_own_forms_alone() {
    let (_dir, store) = ledger();
    park(&store, "emailer", "no address");
    let emailer = ConsumerGroup::new(&store, "emailer");
    let router = annals_ui::router(store.clone(), Options::new().manage_parked());
    let key = key(&page(&router, "/consumers").await);
    let form = format!("action=discard&group=emailer&position=3&key={key}");
    for (origin, form, expected) in [
        ("http://evil.example", form.as_str(), 403),
        ("null", form.as_str(), 403),
        (OWN, "action=discard&group=emailer&position=3", 403),
        (OWN, "action=discard&group=emailer&position=3&key=", 403),
        (OWN, &format!("action=discard&group=emailer&position=x&key={key}"), 400),
        (OWN, &format!("action=drop&group=emailer&position=3&key={key}"), 400),
        (OWN, &format!("action=replay&group=emailer&key={key}"), 404),
        (OWN, &format!("{form}&more={}", "x".repeat(100_000)), 400),
    ] {
        assert_eq!(
            post(&router, "/parked", origin, form).await.status.as_u16(),
            expected,
            "{origin}"
        );
        assert_eq!(emailer.parked().unwrap().len(), 4);
    }
    let done = post(&router, "/parked", OWN, &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let left = page(&router, done.header("location")).await;
    left.has(&["The event at position 3 was discarded", "3 parked events"]);
    let again = post(&router, "/parked", OWN, &form).await;
    page(&router, again.header("location")).await.has(&["not parked any more"]);
    // A form without an origin is refused, as from a program that has no key.
    let request = Request::post("/parked").header("host", "localhost:7878");
    let answer = send(&router, request.body(Body::from(form)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_replayed_by_a_running_group() {
    let (_dir, store) = ledger();
    park(&store, "emailer", "no address");
    let is_fixed = Arc::new(AtomicBool::new(true));
    let fixed = Arc::clone(&is_fixed);
    let running = ConsumerGroup::new(&store, "emailer")
        .start(move |_| if fixed.load(Ordering::Relaxed) { Ok(()) } else { Err("still") })
        .unwrap();
    let running = Arc::new(running);
    let replaying = Arc::clone(&running);
    let options =
        Options::new().manage_parked().replay("emailer", move || replaying.replay_parked());
    let router = annals_ui::router(store.clone(), options);
    let shown = page(&router, "/consumers").await;
    shown.has(&["Replay all"]);
    let form = format!("action=replay&group=emailer&key={}", key(&shown));
    let done = post(&router, "/parked", OWN, &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text());
    page(&router, done.header("location")).await.has(&["4 events handled, 0 parked again"]);
    assert!(ConsumerGroup::new(&store, "emailer").parked().unwrap().is_empty());
}
