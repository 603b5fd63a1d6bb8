//! Appends that exclude each other, in the same commit group and in different ones.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use annals::{Durability, Error, ExpectedVersion, NewEvent, Uuid};

use super::support::{Place, check_prefix};

const THREADS: usize = 8;
const ROUNDS: u64 = 60;

#[test]
fn one_of_many_appends_at_the_same_version_wins() {
    let place = Place::new();
    let store = place.open();
    let barrier = Barrier::new(THREADS);
    let wins = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, barrier, wins) = (&store, &barrier, &wins);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    let event = NewEvent::new("Try", format!("{thread} {round}"));
                    let expected = ExpectedVersion::Exact(round);
                    let outcome = if thread % 2 == 0 {
                        store.append("contested", expected, [event]).map(|done| done.version)
                    } else {
                        let transaction =
                            store.transaction().append("contested", expected, [event]).append(
                                format!("beside-{thread}"),
                                ExpectedVersion::Any,
                                [NewEvent::new("Beside", "")],
                            );
                        transaction.commit().map(|done| done.versions[0])
                    };
                    match outcome {
                        Ok(version) => {
                            assert_eq!(version, round + 1);
                            wins.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(lost) => {
                            assert_eq!(lost.actual_version(), Some(round + 1), "{lost:?}");
                            assert_eq!(lost.failed_checks().len(), 1);
                            // The commit that won is visible to reads.
                            let head = store.stream_head("contested").unwrap().unwrap();
                            assert_eq!(head.version, round + 1);
                        }
                    }
                    barrier.wait();
                    assert_eq!(wins.load(Ordering::SeqCst), round + 1, "one winner a round");
                    let head = store.stream_head("contested").unwrap().unwrap();
                    assert_eq!(head.version, round + 1);
                }
            });
        }
    });
    check_prefix(&store).unwrap();
    assert_eq!(store.read_stream("contested").into_iter().count() as u64, ROUNDS);
    // A refused commit leaves nothing, in the contested stream or elsewhere.
    let beside = store.streams().prefix("beside-").into_iter().map(|info| info.unwrap().version);
    assert!(beside.sum::<u64>() <= ROUNDS);
    assert_eq!(store.stats().commits, ROUNDS);
}

#[test]
fn event_id_appended_by_many_threads_is_stored_once() {
    let place = Place::new();
    let store = place.open();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    let id = Uuid::from_u128(u128::from(round) + 1);
                    let event = NewEvent::new("Once", vec![7; 1500]).id(id);
                    let done = store.append("s", ExpectedVersion::Any, [event]).unwrap();
                    assert_eq!((done.last_position.get(), done.version), (round + 1, round + 1));
                    // What was acknowledged is visible, also to the threads that came second.
                    assert!(store.head() >= done.last_position);
                    let other = NewEvent::new("Other", "").id(id);
                    let refused = store.append("s", ExpectedVersion::Any, [other]);
                    assert!(matches!(refused, Err(Error::IdReused { .. })), "{refused:?}");
                }
            });
        }
    });
    assert_eq!(check_prefix(&store).unwrap(), ROUNDS);
    assert_eq!(store.stats().already_recorded, ROUNDS * (THREADS as u64 - 1));
    let ids: HashSet<_> = store.read_all().into_iter().map(|it| it.unwrap().id()).collect();
    assert_eq!(ids.len() as u64, ROUNDS);
}

