//! The tail: the bytes after the last commit that is proven durable.

use annals::testing::{Crash, Keep, SimStorage};
use annals::{ExpectedVersion, NewEvent, Opened};

use super::support::*;

const SIZE: usize = 40;

/// Five acknowledged events and one that is only written.
fn with_tail() -> (SimStorage, Frame) {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 5, SIZE);
    append_buffered(&store, 6, SIZE);
    stop(&sim, store);
    let last = *frames_of(&sim, 1).last().unwrap();
    assert_eq!((last.kind, last.first_position), (1, 6));
    (sim, last)
}

#[test]
fn last_frame_cut_at_any_byte_leaves_the_longest_valid_prefix() {
    let (base, last) = with_tail();
    for kept in 0..=last.len {
        for filler in [0, 0xFF] {
            let sim = base.fork();
            let rest = vec![filler; usize::try_from(last.len - kept).unwrap()];
            overwrite(&sim, &segment(1), last.offset + kept, &rest);
            let name = format!("{kept} of {} bytes, then {filler:#x}", last.len);
            let same = sim.read_file(segment(1)).unwrap() == base.read_file(segment(1)).unwrap();
            let expected = match (same, kept) {
                (true, _) => Expected::Whole(6),
                (_, 0) if filler == 0 => Expected::Whole(5),
                _ => Expected::Cut(5),
            };
            hold(&name, &sim, SIZE, expected);
        }
    }
}

#[test]
fn file_that_ends_within_the_last_frame_leaves_the_longest_valid_prefix() {
    let (base, last) = with_tail();
    for kept in (0..last.len).step_by(3) {
        let sim = base.fork();
        let end = usize::try_from(last.offset + kept).unwrap();
        sim.corrupt(segment(1), |bytes| bytes.truncate(end)).unwrap();
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, SIZE).unwrap(), 5, "{kept}");
        append(&store, 6, 8, SIZE);
        store.close().unwrap();
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 8, "{kept}");
    }
}

#[test]
fn zeroed_page_in_an_unproven_tail_is_cut_and_reported() {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 5, SIZE);
    for number in 6..=20 {
        append_buffered(&store, number, 200);
    }
    stop(&sim, store);
    let frames = frames_of(&sim, 1);
    let at = frames.iter().find(|frame| frame.first_position == 9).unwrap().offset;
    let page = at.next_multiple_of(512);
    overwrite(&sim, &segment(1), page, &[0; 512]);
    let store = open(&sim).unwrap();
    let left = store.head().get();
    assert!((8..=12).contains(&left), "{left} events are left");
    let Opened::Recovered(recovery) = store.opened() else { panic!("{:?}", store.opened()) };
    let end = frames.last().map(|frame| frame.offset + frame.len).unwrap();
    let cut = frames.iter().find(|frame| frame.first_position == left + 1).unwrap().offset;
    // The dropped bytes end with the last byte that is not zero.
    assert!((end - cut - 8..=end - cut).contains(&recovery.dropped_bytes), "{recovery:?}");
    let kept = sim.read_durable(recovery.quarantined.as_ref().unwrap()).unwrap();
    assert_eq!(kept.len() as u64, recovery.dropped_bytes, "what was cut is kept");
}

#[test]
fn unproven_tail_with_only_its_later_blocks_is_no_damage() {
    let base = SimStorage::new(3);
    let store = open(&base).unwrap();
    append(&store, 1, 5, SIZE);
    for number in 6..=30 {
        append_buffered(&store, number, 300);
    }
    let mut cut = 0;
    for seed in 0..150 {
        let sim = base.fork();
        sim.crash(Crash::new(seed));
        let reopened = open(&sim).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let left = reopened.head().get();
        assert!((5..=30).contains(&left), "seed {seed}: {left}");
        if let Opened::Recovered(recovery) = reopened.opened() {
            cut += u64::from(recovery.dropped_bytes > 0);
        }
    }
    assert!(cut > 30, "only {cut} of 150 crashes left something behind a gap");
    drop(store);
}

#[test]
fn session_frame_alone_is_no_event_and_no_damage() {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append_buffered(&store, 1, SIZE);
    stop(&sim, store);
    let frames = frames_of(&sim, 1);
    assert_eq!(frames[0].kind, 5);
    for kept in (0..=frames[0].len).step_by(4) {
        let sim = sim.fork();
        let rest = vec![0; usize::try_from(frames[0].len + frames[1].len - kept).unwrap()];
        overwrite(&sim, &segment(1), DATA_START + kept, &rest);
        let store = open(&sim).unwrap();
        assert_eq!(store.head().get(), 0);
        append(&store, 1, 3, SIZE);
        assert_eq!(read_back(&store, SIZE).unwrap(), 3);
    }
}

#[test]
fn event_data_that_imitates_frames_is_read_as_data() {
    let donor = stopped(4, SIZE);
    let bytes = donor.read_file(segment(1)).unwrap();
    let end = frames(&bytes).last().map(|frame| frame.offset + frame.len).unwrap();
    let body = bytes[usize::try_from(DATA_START).unwrap()..usize::try_from(end).unwrap()].to_vec();
    // Frames of another store, and of this one.
    for (name, sim) in [("foreign", SimStorage::new(99)), ("own", donor.fork())] {
        let store = open(&sim).unwrap();
        let before = store.head().get();
        for shift in 0..8 {
            let mut data = vec![0; shift];
            data.extend_from_slice(&body);
            let events = [NewEvent::new("Imitation", data.clone())];
            store.append("imitation", ExpectedVersion::Any, events).unwrap();
        }
        // The last frame is torn, so that the recovery searches through the imitations.
        stop(&sim, store);
        let last = *frames_of(&sim, 1).last().unwrap();
        for cut in [last.len - 32, last.len / 2, 60] {
            let sim = sim.fork();
            let rest = vec![0; usize::try_from(last.len - cut).unwrap()];
            overwrite(&sim, &segment(1), last.offset + cut, &rest);
            let store = open(&sim).unwrap_or_else(|error| panic!("{name} {cut}: {error}"));
            assert_eq!(store.head().get(), before + 7, "{name} {cut}");
            let read: Vec<_> = store.read_stream("imitation").into_iter().collect();
            for (shift, event) in read.into_iter().enumerate() {
                assert_eq!(event.unwrap().data()[shift..], body, "{name} {cut}");
            }
        }
    }
}

#[test]
fn commits_kept_by_a_recovery_survive_the_next_power_loss() {
    // What a reader sees after a recovery is durable, even if it was never acknowledged.
    for seed in 0..60 {
        let (sim, _) = with_tail();
        let store = open(&sim).unwrap();
        assert_eq!(store.head().get(), 6);
        sim.crash(Crash::new(seed).keep(Keep::Nothing));
        drop(store);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 6, "seed {seed}");
    }
}
