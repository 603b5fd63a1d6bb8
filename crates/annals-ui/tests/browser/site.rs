//! A store with a few days of a shop, and the page over it on a port of this machine.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{ExpectedVersion, NewEvent, Options as StoreOptions, Store, Timestamp, Uuid};
use annals_ui::Options;
use axum::Router;

/// A page that is served until the end of the test.
pub(crate) struct Site {
    pub(crate) address: String,
    pub(crate) store: Store,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Site {
    /// The page over a store that this function fills.
    pub(crate) fn of(fill: impl FnOnce(&Store, &dyn Fn(u64)), options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&clock);
        let store = StoreOptions::new()
            .max_event_size(16 << 20)
            .clock(move || Timestamp::from_micros(now.load(Ordering::Relaxed)))
            .open(dir.path().join("shop"))
            .unwrap();
        let start: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let at = |seconds: u64| {
            clock.store(start.as_micros() + seconds * 1_000_000, Ordering::Relaxed);
        };
        at(0);
        fill(&store, &at);
        let router = annals_ui::router(store.clone(), options);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(run(listener, router));
        Self { address, store, _runtime: runtime, _dir: dir }
    }

    pub(crate) fn shop() -> Self {
        Self::of(shop, Options::new().manage_parked())
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub(crate) fn append(&self, stream: &str, event_type: &str) {
        self.store.append(stream, ExpectedVersion::Any, [NewEvent::new(event_type, "")]).unwrap();
    }
}

async fn run(listener: TcpListener, router: Router) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    axum::serve(listener, router).await.unwrap();
}

fn json(event_type: &str, data: &serde_json::Value) -> NewEvent {
    NewEvent::json(event_type, data).unwrap()
}

/// Orders, customers and one correlation, over five days.
fn shop(store: &Store, at: &dyn Fn(u64)) {
    const TYPES: [&str; 4] = ["Placed", "Paid", "Shipped", "Delivered"];
    let (mut number, mut seconds, mut billing) = (12_345_u64, 0, 0);
    let mut random = |most: u64| {
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % most
    };
    for event in 0..1200 {
        let is_busy = seconds / 21_600 % 2 == 1;
        seconds += if is_busy { random(200) } else { random(900) };
        at(seconds);
        let (order, customer) = (random(150), random(40));
        let data = serde_json::json!({
            "order": order, "amount": event * 7 % 500, "lines": [{ "sku": format!("A-{}", random(99)), "count": 2 }],
        });
        let kind = TYPES[usize::try_from(random(4)).unwrap()];
        let new = json(kind, &data).tag(format!("customer:{customer}"));
        store.append(format!("order-{order}"), ExpectedVersion::Any, [new]).unwrap();
        if event % 9 == 0 {
            let city = if event % 2 == 0 { "Bergen" } else { "Oslo" };
            let data = serde_json::json!({ "name": "Ann", "limit": event, "city": city });
            store
                .append(
                    format!("customer-{customer}"),
                    ExpectedVersion::Any,
                    [json("Changed", &data)],
                )
                .unwrap();
        }
        if event % 30 == 29 {
            // A consumer that is late now and then.
            let lag = if event % 360 > 180 { 160 } else { 40 } + event % 90;
            billing = store.head().get().saturating_sub(lag).max(billing + 1);
            store.cursors().advance("billing", billing).unwrap();
        }
    }
    correlation(store, at, seconds);
    for (name, share) in [("emailer", 10), ("search-index", 6)] {
        store.cursors().advance(name, store.head().get() * share / 10).unwrap();
    }
}

/// A chain of events over several streams, each caused by an earlier one.
fn correlation(store: &Store, at: &dyn Fn(u64), seconds: u64) {
    let root = Uuid::from_u128(0x1000);
    let steps = [
        ("cart-17", "CheckedOut", 0),
        ("order-900", "Placed", 0),
        ("payment-900", "Requested", 1),
        ("stock-A-12", "Reserved", 1),
        ("payment-900", "Received", 2),
        ("order-900", "Paid", 4),
        ("parcel-55", "Packed", 5),
        ("mail-900", "Sent", 5),
        ("parcel-55", "HandedOver", 6),
    ];
    for (step, (stream, kind, cause)) in (0_u64..).zip(steps) {
        at(seconds + 1 + step * 3);
        let id = |step: u64| Uuid::from_u128(0x1000 + u128::from(step));
        let metadata = serde_json::json!({ "correlation_id": root, "causation_id": id(cause) });
        let event = json(kind, &serde_json::json!({ "step": step })).id(id(step));
        let event = event.tag(format!("correlation:{root}"));
        let event = if step == 0 { event } else { event.metadata(metadata.to_string()) };
        store.append(stream, ExpectedVersion::Any, [event]).unwrap();
    }
}
