//! Repair: for any damage, the new store has no fault, holds every undamaged commit and nothing
//! else, the report names what is missing, and the damaged store stays unchanged.

use std::sync::Arc;

use annals::testing::{Fault, Operation, SimStorage, Storage, repair_on};
use annals::{Error, ExpectedVersion, NewEvent, repair::RepairOptions};

use super::repaired::{NEW, SIZE, Seen, all, bytes_of, hold, original, repair_with, touched};
use super::support::*;

#[test]
fn repair_of_a_sound_store_loses_nothing() {
    let (sim, events) = original();
    let (report, missing) = hold("sound", &sim, &events);
    assert_eq!((missing.len(), report.gaps.len(), report.tail.len()), (0, 0, 0), "{report:?}");
    assert_eq!(report.positions.len(), 1);
    // A retry with the same ids is recognised in the new store.
    let store = options(&sim).open(NEW).unwrap();
    let last = events.last().unwrap();
    let again = NewEvent::new("Type0", last.data.clone()).id(last.id);
    assert!(store.append(&*last.stream, ExpectedVersion::Any, [again]).is_err_and(|error| {
        matches!(error, Error::IdReused { position, .. } if position.get() == last.position)
    }));
}

#[test]
fn repair_of_flipped_bits_keeps_every_untouched_commit() {
    let (base, events) = original();
    let mut tried = 0;
    let segments = files_in(&base, "log");
    for (number, path) in (1..).zip(&segments) {
        let frames = frames_of(&base, number);
        let len = base.read_file(path).unwrap().len() as u64;
        // Every field of each frame's and each record's header, and some other offsets.
        let starts = frames.iter().flat_map(|f| (0..112).map(move |at| f.offset + at));
        let headers = [0, 40, 100, 4096, 4160].into_iter();
        let offsets = headers.chain(starts.step_by(7)).chain((8192..len).step_by(5003));
        for offset in offsets.chain(len.saturating_sub(130)..len).filter(|at| *at < len) {
            let sim = base.fork();
            sim.flip_bit(path, offset, u32::try_from(offset % 8).unwrap()).unwrap();
            let name = format!("{path} at {offset}");
            let (report, missing) = hold(&name, &sim, &events);
            assert_eq!(missing, touched(&frames, &events, offset), "{name}: {report:?}");
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn repair_of_flipped_bits_in_an_unclosed_store_keeps_every_untouched_commit() {
    let base = stopped(12, 700);
    let store = options(&base).read_only(true).open(ROOT).unwrap();
    let events = all(&store);
    drop(store);
    let frames = frames_of(&base, 1);
    for offset in (8192..frames.last().unwrap().offset).step_by(37) {
        let sim = base.fork();
        sim.flip_bit(segment(1), offset, 5).unwrap();
        let (report, missing) = hold(&format!("at {offset}"), &sim, &events);
        assert_eq!(missing, touched(&frames, &events, offset), "{offset}: {report:?}");
        assert!(report.gaps.iter().all(|gap| gap.acknowledged == gap.missing.is_some()));
    }
    // The last commit is torn: nothing proves that it was acknowledged.
    let last = frames.last().unwrap().offset;
    let sim = base.fork();
    sim.flip_bit(segment(1), last + 60, 1).unwrap();
    let (report, _) = hold("the last commit", &sim, &events[..11]);
    assert_eq!((report.gaps.len(), report.tail.len()), (0, 1), "{report:?}");
}

#[test]
fn repair_of_lost_segments_keeps_the_other_segments() {
    let (base, events) = original();
    let count = files_in(&base, "log").len() as u64;
    for number in 1..=count {
        let frames = frames_of(&base, number);
        let inside =
            |position: u64| frames.iter().any(|f| f.kind == 1 && f.first_position == position);
        let lost: Vec<u64> =
            events.iter().filter(|e| inside(e.commit)).map(|e| e.position).collect();
        for how in ["missing", "empty", "without headers"] {
            let sim = base.fork();
            match how {
                "missing" => remove(&sim, &segment(number)),
                "empty" => sim.corrupt(segment(number), Vec::clear).unwrap(),
                _ => zero(&sim, &segment(number), 0, DATA_START),
            }
            let name = format!("segment {number} {how}");
            let (report, missing) = hold(&name, &sim, &events);
            assert_eq!(missing, lost, "{name}: {report:?}");
        }
    }
}

#[test]
fn repair_of_cut_zeroed_and_swapped_files_keeps_every_untouched_commit() {
    let (base, events) = original();
    let frames = frames_of(&base, 2);
    let middle = frames[frames.len() / 2];
    let behind = |from: u64| -> Vec<u64> {
        let lost = |e: &&Seen| {
            frames.iter().any(|f| f.kind == 1 && f.first_position == e.commit && f.offset >= from)
        };
        events.iter().filter(lost).map(|e| e.position).collect()
    };

    let sim = base.fork();
    let end = usize::try_from(middle.offset).unwrap();
    sim.corrupt(segment(2), |bytes| bytes.truncate(end)).unwrap();
    assert_eq!(hold("cut at a frame", &sim, &events).1, behind(middle.offset));

    let sim = base.fork();
    sim.corrupt(segment(2), |bytes| bytes.truncate(end + 100)).unwrap();
    assert_eq!(hold("cut in a frame", &sim, &events).1, behind(middle.offset));

    let sim = base.fork();
    zero(&sim, &segment(2), middle.offset, middle.len);
    let (report, missing) = hold("a zeroed frame", &sim, &events);
    assert_eq!(missing, touched(&frames, &events, middle.offset), "{report:?}");

    let sim = base.fork();
    let (one, two) = (sim.read_file(segment(1)).unwrap(), sim.read_file(segment(2)).unwrap());
    sim.write_file(segment(1), &two).unwrap();
    sim.write_file(segment(2), &one).unwrap();
    assert_eq!(hold("two segments swapped", &sim, &events).1, [0_u64; 0]);

    // Two damages at once, in different segments.
    let sim = base.fork();
    let other = frames_of(&base, 3)[1];
    sim.flip_bit(segment(2), middle.offset + 50, 1).unwrap();
    sim.flip_bit(segment(3), other.offset + 1, 1).unwrap();
    let (report, missing) = hold("two damages", &sim, &events);
    let mut expected = touched(&frames, &events, middle.offset);
    expected.extend(touched(&frames_of(&base, 3), &events, other.offset));
    assert_eq!(missing, expected, "{report:?}");
    assert_eq!(report.gaps.len(), 2);
}

#[test]
fn repair_of_damaged_frames_without_events_loses_no_event() {
    let (base, events) = original();
    let mut tried = 0;
    for number in 1..=files_in(&base, "log").len() as u64 {
        for frame in frames_of(&base, number).iter().filter(|frame| frame.kind != 1) {
            let sim = base.fork();
            zero(&sim, &segment(number), frame.offset, frame.len);
            let (report, missing) = hold("a frame without events", &sim, &events);
            assert_eq!((missing.len(), report.positions.len()), (0, 1), "{report:?}");
            tried += 1;
        }
    }
    assert!(tried > 5);
}

#[test]
fn repair_names_the_intact_events_of_a_damaged_commit() {
    let (base, events) = original();
    let mut found = 0;
    for number in 1..=3 {
        for frame in frames_of(&base, number).iter().filter(|f| f.kind == 1) {
            let inside: Vec<&Seen> =
                events.iter().filter(|e| e.commit == frame.first_position).collect();
            // The last byte before the padding: only the last record is damaged.
            let sim = base.fork();
            sim.flip_bit(segment(number), frame.offset + frame.len - 16, 2).unwrap();
            let (report, _) = hold("the last record", &sim, &events);
            let intact: Vec<u64> =
                report.gaps[0].intact.iter().map(|lost| lost.position.get()).collect();
            let expected: Vec<u64> =
                inside[..inside.len() - 1].iter().map(|e| e.position).collect();
            assert_eq!(intact, expected);
            // The first record's length: the search finds the second record.
            let sim = base.fork();
            sim.flip_bit(segment(number), frame.offset + FRAME_HEADER + 4, 6).unwrap();
            let (report, _) = hold("the first record", &sim, &events);
            assert_eq!(report.gaps[0].intact.len(), inside.len() - 1);
            found += inside.len() - 1;
        }
    }
    assert!(found > 3, "{found}");
}

#[test]
fn repair_stops_at_the_first_damage_if_asked_to() {
    let (base, events) = original();
    let frame = *frames_of(&base, 2).iter().find(|f| f.kind == 1).unwrap();
    base.flip_bit(segment(2), frame.offset + 60, 0).unwrap();
    let report = repair_with(&base, RepairOptions::new().stop_at_damage(true)).unwrap();
    let store = options(&base).open(NEW).unwrap();
    let whole = usize::try_from(frame.first_position - 1).unwrap();
    assert_eq!(all(&store), events[..whole]);
    let left = report.left_out.unwrap();
    assert!(left.first > frame.first_position && left.last == events.len() as u64, "{report:?}");
    assert!(!report.is_complete());
}

#[test]
fn repair_of_an_unreadable_medium_keeps_what_can_be_read() {
    let (base, events) = original();
    let path = segment(2);
    for nth in 1..10 {
        let sim = base.fork();
        sim.inject_at(&path, Fault::Fail { operation: Operation::Read, nth });
        // A failed read is repeated in smaller pieces.
        assert_eq!(hold(&format!("read {nth} fails"), &sim, &events).1, [0_u64; 0], "{nth}");
        let sim = base.fork();
        sim.inject_at(&path, Fault::FailFrom { operation: Operation::Read, nth });
        let (report, missing) = hold(&format!("reads from {nth} on fail"), &sim, &events);
        let unreadable =
            report.gaps.iter().flat_map(|gap| &gap.skipped).any(|s| s.reason.contains("read"));
        assert!(unreadable || missing.is_empty(), "{nth}: {report:?}");
        assert!(nth > 1 || unreadable);
    }
}

#[test]
fn repair_refuses_unsuitable_sources_and_targets() {
    let (sim, _) = original();
    let refused = |to: &str| {
        let storage: Arc<dyn Storage> = Arc::new(sim.process());
        repair_on(&storage, ROOT, to, RepairOptions::new())
    };
    for to in ["/store", "/store/new", "/store/log", "/"] {
        assert!(matches!(refused(to), Err(Error::InvalidArgument { .. })), "{to}");
    }
    let store = options(&sim).open("/other").unwrap();
    store.close().unwrap();
    sim.write_file("/foreign/file", b"x").unwrap();
    for to in ["/other", "/foreign"] {
        assert!(matches!(refused(to), Err(Error::InvalidArgument { .. })), "{to}");
    }
    refused("/new").unwrap();
    let writer = open(&sim).unwrap();
    assert!(matches!(refused("/new2"), Err(Error::Locked { .. })));
    drop(writer);
    let storage: Arc<dyn Storage> = Arc::new(sim.process());
    let nothing = repair_on(&storage, "/foreign", "/new2", RepairOptions::new());
    assert!(matches!(nothing, Err(Error::NotAStore { .. })));
}

#[test]
fn interrupted_repair_leaves_a_whole_store_or_none() {
    let (base, events) = original();
    base.flip_bit(segment(2), 9000, 0).unwrap();
    let run = |sim: &SimStorage| repair_with(sim, RepairOptions::new());
    let probe = base.fork();
    let before = probe.op_count();
    run(&probe).unwrap();
    let operations = probe.op_count() - before;
    let (mut stores, mut none) = (0, 0);
    for step in 0..=operations {
        let sim = base.fork();
        sim.fail_after_ops(step);
        let done = run(&sim);
        sim.crash(annals::testing::Crash::new(step));
        let opened = options(&sim).create(false).open(NEW);
        match opened {
            // The target has every event, or is no store.
            Ok(store) => {
                let found = all(&store).len();
                assert!(found + 4 > events.len(), "step {step}: {found}");
                stores += 1;
            }
            Err(error) => {
                assert!(done.is_err(), "step {step}: {error}");
                none += 1;
            }
        }
    }
    assert!(stores > 5 && none > 50, "{stores} {none} of {operations}");
    // A full disk: the partial target is reand another attempt succeeds.
    let sim = base.fork();
    sim.set_free_space(Some(200_000));
    assert!(matches!(run(&sim), Err(Error::DiskFull { .. })));
    assert_eq!(bytes_of(&sim, NEW).len(), 0);
    sim.set_free_space(None);
    run(&sim).unwrap();
}

/// Cursors and truncations refer to the same events in the new store.
#[test]
fn repair_keeps_cursors_and_hidden_streams() {
    let sim = SimStorage::new(5);
    let store = open(&sim).unwrap();
    let mut number = 0;
    for commit in 1..=20_u64 {
        number += 1;
        let stream = if commit % 2 == 0 { "even" } else { "odd" };
        let appended = [event(number, SIZE)];
        let transaction = store.transaction().append(stream, ExpectedVersion::Any, appended);
        transaction.reset_cursor("behind", commit - 1).commit().unwrap();
    }
    store.truncate_before("even", 8).unwrap();
    store.archive("odd").unwrap();
    store.cursors().advance("early", 3).unwrap();
    store.close().unwrap();
    let whole = repair_with(&sim.fork(), RepairOptions::new()).unwrap();
    assert!(whole.is_complete(), "{whole:?}");
    assert_eq!((whole.changes, whole.missing_changes), (23, 0));

    // The commit of position 4, which was the second of its stream.
    let damaged = sim.fork();
    let bytes = damaged.read_file(segment(1)).unwrap();
    let frames: Vec<usize> = (8192..bytes.len() - 3)
        .step_by(8)
        .filter(|&at| bytes[at..at + 4] == [0xAF, 0x4E, 1, 0])
        .collect();
    damaged.flip_bit(segment(1), frames[3] as u64 + 1000, 0).unwrap();
    let report = repair_with(&damaged, RepairOptions::new()).unwrap();
    assert_eq!((report.missing_events, report.missing_changes), (1, 1), "{report:?}");
    let store = options(&damaged).open(NEW).unwrap();
    let cursor = |name: &str| store.cursors().get(name).unwrap().unwrap().get();
    assert_eq!((cursor("early"), cursor("behind")), (3, 18));
    let even = store.stream_info("even").unwrap().unwrap();
    assert_eq!((even.version, even.first_version), (9, 7));
    assert!(store.stream_info("odd").unwrap().unwrap().archived);
}
