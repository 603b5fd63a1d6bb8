//! Fences: what they refuse, what they leave, and commits that are on their way meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    AppendError, Commit, EventStore, Expected, NewEvent, OrderedStore, Position, ReadAll,
    RecordedEvent, Snapshot, StoreError, Version,
};
use annals_jetstream::{Error, JetStreamStore};
use uuid::Uuid;

use crate::commits::{LONG, append, event, proxied, without_an_answer};
use crate::partitions::Partitioned;
use crate::support::{Name, RUNTIME, Tests, client};

pub(crate) const TESTS: Tests = &[
    ("fenced_store_is_read_and_records_nothing", fenced_store_is_read_and_records_nothing),
    ("fence_is_after_every_acknowledged_commit", fence_is_after_every_acknowledged_commit),
    ("fenced_store_is_opened_for_reading_only", fenced_store_is_opened_for_reading_only),
    ("lost_acknowledgement_before_a_fence_is_found", lost_acknowledgement_before_a_fence_is_found),
    ("fence_holds_under_every_leader", fence_holds_under_every_leader),
    ("partition_has_a_fence_of_its_own", partition_has_a_fence_of_its_own),
];

fn is_fenced<T: std::fmt::Debug>(done: Result<T, AppendError>) -> bool {
    match done {
        Err(AppendError::Store(StoreError::Fenced { to })) => to == "elsewhere",
        done => panic!("{done:?}"),
    }
}

fn read_all(store: &JetStreamStore) -> Vec<RecordedEvent> {
    iter(store.read_all(ReadAll::new())).map(|it| it.expect("an event")).collect()
}

fn fenced_store_is_read_and_records_nothing() {
    for name in [Name::single(), Name::replicated()] {
        let (store, other) = (name.store(), name.store());
        let first = append(&store, "a-1", [event("A")]).last_position;
        let second = append(&store, "a-1", [event("A")]).last_position;
        block_on(store.save_checkpoint("mailer", first)).expect("it is saved");
        let moved = Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", first);
        let head = block_on(store.append(moved)).expect("it is recorded").last_position;
        block_on(store.raise_fence("nowhere")).expect("it is fenced");
        block_on(store.raise_fence("elsewhere")).expect("it is fenced");
        let later = block_on(name.options().fenced(true).open()).expect("the store opens");
        for store in [&store, &other, &later] {
            let append = |commit| block_on(store.append(commit));
            let to = |stream: &str| Commit::to(stream, Expected::Any, [event("A")]);
            assert!(is_fenced(append(to("a-1"))) && is_fenced(append(to("c-1"))));
            let given = [event("A").id(Uuid::from_u128(1))];
            assert!(is_fenced(append(Commit::to("a-1", Expected::Any, given))));
            let both = to("a-1").and("c-1", Expected::NoStream, [event("A")]);
            assert!(is_fenced(append(both.check("d-1", Expected::NoStream))));
            assert!(is_fenced(append(to("a-1").checkpoint("saga", second))));
            assert!(is_fenced(append(Commit::progress("saga", second))));
            for name in ["mailer", "saga", "new"] {
                assert!(is_fenced(block_on(store.save_checkpoint(name, second))));
                assert!(is_fenced(block_on(store.reset_checkpoint(name, Position::START))));
                let found = block_on(store.checkpoint(name)).expect("an answer");
                assert_eq!(found, (name != "new").then_some(first));
            }
            let snapshot = Snapshot::new("a-1", Version::new(1), "state");
            let saved = block_on(store.save_snapshot(snapshot));
            assert!(matches!(saved, Err(StoreError::Fenced { .. })), "{saved:?}");
            assert_eq!(block_on(store.fence()).expect("an answer").as_deref(), Some("elsewhere"));
            assert_eq!((read_all(store).len(), block_on(store.head()).expect("a head")), (3, head));
        }
        let lifted = block_on(later.lift_fence()).expect("it is lifted");
        assert_eq!(lifted.as_deref(), Some("elsewhere"));
        assert_eq!(block_on(other.lift_fence()).expect("an answer"), None);
        assert_eq!(block_on(other.fence()).expect("an answer"), None);
        for store in [&store, &other, &name.store()] {
            assert!(append(store, "a-1", [event("A")]).last_position > head);
        }
        for (name, to) in [("mailer", second), ("saga", second), ("new", first)] {
            block_on(other.save_checkpoint(name, to)).expect("it moves forward");
        }
        assert_eq!(read_all(&store).len(), 6);
    }
}

