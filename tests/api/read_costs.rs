//! The cost of reads, counted as places and records touched: it depends on what is returned, not on
//! the length of the stream or store.

use std::sync::Arc;
use std::time::Duration;

use annals::testing::{SimStorage, touched};
use annals::{
    Durability, Event, ExpectedVersion, NewEvent, Options, Position, Query, QueryItem, ReadAll,
    Store, StreamMetadata, Timestamp,
};

/// Number of events of the long stream.
const LONG: u64 = 20_000;
/// Places that finding the first event may touch, besides the events returned.
const LOOK: u64 = 150;
/// Number of ordinals of an index file that are decoded together.
const CHUNK: u64 = 1_100;

/// A simulated store with one long stream among short ones, one event per millisecond.
struct Filled {
    sim: SimStorage,
    options: Options,
    store: Store,
}

fn filled(segment_size: u64) -> Filled {
    let sim = SimStorage::new(1);
    let options = Options::new()
        .storage(Arc::new(sim.process()))
        .background(false)
        .segment_size(segment_size)
        .durability(Durability::BUFFERED);
    let store = options.clone().open("/store").unwrap();
    for batch in 0..LONG / 50 {
        sim.set_clock(at_batch(batch));
        let mut transaction = store.transaction();
        for number in 0..50 {
            let event = || NewEvent::new(["A", "B"][number % 2], "");
            let mut long = event();
            if number == 0 && batch % 20 == 3 {
                long = long.tag("rare");
            }
            transaction = transaction.append("long", ExpectedVersion::Any, [long]);
            if number % 10 == 0 {
                let short = format!("short-{}", batch % 100);
                transaction = transaction.append(short, ExpectedVersion::Any, [event()]);
            }
        }
        transaction.commit().unwrap();
    }
    Filled { sim, options, store }
}

/// The time at which a batch of 50 versions is recorded.
fn at_batch(batch: u64) -> u64 {
    1_000_000_000 + batch * 50_000
}

fn read(events: impl IntoIterator<Item = annals::Result<Event>>) -> (Vec<Event>, u64) {
    let before = touched();
    let events = events.into_iter().map(|event| event.unwrap()).collect();
    (events, touched() - before)
}

fn versions(events: &[Event]) -> Vec<u64> {
    assert!(events.iter().all(|event| event.stream() == "long"));
    events.iter().map(Event::version).collect()
}

/// Reads the long stream from every kind of start; `look` bounds the places touched to find the
/// start.
fn check_reads(store: &Store, look: u64) {
    for from in [1, 2, 777, LONG / 2, LONG - 9, LONG] {
        let (events, cost) = read(store.read_stream("long").from_version(from).limit(10));
        assert_eq!(versions(&events), (from..=LONG.min(from + 9)).collect::<Vec<_>>());
        assert!(cost <= look + 40, "10 from version {from} on touched {cost}");
        let past = store.read_stream("long").as_of(annals::AsOf::Version(from));
        let (events, cost) = read(past.backwards().limit(10));
        let expected: Vec<_> = (from.saturating_sub(9).max(1)..=from).rev().collect();
        assert_eq!(versions(&events), expected);
        assert!(cost <= look + 40, "10 back from version {from} touched {cost}");
        let position = store.read_stream("long").from_version(from).limit(1);
        let position = position.into_iter().next().unwrap().unwrap().position();
        let past = store.read_stream("long").as_of(position).backwards();
        let (events, cost) = read(past.limit(1));
        assert_eq!(versions(&events), [from]);
        assert!(cost <= 3 * look, "the newest as of {position} touched {cost}");
        let before = Position::new(position.get() - 1);
        let (events, _) = read(store.read_stream("long").as_of(before).backwards().limit(1));
        assert_eq!(versions(&events), if from > 1 { vec![from - 1] } else { vec![] });
    }
    let (events, cost) = read(store.read_stream("long").backwards().limit(1));
    assert_eq!(versions(&events), [LONG]);
    assert!(cost <= look, "the newest event touched {cost}");
    let (events, cost) = read(store.read_stream("long"));
    assert_eq!(versions(&events), (1..=LONG).collect::<Vec<_>>());
    assert!(cost <= LONG * 3 + LONG / 64 * look, "all touched {cost}");
    let (events, cost) = read(store.read_stream("long").backwards());
    assert_eq!(versions(&events), (1..=LONG).rev().collect::<Vec<_>>());
    assert!(cost <= LONG * 3 + LONG / 64 * look, "all, backwards, touched {cost}");
}

