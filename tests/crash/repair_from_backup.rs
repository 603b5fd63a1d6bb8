//! Repair with a backup: what the backup has of the same history is not lost, and nothing of another history comes in.

use std::path::Path;
use std::sync::Arc;

use annals::testing::{SimStorage, Storage, repair_on};
use annals::{Error, ExpectedVersion, Store, repair::RepairOptions, repair::RepairReport};

use super::repaired::{Seen, all, hold_with, original, touched};
use super::support::*;

const BACKUP: &str = "/backup";

fn from_backup() -> RepairOptions {
    RepairOptions::new().segments_from(BACKUP)
}

fn back_up(sim: &SimStorage, root: &str, to: &str) {
    let store = options(sim).open(root).unwrap();
    store.backup_to(Path::new(to), |_| {}).unwrap();
    store.close().unwrap();
}

/// A store of several segments, and a backup of all of it.
fn backed_up() -> (SimStorage, Vec<Seen>) {
    let (sim, events) = original();
    back_up(&sim, ROOT, BACKUP);
    (sim, events)
}

fn copy_of(path: &str) -> String {
    path.replacen(ROOT, BACKUP, 1)
}

/// Nothing is missing, and the backup is unchanged.
fn complete(name: &str, sim: &SimStorage, events: &[Seen]) -> RepairReport {
    let files = |sim: &SimStorage| -> Vec<_> {
        let of_backup = sim.files().into_iter().filter(|path| path.starts_with(BACKUP));
        of_backup.map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
    };
    let before = files(sim);
    let (report, missing) = hold_with(name, sim, events, from_backup());
    assert!(before == files(sim), "{name}: the backup was changed");
    assert_eq!(missing, [0; 0], "{name}: {report:?}");
    assert!(report.is_complete(), "{name}: {report:?}");
    assert_eq!(report.positions.len(), 1, "{name}");
    report
}

#[test]
fn damage_anywhere_in_a_segment_is_made_good() {
    let (base, events) = backed_up();
    let (mut tried, mut supplied) = (0, 0);
    for (number, path) in (1..).zip(&files_in(&base, "log")) {
        let frames = frames_of(&base, number);
        let len = base.read_file(path).unwrap().len() as u64;
        let starts = frames.iter().flat_map(|f| (0..112).step_by(9).map(move |at| f.offset + at));
        for offset in [0, 40, 4100].into_iter().chain(starts).chain((8192..len).step_by(7001)) {
            let sim = base.fork();
            sim.flip_bit(path, offset, u32::try_from(offset % 8).unwrap()).unwrap();
            let name = format!("{path} at {offset}");
            let report = complete(&name, &sim, &events);
            let hit = touched(&frames, &events, offset);
            let taken = report.supplied.iter().filter_map(|supplied| supplied.positions);
            let taken: Vec<u64> = taken.flat_map(|range| range.first..=range.last).collect();
            assert_eq!(taken, hit, "{name}: {report:?}");
            tried += 1;
            supplied += report.supplied.len();
        }
    }
    assert!(tried > 400 && supplied > 300, "{tried} {supplied}");
}

#[test]
fn lost_segments_are_taken_from_the_backup() {
    let (base, events) = backed_up();
    let count = files_in(&base, "log").len() as u64;
    // One segment, or this one and all after it.
    for (number, to) in (1..=count).flat_map(|number| [(number, number), (number, count)]) {
        for how in ["missing", "empty", "without headers", "cut in the middle"] {
            let sim = base.fork();
            for number in number..=to {
                let path = segment(number);
                match how {
                    "missing" => remove(&sim, &path),
                    "empty" => sim.corrupt(&path, Vec::clear).unwrap(),
                    "without headers" => zero(&sim, &path, 0, DATA_START),
                    _ => sim.corrupt(&path, |bytes| bytes.truncate(30_000)).unwrap(),
                }
            }
            let name = format!("segments {number} to {to} {how}");
            if number == 1 && to == count && how != "cut in the middle" {
                let storage: Arc<dyn Storage> = Arc::new(sim.process());
                let done = repair_on(&storage, ROOT, "/new", from_backup());
                assert!(matches!(
                    done,
                    Err(Error::InvalidArgument { .. } | Error::NotAStore { .. })
                ));
                continue;
            }
            let report = complete(&name, &sim, &events);
            let confirmed = report.supplied.iter().all(|supplied| supplied.confirmed);
            // Segment 5 is the last one with events, and its end is that of the log.
            let is_end = to >= 5 && matches!(how, "missing" | "empty");
            assert!(confirmed != is_end || report.supplied.is_empty(), "{name}: {report:?}");
        }
    }
}

