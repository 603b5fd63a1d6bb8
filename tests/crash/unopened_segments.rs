//! Sealed segments that a checkpoint covers: after a clean close they are opened when they are
//! first read, and compared with the checkpoint during the opening or soon after.

use std::time::Duration;

use annals::testing::{SimStorage, Storage};
use annals::{Error, ExpectedVersion, NewEvent, Opened, Store};

use super::support::*;

const LARGE: usize = 9_000;
const EVENTS: u64 = 20;

/// Damage to a sealed segment.
type Damage = (&'static str, fn(&SimStorage));

const DAMAGES: [Damage; 4] = [
    ("another segment's file", |sim| {
        let other = sim.read_file(segment(1)).unwrap();
        sim.write_file(segment(2), &other).unwrap();
    }),
    ("cut short", |sim| sim.corrupt(segment(2), |bytes| bytes.truncate(40_000)).unwrap()),
    ("missing", |sim| sim.remove_file(segment(2).as_ref()).unwrap()),
    ("without its header", |sim| sim.corrupt(segment(2), |bytes| bytes[..8192].fill(0)).unwrap()),
];

#[test]
fn segment_damaged_between_opening_and_first_read_fails_the_read() {
    let base = closed(EVENTS, LARGE);
    for (name, damage) in DAMAGES {
        let sim = base.fork();
        let store = open(&sim).unwrap();
        damage(&sim);
        let read = read_back(&store, LARGE);
        let Err(Error::Corrupt { file, .. }) = read else { panic!("{name}: {read:?}") };
        assert_eq!(file, std::path::Path::new(&segment(2)), "{name}");
        // Events of other segments can still be read.
        assert!(store.event_at(1.into()).unwrap().is_some(), "{name}");
        assert!(store.event_at(EVENTS.into()).unwrap().is_some(), "{name}");
    }
}

/// Appends until the store refuses; returns the number of attempts.
fn append_until_refused(name: &str, store: &Store) -> u64 {
    for number in 1..10_000 {
        match store.append("more", ExpectedVersion::Any, [NewEvent::new("More", "")]) {
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(Error::WriterPoisoned { .. } | Error::OutcomeUnknown { .. }) => return number,
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    panic!("{name}: never refused");
}

#[test]
fn damage_found_by_the_background_thread_stops_the_writer() {
    let base = closed(EVENTS, LARGE);
    for (name, damage) in DAMAGES {
        let sim = base.fork();
        damage(&sim);
        let opened = options(&sim).background(true).open(ROOT);
        if name == "missing" {
            // A missing file is noticed in the listing of the directory.
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{name}: {opened:?}");
            continue;
        }
        let store = opened.unwrap();
        append_until_refused(name, &store);
        assert!(store.close().is_err(), "{name}");
        for background in [true, false] {
            // The checkpoint is not trusted any more.
            let opened = options(&sim).background(background).open(ROOT);
            assert!(matches!(opened, Err(Error::Corrupt { .. })), "{name}: {opened:?}");
        }
    }
}

#[test]
fn damage_found_by_the_background_thread_refuses_the_next_opening() {
    let sim = closed(EVENTS, LARGE);
    let other = sim.read_file(segment(1)).unwrap();
    sim.write_file(segment(2), &other).unwrap();
    let store = options(&sim).background(true).open(ROOT).unwrap();
    let found = (0..10_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        store.sync().is_err()
    });
    assert!(found);
    drop(store);
    let opened = options(&sim).background(true).open(ROOT);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn damaged_segment_after_a_kill_is_refused_at_opening() {
    let base = stopped(EVENTS, LARGE);
    for (name, damage) in DAMAGES {
        let sim = base.fork();
        damage(&sim);
        let opened = options(&sim).background(true).open(ROOT);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{name}: {opened:?}");
    }
}

#[test]
fn damaged_seal_found_by_the_background_thread_is_rewritten_by_the_next_opening() {
    let sim = closed(EVENTS, LARGE);
    let len = sim.read_file(segment(2)).unwrap().len();
    sim.corrupt(segment(2), |bytes| bytes[len - 64..].fill(0)).unwrap();
    let store = options(&sim).background(true).open(ROOT).unwrap();
    assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
    append_until_refused("a seal", &store);
    drop(store);
    let store = open(&sim).unwrap();
    assert!(matches!(store.opened(), Opened::Recovered(_)), "{:?}", store.opened());
    store.close().unwrap();
    assert_eq!(annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap().faults, []);
}

#[test]
fn sound_segments_compared_in_the_background_do_not_stop_the_writer() {
    let sim = closed(EVENTS, LARGE);
    let store = options(&sim).background(true).open(ROOT).unwrap();
    assert_eq!(*store.opened(), Opened::Clean);
    append(&store, EVENTS + 1, EVENTS + 40, LARGE);
    store.close().unwrap();
    let store = open(&sim).unwrap();
    assert_eq!(*store.opened(), Opened::Clean);
    assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS + 40);
}
