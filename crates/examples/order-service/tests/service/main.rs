//! The service as its clients see it: entity tags, repetitions, the list, deadlines, restarts and the shutdown.

#![allow(missing_docs)]

mod client;
mod shutdown;

use std::path::Path;
use std::time::Duration;

use annals_es::Clock;
use axum::http::StatusCode;
use order_service::{CONFIRM_WITHIN, Service};
use serde_json::json;

use client::{Answer, Client};

const KEY: (&str, &str) = ("idempotency-key", "0191b2c3-0000-7000-8000-000000000001");
const OTHER_KEY: (&str, &str) = ("idempotency-key", "0191b2c3-0000-7000-8000-000000000002");

/// A clock that is later than the recorded times of events.
fn clock() -> Clock {
    Clock::at(Clock::system().now().plus(Duration::from_secs(1)))
}

async fn open(directory: &Path, clock: &Clock) -> (Service, Client) {
    let service = Service::open(directory, clock.clone()).await.expect("a service");
    let client = Client::new(service.router());
    (service, client)
}

/// Places an order for ann, with one line: its path.
async fn placed(client: &Client) -> String {
    let placed = client.post("/orders", &[], json!({"customer": "ann"})).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{placed:?}");
    let path = placed.header("location").to_owned();
    let line = json!({"item": "tea", "quantity": 2, "cents": 450});
    let added = client.post(&format!("{path}/lines"), &[("if-match", "\"1\"")], line).await;
    assert_eq!((added.status, added.header("etag")), (StatusCode::OK, "\"2\""), "{added:?}");
    path
}

/// The list that is complete up to what an answer has changed.
async fn list_after(client: &Client, answer: &Answer, filter: &str) -> Answer {
    let position = &answer.json["position"];
    let list = client.get(&format!("/orders?position={position}&{filter}")).await;
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    assert!(list.json["position"].as_u64() >= position.as_u64(), "{list:?}");
    list
}

#[tokio::test]
async fn order_is_shown_with_its_version_as_entity_tag() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    let path = placed(&client).await;
    let shown = client.get(&path).await;
    assert_eq!((shown.status, shown.header("etag")), (StatusCode::OK, "\"2\""));
    let line = json!({"item": "tea", "quantity": 2, "cents": 450});
    let order = json!({"customer": "ann", "status": "open", "lines": [line], "total_cents": 900});
    assert_eq!(shown.json, order);
    service.close().await.expect("a shutdown");
}

#[tokio::test]
async fn command_at_another_version_is_refused_with_the_present_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    let path = placed(&client).await;
    let confirm = format!("{path}/confirm");
    for old in ["\"1\"", "W/\"2\"", "\"abc\"", "2"] {
        let lost = client.post(&confirm, &[("if-match", old)], json!(null)).await;
        assert_eq!(lost.status, StatusCode::PRECONDITION_FAILED, "{old}: {lost:?}");
        assert_eq!((lost.header("etag"), &lost.json["version"]), ("\"2\"", &json!(2)));
        assert_eq!(lost.header("content-type"), "application/problem+json");
    }
    let without = client.post(&confirm, &[], json!(null)).await;
    assert_eq!(without.status, StatusCode::PRECONDITION_REQUIRED, "{without:?}");
    let two = client.post(&confirm, &[("if-match", "\"1\", \"2\"")], json!(null)).await;
    assert_eq!(two.status, StatusCode::BAD_REQUEST, "{two:?}");
    assert_eq!(client.get(&path).await.json["status"], "open", "nothing was changed");

    let confirmed = client.post(&confirm, &[("if-match", "\"2\"")], json!(null)).await;
    assert_eq!((confirmed.status, confirmed.header("etag")), (StatusCode::OK, "\"3\""));
    let again = client.post(&confirm, &[("if-match", "*")], json!(null)).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{again:?}");
    assert_eq!(again.json["detail"], "the order is confirmed");
    service.close().await.expect("a shutdown");
}

#[tokio::test]
async fn request_with_a_repeated_key_has_effect_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    let ann = json!({"customer": "ann"});
    let first = client.post("/orders", &[KEY], ann.clone()).await;
    let again = client.post("/orders", &[KEY], ann.clone()).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!((&first.json["repeated"], &again.json["repeated"]), (&json!(false), &json!(true)));
    for same in ["id", "version", "position"] {
        assert_eq!(first.json[same], again.json[same], "{same}");
    }
    let other = client.post("/orders", &[KEY], json!({"customer": "bob"})).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    let second = client.post("/orders", &[OTHER_KEY], ann).await;
    assert_ne!(first.json["id"], second.json["id"]);

    // The version of a repetition is an old one, and its first outcome is returned all the same.
    let lines = format!("{}/lines", first.header("location"));
    let line = json!({"item": "tea", "quantity": 1, "cents": 1});
    for repeated in [false, true] {
        let headers = [("if-match", "\"1\""), OTHER_KEY];
        let added = client.post(&lines, &headers, line.clone()).await;
        assert_eq!((added.status, added.header("etag")), (StatusCode::OK, "\"2\""), "{added:?}");
        assert_eq!(added.json["repeated"], json!(repeated));
    }
    let list = list_after(&client, &second, "").await;
    assert_eq!(list.json["orders"].as_array().map(Vec::len), Some(2), "{list:?}");
    service.close().await.expect("a shutdown");
}