#[test]
fn two_damaged_copies_are_one_whole_store_unless_the_damage_meets() {
    let (base, events) = backed_up();
    let frames: Vec<Frame> = frames_of(&base, 2).into_iter().filter(|f| f.kind == 1).collect();
    for (own, other) in [(1, 2), (2, 1), (1, 3), (1, 1)] {
        for part in [4, FRAME_HEADER + 60] {
            let sim = base.fork();
            sim.flip_bit(segment(2), frames[own].offset + part, 1).unwrap();
            sim.flip_bit(copy_of(&segment(2)), frames[other].offset + part, 1).unwrap();
            let name = format!("frames {own} and {other} at {part}");
            if own != other {
                complete(&name, &sim, &events);
                continue;
            }
            let (report, missing) = hold_with(&name, &sim, &events, from_backup());
            assert_eq!(missing, touched(&frames, &events, frames[own].offset), "{report:?}");
        }
    }
    // A frame that both lack, and the next one, which only the damaged store lacks: it does not follow what was taken,
    // and the frame after it proves it.
    let sim = base.fork();
    for at in [frames[1].offset, frames[2].offset] {
        zero(&sim, &segment(2), at, 48);
    }
    zero(&sim, &copy_of(&segment(2)), frames[1].offset, frames[1].len);
    let (report, missing) = hold_with("two frames", &sim, &events, from_backup());
    assert_eq!(missing, touched(&frames, &events, frames[1].offset), "{report:?}");
    assert!(report.supplied[0].confirmed);
    // The same in a segment that the damaged store does not have.
    let sim = base.fork();
    remove(&sim, &segment(2));
    zero(&sim, &copy_of(&segment(2)), frames[1].offset, frames[1].len);
    let (report, missing) = hold_with("a lost segment", &sim, &events, from_backup());
    assert_eq!(missing, touched(&frames, &events, frames[1].offset), "{report:?}");
    // A backup without a header, or with a damaged manifest, is of use all the same.
    let sim = base.fork();
    zero(&sim, &copy_of(&segment(3)), 0, DATA_START);
    sim.flip_bit(format!("{BACKUP}/BACKUP"), 50, 1).unwrap();
    sim.flip_bit(segment(2), frames[1].offset, 1).unwrap();
    complete("a damaged manifest", &sim, &events);
}

#[test]
fn older_backup_replaces_what_it_has() {
    let (sim, events) = original();
    back_up(&sim, ROOT, BACKUP);
    let store = open(&sim).unwrap();
    let first_new = events.len() as u64 + 1;
    for number in first_new..first_new + 12 {
        store.append("later", ExpectedVersion::Any, [event(number + 500, 6000)]).unwrap();
    }
    let all_events = all(&store);
    store.close().unwrap();
    for number in 1..=files_in(&sim, "log").len() as u64 {
        for frame in frames_of(&sim, number).into_iter().filter(|f| f.kind == 1) {
            let damaged = sim.fork();
            damaged.flip_bit(segment(number), frame.offset + 70, 1).unwrap();
            let name = format!("segment {number} at {}", frame.offset);
            if frame.first_position < first_new {
                complete(&name, &damaged, &all_events);
            } else {
                let (_, missing) = hold_with(&name, &damaged, &all_events, from_backup());
                assert_eq!(missing, [frame.first_position], "{name}");
            }
        }
    }
}

/// Two copies of a store went on separately: the backup is of the other one.
fn forked(with_manifest: bool) -> (SimStorage, Vec<Seen>, u64) {
    let (sim, events) = original();
    back_up(&sim, ROOT, "/first");
    let copy = |from: &str, to: &str| {
        for path in sim.files().into_iter().filter(|path| path.starts_with(from)) {
            let bytes = sim.read_file(&path).unwrap();
            sim.write_file(Path::new(to).join(path.strip_prefix(from).unwrap()), &bytes).unwrap();
        }
    };
    copy("/first", "/fork");
    let grow = |store: &Store, numbers: u64| {
        for number in 0..6 {
            store.append("forked", ExpectedVersion::Any, [event(numbers + number, 3000)]).unwrap();
        }
    };
    let fork = options(&sim).open("/fork").unwrap();
    grow(&fork, 900);
    fork.close().unwrap();
    let store = open(&sim).unwrap();
    grow(&store, 700);
    let all_events = all(&store);
    store.close().unwrap();
    if with_manifest {
        back_up(&sim, "/fork", BACKUP);
    } else {
        copy("/fork", BACKUP);
    }
    (sim, all_events, events.len() as u64 + 1)
}

