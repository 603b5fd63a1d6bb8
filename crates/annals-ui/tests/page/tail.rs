//! The live tail.

use std::time::Duration;

use annals::{ExpectedVersion, NewEvent, Store};
use annals_ui::Options;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::{get, ledger, page, request, router};

const PATIENCE: Duration = Duration::from_secs(60);

/// An open tail.
struct Tail(Body);

impl Tail {
    async fn open(router: &Router, path: &str) -> Self {
        let request = request(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let content_type = response.headers()["content-type"].to_str().unwrap();
        assert!(content_type.starts_with("text/event-stream"), "{content_type}");
        Self(response.into_body())
    }

    /// The next message that is no comment.
    async fn next(&mut self) -> String {
        loop {
            let frame =
                tokio::time::timeout(PATIENCE, self.0.frame()).await.expect("a message in time");
            let data = frame.expect("it goes on").unwrap().into_data().unwrap();
            let text = String::from_utf8(data.to_vec()).unwrap();
            if !text.starts_with(':') {
                return text;
            }
        }
    }
}

fn append(store: &Store, stream: &str, event_type: &str) {
    store.append(stream, ExpectedVersion::Any, [NewEvent::new(event_type, "")]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_has_new_events_that_match_and_continues_where_it_was() {
    let (dir, store) = ledger();
    let reader = annals_ui::router_at(dir.path().join("ledger"), Options::new()).unwrap();
    for router in [router(&store), reader] {
        let mut tail = Tail::open(&router, "/tail-events?q=category:order").await;
        append(&store, "audit", "Checked");
        append(&store, "order-1", "Placed");
        let message = tail.next().await;
        assert!(message.contains("Placed") && !message.contains("Checked"), "{message}");
        let head = store.head();
        assert!(
            message.contains(&format!("id: {head}\n")) || message.contains(&format!("id:{head}\n")),
            "{message}"
        );
        drop(tail);
        append(&store, "order-1", "Paid");
        let path = format!("/tail-events?q=category:order&after={head}");
        let message = Tail::open(&router, &path).await.next().await;
        assert!(message.contains("Paid") && !message.contains("Placed"), "{message}");
    }
    page(&router(&store), "/tail?q=category:order")
        .await
        .has(&["Placed", "data-tail=\"/tail-events?q="]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_tail_are_one_line_of_escaped_text() {
    let (_dir, store) = ledger();
    let router = router(&store);
    let mut tail = Tail::open(&router, "/tail-events").await;
    append(&store, "<script>alert(1)</script>", "a\n\ndata: <b>\u{202e}");
    let message = tail.next().await;
    assert!(message.contains("&lt;script&gt;") && message.contains("\\u{202e}"), "{message}");
    assert!(!message.contains("<script>") && !message.contains("<b>"), "{message}");
    assert_eq!(message.matches("data:").count(), 2, "the second one is text: {message}");
    assert_eq!(message.trim_end().lines().count(), 2, "an id and one line of data: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_are_bounded_and_free_their_place() {
    let (_dir, store) = ledger();
    let router = annals_ui::router(store.clone(), Options::new().max_tails(3).max_reads(1));
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push(Tail::open(&router, "/tail-events").await);
    }
    for _ in 0..1000 {
        let refused = get(&router, "/tail-events").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        refused.has(&["Too many live tails are open"]);
        assert_eq!(refused.header("connection"), "close");
    }
    page(&router, "/metrics").await.has(&["annals_ui_tails 3\n"]);
    page(&router, "/").await.has(&["Newest events"]);
    tails.pop();
    let mut tail = Tail::open(&router, "/tail-events").await;
    append(&store, "s", "Seen");
    assert!(tail.next().await.contains("Seen"));
    assert!(tails[0].next().await.contains("Seen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_can_be_as_large_as_a_number() {
    let (_dir, store) = ledger();
    let most = usize::MAX;
    let options = Options::new().max_tails(most).max_exports(most).max_reads(most);
    let router = annals_ui::router(store, options);
    let _tail = Tail::open(&router, "/tail-events").await;
    page(&router, "/metrics").await.has(&["annals_ui_tails 1\n"]);
    page(&router, "/export?q=all").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_skips_to_the_newest_events() {
    let (_dir, store) = ledger();
    let router = annals_ui::router(store.clone(), Options::new().max_reads(1));
    let mut tail = Tail::open(&router, "/tail-events").await;
    append(&store, "s", "First");
    assert!(tail.next().await.contains("First"));
    for _ in 0..30 {
        let events = (0..1000).map(|_| NewEvent::new("Many", vec![b'x'; 100]));
        store.append("s", ExpectedVersion::Any, events.collect::<Vec<_>>()).unwrap();
    }
    let message = tail.next().await;
    assert!(message.contains("event: skipped") || message.contains("event:skipped"), "{message}");
    assert!(message.contains("29980"), "{message}");
    let message = tail.next().await;
    assert_eq!(message.matches("<tr ").count(), 20, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_of_a_closed_store_ends_with_the_reason() {
    let (_dir, store) = ledger();
    let router = router(&store);
    let mut tail = Tail::open(&router, "/tail-events").await;
    let waiting = tokio::spawn(async move {
        let message = tail.next().await;
        (message, tail.0.frame().await.is_none())
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.close().unwrap();
    let (message, is_over) = waiting.await.unwrap();
    assert!(message.contains("ended") && message.contains("closed"), "{message}");
    assert!(is_over);
}
