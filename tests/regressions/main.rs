//! Every fault that was ever found, as a test; its comment states what went wrong.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../support/mod.rs"]
mod shared;

use std::path::Path;

use shared::{ROOT, simulated as options};

use annals::testing::simulation::{Kind, Life};
use annals::testing::{Crash, Fault, Keep, Operation, SimStorage, Storage, simulation};
use annals::{
    Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Opened, Position, Query, Store,
    StreamMetadata,
    snapshot::{Mark, Snapshot},
};

const SEGMENT: &str = "/store/log/00000000000000000001.seg";

fn open(sim: &SimStorage) -> Store {
    options(sim).open(ROOT).unwrap()
}

fn append(store: &Store, events: u64) -> annals::Result<annals::Appended> {
    let event = |_| NewEvent::new("T", vec![1; 50]);
    store.append("s", ExpectedVersion::Any, (0..events).map(event).collect::<Vec<_>>())
}

fn positions(read: impl IntoIterator<Item = annals::Result<annals::Event>>) -> Vec<u64> {
    read.into_iter().map(|event| event.unwrap().position().get()).collect()
}

/// Seeds of simulated lives in which something was lost, wrong or refused. 73: a read of the past
/// went on after its end. 81: an I/O error was reported as damage. 614: the session frame was not
/// written again after a failed sync. 637, 1129, 9116, 11926, 22549, 28005: a seal whose sync had
/// failed was trusted. 1222, 1537, 1575, 1988, 2572, 3676, 4841, 7985, 8788, 8846, 9833: the name
/// of a segment was in the cache only. 474: see
/// `sealed_segment_that_ends_with_a_close_frame_is_no_fault_beside_its_writer`.
#[test]
fn simulated_seeds_that_once_failed_pass() {
    for seed in [
        43, 73, 81, 474, 614, 637, 1129, 1222, 1537, 1575, 1988, 2572, 3676, 4841, 7985, 8788,
        8846, 9116, 9833, 11926, 22549, 28005,
    ] {
        simulation::run(seed).unwrap_or_else(|mismatch| panic!("seed {seed}: {mismatch}"));
    }
}

