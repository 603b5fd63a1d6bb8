//! Merging index files into level files: power loss at each step, and level files that are damaged,
//! missing, left over or of another store.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use annals::testing::{
    Call, Crash, Fault, Hook, HookedStorage, Keep, Operation, SimStorage, verify_on,
};
use annals::{Error, ExpectedVersion, Opened, Query, Store};

use super::support::*;

/// Six events fill a segment.
const LARGE: usize = 9_000;
const EVENTS: u64 = 32;

fn level(first: u64, last: u64) -> String {
    format!("{ROOT}/index/{first:020}-{last:020}.lvl")
}

/// A store whose segments up to `upto` share a level file, and which has more segments after those.
fn compacted(upto: u64) -> SimStorage {
    let sim = SimStorage::new(7);
    let store = open(&sim).unwrap();
    append(&store, 1, upto, LARGE);
    assert_eq!(store.compact().unwrap().merges, 1);
    append(&store, upto + 1, EVENTS, LARGE);
    store.close().unwrap();
    sim
}

/// Asserts that every sealed segment has a durable and intact index file, its own or a shared one.
fn is_indexed(sim: &SimStorage, name: &str) {
    let report = verify_on(sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, [], "{name}");
    let files = files_in(sim, "index");
    for number in 1..=5 {
        let shared = files.iter().filter_map(|path| path.strip_suffix(".lvl")).any(|path| {
            let name = path.rsplit('/').next().unwrap();
            let (first, last) = name.split_once('-').unwrap();
            (first.parse().unwrap()..=last.parse::<u64>().unwrap()).contains(&number)
        });
        assert!(shared || files.contains(&index(number)), "{name}: {number} in {files:?}");
    }
}

#[test]
fn power_loss_at_each_step_of_a_merge_loses_no_index() {
    let base = closed(EVENTS, LARGE);
    // Once from index files, once from a level file and what came after it.
    for base in [base, compacted(14)] {
        let mut states = 0;
        for step in 0.. {
            let sim = base.fork();
            let store = open(&sim).unwrap();
            sim.fail_after_ops(step);
            let done = store.compact();
            let stopped = sim.is_stopped();
            for keep in [Keep::Nothing, Keep::Everything, Keep::InOrder] {
                let sim = sim.fork();
                sim.crash(Crash::new(step).keep(keep));
                let name = format!("step {step}, {keep:?}");
                is_indexed(&sim, &name);
                let store = open(&sim).unwrap();
                assert_eq!(*store.opened(), Opened::Clean, "{name}");
                assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS, "{name}");
                // Leftover files are removed by the next merge.
                store.compact().unwrap();
                let files = files_in(&sim, "index");
                assert_eq!(files, [level(1, 5)], "{name}");
                assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS, "{name}");
                drop(store);
                hold(&name, &sim, LARGE, Expected::Whole(EVENTS));
                states += 1;
            }
            drop(store);
            if !stopped {
                assert_eq!(done.unwrap().merges, 1);
                break;
            }
        }
        assert!(states > 15, "{states} states");
    }
}

#[test]
fn store_with_level_files_reads_everything() {
    for upto in [14, 20, 26] {
        let sim = compacted(upto);
        let store = open(&sim).unwrap();
        assert_eq!(store.stats().level_files, 1);
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
        // Merge again, from a level file and index files.
        assert_eq!(store.compact().unwrap().merges, 1);
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
        let stats = store.stats();
        assert_eq!((stats.level_files, stats.index_files, stats.compactions), (1, 1, 1));
        assert_eq!(store.compact().unwrap().merges, 0);
        // Read by a follower, and after an opening without a checkpoint.
        let reader = options(&sim).read_only(true).open(ROOT).unwrap();
        assert_eq!(read_back(&reader, LARGE).unwrap(), EVENTS);
        assert!(reader.compact().is_err());
        drop((store, reader));
        remove_all(&sim, "checkpoints");
        hold("no checkpoint", &sim, LARGE, Expected::Whole(EVENTS));
    }
}

