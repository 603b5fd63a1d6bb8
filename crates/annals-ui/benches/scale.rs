//! How long pages take over a large store: `cargo bench -p annals-ui --bench scale`, or with other numbers of events and
//! streams `cargo bench -p annals-ui --bench scale -- 1000000 100000`.
//!
//! Writes a store into a temporary directory, opens it as `annals serve` does, and makes each request ten times.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, reason = "a program that prints its figures")]

use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options as StoreOptions};
use annals_ui::Options;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events of a commit.
const BATCH: u64 = 1000;
const TYPES: [&str; 8] =
    ["Placed", "Paid", "Packed", "Shipped", "Delivered", "Returned", "Refunded", "Closed"];

fn main() -> Result<()> {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let events = numbers.first().copied().unwrap_or(10_000_000);
    let streams = numbers.get(1).copied().unwrap_or(1_000_000).max(1);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store");
    let started = Instant::now();
    write(&path, events, streams)?;
    println!("wrote {events} events in {streams} streams in {:.1?}", started.elapsed());

    let started = Instant::now();
    let router = annals_ui::router_at(&path, Options::new())?;
    println!("opened in {:.1?}", started.elapsed());
    println!("{:<44} {:>10} {:>10} {:>9}", "page", "first", "median", "bytes");
    let middle = events / 2;
    let pages = [
        "/".to_owned(),
        "/lists?part=1".to_owned(),
        "/".to_owned(),
        "/streams".to_owned(),
        "/streams?after=order-5".to_owned(),
        "/streams?sort=size".to_owned(),
        format!("/stream?name=order-{}", streams / 3),
        format!("/event?at={middle}"),
        "/search?q=type:Refunded".to_owned(),
        format!("/search?q=tag:customer:7&before={middle}"),
        "/count?q=type:Refunded+tag:customer:7".to_owned(),
        "/suggest?q=type:P".to_owned(),
        "/consumers".to_owned(),
        "/metrics".to_owned(),
        "/status".to_owned(),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    for page in pages {
        runtime.block_on(measure(&router, &page))?;
    }
    Ok(())
}

fn write(path: &std::path::Path, events: u64, streams: u64) -> Result<()> {
    let durability = Durability::Buffered { interval: Duration::from_secs(1) };
    let store = StoreOptions::new().durability(durability).open(path)?;
    for first in (0..events).step_by(usize::try_from(BATCH)?) {
        let mut commit = store.transaction();
        for number in first..(first + BATCH).min(events) {
            // Streams take turns in an order that is not that of their names.
            let stream = number.wrapping_mul(7_919) % streams;
            let kind = TYPES[usize::try_from(number % 8)?];
            let data =
                format!("{{\"number\":{number},\"amount\":{},\"currency\":\"EUR\"}}", number % 977);
            let event = NewEvent::new(kind, data).content_type(annals::ContentType::Json);
            let event = event.tag(format!("customer:{}", number % 10_007));
            commit = commit.append(format!("order-{stream}"), ExpectedVersion::Any, [event]);
        }
        commit.commit()?;
    }
    store.cursors().advance("emailer", events / 2)?;
    store.close()?;
    Ok(())
}

async fn measure(router: &Router, page: &str) -> Result<()> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..10 {
        let request = Request::get(page).header("host", "localhost").body(Body::empty())?;
        let started = Instant::now();
        let response = router.clone().oneshot(request).await?;
        let status = response.status();
        bytes = response.into_body().collect().await?.to_bytes().len();
        times.push(started.elapsed());
        assert!(status.is_success(), "{page}: {status}");
    }
    let first = times[0];
    times.sort();
    println!("{page:<44} {:>10.1?} {:>10.1?} {bytes:>9}", first, times[times.len() / 2]);
    Ok(())
}
