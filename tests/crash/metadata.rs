//! Cursors and hidden streams: power losses, damage, a full disk and failed syncs at commits that
//! hold them, with and without events.

use std::sync::atomic::Ordering;

use annals::testing::{Crash, DirectoryModel, Fault, Keep, Operation, SimStorage};
use annals::{Durability, Error, ExpectedVersion, FailedCheck, Opened, Position, Query, Result};
use annals::{NewEvent, Store};

use super::full_disk::{PLENTY, copy_on_write};
use super::support::*;

const SIZE: usize = 100;
/// Six events fill a segment.
const LARGE: usize = 9_000;
/// The length of a frame with one cursor: its header, a section, a change, the name.
const CURSOR_FRAME: u64 = FRAME_HEADER + 24 + 24 + 8;

fn cursor(store: &Store, name: &str) -> Option<u64> {
    store.cursors().get(name).unwrap().map(Position::get)
}

/// Appends an event and moves a cursor to the event before it, in one commit.
fn append_handled(store: &Store, number: u64, size: usize) -> Result<annals::Committed> {
    store
        .transaction()
        .append(stream_of(number), ExpectedVersion::Any, [event(number, size)])
        .reset_cursor("handled", number - 1)
        .commit()
}

/// What a life has been acknowledged: events, and a cursor that is moved after each of them.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    events: u64,
    cursor: u64,
}

fn live(sim: &SimStorage, told: &mut Told) -> Result<()> {
    let mut number = 0;
    for events in [8, 1, 6] {
        let store = open(sim)?;
        for _ in 0..events {
            number += 1;
            append_handled(&store, number, LARGE)?;
            told.events = number;
            store.cursors().advance("alone", number)?;
            told.cursor = number;
        }
        store.close()?;
    }
    Ok(())
}

/// Asserts that the store opens, that a commit's events and its cursor are both there or neither,
/// and that a cursor that was moved alone is where it was acknowledged, or one step further.
fn check(name: &str, sim: &SimStorage, told: Told) -> u64 {
    let store = open(sim).unwrap_or_else(|error| panic!("{name}: {error} ({error:?})"));
    let events = read_back(&store, LARGE).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!((told.events..=told.events + 1).contains(&events), "{name}: {events} of {told:?}");
    assert_eq!(cursor(&store, "handled"), events.checked_sub(1), "{name}: {events} events");
    let alone = cursor(&store, "alone").unwrap_or(0);
    assert!((told.cursor..=told.cursor + 1).contains(&alone), "{name}: {alone} of {told:?}");
    assert!(alone == events || alone + 1 == events, "{name}: {alone} behind {events}");
    append_handled(&store, events + 1, LARGE).unwrap();
    store.cursors().advance("alone", events + 1).unwrap();
    sim.crash(Crash::new(events).keep(Keep::Nothing));
    drop(store);
    let store = open(sim).unwrap_or_else(|error| panic!("{name}, again: {error}"));
    assert_eq!(cursor(&store, "handled"), Some(events), "{name}, again");
    assert_eq!(cursor(&store, "alone"), Some(events + 1), "{name}, again");
    events
}

#[test]
fn power_loss_at_each_step_keeps_cursors_with_their_commits() {
    for model in [DirectoryModel::Strict, DirectoryModel::Ext4Like] {
        let sim = SimStorage::with_directory_model(1, model);
        live(&sim, &mut Told::default()).unwrap();
        let operations = sim.op_count();
        assert!(operations > 100, "{operations} operations");
        for step in 0..=operations {
            let base = SimStorage::with_directory_model(1, model);
            base.fail_after_ops(step);
            let mut told = Told::default();
            let _ = live(&base, &mut told);
            for crash in [
                Crash::new(step).keep(Keep::Nothing),
                Crash::new(step).keep(Keep::InOrder),
                Crash::new(step),
                Crash::new(step + 20_000).tear_bytes(),
            ] {
                let sim = base.fork();
                sim.crash(crash);
                check(&format!("step {step} of {operations}, {crash:?}"), &sim, told);
            }
        }
    }
}

/// Five events, a cursor that nothing else proves, and the effects of `then`.
fn with_cursor(then: impl FnOnce(&Store)) -> (SimStorage, Frame) {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 5, SIZE);
    store.cursors().advance("c", 2).unwrap();
    then(&store);
    stop(&sim, store);
    let frame = *frames_of(&sim, 1).iter().find(|frame| frame.kind == 2).unwrap();
    assert_eq!((frame.len, frame.first_position), (CURSOR_FRAME, 6));
    (sim, frame)
}