#[test]
fn damaged_level_file_changes_no_answer() {
    let base = compacted(26);
    let path = level(1, 4);
    let len = base.read_file(&path).unwrap().len();
    for at in (0..len).step_by(61) {
        let sim = base.fork();
        overwrite(&sim, &path, at as u64, &[base.read_file(&path).unwrap()[at] ^ 0x24]);
        hold(&format!("byte {at} of {len}"), &sim, LARGE, Expected::Whole(EVENTS));
        let sim = base.fork();
        overwrite(&sim, &path, at as u64, &[base.read_file(&path).unwrap()[at] ^ 0x24]);
        remove_all(&sim, "checkpoints");
        hold(&format!("byte {at} of {len}, no checkpoint"), &sim, LARGE, Expected::Whole(EVENTS));
        // A merge meets the damage as well.
        let sim = base.fork();
        overwrite(&sim, &path, at as u64, &[base.read_file(&path).unwrap()[at] ^ 0x24]);
        let store = open(&sim).unwrap();
        store.compact().unwrap();
        assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS, "byte {at}");
    }
}

#[test]
fn missing_cut_or_empty_level_file_changes_no_answer() {
    let path = level(1, 4);
    let base = compacted(26);
    let damages: [(&str, Damage, Expected); 4] = [
        ("missing", |sim| remove(sim, &level(1, 4)), Expected::Whole(EVENTS)),
        ("empty", |sim| sim.corrupt(level(1, 4), Vec::clear).unwrap(), Expected::Whole(EVENTS)),
        (
            "cut",
            |sim| sim.corrupt(level(1, 4), |bytes| bytes.truncate(999)).unwrap(),
            Expected::Whole(EVENTS),
        ),
        (
            "an unfinished one beside it",
            |sim| sim.write_file(format!("{}.tmp", level(1, 5)), b"half").unwrap(),
            Expected::Whole(EVENTS),
        ),
    ];
    assert!(base.read_file(path).is_ok());
    run(&base, LARGE, &damages);
}

#[test]
fn level_file_of_a_diverged_copy_is_not_used() {
    // The copy has the same identity, segments, lengths and streams, and other ids.
    let base = closed(0, LARGE);
    let twin = base.fork();
    let write = |sim: &SimStorage, first_id: u64| {
        let store = open(sim).unwrap();
        for number in 1..=EVENTS {
            let event = event(number, LARGE).id(id_of(first_id + number));
            store.append(stream_of(number), ExpectedVersion::Any, [event]).unwrap();
        }
        store.compact().unwrap();
        store.close().unwrap();
    };
    write(&base, 0);
    write(&twin, 100);
    let path = level(1, 5);
    base.write_file(&path, &twin.read_file(&path).unwrap()).unwrap();
    hold("the level file of a twin", &base, LARGE, Expected::Whole(EVENTS));
}

#[test]
fn level_file_under_another_name_is_not_used() {
    let sim = compacted(26);
    let bytes = sim.read_file(level(1, 4)).unwrap();
    sim.write_file(level(1, 5), &bytes).unwrap();
    sim.write_file(level(2, 5), &bytes).unwrap();
    hold("other names", &sim, LARGE, Expected::Whole(EVENTS));
}

#[test]
fn damage_to_a_segment_that_shares_an_index_is_reported() {
    let base = compacted(26);
    for number in 1..=4 {
        let sim = base.fork();
        let frame = frames_of(&sim, number)[1];
        zero(&sim, &segment(number), frame.offset, frame.len);
        hold(&format!("a frame of segment {number}"), &sim, LARGE, Expected::NothingWrong);
        let sim = base.fork();
        zero(&sim, &segment(number), DATA_START, FRAME_HEADER);
        hold(&format!("the first of segment {number}"), &sim, LARGE, Expected::NothingWrong);
        if number == 1 {
            continue;
        }
        // A reader returns the events before the damage, the same ones by every path.
        remove_all(&sim, "checkpoints");
        let reader = options(&sim).read_only(true).open(ROOT).unwrap();
        let before = reader.head().get();
        assert!(before < EVENTS, "{number}: {before}");
        assert_eq!(read_back(&reader, LARGE).unwrap(), before, "{number}");
        drop(reader);
        let sim = base.fork();
        let seal = *frames_of(&sim, number).last().unwrap();
        zero(&sim, &segment(number), seal.offset, 400);
        hold(&format!("the seal of segment {number}"), &sim, LARGE, Expected::Whole(EVENTS));
    }
}

