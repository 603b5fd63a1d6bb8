//! Acknowledgements that are lost, handles that know less than the servers, and reads of long streams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{
    AppendError, Commit, Committed, EventStore, Expected, NewEvent, OrderedStore, Position,
    ReadAll, ReadStream, RecordedEvent, Snapshot, Subscribe, Version,
};
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::support::{Name, RUNTIME, Tests, servers};

pub(crate) const TESTS: Tests = &[
    ("lost_acknowledgement_is_found", lost_acknowledgement_is_found),
    ("lost_acknowledgement_of_a_batch_is_found", lost_acknowledgement_of_a_batch_is_found),
    (
        "lost_acknowledgement_of_a_checkpoint_is_found",
        lost_acknowledgement_of_a_checkpoint_is_found,
    ),
    ("ended_connections_lose_and_double_nothing", ended_connections_lose_and_double_nothing),
    ("subscription_goes_on_after_lost_connections", subscription_goes_on_after_lost_connections),
    ("outcome_is_unknown_without_a_server", outcome_is_unknown_without_a_server),
    ("handles_that_know_older_versions_append", handles_that_know_older_versions_append),
    (
        "handles_that_contend_are_ordered_by_the_server",
        handles_that_contend_are_ordered_by_the_server,
    ),
    ("stream_is_read_from_any_version", stream_is_read_from_any_version),
    ("sparse_stream_is_read_backwards", sparse_stream_is_read_backwards),
    ("event_is_found_by_either_kind_of_id", event_is_found_by_either_kind_of_id),
    ("number_of_snapshots_is_bounded", number_of_snapshots_is_bounded),
    ("other_programs_are_heard", other_programs_are_heard),
    ("store_works_in_a_runtime", store_works_in_a_runtime),
];

pub(crate) fn event(event_type: &'static str) -> NewEvent {
    NewEvent::new(event_type, event_type)
}

pub(crate) fn append(
    store: &JetStreamStore,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Committed {
    block_on(store.append(Commit::to(stream, Expected::Any, events))).expect("it is recorded")
}

pub(crate) fn stream(store: &JetStreamStore, stream: &str) -> Vec<RecordedEvent> {
    iter(store.read_stream(ReadStream::of(stream))).map(|it| it.expect("an event")).collect()
}

/// A store whose connection goes through a proxy.
pub(crate) fn proxied(name: &Name, limit: Duration) -> (Proxy, JetStreamStore) {
    let server = servers()[0].rsplit('@').next().expect("an address").to_owned();
    let proxy = Proxy::of(server);
    let options = JetStreamOptions::new(format!("nats://app:app@{}", proxy.address));
    let options = options.expect("an address").name(&*name.name).replicas(name.replicas);
    // The servers tell the client of each other, and it would reconnect past the proxy.
    let alone = annals_jetstream::async_nats::ConnectOptions::new().ignore_discovered_servers();
    let options = options.connection(alone).durability(Durability::AcceptLoss).time_limit(limit);
    let store = block_on(options.open()).expect("the store opens");
    (proxy, store)
}

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Runs something whose answer is swallowed, and cuts the connection then.
pub(crate) fn without_an_answer<T: Send>(proxy: &Proxy, run: impl FnOnce() -> T + Send) -> T {
    proxy.swallow();
    let before = proxy.swallowed();
    thread::scope(|scope| {
        let running = scope.spawn(run);
        while proxy.swallowed() == before {
            thread::sleep(Duration::from_millis(1));
        }
        // The answer and what belongs to it.
        thread::sleep(Duration::from_millis(50));
        proxy.cut();
        running.join().expect("no panic")
    })
}

fn lost_acknowledgement_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let first = append(&store, "a-1", [event("A")]);
    let done = without_an_answer(&proxy, || append(&store, "a-1", ["B", "C"].map(event)));
    assert_eq!((&done.versions[..], done.already_recorded), (&[Version::new(3)][..], false));
    assert!(done.first_position > first.last_position);
    let read = stream(&store, "a-1");
    assert_eq!(read.iter().map(RecordedEvent::event_type).collect::<Vec<_>>(), ["A", "B", "C"]);
    assert_eq!((read[1].position(), read[2].position()), (done.first_position, done.last_position));
    assert_eq!(read[2].recorded_at(), done.recorded_at);
    assert_eq!(append(&store, "a-1", [event("D")]).versions, [Version::new(4)]);
}