#[tokio::test]
async fn list_has_what_its_reader_has_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    for customer in 0..20 {
        let customer = format!("customer-{customer}");
        let placed = client.post("/orders", &[], json!({"customer": customer})).await;
        let list = list_after(&client, &placed, "status=open&limit=1").await;
        assert_eq!(list.json["orders"][0]["customer"], json!(customer), "{list:?}");
        assert_eq!(list.json["orders"][0]["version"], json!(1));
    }
    let ahead = client.get("/orders?position=1000000000000000").await;
    assert_eq!(ahead.status, StatusCode::BAD_REQUEST, "{ahead:?}");
    let confirmed = client.get("/orders?status=confirmed").await;
    assert_eq!(confirmed.json["orders"], json!([]));
    let health = client.get("/health").await;
    assert_eq!((health.status, &health.json["list"]), (StatusCode::OK, &json!("Live")));
    service.close().await.expect("a shutdown");
}

#[tokio::test]
async fn order_that_is_not_confirmed_in_time_expires_also_after_a_restart() {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), clock());
    let (service, client) = open(dir.path(), &clock).await;
    let (forgotten, confirmed) = (placed(&client).await, placed(&client).await);
    let confirm = format!("{confirmed}/confirm");
    let answer = client.post(&confirm, &[("if-match", "\"2\"")], json!(null)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    client.wait_until_handled(answer.json["position"].as_u64()).await;
    service.close().await.expect("a shutdown");

    let (service, client) = open(dir.path(), &clock).await;
    let before = client.get(&forgotten).await;
    assert_eq!((before.header("etag"), &before.json["status"]), ("\"2\"", &json!("open")));
    let list = client.get("/orders").await;
    assert_eq!(list.json["orders"].as_array().map(Vec::len), Some(2), "the list is kept: {list:?}");

    clock.advance(CONFIRM_WITHIN);
    client.wait_until(&forgotten, "expired").await;
    assert_eq!(client.get(&confirmed).await.json["status"], "confirmed");
    let headers = [("if-match", "*")];
    let late = client.post(&format!("{forgotten}/confirm"), &headers, json!(null)).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{late:?}");
    assert_eq!(late.json["detail"], "the order is expired");
    service.close().await.expect("a shutdown");
}

/// Of a store in a directory, which can be removed from outside.
#[cfg(not(any(feature = "postgres", feature = "nats")))]
#[tokio::test]
async fn list_of_another_history_is_computed_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    placed(&client).await;
    service.close().await.expect("a shutdown");
    // As after a restore of the events alone.
    tokio::fs::remove_dir_all(dir.path().join("events")).await.expect("the store is closed");
    let (service, client) = open(dir.path(), &clock()).await;
    let list = client.get("/orders").await;
    assert_eq!((list.status, &list.json["orders"]), (StatusCode::OK, &json!([])), "{list:?}");
    service.close().await.expect("a shutdown");
}

#[tokio::test]
async fn bad_request_has_a_problem_and_records_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (service, client) = open(dir.path(), &clock()).await;
    let path = placed(&client).await;
    let lines = format!("{path}/lines");
    let tag = ("if-match", "\"2\"");
    let long = "x".repeat(20_000);
    let name = "x".repeat(201);
    let line = |quantity: u64| json!({"item": "tea", "quantity": quantity, "cents": 1});
    let unknown = "/orders/00000000-0000-0000-0000-000000000001";
    for (path, headers, body, status) in [
        ("/orders", &[][..], json!({"customer": ""}), 422),
        ("/orders", &[], json!({"customer": name}), 422),
        ("/orders", &[], json!({"name": "ann"}), 422),
        ("/orders", &[], json!({"customer": long}), 413),
        ("/orders", &[("idempotency-key", "7")], json!({"customer": "ann"}), 400),
        (&lines, &[tag], line(0), 422),
        (&lines, &[tag], line(1_001), 422),
        (&lines, &[tag], line(u64::MAX), 422),
        ("/orders/7/confirm", &[tag], json!(null), 400),
        (&format!("{unknown}/confirm"), &[tag], json!(null), 404),
        (&format!("{unknown}/confirm"), &[("if-match", "*")], json!(null), 404),
    ] {
        let answer = client.post(path, headers, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {answer:?}");
        assert_eq!(answer.json["status"], json!(status), "a problem: {answer:?}");
    }
    let text = client.send("POST", "/orders", &[], "{").await;
    assert_eq!(text.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{text:?}");
    let json = [("content-type", "application/json")];
    let text = client.send("POST", "/orders", &json, "{").await;
    assert_eq!(text.status, StatusCode::BAD_REQUEST, "{text:?}");
    for path in [unknown, "/orders?status=lost", "/orders?limit=-1", "/orders?position=x"] {
        let answer = client.get(path).await;
        let status = if path == unknown { 404 } else { 400 };
        assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
    }
    assert_eq!(client.get(&path).await.header("etag"), "\"2\"");
    // A list without a position may be older than the requests.
    let placed = client.post("/orders", &[], json!({"customer": "bob"})).await;
    let list = list_after(&client, &placed, "").await;
    let customers = list.json["orders"].as_array().expect("a list").iter();
    let customers: Vec<_> = customers.map(|order| &order["customer"]).collect();
    assert_eq!(customers, ["bob", "ann"], "{list:?}");
    service.close().await.expect("a shutdown");
}