/// The frame that begins the session in which this position was appended, and its segment.
fn place_of_fork(sim: &SimStorage, fork: u64) -> (u64, Frame) {
    let segments = 1..=files_in(sim, "log").len() as u64;
    let frames =
        segments.flat_map(|number| frames_of(sim, number).into_iter().map(move |f| (number, f)));
    let mut sessions = frames.filter(|(_, f)| f.kind == 5 && f.first_position == fork);
    sessions.next().unwrap()
}

#[test]
fn frames_of_a_history_that_went_another_way_are_refused() {
    for with_manifest in [true, false] {
        let (base, events, fork) = forked(with_manifest);
        let mut refused = 0;
        // The two histories part with a frame without events, which is damaged with the commit after it.
        let (number, session) = place_of_fork(&base, fork);
        let first = *frames_of(&base, number)
            .iter()
            .find(|f| f.first_position == fork && f.kind == 1)
            .unwrap();
        let sim = base.fork();
        zero(&sim, &segment(number), session.offset, first.offset + first.len - session.offset);
        let (report, missing) = hold_with("where they part", &sim, &events, from_backup());
        assert_eq!(missing, [fork], "{report:?}");
        assert!(report.gaps[0].skipped[0].reason.contains("another history"), "{report:?}");
        for number in 1..=files_in(&base, "log").len() as u64 {
            let frames: Vec<Frame> =
                frames_of(&base, number).into_iter().filter(|f| f.kind == 1).collect();
            for (at, frame) in frames.iter().enumerate() {
                for offset in [4, 70] {
                    let sim = base.fork();
                    sim.flip_bit(segment(number), frame.offset + offset, 1).unwrap();
                    let name = format!("{with_manifest} {number} {} {offset}", frame.offset);
                    // The last frame is followed by one without events, which shows its history too.
                    let (report, missing) = hold_with(&name, &sim, &events, from_backup());
                    if frame.first_position < fork {
                        assert_eq!(missing, [0; 0], "{name}: {report:?}");
                        continue;
                    }
                    assert_eq!(missing, [frame.first_position], "{name} {at}: {report:?}");
                    assert!(report.supplied.is_empty(), "{name}: {report:?}");
                    let skipped = &report.gaps[0].skipped[0];
                    refused += usize::from(skipped.reason.contains("another history"));
                }
            }
        }
        assert!(refused >= 6, "{with_manifest}: {refused}");
    }
}

#[test]
fn what_a_copy_without_a_manifest_has_after_the_end_is_not_taken() {
    let (sim, events, fork) = forked(false);
    let (number, session) = place_of_fork(&sim, fork);
    let len = sim.read_file(segment(number)).unwrap().len() as u64;
    zero(&sim, &segment(number), session.offset, len - session.offset);
    for number in number + 1..=files_in(&sim, "log").len() as u64 {
        remove(&sim, &segment(number));
    }
    let (report, missing) = hold_with("the end", &sim, &events, from_backup());
    assert_eq!(missing.first(), Some(&fork), "{report:?}");
    assert!(report.supplied.is_empty(), "{report:?}");
}

#[test]
fn directory_that_is_no_backup_of_the_store_is_refused() {
    let (sim, _) = backed_up();
    let refused = |backup: &str| {
        let storage: Arc<dyn Storage> = Arc::new(sim.process());
        let done = repair_on(&storage, ROOT, "/new", RepairOptions::new().segments_from(backup));
        assert!(!sim.files().iter().any(|path| path.starts_with("/new")), "{backup}");
        done.unwrap_err()
    };
    let other = options(&sim).open("/other").unwrap();
    assert!(matches!(refused("/other"), Error::Locked { .. }));
    other.append("s", ExpectedVersion::Any, [event(1, 10)]).unwrap();
    other.close().unwrap();
    sim.write_file("/foreign/file", b"x").unwrap();
    for (path, why) in
        [("/other", "not a backup of store"), ("/foreign", "no log"), ("/none", "no log")]
    {
        match refused(path) {
            Error::InvalidArgument { what: "the backup", why: given } => {
                assert!(given.contains(why), "{given}");
            }
            error => panic!("{path}: {error:?}"),
        }
    }
}
