//! What the behaviours have in common: short forms of calls that must succeed, and clients in threads.
//!
//! Owns no behaviour.

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    AppendError, Commit, Committed, EventStore, Expected, FailedCheck, Message, NewEvent,
    OrderedStore, Position, ReadAll, ReadStream, RecordedEvent, StoreError, Subscribe, Version,
};
use bytes::Bytes;
use futures_core::Stream;

use crate::Backend;

/// Far more than any wait takes: a behaviour that reaches it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Makes the list `all` of a module's behaviours.
macro_rules! behaviours {
    ($group:literal, $($bound:ident)+: $($name:ident),* $(,)?) => {
        /// The behaviours of the group.
        pub(crate) fn all<B: $crate::Backend<Store: $($bound)+>>() -> Vec<$crate::suite::Behaviour<B>> {
            vec![$(($group, stringify!($name), $name::<B> as fn(&B))),*]
        }
    };
}
pub(crate) use behaviours;

/// The store of a backend.
pub(crate) fn open<B: Backend>(backend: &B) -> B::Store {
    block_on(backend.open()).expect("the store opens")
}

/// The store after its program ended and began again.
pub(crate) fn reopen<B: Backend>(backend: &B, store: B::Store) -> B::Store {
    block_on(backend.close(store)).expect("the store closes");
    open(backend)
}

/// An event of a type, with its type as data.
pub(crate) fn event(event_type: &'static str) -> NewEvent {
    NewEvent::new(event_type, Bytes::from_static(event_type.as_bytes()))
}

pub(crate) fn exact(version: u64) -> Expected {
    Expected::Exact(Version::new(version))
}

/// Commits, and waits.
pub(crate) fn commit<S: EventStore>(
    store: &S,
    commit: Commit<S>,
) -> Result<Committed, AppendError> {
    block_on(store.append(commit))
}

/// Appends events to a stream in one commit, which must succeed.
pub(crate) fn append<S: EventStore>(
    store: &S,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Committed {
    let done = commit(store, Commit::to(stream, Expected::Any, events));
    done.expect("an append without an expectation succeeds")
}

/// Appends events to a stream in one commit, and waits until reads over all streams show it.
pub(crate) fn append_visibly<S: OrderedStore>(
    store: &S,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Committed {
    let done = append(store, stream, events);
    settle(store, &done);
    done
}

/// Waits until reads over all streams show a commit. A store may acknowledge it earlier.
pub(crate) fn settle<S: OrderedStore>(store: &S, done: &Committed) {
    block_on(store.wait_for(done.last_position)).expect("it becomes visible");
}

/// The items of a read.
pub(crate) fn collect(
    read: impl Stream<Item = Result<RecordedEvent, StoreError>> + Unpin,
) -> Vec<RecordedEvent> {
    iter(read).map(|event| event.expect("the read succeeds")).collect()
}

/// The types of the events of a read.
pub(crate) fn types(
    read: impl Stream<Item = Result<RecordedEvent, StoreError>> + Unpin,
) -> Vec<String> {
    collect(read).iter().map(|event| event.event_type().to_owned()).collect()
}

/// The events of a stream.
pub(crate) fn stream<S: EventStore>(store: &S, stream: &str) -> Vec<RecordedEvent> {
    collect(store.read_stream(ReadStream::of(stream)))
}

/// The number of events of a stream.
pub(crate) fn count<S: EventStore>(store: &S, name: &str) -> usize {
    stream(store, name).len()
}

/// All events.
pub(crate) fn everything<S: OrderedStore>(store: &S) -> Vec<RecordedEvent> {
    collect(store.read_all(ReadAll::new()))
}

pub(crate) fn head<S: OrderedStore>(store: &S) -> Position {
    block_on(store.head()).expect("the head")
}

pub(crate) fn version<S: EventStore>(store: &S, stream: &str) -> Version {
    block_on(store.stream_version(&stream.into())).expect("a version")
}

pub(crate) fn positions(events: &[RecordedEvent]) -> Vec<Position> {
    events.iter().map(RecordedEvent::position).collect()
}

/// The failed checks of a commit that lost.
pub(crate) fn failed_checks<T: Debug>(done: Result<T, AppendError>) -> Vec<FailedCheck> {
    match done {
        Err(AppendError::Conflict(conflict)) => conflict.failed,
        other => panic!("expected a conflict, found {other:?}"),
    }
}

/// The messages of a subscription, without errors.
pub(crate) fn messages<S: OrderedStore>(
    store: &S,
    subscribe: Subscribe,
) -> impl Iterator<Item = Message> {
    iter(store.subscribe(subscribe)).map(|message| message.expect("the subscription goes on"))
}

/// The events of a subscription until it has caught up.
pub(crate) fn until_caught_up<S: OrderedStore>(
    store: &S,
    subscribe: Subscribe,
) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    for message in messages(store, subscribe) {
        events.extend(message.events);
        if message.caught_up {
            return events;
        }
    }
    panic!("the subscription ended");
}

/// Runs clients in threads of their own, and returns their results.
pub(crate) fn clients<T: Send>(number: usize, client: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let client = &client;
        let threads: Vec<_> = (0..number).map(|index| scope.spawn(move || client(index))).collect();
        threads.into_iter().map(|it| it.join().expect("the client does not panic")).collect()
    })
}
