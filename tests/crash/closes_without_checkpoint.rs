//! Closes that do not replace the newest checkpoint: their cost, and that the tail after the
//! checkpoint is as safe as the events that it covers.

use annals::testing::SimStorage;
use annals::{Durability, ExpectedVersion, NewEvent, Opened, Position, Query, QueryItem, Store};

use super::bit_flips::{flip_each, hold_flip};
use super::support::*;

const SIZE: usize = 24;

/// A store whose checkpoints are so large that a close may keep the newest one.
fn large(sim: &SimStorage) -> Store {
    options(sim).segment_size(32 << 20).durability(Durability::BUFFERED).open(ROOT).unwrap()
}

fn fill(store: &Store, streams: u64, events: u64) {
    for batch in 0..events / 100 {
        let mut transaction = store.transaction();
        for number in batch * 100..batch * 100 + 100 {
            let stream = format!("s-{}", number % streams);
            transaction =
                transaction.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")]);
        }
        transaction.commit().unwrap();
    }
}

/// Runs one short session; returns the bytes written, and the bytes read by the opening.
fn session(sim: &SimStorage) -> (u64, u64) {
    let before = sim.stats();
    let store = large(sim);
    assert_eq!(*store.opened(), Opened::Clean);
    let opened = sim.stats();
    store.append("s-1", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    store.close().unwrap();
    (sim.stats().bytes_written - opened.bytes_written, opened.bytes_read - before.bytes_read)
}

#[test]
fn short_session_on_a_large_store_writes_and_reads_little() {
    let mut costs = Vec::new();
    for events in [20_000, 40_000, 80_000] {
        let sim = SimStorage::new(3);
        let store = large(&sim);
        fill(&store, events / 10, events);
        store.close().unwrap();
        let checkpoint = files_in(&sim, "checkpoints").pop().unwrap();
        let len = sim.read_file(checkpoint).unwrap().len() as u64;
        assert!(len > 256 << 10, "{len}");
        costs.push(session(&sim));
        costs.push(session(&sim));
    }
    for (written, read) in &costs {
        assert!(*written < 4 << 10, "written and read: {costs:?}");
        assert!(*read < 128 << 10, "written and read: {costs:?}");
    }
}

#[test]
fn many_short_sessions_write_a_constant_times_what_they_append() {
    let sim = SimStorage::new(4);
    let store = large(&sim);
    fill(&store, 100, 10_000);
    store.close().unwrap();
    let begin = sim.stats().bytes_written;
    let used = |sim: &SimStorage| {
        let store = options(sim).segment_size(32 << 20).read_only(true).open(ROOT).unwrap();
        store.stats().log_bytes
    };
    let (first, mut most_read) = (used(&sim), 0);
    for _ in 0..50 {
        let store = large(&sim);
        fill(&store, 100, 300);
        store.close().unwrap();
        most_read = most_read.max(session(&sim).1);
    }
    let (written, appended) = (sim.stats().bytes_written - begin, used(&sim) - first);
    assert!(appended > 3 << 18, "{appended}");
    assert!(written < appended * 10, "{written} bytes written for {appended}");
    // The tail stays within its bound.
    assert!(most_read < 2 << 20, "an opening read {most_read} bytes");
    let listed = files_in(&sim, "checkpoints");
    assert_eq!(listed.len(), 2, "{listed:?}");
}

/// A store that was closed with a checkpoint of four events, and closed again with six events.
fn with_tail() -> SimStorage {
    let sim = SimStorage::new(7);
    let store = open(&sim).unwrap();
    append(&store, 1, 4, SIZE);
    store.close().unwrap();
    let checkpoints = files_in(&sim, "checkpoints");
    let store = options(&sim).small_checkpoint(0).open(ROOT).unwrap();
    append(&store, 5, 6, SIZE);
    store.close().unwrap();
    assert_eq!(files_in(&sim, "checkpoints"), checkpoints);
    sim
}

#[test]
fn tail_that_no_checkpoint_covers_is_read_by_the_next_opening() {
    let sim = with_tail();
    for reopened in 0..3 {
        let store = options(&sim).small_checkpoint(0).open(ROOT).unwrap();
        assert_eq!(*store.opened(), Opened::Clean, "{reopened}");
        assert_eq!(read_back(&store, SIZE).unwrap(), 6);
        store.close().unwrap();
    }
    let store = open(&sim).unwrap();
    append(&store, 7, 9, SIZE);
    store.close().unwrap();
    hold("a checkpoint of all", &sim, SIZE, Expected::Whole(9));
}

#[test]
fn damage_to_a_tail_that_no_checkpoint_covers_is_refused() {
    let base = with_tail();
    let frames = frames_of(&base, 1);
    let path = segment(1);
    let len = sim_len(&base, &path);
    // The frames before the tail: a session, four commits, a close.
    for frame in &frames[6..] {
        let (name, from) = (format!("the log from {}", frame.offset), frame.offset);
        let sim = base.fork();
        zero(&sim, &path, from, len - from);
        // The last frame is the close frame; losing it loses no event.
        let is_close = from == frames.last().unwrap().offset;
        let expected = if is_close { Expected::Whole(6) } else { Expected::Refused };
        hold(&format!("{name} zeroed"), &sim, SIZE, expected);
        let sim = base.fork();
        zero(&sim, &path, from, 8);
        let expected = if is_close { Expected::NothingWrong } else { Expected::Refused };
        hold(&format!("{name} damaged"), &sim, SIZE, expected);
    }
    let sim = base.fork();
    remove(&sim, &path);
    hold("the only segment missing", &sim, SIZE, Expected::Refused);
    for directory in ["checkpoints", "index"] {
        let sim = base.fork();
        remove_all(&sim, directory);
        hold(&format!("{directory} missing"), &sim, SIZE, Expected::Whole(6));
    }
    let sim = base.fork();
    remove(&sim, &format!("{ROOT}/STATUS"));
    hold("the status missing", &sim, SIZE, Expected::Whole(6));
}

#[test]
fn flipped_bits_in_a_tail_that_no_checkpoint_covers_show_nothing_wrong() {
    let base = with_tail();
    for path in [segment(1), format!("{ROOT}/STATUS")] {
        flip_each(&base, &path, |sim, offset| {
            hold_flip(&format!("{path} at {offset}"), sim, 6, 6);
        });
    }
}

fn sim_len(sim: &SimStorage, path: &str) -> u64 {
    sim.read_file(path).unwrap().len() as u64
}

/// A name, and look-ups in a store.
type LookUp = (&'static str, fn(&Store));

#[test]
fn first_look_ups_after_an_opening_read_no_file_under_the_catalogs_lock() {
    let sim = SimStorage::new(4);
    let store = large(&sim);
    fill(&store, 2_000, 20_000);
    store.close().unwrap();
    // The simulated disk panics if it is used with such a lock held. Each look-up needs blocks of the
    // checkpoint that were not read before.
    let look_ups: [LookUp; 8] = [
        ("head", |store| assert_eq!(store.stream_head("s-77").unwrap().unwrap().version, 10)),
        ("append", |store| {
            store.append("s-77", ExpectedVersion::Exact(10), [NewEvent::new("T", "")]).unwrap();
        }),
        ("append to a new stream", |store| {
            store.append("new", ExpectedVersion::NoStream, [NewEvent::new("T", "")]).unwrap();
        }),
        ("append with an id", |store| {
            let event = NewEvent::new("T", "").id(id_of(1));
            store.append("s-77", ExpectedVersion::Any, [event]).unwrap();
        }),
        ("event", |store| assert!(store.event_at(Position::new(5_000)).unwrap().is_some())),
        ("stream", |store| assert_eq!(store.read_stream("s-77").into_iter().count(), 10)),
        ("query", |store| {
            let query = Query::from(QueryItem::new().stream("s-77"));
            assert_eq!(store.read_all().matching(query).into_iter().count(), 10);
        }),
        ("streams", |store| assert_eq!(store.streams().into_iter().count(), 2_000)),
    ];
    for (name, look_up) in look_ups {
        let sim = sim.fork();
        let store = large(&sim);
        let before = sim.stats().reads;
        look_up(&store);
        assert!(sim.stats().reads > before, "{name} read nothing");
    }
}
