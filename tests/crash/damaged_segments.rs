//! Damage to stores of several segments, as a table: the log, seals, index files, checkpoints.
//!
//! Each row is applied to a store that was closed and to one that was not.

use annals::Position;
use annals::testing::SimStorage;
use uuid::Uuid;

use super::support::*;

/// Six events fill a segment: three full ones and one that is active.
const LARGE: usize = 9_000;

fn run_both(table: &[(&str, Damage, Expected)]) {
    let (closed, stopped) = (closed(20, LARGE), stopped(20, LARGE));
    for base in [closed, stopped] {
        assert_eq!(frames_of(&base, 3).last().unwrap().kind, 4, "the third segment is sealed");
        assert!(!files_in(&base, "log").is_empty());
        run(&base, LARGE, table);
    }
}

fn swap(sim: &SimStorage) {
    let (one, two) = (sim.read_file(segment(1)).unwrap(), sim.read_file(segment(2)).unwrap());
    sim.write_file(segment(1), &two).unwrap();
    sim.write_file(segment(2), &one).unwrap();
}

fn copy_over(sim: &SimStorage) {
    let one = sim.read_file(segment(1)).unwrap();
    sim.write_file(segment(2), &one).unwrap();
}

fn remove_from(sim: &SimStorage, first: u64) {
    for path in files_in(sim, "log") {
        if path >= segment(first) {
            remove(sim, &path);
        }
    }
}

fn remove_derived(sim: &SimStorage) {
    remove_all(sim, "index");
    remove_all(sim, "checkpoints");
}

#[test]
fn damaged_or_missing_segments_are_refused() {
    run_both(&[
        ("nothing", |_| {}, Expected::Whole(20)),
        ("two segments swapped", swap, Expected::Refused),
        ("a segment in the place of another", copy_over, Expected::Refused),
        ("the first segment missing", |sim| remove(sim, &segment(1)), Expected::Refused),
        ("a middle segment missing", |sim| remove(sim, &segment(2)), Expected::Refused),
        ("the last sealed segment missing", |sim| remove(sim, &segment(3)), Expected::Refused),
        ("the last segments missing", |sim| remove_from(sim, 4), Expected::Refused),
        ("all behind the second missing", |sim| remove_from(sim, 3), Expected::Refused),
        (
            "a segment of another store",
            |sim| {
                let other = SimStorage::new(4321);
                let store = open(&other).unwrap();
                append(&store, 1, 20, LARGE);
                store.close().unwrap();
                sim.write_file(segment(2), &other.read_file(segment(2)).unwrap()).unwrap();
            },
            Expected::Refused,
        ),
        (
            "a sealed segment's page zeroed",
            |sim| zero(sim, &segment(2), 20_480, 4096),
            Expected::NothingWrong,
        ),
        (
            "a sealed segment's first page of frames zeroed",
            |sim| zero(sim, &segment(2), DATA_START, 4096),
            Expected::Refused,
        ),
        (
            "a sealed segment cut short",
            |sim| sim.corrupt(segment(2), |bytes| bytes.truncate(40_000)).unwrap(),
            Expected::Refused,
        ),
    ]);
}

#[test]
fn damaged_seals_lose_no_event() {
    run_both(&[
        (
            "a seal's trailer gone",
            |sim| {
                let len = sim.read_file(segment(2)).unwrap().len() as u64;
                zero(sim, &segment(2), len - 64, 64);
            },
            Expected::Whole(20),
        ),
        (
            "a whole seal gone",
            |sim| {
                let seal = *frames_of(sim, 2).last().unwrap();
                zero(sim, &segment(2), seal.offset, seal.len);
            },
            Expected::Whole(20),
        ),
        (
            "a seal's offset table gone",
            |sim| {
                let seal = *frames_of(sim, 2).last().unwrap();
                zero(sim, &segment(2), seal.offset + FRAME_HEADER, 16);
            },
            Expected::NothingWrong,
        ),
    ]);
}

