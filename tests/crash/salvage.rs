//! Intact events of broken commits: a repair hands out each of them, and nothing that is not one.

use std::io;
use std::sync::Arc;

use annals::testing::{SimStorage, Storage, repair_and_salvage_on};
use annals::{Error, ExpectedVersion, NewEvent, repair::RepairOptions};

use super::repaired::{Salvaged, all, hold_with_salvage};
use super::support::*;

/// One commit of many small events.
fn one_commit(events: u64) -> SimStorage {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 1, 100);
    let many = (2..=events).map(|number| event(number, 20));
    store.append("many", ExpectedVersion::Any, many).unwrap();
    append(&store, events + 1, events + 1, 100);
    store.close().unwrap();
    sim
}

#[test]
fn events_after_a_lost_block_of_a_commit_are_salvaged() {
    let base = one_commit(151);
    let frame = frames_of(&base, 1)[2];
    assert_eq!((frame.kind, frame.first_position), (1, 2));
    let store = options(&base).read_only(true).open(ROOT).unwrap();
    let original = all(&store);
    drop(store);
    // A block in the middle: the position of the next intact event does not follow from the one before it.
    let sim = base.fork();
    zero(&sim, &segment(1), frame.offset + 2048, 4096);
    let (report, salvaged) = hold_with_salvage("a lost block", &sim, &original);
    assert_eq!(report.gaps[0].missing.unwrap().count(), 150);
    assert!(salvaged.first().unwrap().position == 2 && salvaged.last().unwrap().position == 151);
    let lost = 150 - salvaged.len();
    assert!((40..60).contains(&lost), "{lost}");
    let known = |found: &Salvaged| (found.first_position, found.events) == (Some(2), Some(150));
    assert!(salvaged.iter().all(known));

    // The first block, with the header of the frame.
    let sim = base.fork();
    zero(&sim, &segment(1), frame.offset, 4096);
    let (_, salvaged) = hold_with_salvage("the first block", &sim, &original);
    assert!(salvaged.len() > 90 && salvaged.last().unwrap().position == 151);
    assert!(salvaged.iter().all(|found| found.events.is_none() && found.first_position.is_none()));

    // Only the header: the first record shows where the commit begins.
    let sim = base.fork();
    sim.flip_bit(segment(1), frame.offset + 20, 3).unwrap();
    let (_, salvaged) = hold_with_salvage("the header", &sim, &original);
    assert_eq!(salvaged.len(), 150);
    assert!(salvaged.iter().all(|found| found.first_position == Some(2)));
}

#[test]
fn record_inside_the_data_of_a_damaged_event_is_not_salvaged() {
    let base = closed(3, 100);
    // The bytes of a record for position 5 in this very segment, from a history that never was.
    let other = base.fork();
    let store = open(&other).unwrap();
    let pair = [NewEvent::new("Type0", "first"), NewEvent::new("Type0", "forged")];
    store.append("s-1", ExpectedVersion::Any, pair).unwrap();
    store.close().unwrap();
    let frame =
        *frames_of(&other, 1).iter().find(|f| f.first_position == 4 && f.kind == 1).unwrap();
    let bytes = other.read_file(segment(1)).unwrap();
    let second = usize::try_from(frame.offset + FRAME_HEADER).unwrap() + 64;
    let forged = bytes[second..second + 64].to_vec();
    assert!(forged.windows(6).any(|part| part == b"forged"));

    // The name and the type are eight bytes together, so the data begins where a record can.
    let store = open(&base).unwrap();
    let pair = [NewEvent::new("Type0", forged), NewEvent::new("Type0", "true")];
    store.append("s-1", ExpectedVersion::Any, pair).unwrap();
    let original = all(&store);
    store.close().unwrap();
    let frame = *frames_of(&base, 1).iter().find(|f| f.first_position == 4 && f.kind == 1).unwrap();
    for damaged_header in [false, true] {
        let sim = base.fork();
        // The version in the first record.
        sim.flip_bit(segment(1), frame.offset + FRAME_HEADER + 8, 1).unwrap();
        if damaged_header {
            sim.flip_bit(segment(1), frame.offset + 32, 1).unwrap();
        }
        let (_, salvaged) = hold_with_salvage("a damaged first record", &sim, &original);
        let positions: Vec<u64> = salvaged.iter().map(|found| found.position).collect();
        assert_eq!(positions, [5], "damaged header: {damaged_header}");
    }
}

#[test]
fn salvage_that_cannot_be_written_ends_the_repair_and_leaves_nothing() {
    let sim = one_commit(20);
    let frame = frames_of(&sim, 1)[2];
    sim.flip_bit(segment(1), frame.offset + FRAME_HEADER + 70, 0).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(sim.process());
    let mut left = 3;
    let done = repair_and_salvage_on(&storage, ROOT, "/new", &RepairOptions::new(), |_| {
        left -= 1;
        if left == 0 { Err(io::Error::other("full")) } else { Ok(()) }
    });
    assert!(matches!(done, Err(Error::Io { source, .. }) if source.to_string() == "full"));
    assert!(!sim.files().iter().any(|path| path.starts_with("/new")));
    assert_eq!(repaired_after(&sim), 18);
}

fn repaired_after(sim: &SimStorage) -> usize {
    let storage: Arc<dyn Storage> = Arc::new(sim.process());
    let mut count = 0;
    let report = repair_and_salvage_on(&storage, ROOT, "/new", &RepairOptions::new(), |_| {
        count += 1;
        Ok(())
    });
    assert_eq!(report.unwrap().missing_events, 19);
    count
}
