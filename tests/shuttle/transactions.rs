//! The other parts of a commit: boundaries, cursors, snapshots, hidden streams.

use annals::testing::SimStorage;
use annals::{
    Error, ExpectedVersion, FailedCheck, Position, Query, Store,
    snapshot::{Mark, Snapshot},
};
use shuttle::thread;

use super::support::*;

/// Almost a quarter of a segment: three such commits fill one.
const LARGE: usize = 7_500;

/// The checks for which a commit was refused.
fn refusals<T>(done: annals::Result<T>) -> Vec<FailedCheck> {
    match done {
        Ok(_) => Vec::new(),
        Err(Error::Conflict { failed, .. }) => failed,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn one_of_racing_commits_with_a_boundary_wins() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "before", 10).unwrap();
        let contender = |stream: &'static str, after: u64| {
            let store = store.clone();
            thread::spawn(move || {
                let taken = Query::tagged(["seat:1"]).after(after);
                let event = event(10).tag("seat:1");
                let transaction = store.transaction().append(stream, ExpectedVersion::Any, [event]);
                let failed = refusals(transaction.fail_if(taken).commit());
                let [] = failed[..] else {
                    let [FailedCheck::AppendConditionFailed { query: 0, position }] = failed[..]
                    else {
                        panic!("{failed:?}")
                    };
                    assert_eq!(position, Position::new(3));
                    return false;
                };
                true
            })
        };
        let contenders = [contender("a", 0), contender("b", 2), contender("c", 0)];
        let won = contenders.map(|it| it.join().unwrap()).into_iter().filter(|&won| won).count();
        assert_eq!(won, 1);
        assert_eq!(store.read_all().matching(Query::tagged(["seat:1"])).into_iter().count(), 1);
        store.close().unwrap();
    });
}

/// A cursor is never ahead of what is durable, never goes back, and names the event that was
/// committed with it.
fn watch_cursor(store: &Store, sim: &SimStorage) {
    let at = |store: &Store| store.cursors().get("c").unwrap().map_or(0, Position::get);
    let mut seen = 0;
    for _ in 0..3 {
        let cursor = at(store);
        let head = store.head().get();
        assert!(cursor <= head, "the cursor is at {cursor}, and {head} is durable");
        assert!(cursor >= seen);
        seen = cursor;
        let lasting = after_power_loss(sim);
        assert!(at(&lasting) >= seen, "a reader saw the cursor at {seen}");
        let sent = lasting.stream_head("sent").unwrap().map_or(0, |head| head.version);
        assert_eq!(at(&lasting), sent, "a cursor without its event");
    }
}

#[test]
fn cursors_move_with_their_commits() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        store.append("input", ExpectedVersion::Any, vec![event(1); 6]).unwrap();
        // Two consumers of one cursor: each handles the next event, and one of them wins.
        let consumer = || {
            let store = store.clone();
            thread::spawn(move || {
                let mut moved = 0;
                for _ in 0..3 {
                    let from = store.cursors().get("c").unwrap();
                    let to = from.map_or(0, Position::get) + 1;
                    let transaction = store.transaction();
                    let transaction = transaction
                        .append("sent", ExpectedVersion::Exact(to - 1), [event(10)])
                        .cursor_from("c", from, to);
                    moved += u64::from(refusals(transaction.commit()).is_empty());
                }
                moved
            })
        };
        let consumers = [consumer(), consumer()];
        let reader = {
            let (store, sim) = (store.clone(), sim.clone());
            thread::spawn(move || watch_cursor(&store, &sim))
        };
        let moved: u64 = consumers.into_iter().map(|it| it.join().unwrap()).sum();
        reader.join().unwrap();
        assert!(moved >= 1);
        assert_eq!(store.cursors().get("c").unwrap(), Some(Position::new(moved)));
        store.close().unwrap();
        let lasting = after_power_loss(&sim).cursors().get("c").unwrap();
        assert_eq!(lasting, Some(Position::new(moved)));
    });
}