#[test]
fn opening_reads_no_more_of_a_level_file_than_of_index_files() {
    let apart = closed(EVENTS, LARGE);
    let merged = apart.fork();
    let store = open(&merged).unwrap();
    assert_eq!(store.compact().unwrap().merges, 1);
    store.close().unwrap();
    let opening = |base: &SimStorage| {
        let sim = base.fork();
        let store = open(&sim).unwrap();
        assert_eq!(*store.opened(), Opened::Clean);
        let stats = sim.stats();
        (stats.reads, stats.bytes_read)
    };
    assert_eq!(opening(&merged), opening(&apart));
    // The number of segments that share a level file adds only the reads of their headers and
    // trailers.
    let sim = merged.fork();
    sim.inject_at("/index/", Fault::FailFrom { operation: Operation::Open, nth: 1 });
    sim.inject_at("/index/", Fault::FailFrom { operation: Operation::Read, nth: 1 });
    assert_eq!(*open(&sim).unwrap().opened(), Opened::Clean);
}

#[test]
fn follower_finds_events_that_the_writer_has_merged_since() {
    let base = closed(EVENTS, LARGE);
    for merges in 1..=2 {
        let sim = base.fork();
        let writer = open(&sim).unwrap();
        let mut upto = EVENTS;
        if merges == 2 {
            writer.compact().unwrap();
        }
        let reader = options(&sim).read_only(true).open(ROOT).unwrap();
        if merges == 2 {
            append(&writer, EVENTS + 1, EVENTS + 14, LARGE);
            upto += 14;
        }
        assert_eq!(writer.compact().unwrap().merges, 1);
        // The reader has opened no index file yet, and those of its listing are removed by now.
        assert_eq!(files_in(&sim, "index").len(), 1);
        let before = sim.stats().bytes_read;
        assert!(reader.event(id_of(1)).unwrap().is_some());
        let read = sim.stats().bytes_read - before;
        if merges == 1 {
            assert_eq!(reader.stats().level_files, 1);
            assert!(read < 20 * 4096 + LARGE as u64, "{read} bytes: it read the log");
        }
        assert_eq!(read_back(&reader, LARGE).unwrap(), upto);
        assert_eq!(read_back(&writer, LARGE).unwrap(), upto);
    }
}

#[test]
fn failed_merge_loses_nothing() {
    let base = closed(EVENTS, LARGE);
    // Files that cannot be removed are superseded anyway, and removed later.
    let sim = base.fork();
    let store = open(&sim).unwrap();
    sim.inject_at("/index/", Fault::FailFrom { operation: Operation::Remove, nth: 2 });
    assert_eq!(store.compact().unwrap().merges, 1);
    assert_eq!(files_in(&sim, "index").len(), 6);
    assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS);
    sim.clear_faults();
    assert_eq!(store.compact().unwrap().merges, 0);
    assert_eq!(files_in(&sim, "index"), [level(1, 5)]);
    drop(store);
    hold("not removed", &sim, LARGE, Expected::Whole(EVENTS));
    // A merge without free space.
    let sim = base.fork();
    let store = open(&sim).unwrap();
    let before = files_in(&sim, "index");
    sim.set_free_space(Some(512));
    assert!(matches!(store.compact(), Err(Error::DiskFull { .. })));
    assert_eq!(files_in(&sim, "index"), before);
    sim.set_free_space(None);
    assert_eq!(store.compact().unwrap().merges, 1);
    drop(store);
    hold("no room", &sim, LARGE, Expected::Whole(EVENTS));
    let operations = [Operation::Open, Operation::Read, Operation::Write, Operation::Sync];
    let others = [Operation::SyncDir, Operation::Rename, Operation::ReadDir, Operation::Map];
    for operation in operations.into_iter().chain(others) {
        for nth in 1.. {
            let sim = base.fork();
            let store = open(&sim).unwrap();
            sim.inject_at("/index", Fault::Fail { operation, nth });
            let failed = store.compact().is_err();
            let met = sim.stats().io_errors > 0;
            sim.clear_faults();
            assert_eq!(read_back(&store, LARGE).unwrap(), EVENTS, "{operation:?} {nth}");
            assert!(!failed || store.compact().unwrap().merges <= 1);
            assert_eq!(store.stats().level_files, 1, "{operation:?} {nth}");
            drop(store);
            hold(&format!("{operation:?} {nth}"), &sim, LARGE, Expected::Whole(EVENTS));
            if !met {
                break;
            }
        }
    }
}

