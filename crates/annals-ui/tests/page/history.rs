//! Differences of a stream's events, and correlations.

use annals::{ExpectedVersion, NewEvent, Store, Uuid};
use axum::http::StatusCode;

use crate::support::{get, ledger, page, router};

fn json(event_type: &str, value: &serde_json::Value) -> NewEvent {
    NewEvent::json(event_type, value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_between_two_moments_and_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for version in 1..=5 {
        let data = serde_json::json!({ "name": "Ann", "limit": version * 10, "<b>": version });
        let kind = if version == 3 { "Checked" } else { "Changed" };
        store.append("customer-7", ExpectedVersion::Any, [json(kind, &data)]).unwrap();
    }
    let router = router(&store);
    let last = page(&router, "/diff?stream=customer-7").await;
    last.has(&["version 4", "version 5", "/limit", "<del><code>40", "<ins><code>50", "/&lt;b&gt;"]);
    last.lacks(&["/name", "Step by step"]);
    let far = page(&router, "/diff?stream=customer-7&from=1&to=5").await;
    far.has(&["<del><code>10", "<ins><code>50", "Step by step", "Version 3", "type=\"range\""]);
    let same_type = page(&router, "/diff?stream=customer-7&from=3&to=5&type=Changed").await;
    same_type.has(&["version 2", "<del><code>20", "Version 4"]);
    same_type.lacks(&["Checked"]);
    page(&router, "/diff?stream=customer-7&from=5&to=2").await.has(&["version 2", "version 5"]);
    page(&router, "/diff?stream=customer-7&from=0&to=99").await.has(&["version 1", "version 5"]);
    page(&router, "/diff?stream=customer-7&type=None").await.has(&["no event of this type"]);
    assert_eq!(get(&router, "/diff?stream=none").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        get(&router, "/diff?stream=customer-7&from=x").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_data_is_compared_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for data in [&b"\xff\x00"[..], b"\xff\x01\x02"] {
        store.append("s", ExpectedVersion::Any, [NewEvent::new("T", data.to_vec())]).unwrap();
    }
    page(&router(&store), "/diff?stream=s").await.has(&["The bytes differ: 2 B and 3 B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn correlation_is_a_timeline_with_causes() {
    let (_dir, store) = ledger();
    let (root, paid) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let tag = format!("correlation:{root}");
    let caused = |cause: Uuid| {
        serde_json::to_vec(&serde_json::json!({ "correlation_id": root, "causation_id": cause }))
            .unwrap()
    };
    store.append("order-1", ExpectedVersion::Any, [NewEvent::new("Placed", "").id(root)]).unwrap();
    let event = NewEvent::new("Paid", "").id(paid).tag(tag.as_str()).metadata(caused(root));
    store.append("payment-1", ExpectedVersion::Any, [event]).unwrap();
    let event = NewEvent::new("Shipped", "").tag(tag.as_str()).metadata(caused(paid));
    store.append("<b>parcel", ExpectedVersion::Any, [event]).unwrap();
    let event = NewEvent::new("Mailed", "").tag(tag.as_str()).metadata(caused(Uuid::from_u128(99)));
    store.append("mail-1", ExpectedVersion::Any, [event]).unwrap();
    let router = router(&store);
    let trace = page(&router, &format!("/trace?id={root}")).await;
    trace.has(&[
        "4 events",
        "Placed · order-1@1",
        "Paid · payment-1@1",
        "&lt;b&gt;parcel",
        "(elsewhere)",
    ]);
    trace.lacks(&["<b>parcel", "Opened"]);
    assert_eq!(trace.text().matches("class=\"cause\"").count(), 2);
    assert_eq!(trace.text().matches("class=\"lane\"").count(), 4);
    let event = page(&router, &format!("/event?at={paid}")).await;
    event.has(&[&format!("trace?id={root}"), "Placed</bdi> at position 5"]);
    page(&router, "/event?at=8").await.has(&["not an event of this store"]);
    let long = serde_json::json!({ "causation_id": "x".repeat(10_000) }).to_string();
    let event = NewEvent::new("Lost", "").tag(tag.as_str()).metadata(long);
    store.append("mail-1", ExpectedVersion::Any, [event]).unwrap();
    let trace = page(&router, &format!("/trace?id={root}")).await;
    trace.has(&["xxx…"]);
    trace.lacks(&[&*"x".repeat(200)]);
    page(&router, "/trace?id=unknown").await.has(&["No event carries the tag"]);
    assert_eq!(get(&router, "/trace").await.status, StatusCode::BAD_REQUEST);
}