/// Asserts that every kind of damage to the frame is refused, and that the log stays unchanged.
fn refused(name: &str, base: &SimStorage, frame: Frame) {
    let mut damages = vec![(frame.offset, vec![0; usize::try_from(frame.len).unwrap()])];
    for at in (0..frame.len).step_by(8) {
        damages.push((frame.offset + at, vec![0xFF; 8]));
        damages.push((frame.offset + at, vec![0; usize::try_from(frame.len - at).unwrap()]));
    }
    for (at, bytes) in damages {
        let sim = base.fork();
        overwrite(&sim, &segment(1), at, &bytes);
        if sim.read_file(segment(1)).unwrap() == base.read_file(segment(1)).unwrap() {
            continue;
        }
        // Padding has no checksum, but must be zero.
        hold(&format!("{name}, at {at}"), &sim, SIZE, Expected::Refused);
    }
}

#[test]
fn damaged_cursor_is_refused_if_a_later_commit_proves_it() {
    let (base, frame) = with_cursor(|store| append(store, 6, 6, SIZE));
    refused("an event behind", &base, frame);
    let (base, frame) = with_cursor(|store| store.cursors().advance("other", 1).unwrap());
    refused("another cursor behind", &base, frame);
    let (base, frame) = with_cursor(|store| store.archive(&stream_of(1)).unwrap());
    refused("a hidden stream behind", &base, frame);
    // The second commit is torn itself: only the third can prove the cursor.
    let (base, frame) = with_cursor(|store| {
        store.cursors().advance("other", 1).unwrap();
        store.cursors().advance("third", 1).unwrap();
    });
    let second = frame.offset + frame.len;
    overwrite(&base, &segment(1), second, &[0; 16]);
    refused("two behind", &base, frame);
}

#[test]
fn damaged_cursor_is_refused_if_a_close_or_a_checkpoint_proves_it() {
    let (stopped, _) = with_cursor(|_| {});
    // A store that was opened and closed again, with a cursor in between.
    let closed = || {
        let sim = stopped.fork();
        let store = open(&sim).unwrap();
        store.cursors().advance("d", 3).unwrap();
        store.close().unwrap();
        let frame = *frames_of(&sim, 1).iter().rfind(|frame| frame.kind == 2).unwrap();
        (sim, frame)
    };
    let (base, frame) = closed();
    remove_all(&base, "checkpoints");
    refused("a close frame", &base, frame);
    let (base, frame) = closed();
    // Without the close frame as well.
    let behind = frame.offset + frame.len;
    zero(&base, &segment(1), behind, 256);
    refused("a checkpoint", &base, frame);
}

/// Where a section begins in a checkpoint, and its length.
fn section(checkpoint: &[u8], kind: u32) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(checkpoint[at..at + 8].try_into().unwrap());
    let kinds =
        checkpoint[64..].chunks(24).map(|entry| u32::from_le_bytes(*entry.first_chunk().unwrap()));
    let at = 64 + 24 * kinds.into_iter().position(|it| it == kind).unwrap();
    (number(at + 8), number(at + 16))
}

#[test]
fn damaged_times_of_cursors_hide_no_cursor_and_no_evidence() {
    const BLOCK: u64 = 4096;
    let base = SimStorage::new(3);
    let store = open(&base).unwrap();
    append(&store, 1, 5, SIZE);
    // Enough of them for a block of the checkpoint that holds times alone.
    let names: Vec<String> = (0..1_200).map(|number| format!("c{number}")).collect();
    for names in names.chunks(300) {
        let commit = store.transaction();
        names.iter().fold(commit, |commit, name| commit.cursor(name, 1)).commit().unwrap();
    }
    store.close().unwrap();
    let path = files_in(&base, "checkpoints").pop().unwrap();
    let (from, len) = section(&base.read_file(&path).unwrap(), 17);
    assert_eq!(len, 8 * 1_200);
    let block = from.next_multiple_of(BLOCK);
    assert!(block + BLOCK <= from + len);
    base.flip_bit(&path, block + 99, 0).unwrap();

    let sim = base.fork();
    let store = open(&sim).unwrap();
    let listed = store.cursors().list().unwrap();
    assert_eq!(listed.len(), names.len());
    assert!(listed.iter().all(|it| it.position == Position::new(1)));
    let moved = store.cursors().history("c7").next().unwrap().unwrap();
    assert!(listed.iter().all(|it| it.moved_at.is_none_or(|at| at >= moved.recorded_at)));
    drop(store);

    // Without the close frame, nothing but the checkpoint proves the last cursors.
    let last = *frames_of(&base, 1).iter().rfind(|frame| frame.kind == 2).unwrap();
    zero(&base, &segment(1), last.offset + last.len, 256);
    zero(&base, &segment(1), last.offset, last.len);
    hold("times of cursors", &base, SIZE, Expected::Refused);
}