/// Lives with snapshots, followers and faults in which something was lost, wrong or refused. 46,
/// 80, 131: readers beside a buffered writer did not see its first commits. 73: a full segment that
/// was not sealed yet was reported as damaged beside its writer. 1710: the disk was full at the
/// first write to a segment, and the next commit went to the end of the previous segment
/// (`commit_refused_in_a_prepared_segment_is_taken_back` in `tests/crash/full_disk.rs`). 9617: a
/// seal of which a power loss had left the trailer was reported as damaged before it was written
/// again.
///
/// 712269 and 729687, with every kind of operation: the model expected a snapshot of a commit
/// without events before the buffered commits that it depends on were synced, which is when it is
/// saved. 760857: the disk refused the read of an event that a boundary had found, and the model
/// expected an answer. 938: a level file of snapshots that could not be opened once was taken for missing.
/// 365: a segment was sealed before an earlier one, and streams were listed with their heads in the earlier one.
#[test]
fn simulated_lives_that_once_failed_pass() {
    for seed in [46, 73, 80, 131, 1710, 9617] {
        Life::new(Kind::Beside, seed).run().unwrap_or_else(|failure| panic!("{failure}"));
    }
    for seed in [365, 938, 712_269, 729_687, 760_857] {
        Life::new(Kind::Everything, seed).run().unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// The session frame limited readers to the position that was durable when it was written.
#[test]
fn readers_beside_a_buffered_writer_see_its_first_commits() {
    let sim = SimStorage::new(1);
    let store = options(&sim).durability(Durability::BUFFERED).open(ROOT).unwrap();
    let reader = options(&sim).read_only(true).open(ROOT).unwrap();
    for events in 1..=3 {
        append(&store, 1).unwrap();
        assert_eq!(store.head().get(), events);
        assert_eq!(reader.read_all().into_iter().count() as u64, events);
    }
}

/// The end of the segment was taken for a gap, since the position that the writer has made visible
/// is in the next segment.
#[test]
fn full_segment_that_is_not_sealed_yet_is_no_fault() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    let append = || {
        let event = NewEvent::new("T", vec![1; 12_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    };
    (0..4).for_each(|_| append());
    sim.inject_at("0001.seg", Fault::FailFrom { operation: Operation::Write, nth: 1 });
    append();
    let stats = store.stats();
    assert_eq!((stats.segments, stats.sealed_segments), (2, 0), "{stats:?}");
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!((report.faults, report.events), (vec![], 5));
}

/// A power loss had left the seal's trailer and nothing else of it. If the index file exists, which
/// is written once the seal is durable, this is damage.
#[test]
fn unfinished_seal_is_no_fault() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    for _ in 0..5 {
        let event = NewEvent::new("T", vec![1; 12_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    assert_eq!(store.stats().sealed_segments, 1);
    sim.kill();
    drop(store);
    sim.corrupt(SEGMENT, |bytes| {
        let trailer = bytes.len() - 64;
        let seal = trailer - 4 * 4 - 48;
        assert_eq!(bytes[seal..seal + 2], bytes[8192..8194], "a frame begins here");
        bytes[seal..trailer].fill(0);
    })
    .unwrap();
    let faults = || annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap().faults.len();
    assert_eq!(faults(), 2);
    sim.remove_file(Path::new("/store/index/00000000000000000001.idx")).unwrap();
    assert_eq!(faults(), 0);
    let store = open(&sim);
    assert_eq!(positions(store.read_all()), [1, 2, 3, 4, 5]);
    assert_eq!(faults(), 0, "not written again yet");
    append(&store, 1).unwrap();
    assert_eq!((store.stats().sealed_segments, faults()), (1, 0));
}

/// The read went on to the end of the commit, forwards and by both paths.
#[test]
fn read_of_the_past_can_end_within_a_commit() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    append(&store, 3).unwrap();
    append(&store, 2).unwrap();
    for last in 0..=5 {
        let all = || store.read_all().as_of(Position::new(last));
        let expected: Vec<u64> = (1..=last).collect();
        assert_eq!(positions(all()), expected);
        assert_eq!(positions(all().matching(Query::all())), expected);
        assert_eq!(positions(store.read_stream("s").as_of(Position::new(last))), expected);
        let mut borrowed = Vec::new();
        all().for_each(|event| borrowed.push(event.position().get())).unwrap();
        assert_eq!(borrowed, expected);
        let backwards: Vec<u64> = (1..=last).rev().collect();
        assert_eq!(positions(all().backwards()), backwards);
    }
}

/// The session frame counted as proven by earlier events, and was not written again. A write to the
/// same sector would preserve it, so the test places it in a sector of its own.
#[test]
fn frame_without_events_is_rewritten_after_a_failed_sync() {
    for padding in (0..512).step_by(8) {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let event = NewEvent::new("T", vec![1; 100 + padding]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
        store.close().unwrap();
        let store = open(&sim);
        sim.inject_at("log", Fault::SyncDropsPages { nth: 1 });
        append(&store, 2).unwrap_err();
        sim.kill();
        drop(store);
        let store = open(&sim);
        assert_eq!(positions(store.read_all()), [1, 2, 3]);
        append(&store, 1).unwrap();
        sim.crash(Crash::new(1).keep(Keep::Nothing));
        drop(store);
        assert_eq!(positions(open(&sim).read_all()), [1, 2, 3, 4], "{padding} bytes");
    }
}

/// A process that found the segment never synced its name.
#[test]
fn store_whose_creation_was_killed_is_durable_once_used() {
    let operations = {
        let sim = SimStorage::new(1);
        drop(open(&sim));
        sim.op_count()
    };
    for step in 0..operations {
        let sim = SimStorage::new(1);
        sim.fail_after_ops(step);
        let created = options(&sim).open(ROOT);
        sim.kill();
        drop(created);
        let store = open(&sim);
        append(&store, 1).unwrap();
        sim.crash(Crash::new(step).keep(Keep::Nothing));
        drop(store);
        assert_eq!(open(&sim).head().get(), 1, "killed at step {step}");
    }
}

/// A log that begins with damage was taken for a new one, and opened clean with no events.
#[test]
fn damage_to_the_first_frame_is_not_a_new_store() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    for _ in 0..9 {
        append(&store, 1).unwrap();
    }
    sim.crash(Crash::new(1).keep(Keep::Everything));
    drop(store);
    for bytes in [1, 48, 512] {
        let sim = sim.fork();
        sim.corrupt(SEGMENT, |file| file[8192..8192 + bytes].fill(0)).unwrap();
        let refused = options(&sim).open(ROOT).unwrap_err();
        assert!(refused.is_store_damage(), "{refused:?}");
    }
}

/// A close frame was trusted about the bytes after it.
#[test]
fn damage_after_a_close_frame_is_not_a_clean_end() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    append(&store, 2).unwrap();
    store.close().unwrap();
    let end = {
        let bytes = sim.read_file(SEGMENT).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(8)
    };
    let store = open(&sim);
    for _ in 0..3 {
        append(&store, 1).unwrap();
    }
    sim.crash(Crash::new(1).keep(Keep::Everything));
    drop(store);
    sim.corrupt(SEGMENT, |file| file[end..end + 56].fill(0)).unwrap();
    let refused = options(&sim).open(ROOT).unwrap_err();
    assert!(refused.is_store_damage(), "{refused:?}");
}

/// The only segment was missing, the checkpoint was not: a new store was created in its place.
#[test]
fn store_without_its_log_is_not_a_new_store() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    append(&store, 2).unwrap();
    store.close().unwrap();
    sim.remove_file(Path::new(SEGMENT)).unwrap();
    let refused = options(&sim).open(ROOT).unwrap_err();
    assert!(refused.is_store_damage(), "{refused:?}");
}

/// A spare segment of the older size refused commits that the new size permits.
#[test]
fn spare_segment_of_an_older_size_does_not_limit_commits() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    // Fills more than half of the active segment, so that the spare one is prepared.
    for _ in 0..4 {
        let event = NewEvent::new("T", vec![1; 12_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    let store = options(&sim).segment_size(1 << 20).open(ROOT).unwrap();
    let event = NewEvent::new("T", vec![1; 200_000]);
    store.append("s", ExpectedVersion::Any, [event]).unwrap();
    store.close().unwrap();
    let store = open(&sim);
    assert_eq!(positions(store.read_all()), [1, 2, 3, 4, 5]);
    assert_eq!(*store.opened(), Opened::Clean);
}

/// A damaged length made a read run past the end of the file, which was reported as an I/O error.
#[test]
fn damaged_record_length_is_damage() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    for _ in 0..8 {
        let event = NewEvent::new("T", vec![1; 12_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    // The third byte of the length of the sealed segment's last commit.
    let bytes = sim.read_file(SEGMENT).unwrap();
    let frame = (8192..bytes.len() - 48)
        .step_by(8)
        .filter(|&at| bytes[at..at + 4] == [0xAF, 0x4E, 1, 0])
        .max()
        .unwrap();
    sim.flip_bit(SEGMENT, frame as u64 + 6, 2).unwrap();
    let store = open(&sim);
    let error = store.read_all().into_iter().find_map(Result::err).unwrap();
    assert!(error.is_store_damage(), "{error:?}");
}

/// Only the trailer was left of the frames of a sealed segment, and the checkpoint was missing: the
/// segment was taken for one that was never sealed, and the log was cut there.
#[test]
fn seal_is_evidence_of_its_own_frames() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    let submit = |_| {
        let event = NewEvent::new("T", vec![1; 15_000]);
        store.transaction().append("s", ExpectedVersion::Any, [event]).submit().unwrap()
    };
    // One group, so that every frame records that no event is durable yet.
    let tickets: Vec<_> = (0..7).map(submit).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(store.stats().sealed_segments, 2);
    sim.kill();
    drop(store);
    for path in sim.files().iter().filter(|path| path.starts_with("/store/checkpoints")) {
        sim.remove_file(path).unwrap();
    }
    sim.corrupt("/store/log/00000000000000000002.seg", |bytes| {
        let trailer = bytes.len() - 64;
        bytes[8192..trailer].fill(0);
    })
    .unwrap();
    let refused = options(&sim).open(ROOT);
    assert!(matches!(refused, Err(annals::Error::Corrupt { .. })), "{refused:?}");
}

/// With no event after it yet, the close frame was taken for work in progress, and the seal for one
/// that contradicts the frames.
#[test]
fn sealed_segment_that_ends_with_a_close_frame_is_no_fault_beside_its_writer() {
    let sim = SimStorage::new(1);
    let event = || [NewEvent::new("T", vec![1; 14_000])];
    let store = open(&sim);
    for _ in 0..4 {
        store.append("s", ExpectedVersion::Any, event()).unwrap();
    }
    store.close().unwrap();
    let store = open(&sim);
    // The commit makes the segment roll over, and is refused then.
    store.append("s", ExpectedVersion::NoStream, event()).unwrap_err();
    store.transaction().check("s", ExpectedVersion::Exact(4)).commit().unwrap();
    assert_eq!(store.stats().sealed_segments, 1);
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

/// The snapshot was taken for durable because its commit wrote nothing: after a power loss the
/// store had a snapshot of lost events.
#[test]
fn snapshot_of_a_commit_without_events_waits_for_its_stream_to_be_durable() {
    let sim = SimStorage::new(1);
    let store = options(&sim).durability(Durability::BUFFERED).open(ROOT).unwrap();
    append(&store, 3).unwrap();
    let question = store.transaction().check("s", ExpectedVersion::Exact(3));
    question.snapshot(Snapshot::new("s", 3, "of three")).commit().unwrap();
    assert_eq!(store.snapshots().load("s").unwrap(), None);
    let crashed = sim.fork();
    crashed.crash(Crash::new(1).keep(Keep::Nothing));
    let lost = open(&crashed);
    assert_eq!((lost.head(), lost.snapshots().load("s").unwrap()), (Position::START, None));
    store.sync().unwrap();
    store.append("s", ExpectedVersion::Exact(3), [NewEvent::new("T", "")]).unwrap();
    let found = store.snapshots().load("s").unwrap().map(|snapshot| snapshot.mark());
    assert_eq!(found, Some(Mark::Version(3)));
}

/// A repeated commit was answered before its snapshots were checked.
#[test]
fn snapshot_ahead_of_its_stream_is_refused_in_a_repeated_commit() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    let commit = |version: u64| {
        let event = NewEvent::new("T", "").id(annals::Uuid::from_u128(7));
        let transaction = store.transaction().append("s", ExpectedVersion::NoStream, [event]);
        transaction.snapshot(Snapshot::new("s", version, "state")).commit()
    };
    assert!(commit(2).is_err());
    assert!(!commit(1).unwrap().already_recorded);
    let ahead = FailedCheck::SnapshotAhead { key: "s".into(), mark: 2, reached: 1 };
    assert!(matches!(commit(2), Err(Error::Conflict { failed, .. }) if failed == [ahead]));
    assert!(commit(1).unwrap().already_recorded);
}

/// A seal recorded the time of the last commit with events: after it, recorded times could
/// decrease.
#[test]
fn recorded_time_does_not_decrease_after_a_seal_that_ends_with_a_cursor() {
    let sim = SimStorage::new(1);
    sim.set_clock(5_000_000);
    let store = open(&sim);
    append(&store, 1).unwrap();
    sim.set_clock(9_000_000);
    store.cursors().advance("c", 1).unwrap();
    let told = store.transaction().reset_cursor("c", 0).commit().unwrap().recorded_at;
    // A refused commit rolls the segment over as well, and leaves nothing in the new one.
    let large = || (0..6).map(|_| NewEvent::new("T", vec![1; 2_600]));
    loop {
        store.append("large", ExpectedVersion::Exact(9), large()).unwrap_err();
        if store.stats().segments > 1 {
            break;
        }
        store.cursors().reset(&"n".repeat(255), 0).unwrap();
    }
    store.transaction().check("s", ExpectedVersion::Exact(1)).commit().unwrap();
    assert_eq!(store.stats().sealed_segments, 1);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    for path in sim.files().iter().filter(|path| path.starts_with("/store/checkpoints")) {
        sim.remove_file(path).unwrap();
    }
    sim.set_clock(1_000_000);
    let store = open(&sim);
    assert!(append(&store, 1).unwrap().recorded_at >= told);
    store.close().unwrap();
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

/// A read that includes unsynced events was counted from the last durable event.
#[test]
fn newest_events_are_counted_from_the_end_of_the_read() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    append(&store, 3).unwrap();
    store.set_stream_metadata("s", StreamMetadata::new().max_count(2)).unwrap();
    let event = [NewEvent::new("T", "")];
    let buffered = store.transaction().durability(Durability::BUFFERED);
    buffered.append("s", ExpectedVersion::Any, event).commit().unwrap();
    assert_eq!(positions(store.read_stream("s")), [2, 3]);
    assert_eq!(positions(store.read_stream("s").include_unsynced()), [3, 4]);
    assert_eq!(positions(store.read_all().include_unsynced()), [3, 4]);
}
