//! Requests to the router in this process.

use annals::{ExpectedVersion, NewEvent, Store};
use annals_ui::Options;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("pages are UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that the page contains every part.
    #[track_caller]
    pub(crate) fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text().contains(part), "{part:?} is missing in:\n{}", self.text());
        }
    }

    /// Asserts that the page contains no part.
    #[track_caller]
    pub(crate) fn lacks(&self, parts: &[&str]) {
        for part in parts {
            assert!(!self.text().contains(part), "{part:?} is in:\n{}", self.text());
        }
    }
}

/// A request as a browser on this machine makes it.
pub(crate) fn request(path: &str) -> axum::http::request::Builder {
    Request::get(path).header("host", "localhost:7878")
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("the router cannot fail");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body is whole").to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn get(router: &Router, path: &str) -> Answer {
    send(router, request(path).body(Body::empty()).unwrap()).await
}

/// Gets a page that must be there.
#[track_caller]
pub(crate) fn page(router: &Router, path: &str) -> impl Future<Output = Answer> {
    let (router, path) = (router.clone(), path.to_owned());
    async move {
        let answer = get(&router, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answer
    }
}

/// A store with a few events.
pub(crate) fn ledger() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let opened = NewEvent::json("Opened", &serde_json::json!({ "owner": "Ann", "deposit": 1000 }));
    let opened = opened.unwrap().tag("owner:42");
    store.append("account-1", ExpectedVersion::NoStream, [opened]).unwrap();
    let transfer = |amount| NewEvent::json("Moved", &serde_json::json!({ "amount": amount }));
    store
        .transaction()
        .append("account-1", ExpectedVersion::Any, [transfer(-5).unwrap().tag("owner:42")])
        .append("account-2", ExpectedVersion::Any, [transfer(5).unwrap().tag("owner:7")])
        .append("audit", ExpectedVersion::Any, [NewEvent::new("Checked", "fine")])
        .commit()
        .unwrap();
    (dir, store)
}

pub(crate) fn router(store: &Store) -> Router {
    annals_ui::router(store.clone(), Options::new())
}

/// A store with one event of this data.
pub(crate) fn with_event(stream: &str, event: NewEvent) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    store.append(stream, ExpectedVersion::Any, [event]).unwrap();
    (dir, store)
}
