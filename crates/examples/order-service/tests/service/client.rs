//! A client of the routes, without a socket.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

/// How long a test waits for something that happens in the background. It is far more than is ever needed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    router: Router,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Client {
    pub(crate) fn new(router: Router) -> Self {
        Self { router }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("POST", path, &[headers, &json[..]].concat(), &body.to_string()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, json }
    }

    /// Waits until an order has a status.
    pub(crate) async fn wait_until(&self, path: &str, status: &str) {
        self.poll(async || self.get(path).await.json["status"] == status).await;
    }

    /// Waits until the process has handled the events up to a position.
    pub(crate) async fn wait_until_handled(&self, position: Option<u64>) {
        self.poll(async || self.get("/health").await.json["process_position"].as_u64() >= position)
            .await;
    }

    async fn poll(&self, is_so: impl AsyncFn() -> bool) {
        let poll = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it happens");
    }
}