fn lost_acknowledgement_of_a_batch_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    append(&store, "a-1", [event("A")]);
    let commit = || {
        let [one, two] = [1, 2].map(Uuid::from_u128);
        Commit::to("a-1", Expected::StreamExists, [event("B").id(one)])
            .and("a-2", Expected::NoStream, [event("C").id(two), event("D")])
            .check("a-3", Expected::NoStream)
    };
    let done = without_an_answer(&proxy, || block_on(store.append(commit())));
    let done = done.expect("it is recorded");
    assert_eq!(done.versions, [2, 2, 0].map(Version::new));
    let (first, second) = (stream(&store, "a-1"), stream(&store, "a-2"));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(
        (first[1].position(), second[1].position()),
        (done.first_position, done.last_position)
    );
    assert!(second[1].is_last_in_commit() && !first[1].is_last_in_commit());
    let again = block_on(store.append(commit()));
    // One event has no id: the commit is not the same one.
    assert!(matches!(again, Err(AppendError::IdReused { .. })), "{again:?}");
}

fn lost_acknowledgement_of_a_checkpoint_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let first = append(&store, "a-1", [event("A")]).last_position;
    let second = append(&store, "a-1", [event("B")]).last_position;
    block_on(store.save_checkpoint("view", first)).expect("it moves forward");
    // The present position is asked for first: its answer is lost as well, and asked for again.
    without_an_answer(&proxy, || block_on(store.save_checkpoint("view", second)))
        .expect("it moves");
    assert_eq!(block_on(store.checkpoint("view")).expect("no error"), Some(second));
}

/// Cuts the connection of a store a few times, while clients append.
fn ended_connections_lose_and_double_nothing() {
    const CLIENTS: u64 = 4;
    const CUTS: u64 = 3;
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let is_over = AtomicBool::new(false);
    let commits: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (store, is_over) = (&store, &is_over);
                scope.spawn(move || {
                    let mut number = 0_u64;
                    while !is_over.load(Ordering::Relaxed) {
                        let expected = Expected::Exact(number.into());
                        let event = NewEvent::new("A", number.to_string());
                        let commit = Commit::to(format!("a-{client}"), expected, [event]);
                        block_on(store.append(commit)).expect("it is recorded");
                        number += 1;
                    }
                    number
                })
            })
            .collect();
        for _ in 0..CUTS {
            proxy.swallow();
            thread::sleep(Duration::from_millis(5));
            proxy.cut();
            thread::sleep(Duration::from_millis(100));
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    let all = iter(store.read_all(ReadAll::new())).inspect(|it| assert!(it.is_ok())).count();
    assert_eq!(all as u64, commits);
}

fn subscription_goes_on_after_lost_connections() {
    const COMMITS: usize = 60;
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let writer = name.store();
    let mut messages = iter(store.subscribe(Subscribe::after(Position::START)));
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COMMITS {
                append(&writer, "a-1", [event("A"), event("B")]);
                if number % 20 == 10 {
                    proxy.swallow();
                    append(&writer, "a-2", [event("C")]);
                    proxy.cut();
                }
            }
        });
        let mut found = Vec::new();
        while found.len() < 2 * COMMITS + 3 {
            // An error is followed by the next message.
            if let Ok(message) = messages.next().expect("it goes on") {
                found.extend(message.events.iter().map(RecordedEvent::position));
            }
        }
        found
    });
    let all: Vec<Position> =
        iter(store.read_all(ReadAll::new())).map(|it| it.expect("an event").position()).collect();
    assert_eq!(found, all);
}

fn outcome_is_unknown_without_a_server() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, Duration::from_millis(500));
    append(&store, "a-1", [event("A")]);
    proxy.swallow();
    let done = block_on(store.append(Commit::to("a-1", Expected::Any, [event("B")])));
    assert!(matches!(done, Err(AppendError::OutcomeUnknown(_))), "{done:?}");
    proxy.cut();
    assert_eq!(stream(&name.store(), "a-1").len(), 2);
}

fn handles_that_know_older_versions_append() {
    let name = Name::replicated();
    let stores = [name.store(), name.store(), name.store()];
    for number in 1..=30 {
        let done = append(&stores[number % 3], "a-1", [event("A")]);
        assert_eq!(done.versions, [Version::new(number as u64)]);
        if number % 5 == 0 {
            // This handle knows an older version, which is the expected one.
            let old = Expected::Exact(Version::new(number as u64 - 1));
            let commit = Commit::to("a-1", old, [event("B")]);
            let lost = block_on(stores[(number + 2) % 3].append(commit));
            let Err(AppendError::Conflict(conflict)) = lost else { panic!("{lost:?}") };
            assert_eq!(conflict.actual_version(), Some(Version::new(number as u64)));
        }
    }
    assert_eq!(stream(&stores[0], "a-1").len(), 30);
}

