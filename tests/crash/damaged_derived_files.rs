//! Damage in parts of derived files that the opening does not read. It is detected by a look-up and
//! repaired there: every answer is complete and right, and no fault is left after a close.

use std::path::Path;

use annals::testing::{SimStorage, verify_on};
use annals::{
    Error, ExpectedRecord, ExpectedVersion, NewEvent, Opened, Options, Result, Store, Uuid,
};

use super::support::{ROOT, files_in, index, options, segment};

const EVENTS: u64 = 500;
const STREAMS: u64 = 180;
const RECORDS: u64 = 40;
const BLOCK: u64 = 4096;

/// Opens so that each close writes a checkpoint.
fn open(sim: &SimStorage) -> Result<Store> {
    options(sim).small_checkpoint(1 << 20).open(ROOT)
}

/// Long names make the checkpoint several blocks long.
fn stream_of(number: u64) -> String {
    format!("stream-{:0>90}", number % STREAMS)
}

fn key_of(number: u64) -> String {
    format!("view/{number:0>60}")
}

fn id_of(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn event(number: u64) -> NewEvent {
    NewEvent::new(format!("Type{}", number % 3), number.to_le_bytes().to_vec()).id(id_of(number))
}

fn append(store: &Store, number: u64) {
    let done = store.append(stream_of(number), ExpectedVersion::Any, [event(number)]).unwrap();
    assert_eq!((done.last_position.get(), done.version), (number, (number - 1) / STREAMS + 1));
    assert!(!done.already_recorded);
}

fn closed() -> SimStorage {
    let sim = SimStorage::new(11);
    let store = open(&sim).unwrap();
    for number in 1..=EVENTS {
        append(&store, number);
    }
    store.cursors().reset("cursor", 7_u64).unwrap();
    let mut transaction = store.transaction();
    for number in 1..=RECORDS {
        let value = number.to_le_bytes().to_vec();
        transaction = transaction.put(key_of(number), value, ExpectedRecord::NoRecord);
    }
    transaction.commit().unwrap();
    store.close().unwrap();
    sim
}

/// Damages the index file of a segment.
type Damage = fn(&SimStorage, u64);
/// Asks one thing of a store of a number of events, and asserts the answer.
type Question = fn(&Store, u64);

/// Every kind of look-up in a store with `events` events.
const QUESTIONS: [(&str, Question); 11] = [
    ("heads", |store, events| {
        for number in 1..=STREAMS {
            let head = store.stream_head(&stream_of(number)).unwrap().unwrap();
            assert_eq!(head.version, (events - number) / STREAMS + 1);
        }
        assert_eq!(store.stream_head("another").unwrap(), None);
    }),
    ("ids", |store, events| {
        for number in 1..=events {
            let found = store.event(id_of(number)).unwrap().unwrap();
            assert_eq!(found.position().get(), number);
        }
        assert!(store.event(id_of(events + 1)).unwrap().is_none());
    }),
    ("positions", |store, events| {
        for number in 1..=events {
            let found = store.event_at(number.into()).unwrap().unwrap();
            assert_eq!((found.id(), found.stream()), (id_of(number), stream_of(number).as_str()));
        }
    }),
    ("streams", |store, events| {
        for number in 1..=STREAMS {
            let read = store.read_stream(stream_of(number));
            let read: Vec<u64> = read.into_iter().map(|e| e.unwrap().position().get()).collect();
            let step = usize::try_from(STREAMS).unwrap();
            assert_eq!(read, (number..=events).step_by(step).collect::<Vec<_>>());
        }
    }),
    ("a listing", |store, _| {
        let listed: Vec<String> = store.streams().into_iter().map(|s| s.unwrap().name).collect();
        let mut names: Vec<String> = (1..=STREAMS).map(stream_of).collect();
        names.sort_unstable();
        assert_eq!(listed, names);
    }),
    ("everything", |store, events| {
        let read = store.read_all().into_iter().map(|e| e.unwrap().id());
        assert!(read.eq((1..=events).map(id_of)));
    }),
    ("a repeated append", |store, events| {
        for number in (1..=events).step_by(37) {
            let stream = stream_of(number);
            let done = store.append(stream, ExpectedVersion::Any, [event(number)]);
            match done {
                Ok(done) => assert!(done.already_recorded),
                Err(Error::ReadOnly) => return,
                Err(error) => panic!("{error:?}"),
            }
        }
    }),
    ("a refused append", |store, events| {
        for number in 1..=STREAMS {
            let new = [NewEvent::new("Never", "")];
            let error =
                store.append(stream_of(number), ExpectedVersion::NoStream, new).unwrap_err();
            if matches!(error, Error::ReadOnly) {
                return;
            }
            let version = (events - number) / STREAMS + 1;
            assert_eq!(error.actual_version(), Some(version), "{error:?}");
        }
    }),
    ("records", |store, _| {
        for number in 1..=RECORDS {
            let found = store.records().get(&key_of(number)).unwrap().unwrap();
            assert_eq!((&found.value[..], found.version), (&number.to_le_bytes()[..], 1));
        }
        assert_eq!(store.records().get("view").unwrap(), None);
    }),
    ("a listing of records", |store, _| {
        let keys: Vec<String> = store.records().list().map(|r| r.unwrap().key).collect();
        assert_eq!(keys, (1..=RECORDS).map(key_of).collect::<Vec<_>>());
    }),
    ("a cursor", |store, _| {
        assert_eq!(store.cursors().get("cursor").unwrap(), Some(7.into()));
    }),
];

fn ask(store: &Store, events: u64, first: usize) {
    for (_, question) in QUESTIONS[first..].iter().chain(&QUESTIONS[..first]) {
        question(store, events);
    }
}

/// Closes the store, and asserts that nothing of the damage is left.
fn hold_closed(name: &str, sim: &SimStorage, store: Store, events: u64) {
    store.close().unwrap();
    let store = open(sim).unwrap();
    assert_eq!(*store.opened(), Opened::Clean, "{name}");
    ask(&store, events, 0);
    store.close().unwrap();
    let report = verify_on(&sim.process(), ROOT, |_| {}).unwrap();
    // A checkpoint that an opening could not use is kept until the second one after it is written.
    let newest = files_in(sim, "checkpoints").pop().unwrap();
    let faults = report.faults.iter().filter(|fault| {
        !fault.file.starts_with("/store/checkpoints") || fault.file == Path::new(&newest)
    });
    assert_eq!(faults.count(), 0, "{name}: {:?}", report.faults);
}

/// Offsets to damage in the newest checkpoint: two in each block.
fn places(sim: &SimStorage, path: &str) -> Vec<u64> {
    let len = sim.read_file(path).unwrap().len() as u64;
    assert!(len > 5 * BLOCK, "the checkpoint has {len} bytes");
    places_in(len)
}

fn places_in(len: u64) -> Vec<u64> {
    (0..len)
        .step_by(usize::try_from(BLOCK).unwrap() / 2)
        .map(|at| (at + 777).min(len - 1))
        .collect()
}

#[test]
fn damaged_checkpoint_block_changes_no_answer() {
    let base = closed();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    for at in places(&base, &path) {
        for (first, (question, _)) in QUESTIONS.iter().enumerate() {
            let name = format!("byte {at}, {question}");
            let sim = base.fork();
            sim.flip_bit(&path, at, 3).unwrap();
            let store = open(&sim).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            ask(&store, EVENTS, first);
            drop(store);
        }
    }
}

#[test]
fn damaged_checkpoint_block_beside_damaged_index_files_changes_no_answer() {
    let base = closed();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    let count = files_in(&base, "index").len() as u64;
    assert!(count >= 1);
    for at in places(&base, &path) {
        for first in 0..QUESTIONS.len() {
            let sim = base.fork();
            sim.flip_bit(&path, at, 3).unwrap();
            (1..=count).for_each(|number| sim.corrupt(index(number), |b| b.fill(0)).unwrap());
            let store = open(&sim).unwrap();
            ask(&store, EVENTS, first);
            append(&store, EVENTS + 1);
            hold_closed(&format!("byte {at}, {first}"), &sim, store, EVENTS + 1);
        }
    }
}

#[test]
fn damaged_checkpoint_block_met_by_appends_or_the_close_is_replaced() {
    let base = closed();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    for at in places(&base, &path) {
        // One of the last counts makes the segment roll over: its index is built from what the
        // checkpoint held.
        for more in [1, 5, 200] {
            let name = format!("byte {at}, {more} more");
            let sim = base.fork();
            sim.flip_bit(&path, at, 3).unwrap();
            let store = open(&sim).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            for number in EVENTS + 1..=EVENTS + more {
                append(&store, number);
            }
            assert_eq!(store.stats().maintenance_failures, 0, "{name}");
            hold_closed(&name, &sim, store, EVENTS + more);
        }
    }
}

#[test]
fn damaged_checkpoint_block_changes_no_answer_of_a_follower() {
    let base = closed();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    for at in places(&base, &path) {
        let sim = base.fork();
        sim.flip_bit(&path, at, 3).unwrap();
        let read = |options: Options| -> Result<Store> { options.read_only(true).open(ROOT) };
        let reader = read(options(&sim)).unwrap();
        let writer = open(&sim).unwrap();
        for number in EVENTS + 1..=EVENTS + 40 {
            append(&writer, number);
        }
        ask(&reader, EVENTS + 40, 0);
        let late = read(options(&sim)).unwrap();
        ask(&late, EVENTS + 40, 3);
        ask(&writer, EVENTS + 40, 0);
    }
}

#[test]
fn damaged_checkpoint_block_with_a_tail_after_it_is_replaced() {
    // With frames after the checkpoint, the opening itself looks streams up in it.
    let base = closed();
    let store = open(&base).unwrap();
    for number in EVENTS + 1..=EVENTS + 30 {
        append(&store, number);
    }
    super::support::stop(&base, store);
    let path = files_in(&base, "checkpoints").pop().unwrap();
    for at in places(&base, &path) {
        let sim = base.fork();
        sim.flip_bit(&path, at, 3).unwrap();
        let store = open(&sim).unwrap();
        ask(&store, EVENTS + 30, 1);
        append(&store, EVENTS + 31);
        hold_closed(&format!("byte {at}"), &sim, store, EVENTS + 31);
    }
}

#[test]
fn damaged_checkpoint_ahead_of_the_log_is_evidence_by_its_first_block() {
    let base = closed();
    let future = base.fork();
    let store = open(&future).unwrap();
    for number in EVENTS + 1..=EVENTS + 10 {
        append(&store, number);
    }
    store.close().unwrap();
    let path = files_in(&future, "checkpoints").pop().unwrap();
    let whole = future.read_file(&path).unwrap();
    for block in 0..whole.len() as u64 / BLOCK {
        let sim = base.fork();
        sim.write_file(&path, &whole).unwrap();
        sim.flip_bit(&path, block * BLOCK + 99, 0).unwrap();
        let opened = open(&sim);
        match block {
            0 => drop(opened.unwrap()),
            _ => assert!(matches!(opened, Err(Error::Corrupt { .. })), "block {block}"),
        }
    }
}

#[test]
fn damaged_index_files_are_rebuilt_when_first_needed() {
    let base = closed();
    let count = files_in(&base, "index").len() as u64;
    assert!(count >= 1 && files_in(&base, "log").len() as u64 > count);
    let damages: [(&str, Damage); 4] = [
        ("empty", |sim, number| sim.corrupt(index(number), Vec::clear).unwrap()),
        ("zeros", |sim, number| sim.corrupt(index(number), |bytes| bytes.fill(0)).unwrap()),
        ("cut", |sim, number| sim.corrupt(index(number), |b| b.truncate(b.len() / 2)).unwrap()),
        ("another's", |sim, number| {
            let other = SimStorage::new(77);
            let store = open(&other).unwrap();
            for number in 1..=EVENTS {
                append(&store, number);
            }
            store.close().unwrap();
            sim.write_file(index(number), &other.read_file(index(number)).unwrap()).unwrap();
        }),
    ];
    for (name, damage) in damages {
        for first in 0..QUESTIONS.len() {
            let sim = base.fork();
            (1..=count).for_each(|number| damage(&sim, number));
            let store = open(&sim).unwrap();
            assert_eq!(*store.opened(), Opened::Clean, "{name}");
            ask(&store, EVENTS, first);
            hold_closed(name, &sim, store, EVENTS);
        }
    }
    // A missing index file means that its segment was not sealed completely; rebuilding it needs
    // another index file, which is damaged.
    let sim = base.fork();
    let store = open(&sim).unwrap();
    for number in EVENTS + 1..=EVENTS + 900 {
        append(&store, number);
    }
    store.close().unwrap();
    let events = EVENTS + 900;
    for (missing, damaged) in [(2, 1), (3, 1), (3, 2)] {
        assert!(sim.read_file(index(missing)).is_ok() && sim.read_file(segment(4)).is_ok());
        let sim = sim.fork();
        super::support::remove(&sim, &index(missing));
        sim.corrupt(index(damaged), Vec::clear).unwrap();
        let store = open(&sim).unwrap();
        ask(&store, events, 0);
        hold_closed("missing and damaged", &sim, store, events);
        let sim = base.fork();
        sim.corrupt(index(1), Vec::clear).unwrap();
        ask(&open(&sim).unwrap(), EVENTS, 3);
    }
}

fn fill(store: &Store, events: u64) {
    for _ in 0..events {
        let filler = [NewEvent::new("Filler", vec![1; 9_000])];
        store.append("filler", ExpectedVersion::Any, filler).unwrap();
    }
}

/// Looks up heads, streams and ids, none of which concern the events that fill the segments.
fn ask_of_heads(store: &Store) {
    for question in [0, 3, 1] {
        QUESTIONS[question].1(store, EVENTS);
    }
}

#[test]
fn damaged_checkpoint_block_at_the_end_of_a_level_file_changes_no_answer() {
    let base = closed();
    for at in 0.. {
        let sim = base.fork();
        let store = open(&sim).unwrap();
        fill(&store, 24);
        assert_eq!(store.compact().unwrap().merges, 1);
        let path = files_in(&sim, "checkpoints").pop().unwrap();
        // It was written when a segment was full, and has no heads.
        let len = sim.read_file(&path).unwrap().len() as u64;
        let Some(&place) = places_in(len).get(at) else { break };
        sim.flip_bit(&path, place, 3).unwrap();
        ask_of_heads(&store);
        assert_eq!(store.stream_head("filler").unwrap().unwrap().version, 24);
        store.close().unwrap();
        let store = open(&sim).unwrap();
        ask_of_heads(&store);
        assert_eq!(store.stats().level_files, 1, "byte {place}");
    }
}

/// A reader keeps the checkpoint that it was opened with, and opens the files that the writer
/// merges.
#[test]
fn damaged_checkpoint_block_within_a_level_file_changes_no_answer_of_a_follower() {
    let base = closed();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    for place in places(&base, &path) {
        let sim = base.fork();
        sim.flip_bit(&path, place, 3).unwrap();
        let reader = options(&sim).read_only(true).open(ROOT).unwrap();
        let writer = open(&sim).unwrap();
        for filled in [6, 12, 18, 24] {
            fill(&writer, 6);
            let position = (EVENTS + filled).into();
            assert!(reader.wait_for(position, std::time::Duration::ZERO).unwrap());
        }
        assert_eq!(writer.compact().unwrap().merges, 1);
        ask_of_heads(&reader);
        assert_eq!(reader.stream_head("filler").unwrap().unwrap().version, 24);
    }
}

#[test]
fn damaged_level_files_are_rebuilt_when_first_needed() {
    let base = closed();
    let store = open(&base).unwrap();
    for number in EVENTS + 1..=EVENTS + 900 {
        append(&store, number);
    }
    let events = EVENTS + 900;
    assert_eq!(store.compact().unwrap().merges, 1);
    store.close().unwrap();
    let path = files_in(&base, "index").pop().unwrap();
    assert_eq!(files_in(&base, "index").len(), 1);
    let whole = base.read_file(&path).unwrap();
    let damages: [fn(&mut Vec<u8>); 4] = [
        Vec::clear,
        |bytes| bytes.fill(0),
        |bytes| bytes.truncate(bytes.len() / 2),
        // The last byte before the footer, part of a block's checksum.
        |bytes| {
            let at = bytes.len() - 17;
            bytes[at] ^= 1;
        },
    ];
    let blocks = (0..whole.len() as u64).step_by(3 * 4096).map(|at| at + 77);
    for damage in damages.into_iter().map(Ok).chain(blocks.map(Err)) {
        for first in 0..QUESTIONS.len() {
            let sim = base.fork();
            match damage {
                Ok(damage) => sim.corrupt(&path, damage).unwrap(),
                Err(at) => sim.flip_bit(&path, at, 3).unwrap(),
            }
            let store = open(&sim).unwrap();
            assert_eq!(*store.opened(), Opened::Clean);
            ask(&store, events, first);
            store.compact().unwrap();
            assert_eq!(store.stats().level_files, 1);
            ask(&store, events, first);
            hold_closed("a level file", &sim, store, events);
        }
    }
}
