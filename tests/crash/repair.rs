//! Repair: for any damage, the new store has no fault, holds every undamaged commit and nothing
//! else, the report names what is missing, and the damaged store stays unchanged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use annals::testing::{
    Fault, Operation, SimStorage, Storage, repair_and_salvage_on, repair_on, verify_on,
};
use annals::{
    Error, Event, ExpectedVersion, NewEvent, Opened, Store, Uuid,
    repair::{RepairOptions, RepairReport, SalvagedEvent},
};

use super::support::*;

const NEW: &str = "/new";
const SIZE: usize = 9_000;

/// An event as it was appended. `commit` is the first position of its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) position: u64,
    version: u64,
    stream: String,
    id: Uuid,
    event_type: String,
    tags: Vec<String>,
    data: Vec<u8>,
    recorded_at: u64,
    pub(super) commit: u64,
}

pub(super) fn all(store: &Store) -> Vec<Seen> {
    let mut commit = 1;
    let seen = |event: annals::Result<Event>| {
        let event = event.unwrap();
        let seen = Seen {
            position: event.position().get(),
            version: event.version(),
            stream: event.stream().into(),
            id: event.id(),
            event_type: event.event_type().into(),
            tags: event.tags().map(str::to_owned).collect(),
            data: event.data().into(),
            recorded_at: event.recorded_at().as_micros(),
            commit,
        };
        if event.is_last_in_commit() {
            commit = seen.position + 1;
        }
        seen
    };
    store.read_all().into_iter().map(seen).collect()
}

/// A store of several segments and sessions, with commits to several streams.
pub(super) fn original() -> (SimStorage, Vec<Seen>) {
    let sim = SimStorage::new(11);
    let mut number = 0;
    for commits in [5, 4, 6] {
        let store = open(&sim).unwrap();
        for _ in 0..commits {
            let mut transaction = store.transaction();
            for stream in ["a", "b", "a"].iter().take(1 + number as usize % 3) {
                number += 1;
                sim.advance_clock(1000);
                transaction =
                    transaction.append(*stream, ExpectedVersion::Any, [event(number, SIZE / 3)]);
            }
            transaction.commit().unwrap();
            number += 1;
            store
                .append(format!("s-{}", number % 3), ExpectedVersion::Any, [event(number, SIZE)])
                .unwrap();
        }
        store.close().unwrap();
    }
    let store = open(&sim).unwrap();
    let events = all(&store);
    drop(store);
    assert!(files_in(&sim, "log").len() >= 4, "{:?}", files_in(&sim, "log"));
    (sim, events)
}