#[test]
fn damaged_cursor_is_refused_if_a_seal_proves_it() {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 6, LARGE);
    store.cursors().advance("c", 2).unwrap();
    append(&store, 7, 8, LARGE);
    store.close().unwrap();
    let frame = *frames_of(&sim, 1).iter().find(|frame| frame.kind == 2).unwrap();
    let next = frames_of(&sim, 1).into_iter().find(|it| it.offset > frame.offset).unwrap();
    assert_eq!(next.kind, 4, "the cursor is the last frame before the seal");
    remove_all(&sim, "checkpoints");
    zero(&sim, &segment(1), frame.offset, frame.len);
    // The index file holds the changes as well; verify finds the damage.
    let store = open(&sim).unwrap();
    assert_eq!(cursor(&store, "c"), Some(2));
    drop(store);
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert!(!report.faults.is_empty());
    remove_all(&sim, "checkpoints");
    remove_all(&sim, "index");
    hold("a seal", &sim, LARGE, Expected::Refused);
}

#[test]
fn torn_cursor_that_nothing_proves_is_cut() {
    let (base, _) = with_cursor(|store| {
        store.transaction().durability(Durability::BUFFERED).cursor("c", 4).commit().unwrap();
    });
    let last = *frames_of(&base, 1).last().unwrap();
    assert_eq!((last.kind, last.len), (2, CURSOR_FRAME));
    for kept in 0..last.len {
        let sim = base.fork();
        let rest = vec![0; usize::try_from(last.len - kept).unwrap()];
        overwrite(&sim, &segment(1), last.offset + kept, &rest);
        let same = sim.read_file(segment(1)).unwrap() == base.read_file(segment(1)).unwrap();
        let store = open(&sim).unwrap_or_else(|error| panic!("{kept}: {error}"));
        assert_eq!(cursor(&store, "c"), Some(if same { 4 } else { 2 }), "{kept}");
        let Opened::Recovered(recovery) = store.opened() else { panic!("{:?}", store.opened()) };
        assert_eq!(recovery.dropped_bytes > 0, !same && kept > 0, "{kept}: {recovery:?}");
        // What was cut does not come back after later commits.
        store.cursors().advance("c", 3).unwrap_or_else(|error| assert!(same, "{error}"));
        let now = cursor(&store, "c");
        sim.crash(Crash::new(kept).keep(Keep::Nothing));
        drop(store);
        assert_eq!(cursor(&open(&sim).unwrap(), "c"), now, "{kept}");
    }
}

