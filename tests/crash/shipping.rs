//! Copies of a log that end early: by a power loss at any operation, or because the store lost what was not synced.

use std::path::Path;

use annals::shipping::{LogCopy, LogEnd, Until};
use annals::testing::{Crash, Keep, SimStorage};
use annals::{Durability, Position, Result, Store};

use super::support::*;

const COPY: &str = "/copy";
/// Six events fill a segment.
const LARGE: usize = 9_000;

/// The log of a store, read into memory: segments and the end.
struct Shipped {
    id: annals::Uuid,
    segments: Vec<Vec<u8>>,
    end: LogEnd,
}

fn ship(store: &Store) -> Shipped {
    let log = store.durable_log().unwrap();
    let segments = log.segments().map(|segment| {
        let mut bytes = vec![0; usize::try_from(segment.len()).unwrap()];
        segment.read_at(&mut bytes, 0).unwrap();
        bytes
    });
    Shipped { id: log.store_id(), segments: segments.collect(), end: log.end() }
}

/// Brings a copy up to what was shipped, from wherever it ended.
fn restore(sim: &SimStorage, shipped: &Shipped) -> Result<()> {
    let mut copy = LogCopy::open_on(sim, Path::new(COPY), shipped.id)?;
    let before = copy.end();
    let create = |number: u64, len: usize| -> Result<()> {
        let mut file = copy.create_segment(number)?;
        file.write(&shipped.segments[number as usize - 1][..len])?;
        file.finish()
    };
    for (bytes, number) in shipped.segments.iter().zip(1..) {
        let Some(before) = before else {
            create(number, bytes.len())?;
            continue;
        };
        if number < before.segment {
            continue;
        }
        if number < shipped.end.segment {
            create(number + 1, DATA_START as usize)?;
        }
        let from = if number == before.segment { before.offset } else { DATA_START };
        let mut file = copy.extend_segment(number, from)?;
        file.write(&bytes[from as usize..])?;
        file.finish()?;
    }
    copy.finish(&shipped.end)
}

fn events_in_copy(sim: &SimStorage) -> Option<u64> {
    let copy = options(sim).read_only(true).create(false).open(COPY).ok()?;
    assert!(!matches!(copy.opened(), annals::Opened::Damaged { .. }), "{:?}", copy.opened());
    Some(read_back(&copy, LARGE).expect("the copy is read"))
}

#[test]
fn copy_that_ends_at_any_operation_is_no_store_or_as_it_was_before() {
    let sim = SimStorage::new(21);
    let store = open(&sim).unwrap();
    append(&store, 1, 9, LARGE);
    let first = ship(&store);
    append(&store, 10, 27, LARGE);
    let second = ship(&store);
    stop(&sim, store);
    for (begins, shipped, least, last) in [(None, &first, 0, 9), (Some(&first), &second, 9, 27)] {
        let mut ended = 0;
        for operations in 0.. {
            let sim = sim.fork();
            if let Some(first) = begins {
                restore(&sim, first).unwrap();
            }
            sim.fail_after_ops(operations);
            let done = restore(&sim, shipped);
            sim.crash(Crash::new(operations).keep(Keep::Random));
            let found = events_in_copy(&sim);
            if done.is_ok() {
                assert_eq!(found, Some(last));
                break;
            }
            ended += 1;
            let whole = found.is_none_or(|found| found == last || (least..last).contains(&found));
            assert!(whole && (least == 0 || found.is_some()), "{operations}: {found:?}");
            restore(&sim, shipped).unwrap();
            assert_eq!(events_in_copy(&sim), Some(last), "continued after {operations}");
        }
        assert!(ended > 12, "{ended} ended");
    }
}

#[test]
fn copy_is_cut_after_each_commit() {
    let sim = SimStorage::new(22);
    let store = open(&sim).unwrap();
    append(&store, 1, 20, LARGE);
    let shipped = ship(&store);
    stop(&sim, store);
    for position in 1..=20_u64 {
        let sim = sim.fork();
        let mut copy = LogCopy::open_on(&sim, Path::new(COPY), shipped.id).unwrap();
        for (bytes, number) in shipped.segments.iter().zip(1..) {
            let mut file = copy.create_segment(number).unwrap();
            file.write(bytes).unwrap();
            file.finish().unwrap();
        }
        let last = 1 + (position - 1) / 6;
        let end = copy.cut(last, Until::Position(Position::new(position))).unwrap().unwrap();
        assert_eq!((end.position, end.segment), (position, last));
        copy.finish(&end).unwrap();
        drop(copy);
        sim.crash(Crash::new(position).keep(Keep::Nothing));
        assert_eq!(events_in_copy(&sim), Some(position));
        let store = options(&sim).open(COPY).unwrap();
        append(&store, position + 1, position + 7, LARGE);
        assert_eq!(read_back(&store, LARGE).unwrap(), position + 7);
        drop(store);
    }
}

#[test]
fn shipped_log_is_durable_in_the_store() {
    for beside in [false, true] {
        let sim = SimStorage::new(23);
        let interval = std::time::Duration::from_secs(3600);
        let buffered = options(&sim).durability(Durability::Buffered { interval });
        let store = buffered.open(ROOT).unwrap();
        append(&store, 1, 9, LARGE);
        let reader = options(&sim).read_only(true).open(ROOT).unwrap();
        let shipped = ship(if beside { &reader } else { &store });
        assert_eq!(shipped.end.position, 9);
        sim.crash(Crash::new(0).keep(Keep::Nothing));
        drop((store, reader));
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, LARGE).unwrap(), 9, "beside: {beside}");
        assert!(store.durable_log().unwrap().contains(&shipped.end).unwrap());
    }
}