/// Every file of the damaged store.
fn bytes_of(sim: &SimStorage, root: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = sim.files().into_iter().filter(|path| path.starts_with(root));
    files.map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

fn repair_with(sim: &SimStorage, options: RepairOptions) -> annals::Result<RepairReport> {
    repair_with_salvage(sim, options).map(|(report, _)| report)
}

/// An intact event of a broken commit: its place, and what is known of its commit.
#[derive(Debug)]
pub(super) struct Salvaged {
    pub(super) position: u64,
    pub(super) first_position: Option<u64>,
    pub(super) events: Option<u32>,
    pub(super) reason: String,
    seen: Seen,
}

fn salvaged(event: &SalvagedEvent<'_>) -> Salvaged {
    let commit = event.commit();
    let first_position = commit.first_position.map(annals::Position::get);
    Salvaged {
        position: event.position().get(),
        first_position,
        events: commit.events,
        reason: commit.reason.into(),
        seen: Seen {
            position: event.position().get(),
            version: event.version(),
            stream: event.stream().into(),
            id: event.id(),
            event_type: event.event_type().into(),
            tags: event.tags().map(str::to_owned).collect(),
            data: event.data().into(),
            recorded_at: event.recorded_at().map_or(0, annals::Timestamp::as_micros),
            commit: first_position.unwrap_or(0),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `repair` takes them")]
fn repair_with_salvage(
    sim: &SimStorage,
    options: RepairOptions,
) -> annals::Result<(RepairReport, Vec<Salvaged>)> {
    let storage: Arc<dyn Storage> = Arc::new(sim.process());
    let before = bytes_of(sim, ROOT);
    let mut events = Vec::new();
    let done = repair_and_salvage_on(&storage, ROOT, NEW, &options, |event| {
        events.push(salvaged(event));
        Ok(())
    });
    assert!(before == bytes_of(sim, ROOT), "the damaged store was changed");
    done.map(|report| (report, events))
}

/// Every salvaged event is one of the original that the new store lacks, and the report counts them.
fn hold_salvage(name: &str, report: &RepairReport, salvaged: &[Salvaged], original: &[Seen]) {
    let counted: u64 = report.gaps.iter().map(|gap| gap.intact_events).sum();
    assert_eq!(counted + report.tail_intact_events, salvaged.len() as u64, "{name}");
    let listed = report.gaps.iter().flat_map(|gap| &gap.intact).map(|lost| lost.position.get());
    let of_gaps = salvaged.iter().map(|found| found.position);
    assert!(listed.eq(of_gaps.take(usize::try_from(counted).unwrap())), "{name}");
    for found in salvaged {
        let was = original.iter().find(|seen| seen.id == found.seen.id).unwrap();
        let mut expected = was.clone();
        if found.events.is_none() {
            (expected.recorded_at, expected.commit) = (0, found.first_position.unwrap_or(0));
        }
        assert_eq!(found.seen, expected, "{name}");
        assert!(found.first_position.is_none_or(|first| first == was.commit), "{name}");
        assert!(!found.reason.is_empty());
    }
}

/// Repairs, and compares the salvaged events, too.
pub(super) fn hold_with_salvage(
    name: &str,
    sim: &SimStorage,
    original: &[Seen],
) -> (RepairReport, Vec<Salvaged>) {
    let (_, salvaged) = repair_with_salvage(&sim.fork(), RepairOptions::new()).unwrap();
    (hold(name, sim, original).0, salvaged)
}

/// Repairs, and compares the new store, the report and the original. Returns the missing positions.
fn hold(name: &str, sim: &SimStorage, original: &[Seen]) -> (RepairReport, Vec<u64>) {
    hold_with(name, sim, original, RepairOptions::new())
}

pub(super) fn hold_with(
    name: &str,
    sim: &SimStorage,
    original: &[Seen],
    options_of_repair: RepairOptions,
) -> (RepairReport, Vec<u64>) {
    let (report, salvaged) = repair_with_salvage(sim, options_of_repair)
        .unwrap_or_else(|e| panic!("{name}: {e} ({e:?})"));
    hold_salvage(name, &report, &salvaged, original);
    let verified = verify_on(sim, NEW, |_| {}).unwrap();
    assert_eq!(verified.faults, [], "{name}");
    let store = options(sim).open(NEW).unwrap();
    assert_eq!(*store.opened(), Opened::Clean, "{name}");
    let new = all(&store);
    let ids: BTreeMap<Uuid, &Seen> = original.iter().map(|seen| (seen.id, seen)).collect();
    let mut kept = Vec::new();
    for (seen, position) in new.iter().zip(1..) {
        let was = ids.get(&seen.id).unwrap_or_else(|| panic!("{name}: {seen:?} is new"));
        assert_eq!(seen.position, position, "{name}");
        assert_eq!(
            (&seen.stream, &seen.data, seen.recorded_at),
            (&was.stream, &was.data, was.recorded_at),
            "{name}"
        );
        assert_eq!(moved(&report, was.position), Some(seen.position), "{name}: {report:?}");
        let loss = report.streams.iter().find(|loss| loss.stream == was.stream);
        let version = match loss {
            Some(loss) => {
                let run = loss.versions.iter().find(|r| (r.first..=r.last).contains(&was.version));
                run.map(|run| was.version - run.first + run.new_first)
            }
            None => Some(was.version),
        };
        assert_eq!(version, Some(seen.version), "{name}: {seen:?} {loss:?}");
        kept.push(was.position);
    }
    let missing: Vec<u64> =
        (1..=original.len() as u64).filter(|position| !kept.contains(position)).collect();
    let told: Vec<u64> =
        report.gaps.iter().filter_map(|gap| gap.missing).flat_map(|m| m.first..=m.last).collect();
    assert_eq!(told, missing, "{name}: {report:?}");
    assert_eq!(report.missing_events, missing.len() as u64, "{name}");
    assert_eq!((report.events, report.is_complete()), (new.len() as u64, missing.is_empty()));
    for position in &missing {
        let lost = &original[usize::try_from(position - 1).unwrap()];
        let told = report.streams.iter().find(|loss| loss.stream == lost.stream);
        let told = told.is_some_and(|loss| {
            loss.missing.iter().any(|m| (m.first..=m.last).contains(&lost.version))
        });
        // Since the checkpoint, only a stream's last record itself may have recorded its version.
        let newest =
            !new.iter().any(|e| e.stream == lost.stream && ids[&e.id].version > lost.version);
        let unknowable = newest && files_in(sim, "checkpoints").is_empty();
        assert!(told || unknowable, "{name}: {} of {}: {report:?}", lost.version, lost.stream);
    }
    for lost in report.gaps.iter().flat_map(|gap| &gap.intact) {
        let was = ids[&lost.id];
        assert_eq!((lost.position.get(), lost.version), (was.position, was.version), "{name}");
        assert!(missing.contains(&lost.position.get()), "{name}");
    }
    // Whole commits only.
    let whole = |at: u64| original[usize::try_from(at - 1).unwrap()].commit;
    let broken = missing.iter().any(|&at| kept.iter().any(|&kept| whole(kept) == whole(at)));
    assert!(!broken, "{name}: half a commit is there");
    store.close().unwrap();
    (report, missing)
}

fn moved(report: &RepairReport, position: u64) -> Option<u64> {
    let run = report.positions.iter().find(|run| (run.first..=run.last).contains(&position))?;
    Some(position - run.first + run.new_first)
}

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

/// The commits of the original that a flipped bit at this offset of a segment damages.
pub(super) fn touched(frames: &[Frame], events: &[Seen], offset: u64) -> Vec<u64> {
    let hit = frames.iter().find(|f| (f.offset..f.offset + f.len).contains(&offset) && f.kind == 1);
    let commit = hit.map(|frame| frame.first_position);
    events.iter().filter(|e| Some(e.commit) == commit).map(|e| e.position).collect()
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
    // A full disk: the partial target is removed, and another attempt succeeds.
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
