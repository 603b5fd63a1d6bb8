//! One flipped bit in every byte of a small store.
//!
//! For each byte, the opening refuses or reports a recovery, reads fail, or nothing is lost. A
//! wrong event is never returned, and acknowledged events are never cut off unreported. Only the
//! very last acknowledged commit of a store that was not closed may be cut off: nothing proves that
//! it was durable.

use annals::Opened;
use annals::testing::SimStorage;

use super::support::*;

const SIZE: usize = 24;

/// The offsets of every non-zero byte, and of some bytes of the zero gaps.
fn offsets(bytes: &[u8]) -> Vec<u64> {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let near = |at: usize| {
        let from = at.saturating_sub(8);
        bytes[from..(at + 8).min(bytes.len())].iter().any(|&byte| byte != 0)
    };
    (0..bytes.len())
        .filter(|&at| if at < used { near(at) || at % 61 == 0 } else { at % 1999 == 0 })
        .map(|at| at as u64)
        .collect()
}

pub(crate) fn flip_each(base: &SimStorage, path: &str, mut hold: impl FnMut(&SimStorage, u64)) {
    for offset in offsets(&base.read_file(path).unwrap()) {
        let sim = base.fork();
        sim.flip_bit(path, offset, u32::try_from(offset % 8).unwrap()).unwrap();
        hold(&sim, offset);
    }
}

/// Asserts that no wrong event is returned, and that no event is missing unless a read failed.
pub(crate) fn hold_flip(name: &str, sim: &SimStorage, events: u64, least: u64) {
    let Ok(store) = open(sim) else { return };
    match read_back(&store, SIZE) {
        Ok(found) if found == events => {}
        Ok(found) => {
            assert!(found >= least, "{name}: shortened to {found} of {events}");
            let Opened::Recovered(recovery) = store.opened() else {
                panic!("{name}: shortened to {found} without a word");
            };
            assert!(recovery.dropped_bytes > 0, "{name}: {recovery:?}");
        }
        Err(error) => assert!(error.is_store_damage(), "{name}: {error:?}"),
    }
}

#[test]
fn flipped_bit_in_a_closed_store_shows_nothing_wrong() {
    let base = closed(6, SIZE);
    for path in [segment(1), files_in(&base, "checkpoints").pop().unwrap()] {
        flip_each(&base, &path, |sim, offset| {
            hold_flip(&format!("{path} at {offset}"), sim, 6, 6);
        });
    }
}

#[test]
fn flipped_bit_in_an_unclosed_store_shows_nothing_wrong() {
    let base = stopped(6, SIZE);
    let last = frames_of(&base, 1).last().unwrap().offset;
    flip_each(&base, &segment(1), |sim, offset| {
        let promised = if offset < last { 6 } else { 5 };
        hold_flip(&format!("at {offset}, last frame at {last}"), sim, 6, promised);
    });
}

#[test]
fn flipped_bit_in_a_closed_store_without_checkpoint_shows_nothing_wrong() {
    let base = closed(6, SIZE);
    for path in files_in(&base, "checkpoints") {
        remove(&base, &path);
    }
    let frames = frames_of(&base, 1);
    let close = *frames.last().unwrap();
    assert_eq!(close.kind, 3);
    flip_each(&base, &segment(1), |sim, offset| {
        // The close frame proves everything before it.
        hold_flip(&format!("at {offset}, close frame at {}", close.offset), sim, 6, 6);
    });
}

#[test]
fn flipped_bit_in_a_sealed_segment_its_index_or_a_checkpoint_shows_nothing_wrong() {
    // Few and large events keep the files small.
    const LARGE: usize = 12_000;
    let base = closed(8, LARGE);
    let sealed = frames_of(&base, 1);
    let seal = *sealed.last().unwrap();
    assert_eq!(seal.kind, 4, "the first segment is sealed");
    let hold_large = |sim: &SimStorage, name: &str| {
        let Ok(store) = open(sim) else { return };
        match read_back(&store, LARGE) {
            Ok(found) => assert_eq!(found, 8, "{name}"),
            Err(error) => assert!(error.is_store_damage(), "{name}: {error:?}"),
        }
    };
    let mut paths = vec![index(1)];
    paths.extend(files_in(&base, "checkpoints"));
    for path in paths {
        flip_each(&base, &path, |sim, offset| {
            hold_large(sim, &format!("{path} at {offset}"));
            // Damaged derived files lose no event.
            let store = open(sim).unwrap_or_else(|error| panic!("{path} at {offset}: {error}"));
            assert_eq!(read_back(&store, LARGE).unwrap(), 8, "{path} at {offset}");
        });
    }
    let headers = sealed.iter().flat_map(|frame| frame.offset..frame.offset + FRAME_HEADER + 64);
    for offset in headers.chain(seal.offset..seal.offset + seal.len) {
        let sim = base.fork();
        if sim.flip_bit(segment(1), offset, 3).is_ok() {
            hold_large(&sim, &format!("segment 1 at {offset}"));
        }
    }
}
