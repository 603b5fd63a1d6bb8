//! Which requests are refused, and what every answer forbids.

use annals_ui::Options;
use axum::body::Body;
use axum::http::{Request, StatusCode};

use crate::support::{get, ledger, request, router, send};

const PATHS: [&str; 16] = [
    "/",
    "/streams",
    "/stream?name=account-1",
    "/event?at=1",
    "/search?q=all",
    "/tail",
    "/diff?stream=account-1",
    "/trace?id=1",
    "/consumers",
    "/cursor?name=emailer",
    "/status",
    "/health",
    "/metrics",
    "/assets/app.js",
    "/no-such-page",
    "/data?at=1&part=data",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_forbids_scripts_frames_and_sniffing() {
    let (_dir, store) = ledger();
    let router = router(&store);
    for path in PATHS {
        let answer = get(&router, path).await;
        let policy = answer.header("content-security-policy");
        for rule in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        if answer.header("content-type").starts_with("text/html") {
            answer.lacks(&["<script>", " style=", " onclick=", "http://", "https://"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_host_names_are_refused() {
    let (_dir, store) = ledger();
    let default = router(&store);
    let named = annals_ui::router(store.clone(), Options::new().host("shop.example.org"));
    let any = annals_ui::router(store.clone(), Options::new().any_host());
    for (host, expected) in [
        ("localhost", [200, 200, 200]),
        ("127.0.0.1:7878", [200, 200, 200]),
        ("[::1]:7878", [200, 200, 200]),
        ("LOCALHOST:1", [200, 200, 200]),
        ("shop.example.org", [421, 200, 200]),
        ("shop.example.org:8443", [421, 200, 200]),
        ("evil.example", [421, 421, 200]),
        ("localhost.evil.example", [421, 421, 200]),
        ("evil@localhost", [400, 400, 400]),
    ] {
        for (router, expected) in [&default, &named, &any].into_iter().zip(expected) {
            let request = Request::get("/").header("host", host).body(Body::empty()).unwrap();
            assert_eq!(send(router, request).await.status.as_u16(), expected, "{host}");
        }
    }
    let nameless = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(send(&default, nameless).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_other_pages_are_refused() {
    let (_dir, store) = ledger();
    let router = router(&store);
    for (name, value, expected) in [
        ("origin", "http://localhost:7878", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "http://localhost:9999", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
    ] {
        let request = request("/").header(name, value).body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.status.as_u16(), expected, "{name}: {value}");
    }
    // The form of a page without a referrer, and a frame without an origin.
    for (site, expected) in [("same-origin", StatusCode::OK), ("cross-site", StatusCode::FORBIDDEN)]
    {
        let request = request("/").header("origin", "null").header("sec-fetch-site", site);
        assert_eq!(send(&router, request.body(Body::empty()).unwrap()).await.status, expected);
    }
    // A link on another page is followed.
    let link =
        request("/").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    assert_eq!(send(&router, link.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_opens_by_header_and_by_cookie() {
    let (_dir, store) = ledger();
    let token = "correct horse; battery=staple";
    let router = annals_ui::router(store, Options::new().token(token));
    for path in PATHS {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        answer.lacks(&["account-1", "Opened", token]);
    }
    for (header, value, expected) in [
        ("authorization", format!("Bearer {token}"), 200),
        ("authorization", format!("bearer {token}"), 200),
        ("authorization", "Bearer correct".to_owned(), 401),
        ("authorization", format!("Basic {token}"), 401),
        ("cookie", format!("annals-7878={token}"), 401),
        ("cookie", "annals-7878=".to_owned(), 401),
    ] {
        let request = request("/").header(header, &value).body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.status.as_u16(), expected, "{header}: {value}");
    }
    assert_eq!(get(&router, "/?token=wrong").await.status, StatusCode::UNAUTHORIZED);

    let path = "/stream?token=correct+horse%3B+battery%3Dstaple&name=account-1";
    let answer = get(&router, path).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/stream?name=account-1");
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite="), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let request = request("/stream?name=account-1").header("cookie", format!("other=1; {cookie}"));
    let answer = send(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_token_opens_nothing() {
    let (_dir, store) = ledger();
    let router = annals_ui::router(store, Options::new().token(""));
    for (header, value) in
        [("authorization", "Bearer "), ("cookie", "annals-7878="), ("accept", "*/*")]
    {
        let request = request("/").header(header, value).body(Body::empty()).unwrap();
        assert_eq!(send(&router, request).await.status, StatusCode::UNAUTHORIZED, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_only() {
    let (_dir, store) = ledger();
    let router = router(&store);
    for path in PATHS {
        for origin in [None, Some("http://localhost:7878")] {
            let mut post = Request::post(path).header("host", "localhost:7878");
            if let Some(origin) = origin {
                post = post.header("origin", origin);
            }
            let status = send(&router, post.body(Body::empty()).unwrap()).await.status;
            assert!(status.is_client_error(), "{path}: {status}");
        }
    }
    assert_eq!(store.stats().commits, 2);
}

#[test]
fn server_for_other_machines_needs_a_token() {
    let (_dir, store) = ledger();
    let address = "0.0.0.0:0".parse().unwrap();
    let ready = |_| panic!("it listens");
    let refused = annals_ui::serve(store.path(), address, Options::new(), ready, || true);
    assert!(matches!(refused, Err(annals_ui::Error::TokenNeeded { .. })), "{refused:?}");
    let empty = Options::new().token("");
    let refused = annals_ui::serve(store.path(), address, empty, ready, || true);
    assert!(matches!(refused, Err(annals_ui::Error::EmptyToken)), "{refused:?}");
}