#[test]
fn full_disk_rolls_back_cursors_and_hidden_streams() {
    let mut lives_cut = 0;
    for fits in (0..1_200).step_by(40) {
        let (sim, left, store) = copy_on_write();
        append(&store, 1, 3, SIZE);
        store.cursors().advance("c", 1).unwrap();
        // From here on, postings of the active segment are kept in memory.
        let absent = || Query::tagged(["absent"]);
        store.transaction().fail_if(absent()).commit().unwrap();
        left.store(fits, Ordering::Relaxed);
        let tagged = |tag: &str| NewEvent::new("T", vec![0; SIZE]).tag(tag);
        let tickets = [
            store.transaction().append("s", ExpectedVersion::Any, [tagged("gone")]).cursor("c", 2),
            store.transaction().cursor("c", 3).cursor("d", 1),
            store.transaction().archive(stream_of(1)).truncate_before("s", 2),
        ]
        .map(|transaction| transaction.submit().unwrap());
        let last = store.cursors().advance("e", 4);
        let refuses = last.is_err();
        for ticket in tickets {
            let outcome = ticket.wait();
            let full = matches!(outcome, Err(Error::DiskFull { .. }));
            assert!(full == refuses && outcome.is_err() == refuses, "{fits} fit: {outcome:?}");
        }
        left.store(PLENTY, Ordering::Relaxed);
        if !refuses {
            assert_eq!(cursor(&store, "c"), Some(3), "{fits} fit");
            continue;
        }
        lives_cut += 1;
        assert!(matches!(last, Err(Error::DiskFull { .. })), "{fits} fit: {last:?}");
        let cursors = |store: &Store| -> Vec<_> {
            let all = store.cursors().list().unwrap();
            all.into_iter().map(|it| (it.name, it.position.get())).collect()
        };
        assert_eq!(cursors(&store), [("c".to_owned(), 1)], "{fits} fit");
        assert_eq!(read_back(&store, SIZE).unwrap(), 3, "{fits} fit");
        // Commits accepted from here on must not depend on the refused one.
        let nobody = store.cursors().compare_and_set("d", Some(Position::new(1)), 2);
        assert!(matches!(nobody, Err(Error::Conflict { .. })), "{nobody:?}");
        let taken = || store.transaction().fail_if_exists(Query::tagged(["taken"])).commit();
        store.transaction().fail_if_exists(Query::tagged(["gone"])).commit().unwrap();
        let done = store
            .transaction()
            .append("s", ExpectedVersion::NoStream, [tagged("taken")])
            .cursor("c", 2)
            .commit();
        assert_eq!(done.unwrap().last_position.get(), 4);
        store.transaction().fail_if_exists(Query::tagged(["gone"])).commit().unwrap();
        let position = Position::new(4);
        let exists = FailedCheck::AlreadyExists { query: 0, position };
        assert!(matches!(taken(), Err(Error::Conflict { failed, .. }) if failed == [exists]));
        store.cursors().advance("c", 4).unwrap();
        sim.crash(Crash::new(fits).keep(Keep::Nothing));
        drop(store);
        let store = open(&sim).unwrap_or_else(|error| panic!("{fits} fit: {error}"));
        assert_eq!(cursors(&store), [("c".to_owned(), 4)], "{fits} fit");
        assert_eq!(store.read_all().into_iter().count(), 4, "{fits} fit");
        drop(store);
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "{fits} fit");
    }
    assert!(lives_cut > 5, "the disk was full {lives_cut} times");
}

#[test]
fn cursor_whose_sync_failed_is_not_shown_before_it_is_durable() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, SIZE);
    store.cursors().advance("c", 1).unwrap();
    sim.inject_at("log", Fault::Fail { operation: Operation::Sync, nth: 1 });
    let failed = store.cursors().advance("c", 2);
    assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })), "{failed:?}");
    assert_eq!(cursor(&store, "c"), Some(1));
    let refused = store.archive(&stream_of(1));
    assert!(matches!(refused, Err(Error::WriterPoisoned { .. })), "{refused:?}");
    assert!(store.close().is_err());
    // The page cache still has the cursor: the opening makes it durable before it is visible.
    let store = open(&sim).unwrap();
    assert_eq!(cursor(&store, "c"), Some(2));
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    let store = open(&sim).unwrap();
    assert_eq!(cursor(&store, "c"), Some(2));
    assert_eq!(read_back(&store, SIZE).unwrap(), 3);
}

/// A store of the format before cursors: its segments may not hold them.
#[test]
fn power_loss_at_each_step_of_leaving_a_segment_without_metadata_loses_nothing() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/basic");
    let live = |sim: &SimStorage, told: &mut u64| -> Result<()> {
        let store = open(sim)?;
        for to in 1..=2 {
            store.cursors().advance("c", to)?;
            *told = to;
        }
        store.close()
    };
    let features = |sim: &SimStorage, number: u64| sim.read_file(segment(number)).unwrap()[16];
    let fresh = || {
        let sim = SimStorage::new(1);
        sim.import_dir(std::path::Path::new(golden), ROOT).unwrap();
        sim
    };
    let whole = fresh();
    assert_eq!(features(&whole, 1), 0, "the golden store is of before");
    live(&whole, &mut 0).unwrap();
    assert_eq!((features(&whole, 1), features(&whole, 2)), (0, 15));
    let before = open(&fresh()).unwrap().head();
    for step in 0..=whole.op_count() {
        let sim = fresh();
        sim.fail_after_ops(step);
        let mut told = 0;
        let _ = live(&sim, &mut told);
        sim.crash(Crash::new(step));
        let store = open(&sim).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let found = cursor(&store, "c").unwrap_or(0);
        assert!((told..=told + 1).contains(&found), "step {step}: {found} of {told}");
        assert_eq!(store.head(), before, "step {step}");
        store.cursors().advance("d", 1).unwrap();
        sim.crash(Crash::new(step).keep(Keep::Nothing));
        drop(store);
        let store = open(&sim).unwrap();
        assert_eq!((cursor(&store, "c").unwrap_or(0), cursor(&store, "d")), (found, Some(1)));
        store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
        store.close().unwrap();
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "step {step}");
    }
}