/// Programs append while the store is fenced: what was acknowledged is there once the fence is raised, and nothing is
/// recorded afterwards.
fn fence_is_after_every_acknowledged_commit() {
    for replicas in [1, 3, 3, 3] {
        let name = Name::of(replicas);
        let store = name.store();
        let (acknowledged, raised) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for number in 0..6 {
                let own = name.store();
                let (acknowledged, raised) = (&acknowledged, &raised);
                scope.spawn(move || {
                    // Commits of one message and batches.
                    let commit = |turn: u64| {
                        let new = NewEvent::new("A", turn.to_string());
                        let id = Uuid::from_u128(u128::from(1 + turn) << 8 | number);
                        let new = if number % 2 == 0 { new } else { new.id(id) };
                        Commit::to(format!("s-{number}"), Expected::Exact(turn.into()), [new])
                    };
                    for turn in 0.. {
                        let was_raised = raised.load(Ordering::SeqCst);
                        match block_on(own.append(commit(turn))) {
                            Ok(_) => {
                                assert!(!was_raised, "recorded after the fence");
                                acknowledged.fetch_add(1, Ordering::SeqCst);
                            }
                            done => {
                                assert!(is_fenced(done));
                                return;
                            }
                        }
                    }
                });
            }
            while acknowledged.load(Ordering::SeqCst) < 60 {
                thread::yield_now();
            }
            block_on(store.raise_fence("elsewhere")).expect("it is fenced");
            raised.store(true, Ordering::SeqCst);
            // Commits whose acknowledgement is on its way are there as well.
            let seen = read_all(&store).len() as u64;
            assert!(seen >= acknowledged.load(Ordering::SeqCst));
        });
        let count = read_all(&store).len() as u64;
        assert_eq!(count, acknowledged.load(Ordering::SeqCst));
    }
}

fn fenced_store_is_opened_for_reading_only() {
    let name = Name::single();
    append(&name.store(), "a-1", [event("A")]);
    block_on(name.store().raise_fence("elsewhere")).expect("it is fenced");
    let opened = block_on(name.options().open());
    assert!(matches!(&opened, Err(Error::Fenced { to }) if to == "elsewhere"), "{opened:?}");
    let store = block_on(name.options().fenced(true).open()).expect("the store opens");
    assert_eq!(read_all(&store).len(), 1);
    // What was done to the subjects from outside is found as well.
    name.change(|config| config.subjects.push(format!("{}.more", config.name)));
    let opened = block_on(name.options().fenced(true).open());
    assert!(matches!(opened, Err(Error::Altered { .. })), "{opened:?}");
}

fn lost_acknowledgement_before_a_fence_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let other = name.store();
    append(&store, "a-1", [event("A")]);
    let (done, stored) = thread::scope(|scope| {
        let raising = scope.spawn(|| {
            while read_all(&other).len() < 2 {
                thread::sleep(Duration::from_millis(1));
            }
            block_on(other.raise_fence("elsewhere")).expect("it is fenced");
        });
        let append = || {
            let commit = Commit::to("a-1", Expected::Any, [event("B")]);
            let done = block_on(store.append(commit));
            (done, read_all(&other).len())
        };
        let done = without_an_answer(&proxy, append);
        raising.join().expect("no panic");
        done
    });
    assert_eq!((done.expect("it is recorded").versions, stored), (vec![Version::new(2)], 2));
    assert!(is_fenced(block_on(store.append(Commit::to("a-1", Expected::Any, [event("C")])))));
}

/// Asks a server for something, with an empty answer if nobody receives it.
fn ask(subject: String) -> String {
    let answer = RUNTIME.block_on(async { client().request(subject, "".into()).await });
    answer.map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it.payload).into_owned())
}

/// What a program with an older version of the crate publishes is received by no leader.
fn fence_holds_under_every_leader() {
    let name = Name::replicated();
    let store = name.store();
    append(&store, "a-1", [event("A")]);
    assert!(ask(format!("{}.event.b.1", name.name)).contains("\"seq\":2"));
    block_on(store.raise_fence("elsewhere")).expect("it is fenced");
    let mut leaders = HashSet::new();
    let leader = || {
        let info = ask(format!("$JS.API.STREAM.INFO.{}", name.name));
        let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
        info["cluster"]["leader"].as_str().map(str::to_owned)
    };
    for _ in 0..6 {
        assert_eq!(ask(format!("{}.event.b.1", name.name)), "");
        assert!(is_fenced(block_on(store.append(Commit::to("a-1", Expected::Any, [event("B")])))));
        let former = leader();
        leaders.extend(former.clone());
        ask(format!("$JS.API.STREAM.LEADER.STEPDOWN.{}", name.name));
        for _ in 0..100 {
            if leader().is_some_and(|it| Some(it) != former) {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(leaders.len() > 1, "{leaders:?}");
    block_on(store.lift_fence()).expect("it is lifted");
    append(&store, "a-1", [event("B")]);
}

fn partition_has_a_fence_of_its_own() {
    let name = Partitioned::new();
    let store = name.store();
    let [one, other, ..] = store.partitions() else { panic!("two partitions") };
    block_on(one.raise_fence("elsewhere")).expect("it is fenced");
    assert_eq!(block_on(other.fence()).expect("an answer"), None);
    let commit = |category: u32| Commit::to(format!("c{category}-1"), Expected::Any, [event("A")]);
    let of = |partition: &JetStreamStore| {
        (0..100)
            .find(|it| std::ptr::eq(store.of_category(&format!("c{it}")), &raw const *partition))
    };
    let done = block_on(store.append(commit(of(one).expect("a category"))));
    assert!(is_fenced(done));
    block_on(store.append(commit(of(other).expect("a category")))).expect("it is recorded");
}