/// Handles share no order of their own: only what the server checks keeps their commits apart.
fn handles_that_contend_are_ordered_by_the_server() {
    const COMMITS: u64 = 25;
    let name = Name::replicated();
    let stores: Vec<_> = (0..4).map(|_| name.store()).collect();
    thread::scope(|scope| {
        for store in &stores {
            scope.spawn(move || {
                let mut left = COMMITS;
                while left > 0 {
                    let version = block_on(store.stream_version(&"a-1".into())).expect("a version");
                    let commit = Commit::to("a-1", Expected::Exact(version), ["A", "B"].map(event));
                    match block_on(store.append(commit)) {
                        Ok(done) => {
                            assert_eq!(done.versions, [Version::new(version.get() + 2)]);
                            left -= 1;
                        }
                        Err(AppendError::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let read = stream(&stores[0], "a-1");
    let versions: Vec<u64> = read.iter().map(|it| it.version().get()).collect();
    assert_eq!(versions, (1..=4 * 2 * COMMITS).collect::<Vec<u64>>());
}

fn stream_is_read_from_any_version() {
    let name = Name::single();
    let store = name.store();
    let mut total = 0_u64;
    for number in 0..120_u64 {
        // Growing slowly at first, then fast, with others between.
        let events = if number < 100 { 1 + number % 3 } else { 300 };
        append(&store, "a-1", (0..events).map(|_| event("A")));
        append(&store, "a-2", [event("B")]);
        total += events;
    }
    for from in [1, 2, 100, 513, 514, 700, 1500, total - 600, total - 1, total, total + 1] {
        let read = ReadStream::of("a-1").from(from.into());
        let versions = |read| -> Vec<u64> {
            iter(store.read_stream(read)).map(|it| it.expect("an event").version().get()).collect()
        };
        assert_eq!(versions(read.clone()), (from..=total).collect::<Vec<u64>>(), "from {from}");
        let limited = versions(read.clone().limit(3));
        assert_eq!(limited, (from..=total).take(3).collect::<Vec<u64>>());
        let backwards = versions(read.backwards());
        assert_eq!(backwards, (from..=total).rev().collect::<Vec<u64>>(), "from {from}");
    }
}

fn sparse_stream_is_read_backwards() {
    let name = Name::single();
    let store = name.store();
    append(&store, "a-1", [event("A")]);
    for _ in 0..700 {
        append(&store, "b-1", [event("B")]);
    }
    append(&store, "a-1", [event("C")]);
    let types = |read: ReadStream| -> Vec<String> {
        let events = iter(store.read_stream(read.backwards()));
        events.map(|it| it.expect("an event").event_type().to_owned()).collect()
    };
    assert_eq!(types(ReadStream::of("a-1")), ["C", "A"]);
    let all: Vec<Position> = iter(store.read_all(ReadAll::new().backwards()))
        .map(|it| it.expect("an event").position())
        .collect();
    assert_eq!(all.len(), 702);
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]));
    let category = annals_es::Query::category("a");
    assert_eq!(iter(store.read_all(ReadAll::matching(category).backwards())).count(), 2);
}

fn event_is_found_by_either_kind_of_id() {
    let name = Name::single();
    let store = name.store();
    let given = Uuid::from_u128(9);
    append(&store, "a-1", [event("A"), event("B").id(given), event("C")]);
    append(&store, "a-2", [event("D")]);
    for event in stream(&store, "a-1") {
        let here = block_on(store.find_event(&"a-1".into(), event.id())).expect("no error");
        assert_eq!(here.expect("it is recorded").event_type(), event.event_type());
        let elsewhere = block_on(store.find_event(&"a-2".into(), event.id())).expect("no error");
        assert!(elsewhere.is_none());
    }
}

fn number_of_snapshots_is_bounded() {
    let name = Name::single();
    let store = name.store();
    append(&store, "a-1", (0..20).map(|_| event("A")));
    for version in 1..=20 {
        let snapshot = Snapshot::new("a-1", Version::new(version), version.to_string());
        block_on(store.save_snapshot(snapshot)).expect("it is saved");
    }
    let load = |at_most: u64| {
        let loaded = block_on(store.load_snapshot("a-1", Version::new(at_most).into()));
        loaded.expect("no error").map(|it| it.state)
    };
    assert_eq!(load(20).expect("the newest"), "20");
    assert_eq!(load(5).expect("the oldest that is kept"), "5");
    assert_eq!(load(4), None);
}

fn other_programs_are_heard() {
    let name = Name::replicated();
    let never = Duration::from_secs(3600);
    let store = block_on(name.options().poll_interval(never).open()).expect("it opens");
    let other = name.store();
    let mut subscription = store.subscribe(Subscribe::after(Position::START));
    let first = block_on(annals_es::next(&mut subscription)).expect("a message");
    assert!(first.expect("no error").caught_up);
    append(&other, "a-1", [event("A")]);
    let message = block_on_timeout(annals_es::next(&mut subscription), LONG).expect("in time");
    assert_eq!(message.expect("a message").expect("no error").events.len(), 1);
}

fn store_works_in_a_runtime() {
    let name = Name::replicated();
    RUNTIME.block_on(async {
        let store = name.options().open().await.expect("the store opens");
        let commit = Commit::to("a-1", Expected::NoStream, [event("A")]);
        let done = store.append(commit).await.expect("it is recorded");
        assert_eq!(store.head().await.expect("the head"), done.last_position);
    });
}
