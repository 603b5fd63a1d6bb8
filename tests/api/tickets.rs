//! Commits that are submitted: waited for, awaited, dropped.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use annals::{Durability, Error, ExpectedVersion, NewEvent, Position, Store, Ticket};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(30)),
        }
    }
}

fn submit(store: &Store, version: u64) -> Ticket {
    let expected = ExpectedVersion::Exact(version);
    store.transaction().append("s", expected, [NewEvent::new("T", "x")]).submit().unwrap()
}

#[test]
fn a_ticket_can_be_awaited_without_anybody_driving_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let tickets: Vec<_> = (0..100).map(|version| submit(&store, version)).collect();
    for (ticket, expected) in tickets.into_iter().zip(1..) {
        assert_eq!(block_on(ticket).unwrap().versions, [expected]);
        assert!(store.head() >= Position::new(expected));
    }
}

#[test]
fn a_dropped_ticket_changes_nothing_about_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    drop(submit(&store, 0));
    assert!(store.wait_for(Position::new(1), Duration::from_secs(30)).unwrap());
    let ticket = submit(&store, 1);
    drop(store);
    assert_eq!(ticket.wait().unwrap().last_position, Position::new(2));
    assert_eq!(Store::open(dir.path()).unwrap().head(), Position::new(2));
}

#[test]
fn a_conflict_shows_at_submission_against_what_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = submit(&store, 0);
    let second = store
        .transaction()
        .append("s", ExpectedVersion::Exact(0), [NewEvent::new("T", "x")])
        .submit();
    assert!(matches!(second, Err(Error::Conflict { .. })));
    first.wait().unwrap();
}

#[test]
fn a_buffered_commit_of_a_synced_store_becomes_visible_when_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let buffered = Durability::Buffered { interval: Duration::from_secs(3600) };
    let append = store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]);
    append.durability(buffered).commit().unwrap();
    assert_eq!(store.head(), Position::START);
    assert_eq!(store.read_all().into_iter().count(), 0);
    assert_eq!(store.stream_head("s").unwrap(), None);
    assert_eq!(store.streams().into_iter().count(), 0);
    assert_eq!(store.read_all().include_unsynced().into_iter().count(), 1);
    store.sync().unwrap();
    assert_eq!(store.read_all().into_iter().count(), 1);
    assert_eq!(store.streams().into_iter().count(), 1);
}