/// Saved by the thread that waits for the commit or by the store's own thread, and never before the
/// commit is durable.
#[test]
fn snapshots_are_saved_after_their_commits_are_durable() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = options(sim.process()).snapshots_kept(100).open(ROOT).unwrap();
        let writer = |stream: &'static str, waits: bool| {
            let store = store.clone();
            thread::spawn(move || {
                for version in 1..=2_u64 {
                    let events = [event(10)];
                    let ticket = store
                        .transaction()
                        .append(stream, ExpectedVersion::Exact(version - 1), events)
                        .snapshot(Snapshot::new(stream, version, "state"))
                        .submit()
                        .unwrap();
                    if waits {
                        ticket.wait().unwrap();
                        let found = store.snapshots().load(stream).unwrap().unwrap();
                        assert_eq!(found.mark(), Mark::Version(version));
                    }
                }
            })
        };
        let writers = [writer("a", true), writer("b", false), writer("c", true)];
        for _ in 0..3 {
            let lasting = after_power_loss(&sim);
            for stream in ["a", "b"] {
                let Some(found) = store.snapshots().load(stream).unwrap() else { continue };
                let head = store.stream_head(stream).unwrap().unwrap();
                assert!(found.mark() <= Mark::Version(head.version));
                let kept = lasting.snapshots().load(stream).unwrap();
                let head = lasting.stream_head(stream).unwrap().map_or(0, |head| head.version);
                assert!(kept.is_none_or(|kept| kept.mark() <= Mark::Version(head)));
            }
        }
        writers.into_iter().for_each(|it| it.join().unwrap());
        store.close().unwrap();
        // Snapshots are not synced: a power loss may lose them, a close must not.
        let store = options(sim.process()).background(false).open(ROOT).unwrap();
        for stream in ["a", "b", "c"] {
            let found = store.snapshots().list(stream).unwrap();
            let mut marks: Vec<_> = found.into_iter().map(|found| found.mark).collect();
            marks.sort_unstable();
            assert_eq!(marks, [Mark::Version(1), Mark::Version(2)], "of {stream}");
        }
    });
}

/// Segments are sealed and checkpoints written while cursors move and streams are truncated.
#[test]
fn cursors_and_truncations_survive_rollovers() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let writer = |name: &'static str| {
            let store = store.clone();
            thread::spawn(move || {
                for round in 1..=4_u64 {
                    let done = append(&store, name, LARGE).unwrap();
                    let transaction = store.transaction().cursor(name, done.last_position);
                    transaction.truncate_before(name, round * 2).commit().unwrap();
                    let first = store.read_stream(name).into_iter().next().unwrap().unwrap();
                    assert_eq!(first.version(), round * 2);
                }
                store.cursors().get(name).unwrap().unwrap()
            })
        };
        let writers = [writer("a"), writer("b")];
        let reader = {
            let store = store.clone();
            thread::spawn(move || {
                let mut first = 0;
                for _ in 0..4 {
                    let events: Vec<_> = store.read_stream("a").into_iter().collect();
                    let versions = events.into_iter().map(|event| event.unwrap().version());
                    let versions: Vec<_> = versions.collect();
                    // Truncation applies to reads in progress: events missing between two others
                    // are hidden by now, and possibly all events of the read.
                    let shown =
                        store.stream_info("a").unwrap().map_or(1, |info| info.first_version);
                    let follows =
                        |one: &u64, next: &u64| one + 1 == *next || (one < next && *next <= shown);
                    assert!(versions.is_sorted_by(follows), "{versions:?}, from {shown}");
                    let Some(now) = versions.first() else { continue };
                    assert!(*now >= first, "what was hidden is back");
                    first = *now;
                }
            })
        };
        let cursors = writers.map(|it| it.join().unwrap());
        reader.join().unwrap();
        store.close().unwrap();
        for store in [after_power_loss(&sim), open(&sim)] {
            for (name, cursor) in ["a", "b"].into_iter().zip(cursors) {
                assert_eq!(store.cursors().get(name).unwrap(), Some(cursor));
                assert_eq!(store.stream_info(name).unwrap().unwrap().first_version, 8);
            }
            assert!(store.stats().segments > 1);
        }
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, []);
    });
}
