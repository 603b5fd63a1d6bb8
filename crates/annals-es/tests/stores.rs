//! What only one of the stores of the crate does. The behaviours of every store are tested in `annals-conformance`.

#![allow(missing_docs)]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use annals_es::blocking::block_on;
use annals_es::{AnnalsStore, Commit, EventStore, Expected, NewEvent, ReadStream};
use futures_core::Stream;
use tempfile::TempDir;

fn open() -> (AnnalsStore, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = annals::Options::new()
        .segment_size(64 << 20)
        .open(dir.path().join("store"))
        .expect("a new store");
    (AnnalsStore::new(store), dir)
}

/// A task that reads a long stream gives way to other tasks of its executor, and loses nothing.
#[test]
fn read_of_a_long_stream_is_done_in_turns() {
    let (store, _dir) = open();
    let event = || NewEvent::new("Counted", vec![0; 1000]);
    let commit = Commit::to("a-1", Expected::Any, (0..3000).map(|_| event()));
    block_on(store.append(commit)).expect("it is recorded");
    let mut read = store.read_stream(ReadStream::of("a-1"));
    let mut context = Context::from_waker(Waker::noop());
    let (mut versions, mut turns) = (Vec::new(), 1);
    loop {
        match Pin::new(&mut read).poll_next(&mut context) {
            Poll::Ready(Some(event)) => versions.push(event.expect("a read").version().get()),
            Poll::Ready(None) => break,
            Poll::Pending => turns += 1,
        }
    }
    assert_eq!(versions, (1..=3000).collect::<Vec<u64>>());
    assert_eq!(turns, 3000 / 512 + 1);
}
