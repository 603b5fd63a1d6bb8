//! A store that is removed, replaced or damaged while it is served.

use std::fs;
use std::path::Path;

use annals::{ExpectedVersion, NewEvent, Options as StoreOptions, Store};
use annals_ui::Options;
use axum::http::StatusCode;

use crate::support::{get, ledger, page};

fn closed(dir: &Path, name: &str, event_type: &str) {
    let store = Store::open(dir.join(name)).unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new(event_type, "")]).unwrap();
    store.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_store_has_a_page_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), "ledger", "First");
    let path = dir.path().join("ledger");
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    page(&router, "/stream?name=s").await.has(&["First"]);
    fs::rename(&path, dir.path().join("away")).unwrap();
    for path in ["/", "/lists", "/stream?name=s", "/event?at=1", "/health", "/metrics"] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text());
    }
    get(&router, "/").await.has(&["The page keeps running"]);
    page(&router, "/assets/style.css").await;
    fs::rename(dir.path().join("away"), &path).unwrap();
    page(&router, "/stream?name=s").await.has(&["First", "The store was opened again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_store_is_noticed_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), "ledger", "First");
    closed(dir.path(), "other", "Second");
    let path = dir.path().join("ledger");
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    page(&router, "/stream?name=s").await.has(&["First"]);
    page(&router, "/lists").await.has(&["First"]);
    fs::remove_dir_all(&path).unwrap();
    fs::rename(dir.path().join("other"), &path).unwrap();
    // The request that notices it fails; the next one shows what is there now.
    let noticed = get(&router, "/stream?name=s").await;
    assert_eq!(noticed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", noticed.text());
    noticed.lacks(&["First"]);
    let now = page(&router, "/stream?name=s").await;
    now.has(&["Second", "Another store is in the place"]);
    now.lacks(&["First"]);
    let lists = page(&router, "/lists").await;
    lists.has(&["Second"]);
    lists.lacks(&["First"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_store_is_shown_up_to_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let store = Store::open(&path).unwrap();
    for event_type in ["First", "Second", "Third"] {
        store
            .append("s", ExpectedVersion::Any, [NewEvent::new(event_type, "x".repeat(500))])
            .unwrap();
    }
    store.close().unwrap();
    let segment = path.join("log").join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|it| it == b"Second").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(path.join("checkpoints")).unwrap();
    let router = annals_ui::router_at(&path, Options::new()).unwrap();
    page(&router, "/").await.has(&["The store is damaged", "before position 2", "First"]);
    let health = get(&router, "/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    health.has(&["damaged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_handle_of_a_service_is_a_fault_and_no_panic() {
    let (_dir, store) = ledger();
    let router = crate::support::router(&store);
    page(&router, "/").await;
    store.close().unwrap();
    for path in ["/", "/stream?name=account-1", "/streams", "/health", "/metrics"] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        answer.has(&["closed"]);
    }
}

#[test]
fn what_is_no_store_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let missing = annals_ui::router_at(dir.path().join("none"), Options::new());
    assert!(matches!(missing, Err(annals_ui::Error::Store(_))));
    assert!(!dir.path().join("none").exists());
    let _unused = StoreOptions::new();
}