#[test]
fn stream_reads_in_the_active_segment_cost_what_they_return() {
    let Filled { options, store, .. } = filled(64 << 20);
    check_reads(&store, LOOK);
    // Events that a checkpoint covers, and events appended after it.
    store.close().unwrap();
    let store = options.clone().open("/store").unwrap();
    check_reads(&store, LOOK);
    store.append("other", ExpectedVersion::Any, [NewEvent::new("A", "")]).unwrap();
    check_reads(&store, LOOK);
}

#[test]
fn events_of_the_active_segment_are_proven_once_after_an_opening() {
    const EVENTS: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::BUFFERED);
    let store = options.clone().open(dir.path()).unwrap();
    let append = |store: &Store| {
        for _ in 0..EVENTS {
            store.append("long", ExpectedVersion::Any, [NewEvent::new("A", "")]).unwrap();
        }
    };
    append(&store);
    store.close().unwrap();
    let store = options.clone().open(dir.path()).unwrap();
    append(&store);
    store.sync().unwrap();
    let reader = options.read_only(true).open(dir.path()).unwrap();
    for opened in [&store, &reader] {
        let (events, first) = read(opened.read_stream("long"));
        let (again, second) = read(opened.read_stream("long"));
        let all: Vec<u64> = (1..=2 * EVENTS).collect();
        assert_eq!((versions(&events), versions(&again)), (all.clone(), all));
        assert!(second + EVENTS <= first, "{first}, then {second}");
        assert_eq!(read(opened.read_stream("long")).1, second);
    }
}

#[test]
fn appends_after_an_opening_keep_the_shortcuts_of_a_stream() {
    let Filled { options, store, .. } = filled(64 << 20);
    store.close().unwrap();
    let store = options.open("/store").unwrap();
    for _ in 0..100 {
        let events = [(); 40].map(|()| NewEvent::new("A", ""));
        store.append("long", ExpectedVersion::Any, events).unwrap();
    }
    // The second read finds all blocks read.
    for from in [1, 777, LONG / 2, LONG + 1, LONG + 2_000, LONG + 3_999] {
        let read = || read(store.read_stream("long").from_version(from).limit(1));
        read();
        let (events, cost) = read();
        assert_eq!(versions(&events), [from]);
        assert!(cost <= 45, "version {from} touched {cost}");
    }
}

#[test]
fn stream_reads_in_sealed_segments_cost_what_they_return() {
    let Filled { options, store, .. } = filled(1 << 19);
    let look = CHUNK + LOOK;
    assert!(store.stats().sealed_segments > 1);
    check_reads(&store, look);
    store.compact().unwrap();
    check_reads(&store, look);
    store.close().unwrap();
    let store = options.open("/store").unwrap();
    check_reads(&store, look);
}

#[test]
fn hidden_events_of_a_stream_add_nothing_to_the_cost_of_a_read() {
    for segment_size in [64 << 20, 1 << 19] {
        let Filled { sim, store, .. } = filled(segment_size);
        let look = if segment_size > 1 << 20 { LOOK } else { 2 * (CHUNK + LOOK) };
        look_through(&store);
        let check = |expected: std::ops::RangeInclusive<u64>, look: u64| {
            let (events, cost) = read(store.read_stream("long").limit(10));
            let first = expected.clone().take(10).collect::<Vec<_>>();
            assert_eq!(versions(&events), first);
            assert!(cost <= look + 40, "the first 10 shown touched {cost}");
            let (events, cost) = read(store.read_stream("long").backwards());
            assert_eq!(versions(&events), expected.clone().rev().collect::<Vec<_>>());
            let count = events.len() as u64;
            assert!(cost <= look + count * 20, "{count} shown, backwards, touched {cost}");
            let query = Query::none().or(QueryItem::new().stream("long"));
            for limit in [10, u64::MAX] {
                let (events, cost) =
                    read(store.read_all().matching(query.clone()).backwards().limit(limit));
                let count = (events.len() as u64).min(limit);
                assert!(
                    versions(&events).into_iter().eq(expected.clone().rev().take(events.len()))
                );
                assert!(cost <= 2 * look + count * 20, "{count} by query touched {cost}");
            }
            let (events, cost) = read(store.read_all().matching(query).limit(10));
            assert_eq!(versions(&events), first);
            assert!(cost <= 2 * look + 400, "the first 10 by query touched {cost}");
        };
        store.set_stream_metadata("long", StreamMetadata::new().max_count(10)).unwrap();
        check(LONG - 9..=LONG, look);
        store.set_stream_metadata("long", StreamMetadata::new()).unwrap();
        store.truncate_before("long", LONG - 99).unwrap();
        check(LONG - 99..=LONG, look);
        store.truncate_before("long", 1).unwrap();
        let newest = at_batch(LONG / 50 - 1);
        for (batches, shown) in [(0, 50), (1, 100), (9, 500)] {
            sim.set_clock(newest + batches * 50_000);
            let age = Duration::from_micros(batches * 2 * 50_000 + 20_000);
            store.set_stream_metadata("long", StreamMetadata::new().max_age(age)).unwrap();
            // One look per bit of the stream's length.
            check(LONG - shown + 1..=LONG, look * 16);
        }
        sim.set_clock(newest + 10_000_000_000);
        let (events, cost) = read(store.read_stream("long"));
        assert!(events.is_empty() && cost <= look * 16, "nothing shown touched {cost}");
        let (events, cost) = read(store.read_stream("long").include_hidden().limit(1));
        assert!(versions(&events) == [1] && cost <= look, "the first touched {cost}");
        assert_eq!(store.position_at(Timestamp::from_micros(newest)).unwrap(), store.head());
    }
}

