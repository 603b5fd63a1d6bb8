//! Readers while writers append.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Position, Query, Store};

use super::support::{Place, check_prefix};

const WRITERS: u64 = 6;

fn write(store: &Store, writer: u64, rounds: u64, acknowledged: &AtomicU64) {
    let event = |round: u64| {
        let size = usize::try_from(round * 37 % 900).unwrap();
        NewEvent::new("Written", vec![writer as u8; size]).tag(format!("writer:{writer}"))
    };
    for round in 0..rounds {
        let own = format!("own-{writer}");
        let last = match round % 4 {
            0 | 1 => {
                let done = store.append(&own, ExpectedVersion::Any, [event(round)]).unwrap();
                done.last_position
            }
            2 => {
                // Three events in two streams, one of which all writers share.
                let transaction = store
                    .transaction()
                    .append(&own, ExpectedVersion::StreamExists, [event(round), event(round)])
                    .append("shared", ExpectedVersion::Any, [event(round)]);
                transaction.commit().unwrap().last_position
            }
            _ => {
                let submit = || {
                    let events = [event(round), event(round)];
                    store.transaction().append("shared", ExpectedVersion::Any, events).submit()
                };
                let tickets = [submit().unwrap(), submit().unwrap(), submit().unwrap()];
                let done = tickets.map(|ticket| ticket.wait().unwrap().last_position);
                assert!(done.is_sorted());
                done[2]
            }
        };
        acknowledged.fetch_max(last.get(), Ordering::SeqCst);
    }
}

fn read(store: &Store, done: &AtomicBool, acknowledged: &AtomicU64, synced: bool) {
    let mut seen = 0;
    while !done.load(Ordering::SeqCst) {
        let least = acknowledged.load(Ordering::SeqCst);
        let head = store.head().get();
        assert!(head >= least.max(seen), "the head is {head} after {least} and {seen}");
        seen = check_prefix(store).unwrap();
        assert!(seen >= head);
        // The same events by other kinds of reads.
        let head = store.head();
        let mut count = 0;
        store.read_all().as_of(head).for_each(|_| count += 1).unwrap();
        assert_eq!(count, head.get());
        let backwards = store.read_all().backwards().limit(5).into_iter();
        let positions: Vec<u64> = backwards.map(|event| event.unwrap().position().get()).collect();
        assert!(positions.windows(2).all(|pair| pair[0] == pair[1] + 1), "{positions:?}");
        if let Some(found) = store.stream_head("shared").unwrap() {
            let read = store.read_stream("shared").as_of(found.last_position).into_iter().count();
            assert_eq!(read as u64, found.version);
            let newest = store.event_at(found.last_position).unwrap().unwrap();
            assert_eq!((newest.stream(), newest.version()), ("shared", found.version));
        }
        let mine = store.read_all().matching(Query::tagged(["writer:1"])).limit(20);
        assert!(mine.into_iter().all(|event| event.unwrap().data().iter().all(|&b| b == 1)));
        if synced {
            assert!(store.stats().head >= head);
        }
    }
}

/// Reads the head as often as possible: half a commit would be visible for microseconds only.
fn poll(store: &Store, done: &AtomicBool) {
    let mut seen = Position::START;
    while !done.load(Ordering::SeqCst) {
        let head = store.head();
        if head > seen {
            let last = store.event_at(head).unwrap().unwrap();
            assert!(last.is_last_in_commit(), "half a commit is visible, up to {head}");
        }
        assert!(head >= seen);
        seen = head;
    }
}