#[test]
fn metadata_changes_are_read_from_level_files() {
    let base = SimStorage::new(7);
    let store = open(&base).unwrap();
    // Some segments hold changes and some hold none; a late change supersedes an early one.
    for number in 1..=EVENTS {
        append(&store, number, number, LARGE);
        if number % 3 == 0 && number % 12 < 6 {
            store.cursors().reset(&format!("cursor-{}", number % 2), number).unwrap();
        }
        match number {
            7 => store.truncate_before(&stream_of(1), 2).unwrap(),
            9 => store.archive(&stream_of(2)).unwrap(),
            27 => store.unarchive(&stream_of(2)).unwrap(),
            28 => store.archive(&stream_of(3)).unwrap(),
            _ => {}
        }
        // The checkpoint of the second close covers half of the merged segments.
        if number == 14 {
            assert_eq!(store.compact().unwrap().merges, 1);
        }
    }
    let shown = |store: &Store| {
        // When a cursor was moved is not known after a close.
        let cursors = store.cursors().list().unwrap().into_iter();
        let cursors: Vec<_> = cursors.map(|it| (it.name, it.position, it.lag)).collect();
        let count = |n| store.read_stream(stream_of(n)).into_iter().map(Result::unwrap).count();
        (format!("{cursors:?}"), [0, 1, 2, 3].map(count))
    };
    let expected = shown(&store);
    assert_eq!(expected.1, [8, 7, 8, 0]);
    assert_eq!(store.compact().unwrap().merges, 1);
    store.close().unwrap();
    let checkpoints = files_in(&base, "checkpoints");
    assert_eq!(checkpoints.len(), 2);
    for removed in 0..=2 {
        let sim = base.fork();
        checkpoints.iter().rev().take(removed).for_each(|path| remove(&sim, path));
        let store = open(&sim).unwrap();
        assert_eq!(shown(&store), expected, "without {removed} checkpoints");
        assert_eq!(store.stats().level_files, 1);
        store.cursors().advance("cursor-0", EVENTS).unwrap();
        store.close().unwrap();
        assert_eq!(verify_on(&sim, ROOT, |_| {}).unwrap().faults, []);
    }
}

/// Merges the indexes of the store when the index file of the first segment is about to be opened.
#[derive(Default)]
struct MergeAtOpen {
    armed: AtomicBool,
    store: OnceLock<Arc<Store>>,
}

impl Hook for MergeAtOpen {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let opens = call.operation == Operation::Open && call.path.ends_with(index_name(1));
        if opens && self.armed.swap(false, Ordering::SeqCst) {
            assert_eq!(self.store.get().unwrap().compact().unwrap().merges, 1);
        }
        Ok(())
    }
}

fn index_name(number: u64) -> String {
    format!("{number:020}.idx")
}

/// Look-ups hold no lock while they open index files.
#[test]
fn look_up_whose_index_file_is_merged_meanwhile_uses_the_merged_one() {
    let look_ups: [fn(&Store); 3] = [
        |store| assert_eq!(store.read_stream(stream_of(1)).into_iter().count(), 8),
        |store| assert!(store.event(id_of(1)).unwrap().is_some()),
        |store| {
            let query = Query::stream(stream_of(1));
            assert_eq!(store.read_all().matching(query).into_iter().count(), 8);
        },
    ];
    for look_up in look_ups {
        let sim = closed(EVENTS, LARGE);
        let disk = HookedStorage::new(sim.process(), MergeAtOpen::default());
        let store = options(&sim).storage(Arc::new(disk.clone())).open(ROOT).unwrap();
        let store = Arc::new(store);
        disk.hook().store.set(Arc::clone(&store)).unwrap();
        disk.hook().armed.store(true, Ordering::SeqCst);
        look_up(&store);
        assert!(!disk.hook().armed.load(Ordering::SeqCst), "the file was not opened");
        // Nothing was rebuilt in its place.
        assert_eq!(files_in(&sim, "index"), [level(1, 5)]);
        assert_eq!(store.stats().maintenance_failures, 0);
    }
}