fn queries() -> Vec<Query> {
    let item = QueryItem::new;
    let one = |item: QueryItem| Query::none().or(item);
    vec![
        one(item().types(["A"])),
        one(item().types(["A", "B"])),
        one(item().tags(["rare"])),
        one(item().types(["A"]).tags(["rare"])),
        one(item().category("short")),
        one(item().stream("long")),
        one(item().stream("short-7")),
        one(item().tags(["rare"])).or(item().stream("short-7").types(["A"])),
        one(item().stream("short-1")).or(item().category("long").after(17_000_u64)),
        one(item().tags(["nobody"])),
    ]
}

fn positions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.position().get()).collect()
}

/// Some events of each query, from several starts and in both directions.
fn check_queries(store: &Store, look: u64) {
    let all: Vec<Event> = store.read_all().into_iter().map(|event| event.unwrap()).collect();
    let head = store.head().get();
    for query in queries() {
        let matching: Vec<u64> =
            all.iter().filter(|e| e.matches(&query)).map(|e| e.position().get()).collect();
        let read_all = || store.read_all().matching(query.clone());
        let check = |events: ReadAll, expected: Vec<u64>, look: u64| {
            let (events, cost) = read(events);
            assert_eq!(positions(&events), expected, "{query:?}");
            assert!(cost <= look + 40 * 3, "{} of {query:?} touched {cost}", events.len());
        };
        for at in [0, 1, 5_000, head / 2, head - 9, head] {
            let after = matching.partition_point(|&position| position <= at);
            let (before, behind) = matching.split_at(after);
            let some = |positions: &[u64]| positions.iter().take(10).copied().collect::<Vec<_>>();
            check(read_all().after(at).limit(10), some(behind), look);
            let newest: Vec<u64> = before.iter().rev().copied().collect();
            let past = read_all().as_of(Position::new(at)).backwards();
            check(past.limit(10), some(&newest), look);
            check(read_all().as_of(Position::new(at)).limit(10), some(before), look);
        }
        check(
            read_all().backwards().limit(1),
            matching.last().copied().into_iter().collect(),
            look,
        );
        let (events, cost) = read(read_all());
        assert_eq!(positions(&events), matching);
        assert!(cost <= look * (1 + all.len() as u64 / 1_000) + matching.len() as u64 * 5);
    }
}

/// The first query scans the events; the second makes the segment index its terms.
fn look_through(store: &Store) {
    for _ in 0..2 {
        let (_, cost) = read(store.read_all().matching(Query::tagged(["nobody"])));
        assert!(cost <= 4 * store.head().get(), "looking through it touched {cost}");
    }
}

#[test]
fn queries_of_the_active_segment_cost_what_they_return_once_it_is_indexed() {
    let Filled { options, store, .. } = filled(64 << 20);
    let newest = || {
        let (events, cost) =
            read(store.read_all().matching(Query::types(["B"])).backwards().limit(10));
        assert_eq!(events.len(), 10);
        cost
    };
    // Nothing is indexed yet, and the newest events are near.
    assert!(newest() < 200);
    look_through(&store);
    check_queries(&store, 800);
    // The cost stays the same while events are appended.
    for _ in 0..100 {
        store.append("long", ExpectedVersion::Any, [NewEvent::new("A", "")]).unwrap();
    }
    check_queries(&store, 1_000);
    store.close().unwrap();
    let store = options.open("/store").unwrap();
    look_through(&store);
    check_queries(&store, 800);
}

#[test]
fn queries_of_sealed_segments_cost_what_they_return() {
    let Filled { store, .. } = filled(1 << 19);
    // Each of a few lists, in each of a few index files, is decoded from the beginning of a chunk.
    let look = 10 * (CHUNK + LOOK);
    check_queries(&store, look);
    store.compact().unwrap();
    check_queries(&store, look);
}
