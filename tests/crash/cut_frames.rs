//! Frames that a recovery has cut off must never come back, even if the frames written in their
//! place have the same lengths, contents, ids and times.

use annals::testing::{Crash, Keep, SimStorage};

use super::support::*;

const SIZE: usize = 700;

#[test]
fn frames_cut_by_a_recovery_do_not_come_back() {
    let mut cut = 0;
    for seed in 0..150 {
        let sim = SimStorage::new(seed);
        let store = open(&sim).unwrap();
        append(&store, 1, 5, SIZE);
        sim.set_clock(5_000_000);
        for number in 6..=16 {
            append_buffered(&store, number, SIZE);
        }
        let (mut least, mut most, mut store) = (5, 16, store);
        for round in 0..5 {
            sim.crash(Crash::new(seed * 10 + round).sector_size(if seed % 2 == 0 {
                512
            } else {
                4096
            }));
            drop(store);
            store = open(&sim).unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            let found = read_back(&store, SIZE).unwrap();
            let name = format!("seed {seed} round {round}");
            assert!((least..=most).contains(&found), "{name}: {found} not in {least}..={most}");
            cut += most - found;
            // Append one of the cut commits again, with identical bytes; the others must stay away.
            sim.set_clock(5_000_000);
            append_buffered(&store, found + 1, SIZE);
            (least, most) = (found, found + 1);
        }
        store.close().unwrap();
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, SIZE).unwrap(), most, "seed {seed}");
    }
    assert!(cut > 300, "only {cut} commits were ever cut");
}

#[test]
fn interrupted_cut_is_finished_by_a_later_opening() {
    for seed in 0..40 {
        let base = SimStorage::new(seed);
        let store = open(&base).unwrap();
        append(&store, 1, 3, SIZE);
        for number in 4..=12 {
            append_buffered(&store, number, SIZE);
        }
        base.crash(Crash::new(seed));
        drop(store);
        let most = 12;
        for step in 0..12 {
            let sim = base.fork();
            sim.fail_after_ops(step);
            let opened = open(&sim);
            sim.crash(Crash::new(seed ^ step).keep(Keep::Random));
            drop(opened);
            let store = open(&sim).unwrap_or_else(|error| panic!("seed {seed} {step}: {error}"));
            let found = read_back(&store, SIZE).unwrap();
            assert!((3..=most).contains(&found), "seed {seed} {step}: {found}");
            store.close().unwrap();
            let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
            assert_eq!((report.faults.len(), report.events), (0, found), "{report:?}");
        }
    }
}

#[test]
fn frames_of_a_former_session_do_not_continue_a_new_one() {
    // Two sessions begin at the same offset and time with the same commit, and the drive has lost
    // the zeros that were written over the rest of the first session.
    let mut tried = 0;
    for size in (600..1_200).step_by(8) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 3, size);
        store.close().unwrap();
        let write = |last: u64| {
            let store = open(&sim).unwrap();
            sim.set_clock(0);
            (4..=last).for_each(|number| append_buffered(&store, number, size));
            store.sync().unwrap();
            stop(&sim, store);
        };
        write(8);
        let frames = frames_of(&sim, 1);
        let session = *frames.iter().rfind(|frame| frame.kind == 5).unwrap();
        let left_over = frames.iter().find(|frame| frame.first_position == 5).unwrap().offset;
        let end = frames.last().map(|frame| frame.offset + frame.len).unwrap();
        if left_over % 512 != 0 {
            continue;
        }
        tried += 1;
        // The commits of the first session record no durable position greater than 3.
        assert!(frames.iter().all(|frame| frame.durable_position <= 3));
        overwrite(&sim, &segment(1), session.offset, &[0; 48]);
        write(4);
        let reverted = (left_over..end)
            .step_by(512)
            .filter(|&offset| sim.revert_sector(segment(1), offset).unwrap());
        assert!(reverted.count() > 3);
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, size).unwrap(), 4, "{size}: what was cut is back");
    }
    assert!(tried > 0);
}