#[test]
fn transfers_between_accounts_lose_no_money() {
    // Each transfer reads, decides and writes, on condition that nothing changed meanwhile.
    const ACCOUNTS: u64 = 3;
    let place = Place::new();
    let store = place.open();
    let balance = |account: u64| {
        let mut sum = 0_i64;
        let mut version = 0;
        for event in store.read_stream(format!("account-{account}")) {
            let event = event.unwrap();
            sum += i64::from_le_bytes(event.data().try_into().unwrap());
            version = event.version();
        }
        (sum, version)
    };
    for account in 0..ACCOUNTS {
        let event = NewEvent::new("Moved", 100_i64.to_le_bytes().to_vec());
        store.append(format!("account-{account}"), ExpectedVersion::NoStream, [event]).unwrap();
    }
    thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (store, balance) = (&store, &balance);
            scope.spawn(move || {
                let mut done = 0;
                let mut tries = thread;
                while done < 25 {
                    tries += 1;
                    let (from, to) = (tries % ACCOUNTS, (tries + 1 + thread % 2) % ACCOUNTS);
                    let ((sum, from_version), (_, to_version)) = (balance(from), balance(to));
                    let amount = sum.min(i64::try_from(tries % 30).unwrap());
                    let moved = |by: i64| [NewEvent::new("Moved", by.to_le_bytes().to_vec())];
                    let expected = ExpectedVersion::Exact;
                    let transaction = store
                        .transaction()
                        .append(format!("account-{from}"), expected(from_version), moved(-amount))
                        .append(format!("account-{to}"), expected(to_version), moved(amount));
                    match transaction.commit() {
                        Ok(_) => done += 1,
                        Err(Error::Conflict { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    let balances: Vec<i64> = (0..ACCOUNTS).map(|account| balance(account).0).collect();
    assert_eq!(balances.iter().sum::<i64>(), 100 * i64::try_from(ACCOUNTS).unwrap());
    assert!(balances.iter().all(|&sum| sum >= 0), "{balances:?}");
    check_prefix(&store).unwrap();
}

/// The usual retry loop: each conflict is returned once the winner can be read, so the number of
/// attempts is bounded by the number of successful commits.
#[test]
fn appends_that_lose_a_race_retry_once_per_winner_at_most() {
    const APPENDS: u64 = 50;
    let threads = THREADS as u64;
    for durability in [Durability::Sync, Durability::BUFFERED] {
        let place = Place::new();
        let store = Place::options().durability(durability).open(place.path()).unwrap();
        let conflicts = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut done = 0;
                    while done < APPENDS {
                        let head = store.stream_head("contested").unwrap();
                        let version = head.map_or(0, |head| head.version);
                        let event = NewEvent::new("Counted", version.to_string());
                        let expected = ExpectedVersion::Exact(version);
                        match store.append("contested", expected, [event]) {
                            Ok(_) => done += 1,
                            Err(lost) => {
                                let actual = lost.actual_version().expect("it is a conflict");
                                assert!(actual > version);
                                let head = store.stream_head("contested").unwrap().unwrap();
                                assert!(head.version >= actual, "it lost to {actual}");
                                conflicts.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(store.stream_head("contested").unwrap().unwrap().version, threads * APPENDS);
        // Each successful append makes every other thread lose at most once.
        let conflicts = conflicts.load(Ordering::Relaxed);
        assert!(conflicts <= threads * APPENDS * (threads - 1), "{conflicts} conflicts");
        assert_eq!(store.stats().conflicts, conflicts);
    }
}

#[test]
fn retry_of_each_racing_thread_ends_within_its_attempts() {
    let place = Place::new();
    let store = place.open();
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, calls) = (&store, &calls);
            scope.spawn(move || {
                for _ in 0..20 {
                    let attempts = 20 * THREADS as u32;
                    let done = store.retry(attempts, |store| {
                        calls.fetch_add(1, Ordering::Relaxed);
                        let head = store.stream_head("contested")?;
                        let expected = ExpectedVersion::Exact(head.map_or(0, |head| head.version));
                        let event = NewEvent::new("Counted", "");
                        if thread % 2 == 0 {
                            return store.append("contested", expected, [event]).map(drop);
                        }
                        // `submit` returns this conflict at once: `retry` has to wait.
                        let transaction = store.transaction();
                        let ticket = transaction.append("contested", expected, [event]).submit()?;
                        ticket.wait().map(drop)
                    });
                    done.unwrap();
                }
            });
        }
    });
    let total = 20 * THREADS as u64;
    assert_eq!(store.stream_head("contested").unwrap().unwrap().version, total);
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls <= total * THREADS as u64, "{calls} calls for {total} appends");
}