#[test]
fn damaged_or_missing_index_files_lose_no_event() {
    run_both(&[
        ("no index files", |sim| remove_all(sim, "index"), Expected::Whole(20)),
        ("one index file missing", |sim| remove(sim, &index(2)), Expected::Whole(20)),
        (
            "an index file cut short",
            |sim| sim.corrupt(index(2), |bytes| bytes.truncate(100)).unwrap(),
            Expected::Whole(20),
        ),
        (
            "an empty index file",
            |sim| sim.corrupt(index(1), Vec::clear).unwrap(),
            Expected::Whole(20),
        ),
        (
            "an index file in the place of another",
            |sim| sim.write_file(index(2), &sim.read_file(index(1)).unwrap()).unwrap(),
            Expected::Whole(20),
        ),
        (
            "an index file of another store",
            |sim| {
                let other = SimStorage::new(4321);
                let store = open(&other).unwrap();
                append(&store, 1, 20, LARGE);
                store.close().unwrap();
                sim.write_file(index(2), &other.read_file(index(2)).unwrap()).unwrap();
            },
            Expected::Whole(20),
        ),
    ]);
}

#[test]
fn missing_checkpoints_lose_no_event() {
    run_both(&[
        ("no checkpoints", |sim| remove_all(sim, "checkpoints"), Expected::Whole(20)),
        ("neither index files nor checkpoints", |sim| remove_derived(sim), Expected::Whole(20)),
        (
            "nothing derived, and a sealed frame damaged",
            |sim| {
                remove_derived(sim);
                zero(sim, &segment(2), 30_000, 8);
            },
            Expected::Refused,
        ),
    ]);
}

fn ids_of(sim: &SimStorage) -> Vec<Uuid> {
    let store = open(&sim.fork()).unwrap();
    store.read_all().into_iter().map(|event| event.unwrap().id()).collect()
}

/// Swaps the first two of the offsets of six events, in front of the trailer of 64 bytes.
fn swap_offsets(bytes: &mut [u8]) {
    let table = bytes.len() - 64 - 24;
    let (one, two) = bytes[table..table + 8].split_at_mut(4);
    one.swap_with_slice(two);
}

#[test]
fn offset_table_that_leads_to_other_records_is_noticed_after_a_walk() {
    for walks in [true, false] {
        let sim = closed(20, LARGE);
        let ids = ids_of(&sim);
        sim.corrupt(segment(2), |bytes| swap_offsets(bytes)).unwrap();
        let Ok(store) = open(&sim) else { continue };
        if walks {
            // A walk over the frames does not need the table, and proves the records.
            store.read_all().for_each(|_| ()).unwrap();
        }
        let mut refused = 0;
        for (position, id) in (1..).zip(&ids) {
            match store.event_at(Position::new(position)) {
                Ok(event) => assert_eq!(event.unwrap().id(), *id, "{position}"),
                Err(error) => {
                    assert!(matches!(error, annals::Error::Corrupt { .. }), "{error}");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 2);
        let backwards: Result<Vec<_>, _> = store.read_all().backwards().into_iter().collect();
        assert!(backwards.is_err());
    }
}

#[test]
fn event_of_a_stream_is_shown_only_from_where_it_was_proven() {
    let sim = closed(20, LARGE);
    let ids = ids_of(&sim);
    sim.corrupt(segment(2), |bytes| swap_offsets(bytes)).unwrap();
    let store = open(&sim).unwrap();
    store.read_all().for_each(|_| ()).unwrap();
    let (mut shown, mut refused) = (0, 0);
    for stream in store.streams() {
        let read = store.read_stream(stream.unwrap().name).for_each(|event| {
            let at = usize::try_from(event.position().get()).unwrap() - 1;
            assert_eq!(event.id(), ids[at], "{at}");
            assert!(event.commit() <= event.position() && event.position() <= event.commit_end());
            shown += 1;
        });
        refused += usize::from(read.is_err());
    }
    assert!(shown > 0 && refused > 0, "{shown} shown, {refused} refused");
}
