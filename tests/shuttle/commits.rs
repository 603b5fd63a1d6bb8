//! Commits during other commits, reads and rollovers.

use annals::testing::SimStorage;
use annals::{Error, ExpectedVersion, FailedCheck, Position, Store, Uuid};
use shuttle::thread;

use super::support::*;

/// Almost a quarter of a segment: three such commits fill one.
const LARGE: usize = 7_500;

#[test]
fn one_of_two_conflicting_appends_wins() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let contender = |twice: bool| {
            let store = store.clone();
            thread::spawn(move || {
                let expected = ExpectedVersion::NoStream;
                let done = if twice {
                    let transaction = store.transaction().append("s", expected, [event(1)]);
                    transaction.append("t", ExpectedVersion::Any, [event(1)]).commit().map(drop)
                } else {
                    store.append("s", expected, [event(1)]).map(drop)
                };
                match done {
                    Ok(()) => true,
                    Err(Error::Conflict { failed, .. }) => {
                        assert!(
                            matches!(
                                failed[..],
                                [FailedCheck::WrongExpectedVersion { index: 0, actual: 1, .. }]
                            ),
                            "{failed:?}"
                        );
                        false
                    }
                    Err(error) => panic!("{error:?}"),
                }
            })
        };
        let contenders = [contender(false), contender(true), contender(false)];
        let won = contenders.map(|it| it.join().unwrap()).into_iter().filter(|&won| won).count();
        assert_eq!(won, 1);
        assert_eq!(store.stream_head("s").unwrap().unwrap().version, 1);
        store.close().unwrap();
    });
}

/// Each thread reads, decides and appends until it succeeds. A conflict is returned once the winner
/// is visible, so each thread loses at most once to each commit of another.
#[test]
fn append_that_loses_a_race_sees_the_winner() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let contender = || {
            let store = store.clone();
            thread::spawn(move || {
                let mut lost = 0;
                loop {
                    let version = store.stream_head("s").unwrap().map_or(0, |head| head.version);
                    let expected = ExpectedVersion::Exact(version);
                    let Err(conflict) = store.append("s", expected, [event(1)]) else { break };
                    let actual = conflict.actual_version().unwrap();
                    assert!(actual > version);
                    assert!(store.stream_head("s").unwrap().unwrap().version >= actual);
                    lost += 1;
                }
                assert!(lost <= 3, "{lost} conflicts with three commits");
            })
        };
        let contenders = [contender(), contender(), contender()];
        // No thread waits for this commit.
        let ticket = store.transaction().append("s", ExpectedVersion::Any, [event(1)]).submit();
        drop(ticket.unwrap());
        for contender in contenders {
            contender.join().unwrap();
        }
        // No thread has waited for the ticket's commit.
        store.sync().unwrap();
        assert_eq!(store.stream_head("s").unwrap().unwrap().version, 4);
        store.close().unwrap();
    });
}

#[test]
fn same_events_of_two_threads_are_recorded_once() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let attempt = || {
            let store = store.clone();
            thread::spawn(move || {
                let event = event(1).id(Uuid::from_u128(1));
                let done = store.append("s", ExpectedVersion::NoStream, [event]).unwrap();
                assert!(store.head() >= done.last_position, "acknowledged and not visible");
                (done.last_position.get(), done.already_recorded)
            })
        };
        let attempts = [attempt(), attempt()];
        let mut done = attempts.map(|it| it.join().unwrap());
        done.sort_unstable();
        assert_eq!(done, [(1, false), (1, true)]);
        assert!(after_power_loss(&sim).event(Uuid::from_u128(1)).unwrap().is_some());
    });
}

/// What a reader sees is whole, never goes back, and is durable.
fn watch(store: &Store, sim: &SimStorage) {
    let mut seen = 0;
    for _ in 0..3 {
        let durable = store.head().get();
        assert!(durable >= seen);
        let written = check_prefix(store, true).unwrap();
        assert!(durable <= written, "{durable} is durable, {written} written");
        seen = check_prefix(store, false).unwrap();
        assert!(seen >= durable);
        if let Some(head) = store.stream_head("shared").unwrap() {
            let last = store.event_at(head.last_position).unwrap().unwrap();
            assert_eq!((last.stream(), last.version()), ("shared", head.version));
        }
    }
    let lasting = check_prefix(&after_power_loss(sim), false).unwrap();
    assert!(lasting >= seen, "a reader saw {seen}, and the disk has {lasting}");
}

#[test]
fn readers_see_whole_and_durable_commits() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let writer = |number: u64| {
            let store = store.clone();
            thread::spawn(move || {
                let own = format!("own-{number}");
                let done = append(&store, &own, 10).unwrap();
                assert!(store.head() >= done.last_position);
                let submit = || {
                    let transaction = store.transaction();
                    let events = [event(10), event(10)];
                    let transaction = transaction.append("shared", ExpectedVersion::Any, events);
                    transaction.append(&own, ExpectedVersion::StreamExists, [event(1)]).submit()
                };
                let tickets = [submit().unwrap(), submit().unwrap()];
                let done = tickets.map(|ticket| ticket.wait().unwrap().last_position);
                assert!(done.is_sorted());
                assert!(store.head() >= done[1]);
            })
        };
        let writers = [writer(1), writer(2)];
        let watcher = {
            let (store, sim) = (store.clone(), sim.clone());
            thread::spawn(move || watch(&store, &sim))
        };
        for thread in writers.into_iter().chain([watcher]) {
            thread.join().unwrap();
        }
        assert_eq!(check_prefix(&store, false).unwrap(), 2 * (2 + 3 + 3));
    });
}

/// Full segments are sealed, the next one is prepared and checkpoints are written during appends
/// and reads.
#[test]
fn rollover_during_reads_loses_nothing() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let writer = |number: u64| {
            let store = store.clone();
            thread::spawn(move || {
                for round in 0..4 {
                    let done = append(&store, &format!("own-{number}"), LARGE).unwrap();
                    assert_eq!(done.version, (round + 1) * 2);
                }
            })
        };
        let writers = [writer(1), writer(2)];
        let reader = {
            let store = store.clone();
            thread::spawn(move || {
                let mut seen = 0;
                for _ in 0..4 {
                    let head = check_prefix(&store, false).unwrap();
                    assert!(head >= seen);
                    seen = head;
                    let own = store.read_stream("own-1").into_iter();
                    let versions: Vec<u64> = own.map(|event| event.unwrap().version()).collect();
                    assert!(versions.iter().copied().eq(1..=versions.len() as u64));
                }
            })
        };
        for thread in writers.into_iter().chain([reader]) {
            thread.join().unwrap();
        }
        assert_eq!(check_prefix(&store, false).unwrap(), 16);
        assert!(store.stats().segments > 1);
        store.close().unwrap();
        let again = options(sim.process()).background(false).open(ROOT).unwrap();
        assert_eq!(check_prefix(&again, false).unwrap(), 16);
        assert_eq!(again.stream_head("own-2").unwrap().unwrap().version, 8);
        assert!(again.event_at(Position::new(1)).unwrap().is_some());
        drop(again);
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, []);
    });
}