fn writers_and_readers(place: &Place, store: &Store, rounds: u64, synced: bool) {
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| read(store, &done, &acknowledged, synced))).collect();
        let poller = scope.spawn(|| poll(store, &done));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let acknowledged = &acknowledged;
                scope.spawn(move || write(store, writer, rounds, acknowledged))
            })
            .collect();
        let failed = writers.into_iter().map(thread::ScopedJoinHandle::join).find(Result::is_err);
        done.store(true, Ordering::SeqCst);
        assert!(failed.is_none(), "a writer failed");
        for reader in readers.into_iter().chain([poller]) {
            reader.join().unwrap();
        }
    });
    // The number of events in four rounds: 1 + 1 + 3 + 6.
    let expected = WRITERS * rounds / 4 * 11;
    assert_eq!(check_prefix(store).unwrap(), expected);
    let stats = store.stats();
    assert!(stats.segments > 3, "{} segments", stats.segments);
    let _ = place;
}

#[test]
fn readers_see_whole_commits_without_gaps_and_nothing_vanishes() {
    let place = Place::new();
    let store = place.open();
    writers_and_readers(&place, &store, 80, true);
    let before = store.stats();
    store.close().unwrap();
    let store = place.open();
    assert_eq!(check_prefix(&store).unwrap(), before.events);
    assert_eq!(store.stats().streams, before.streams);
    assert_eq!(store.stats().commits, before.commits);
}

#[test]
fn readers_of_a_buffered_store_see_whole_commits_without_gaps() {
    let place = Place::new();
    let interval = Duration::from_millis(3);
    let options = Place::options().durability(Durability::Buffered { interval });
    let store = options.max_pending_bytes(4_000).open(place.path()).unwrap();
    writers_and_readers(&place, &store, 120, false);
    let events = store.stats().events;
    drop(store);
    assert_eq!(check_prefix(&place.open()).unwrap(), events);
}

#[test]
fn reader_that_waits_for_a_position_sees_it() {
    let place = Place::new();
    let store = place.open();
    assert!(!store.wait_for(Position::new(1), Duration::from_millis(20)).unwrap());
    thread::scope(|scope| {
        let waiters: Vec<_> = (1..=40)
            .map(|position| {
                let store = store.clone();
                scope.spawn(move || {
                    let there = store.wait_for(Position::new(position), Duration::from_secs(60));
                    assert!(there.unwrap());
                    assert!(store.head().get() >= position);
                    let event = store.event_at(Position::new(position)).unwrap();
                    assert_eq!(event.unwrap().position().get(), position);
                })
            })
            .collect();
        for _ in 0..20 {
            let events = [NewEvent::new("T", ""), NewEvent::new("T", "")];
            store.append("s", ExpectedVersion::Any, events).unwrap();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
    // The close of the store ends a wait.
    let waiting = store.clone();
    let began = Instant::now();
    let waiter =
        thread::spawn(move || waiting.wait_for(Position::new(1000), Duration::from_secs(60)));
    thread::sleep(Duration::from_millis(50));
    store.close().unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(annals::Error::Closed)));
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// Figures, reads and waits of a reader take the same locks as following the writer.
#[test]
fn stats_of_a_follower_return_during_reads_and_waits() {
    let place = Place::new();
    let store = place.open();
    write(&store, 0, 4, &AtomicU64::new(0));
    let reader = Place::options().read_only(true).open(place.path()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (ended, all_ended) = std::sync::mpsc::channel();
    // Not scoped: the test fails even if a thread never returns.
    let spawn = |run: fn(&Store, &AtomicBool)| {
        let (reader, done, ended) = (reader.clone(), Arc::clone(&done), ended.clone());
        thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                run(&reader, &done);
            }
            ended.send(()).unwrap();
        });
    };
    for _ in 0..2 {
        spawn(|reader, done| {
            let mut seen = 0;
            while !done.load(Ordering::SeqCst) {
                let stats = reader.stats();
                assert!(stats.events >= seen, "{} after {seen}", stats.events);
                seen = stats.events;
            }
        });
        spawn(|reader, _| {
            check_prefix(reader).unwrap();
            reader.wait_for(reader.head(), Duration::from_secs(60)).unwrap();
        });
    }
    write(&store, 0, 200, &AtomicU64::new(0));
    done.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        let in_time = all_ended.recv_timeout(Duration::from_secs(60));
        in_time.expect("no thread of the reader waits for ever, and none has failed");
    }
}
