//! Stores with every kind of commit, and what they show.

use std::path::Path;
use std::sync::Arc;

use annals::snapshot::Snapshot;
use annals::{ExpectedRecord, ExpectedVersion, NewEvent, Options, Store};
use annals_backup::object_store::ObjectStore;
use annals_backup::object_store::memory::InMemory;
use annals_backup::{Destination, ShipOptions, Shipped, Shipper};

/// Segments of the smallest size.
pub(crate) fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

pub(crate) fn open(path: &Path) -> Store {
    options().open(path).unwrap()
}

pub(crate) fn reader(path: &Path) -> Store {
    Options::new().read_only(true).open(path).unwrap()
}

/// A backup in memory.
pub(crate) fn memory() -> (Arc<InMemory>, Destination) {
    let store = Arc::new(InMemory::new());
    let shared: Arc<dyn ObjectStore> = Arc::clone(&store) as _;
    (store, Destination::in_store(shared, "backups/ledger").unwrap())
}

pub(crate) fn shipper(store: &Store, to: &Destination) -> Shipper {
    Shipper::new(store.clone(), to.clone(), ShipOptions::new()).unwrap()
}

pub(crate) fn ship(store: &Store, to: &Destination) -> Shipped {
    shipper(store, to).ship().unwrap()
}

/// A commit of each kind in turn: one event, several, several streams, cursors, hidden streams, records, large events.
pub(crate) fn commit(store: &Store, number: u64) {
    let stream = format!("account-{}", number % 7);
    let event = |size: usize| {
        let text = format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(size));
        NewEvent::new("Moved", text).tag(format!("kind:{}", number % 3)).metadata("{\"by\":1}")
    };
    let append = |count: usize, size: usize| {
        let events = (0..count).map(|_| event(size));
        store.append(&stream, ExpectedVersion::Any, events).unwrap();
    };
    match number % 11 {
        0..=4 => append(1, 100),
        5 => append(9, 300),
        6 => append(1, 12_000),
        7 => {
            let done = store.transaction();
            done.append(&stream, ExpectedVersion::Any, [event(10), event(10)])
                .append("audit", ExpectedVersion::Any, [event(5)])
                .commit()
                .unwrap();
        }
        8 => {
            store.cursors().advance("reader", store.head()).unwrap();
        }
        9 => {
            store.records().put("setting", format!("{number}"), ExpectedRecord::Any).unwrap();
            // Refused if the stream has no event yet.
            let _ = store.snapshots().save(&Snapshot::new("account-1", 1, "state"));
        }
        _ => {
            append(2, 50);
            store.truncate_before(&stream, 1 + number % 2).unwrap();
        }
    }
}

pub(crate) fn fill(store: &Store, commits: std::ops::Range<u64>) {
    commits.for_each(|number| commit(store, number));
}

/// Everything that a store shows, up to a position.
pub(crate) fn shown(store: &Store, until: u64) -> Vec<String> {
    let mut lines = Vec::new();
    store
        .read_all()
        .include_hidden()
        .for_each(|event| {
            if event.position().get() <= until {
                lines.push(format!(
                    "{} {} {} {} {} {} {:?} {:?} {:?}",
                    event.position(),
                    event.stream(),
                    event.version(),
                    event.id(),
                    event.recorded_at(),
                    event.event_type(),
                    event.data().len(),
                    event.metadata(),
                    event.tags().collect::<Vec<_>>(),
                ));
            }
        })
        .unwrap();
    lines
}

/// The state beside the events.
pub(crate) fn state(store: &Store) -> String {
    let cursors: Vec<_> = store.cursors().list().unwrap();
    // When a cursor was moved is not known after a close.
    let cursors: Vec<_> = cursors.iter().map(|it| (&it.name, it.position, it.lag)).collect();
    let mut visible = 0;
    store.read_all().for_each(|_| visible += 1).unwrap();
    format!("{cursors:?} {:?} {visible}", store.records().get("setting").unwrap())
}

/// The last positions of the commits of a store.
pub(crate) fn commit_ends(store: &Store) -> Vec<u64> {
    let mut ends = Vec::new();
    store
        .read_all()
        .include_hidden()
        .for_each(|event| {
            if event.is_last_in_commit() {
                ends.push(event.position().get());
            }
        })
        .unwrap();
    ends
}
