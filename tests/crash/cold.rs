//! A power loss at each operation that makes a segment cold, or brings it back: a whole copy is left each time.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use annals::cold::{ColdSegment, SegmentSource};
use annals::testing::{Crash, Keep, OpenMode, SimStorage, Storage as _};
use annals::{Error, Store};

use super::support::*;

/// Six events fill a segment.
const LARGE: usize = 9_000;
const EVENTS: u64 = 14;
const KEEPS: [Keep; 4] = [Keep::Nothing, Keep::Everything, Keep::InOrder, Keep::Random];

#[derive(Debug, Default)]
struct Copies(Mutex<HashMap<u64, Vec<u8>>>);

impl SegmentSource for Copies {
    fn holds(&self, segment: &ColdSegment) -> io::Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(&segment.number()))
    }

    fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()> {
        let copies = self.0.lock().unwrap();
        to.write_all(copies.get(&segment.number()).ok_or(io::ErrorKind::NotFound)?)
    }
}

fn open_with(sim: &SimStorage, copies: &Arc<Copies>) -> Store {
    options(sim).cold_segments(Arc::clone(copies) as _).open(ROOT).unwrap()
}

/// A closed store whose first segment is full, and a copy of that.
fn full() -> (SimStorage, Arc<Copies>) {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, EVENTS, LARGE);
    store.close().unwrap();
    let copies = Arc::new(Copies::default());
    let bytes = sim.read_file(segment(1)).unwrap();
    copies.0.lock().unwrap().insert(1, bytes);
    (sim, copies)
}

/// Runs an operation with the power off after each number of operations on the disk, and calls `check` after the power
/// loss with whether the operation was reported as done.
fn at_each_operation(
    prepare: impl Fn() -> (SimStorage, Arc<Copies>),
    run: impl Fn(&Store) -> annals::Result<()>,
    check: impl Fn(&SimStorage, &Arc<Copies>, bool),
) {
    for keep in KEEPS {
        for operations in 0.. {
            let (sim, copies) = prepare();
            let store = open_with(&sim, &copies);
            sim.fail_after_ops(operations);
            let done = run(&store).is_ok();
            sim.crash(Crash::new(operations).keep(keep));
            drop(store);
            check(&sim, &copies, done);
            if done {
                break;
            }
            assert!(operations < 100, "it does not end");
        }
    }
}

#[test]
fn segment_that_becomes_cold_is_whole_at_each_operation() {
    let check = |sim: &SimStorage, copies: &Arc<Copies>, done: bool| {
        let store = open_with(sim, copies);
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
        assert!(!done || store.cold_segments().unwrap() == [1]);
        store.make_cold(1).unwrap();
        assert_eq!(store.cold_segments().unwrap(), [1]);
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
    };
    at_each_operation(full, |store| store.make_cold(1).map(|_| ()), check);
}

#[test]
fn segment_that_comes_back_is_whole_at_each_operation() {
    let prepare = || {
        let (sim, copies) = full();
        let store = open_with(&sim, &copies);
        store.make_cold(1).unwrap();
        store.close().unwrap();
        (sim, copies)
    };
    let check = |sim: &SimStorage, copies: &Arc<Copies>, done: bool| {
        if done {
            // Once it is back, the copy may go.
            copies.0.lock().unwrap().clear();
        }
        let store = open_with(sim, copies);
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
        store.make_local(1).unwrap();
        assert!(store.cold_segments().unwrap().is_empty());
        drop(store);
        assert_eq!(read_back(&open(sim).unwrap(), LARGE).unwrap(), EVENTS);
    };
    at_each_operation(prepare, |store| store.make_local(1), check);
}

#[test]
fn segment_with_a_leftover_stub_does_not_return_after_an_accepted_loss() {
    let (sim, copies) = full();
    let store = open_with(&sim, &copies);
    append(&store, EVENTS + 1, EVENTS + 8, LARGE);
    store.close().unwrap();
    copies.0.lock().unwrap().insert(2, sim.read_file(segment(2)).unwrap());
    let store = open_with(&sim, &copies);
    store.make_cold(2).unwrap();
    let stub = segment(2).replace(".seg", ".cold");
    let bytes = sim.read_file(&stub).unwrap();
    store.make_local(2).unwrap();
    store.close().unwrap();
    // The power was lost before the stub was removed.
    let file = sim.open(Path::new(&stub), OpenMode::CreateNew).unwrap();
    file.write_at(&bytes, 0).unwrap();
    file.sync_data().unwrap();
    sim.sync_dir(Path::new(&stub).parent().unwrap()).unwrap();
    // The end of the first segment is lost, and with it what follows.
    let frames = frames_of(&sim, 1);
    let at = frames.iter().find(|frame| frame.first_position == 4).unwrap().offset;
    overwrite(&sim, &segment(1), at, &[0xFF; 64]);
    for directory in ["index", "checkpoints"] {
        remove_all(&sim, directory);
    }
    assert!(matches!(options(&sim).open(ROOT), Err(Error::Corrupt { .. })));
    let loss = annals::testing::find_loss_on(&sim, Path::new(ROOT)).unwrap();
    annals::testing::accept_loss_on(&sim, Path::new(ROOT), loss.cut_after).unwrap();
    let store = open_with(&sim, &copies);
    assert_eq!(read_back(&store, LARGE).unwrap(), 3);
    assert!(store.cold_segments().unwrap().is_empty());
}
