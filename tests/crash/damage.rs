//! Recovery as tables: the damage done to a store at rest, and the expected result of opening it.

use annals::testing::SimStorage;
use annals::{Error, ExpectedVersion, NewEvent, Opened};

use super::support::*;

const SMALL: usize = 40;
const LARGE: usize = 9_000;

fn frame_with(sim: &SimStorage, number: u64, position: u64) -> Frame {
    let frames = frames_of(sim, number);
    *frames.iter().find(|f| f.kind == 1 && f.first_position == position).unwrap()
}

#[test]
fn damage_to_an_unclosed_segment_is_refused_unless_nothing_proves_the_commit() {
    // Ten acknowledged commits; nothing proves the last one.
    let table: &[(&str, Damage, Expected)] = &[
        ("nothing", |_| {}, Expected::Whole(10)),
        (
            "a zeroed frame in the middle",
            |sim| {
                let frame = frame_with(sim, 1, 4);
                zero(sim, &segment(1), frame.offset, frame.len);
            },
            Expected::Refused,
        ),
        ("a zeroed page in the middle", |sim| zero(sim, &segment(1), 8704, 512), Expected::Refused),
        (
            "the first frame zeroed",
            |sim| zero(sim, &segment(1), DATA_START, frames_of(sim, 1)[0].len),
            Expected::Refused,
        ),
        (
            "the first page of frames zeroed",
            |sim| zero(sim, &segment(1), DATA_START, 512),
            Expected::Refused,
        ),
        (
            "the last commit zeroed",
            |sim| {
                let frame = frame_with(sim, 1, 10);
                zero(sim, &segment(1), frame.offset, frame.len);
            },
            Expected::Whole(9),
        ),
        (
            "the last commit torn",
            |sim| {
                let frame = frame_with(sim, 1, 10);
                zero(sim, &segment(1), frame.offset + 60, frame.len - 60);
            },
            Expected::Cut(9),
        ),
        (
            "the last but one torn",
            |sim| {
                let frame = frame_with(sim, 1, 9);
                zero(sim, &segment(1), frame.offset + 60, frame.len - 60);
            },
            Expected::Refused,
        ),
        (
            "a frame moved onto another",
            |sim| {
                let (from, to) = (frame_with(sim, 1, 3), frame_with(sim, 1, 7));
                let bytes = sim.read_file(segment(1)).unwrap();
                let at = usize::try_from(from.offset).unwrap();
                let len = usize::try_from(from.len).unwrap();
                overwrite(sim, &segment(1), to.offset, &bytes[at..at + len]);
            },
            Expected::Refused,
        ),
        (
            "the file cut in the middle",
            |sim| {
                let end = usize::try_from(frame_with(sim, 1, 5).offset + 20).unwrap();
                sim.corrupt(segment(1), |bytes| bytes.truncate(end)).unwrap();
            },
            // No evidence of the commit is left.
            Expected::Cut(4),
        ),
        (
            "garbage behind the end",
            |sim| overwrite(sim, &segment(1), 30_000, b"?"),
            Expected::Cut(10),
        ),
        ("the first header gone", |sim| zero(sim, &segment(1), 0, 4096), Expected::Whole(10)),
        ("the second header gone", |sim| zero(sim, &segment(1), 4096, 4096), Expected::Whole(10)),
        ("both headers gone", |sim| zero(sim, &segment(1), 0, DATA_START), Expected::Refused),
        ("an empty file", |sim| sim.corrupt(segment(1), Vec::clear).unwrap(), Expected::Refused),
        (
            "a file as long as a segment can be",
            |sim| sim.corrupt(segment(1), |bytes| bytes.resize(8192 + 2 * 65_536, 0)).unwrap(),
            Expected::Whole(10),
        ),
        (
            "a file that is longer",
            |sim| sim.corrupt(segment(1), |bytes| bytes.resize(8193 + 2 * 65_536, 0)).unwrap(),
            Expected::Refused,
        ),
        (
            "unfinished files of every kind",
            |sim| {
                sim.write_file(format!("{}.tmp", segment(2)), b"half").unwrap();
                sim.write_file(format!("{}.tmp", index(1)), b"half").unwrap();
                sim.write_file("/store/checkpoints/00000000000000000001.ckp.tmp", b"").unwrap();
            },
            Expected::Whole(10),
        ),
    ];
    run(&stopped(10, SMALL), SMALL, table);
}

#[test]
fn damage_to_a_closed_segment_is_refused_or_harmless() {
    let last_commit: Damage = |sim| {
        let frame = frame_with(sim, 1, 10);
        zero(sim, &segment(1), frame.offset + 8, frame.len - 8);
    };
    let table: &[(&str, Damage, Expected)] = &[
        ("nothing", |_| {}, Expected::Whole(10)),
        ("the last commit, before the close frame", last_commit, Expected::NothingWrong),
        (
            "everything behind a middle frame",
            |sim| {
                let from = frame_with(sim, 1, 5).offset;
                zero(sim, &segment(1), from, 65_536 - from);
            },
            Expected::Refused,
        ),
        ("the only segment missing", |sim| remove(sim, &segment(1)), Expected::Refused),
        (
            "the close frame gone",
            |sim| {
                let close = *frames_of(sim, 1).last().unwrap();
                zero(sim, &segment(1), close.offset, close.len);
            },
            Expected::Whole(10),
        ),
        ("no checkpoint", |sim| remove_all(sim, "checkpoints"), Expected::Whole(10)),
        (
            "no checkpoint, and the last commit damaged before the close frame",
            |sim| {
                remove_all(sim, "checkpoints");
                let frame = frame_with(sim, 1, 10);
                zero(sim, &segment(1), frame.offset + 8, frame.len - 8);
            },
            Expected::Refused,
        ),
        (
            "a checkpoint cut short",
            |sim| {
                let path = files_in(sim, "checkpoints").pop().unwrap();
                sim.corrupt(path, |bytes| bytes.truncate(bytes.len() / 2)).unwrap();
            },
            Expected::Whole(10),
        ),
        (
            "a checkpoint of zeros",
            |sim| {
                let path = files_in(sim, "checkpoints").pop().unwrap();
                sim.corrupt(path, |bytes| bytes.fill(0)).unwrap();
            },
            Expected::Whole(10),
        ),
        (
            "the checkpoint of another store",
            |sim| {
                let other = SimStorage::new(1234);
                let store = open(&other).unwrap();
                append(&store, 1, 10, SMALL);
                store.close().unwrap();
                let path = files_in(&other, "checkpoints").pop().unwrap();
                let bytes = other.read_file(path).unwrap();
                sim.write_file("/store/checkpoints/00000000000000000009.ckp", &bytes).unwrap();
            },
            Expected::Whole(10),
        ),
        (
            "a checkpoint of this store's future",
            |sim| {
                let future = sim.fork();
                let store = open(&future).unwrap();
                append(&store, 11, 15, SMALL);
                store.close().unwrap();
                let path = files_in(&future, "checkpoints").pop().unwrap();
                sim.write_file(&path, &future.read_file(&path).unwrap()).unwrap();
            },
            Expected::Refused,
        ),
        (
            "a checkpoint of this store's past",
            |sim| {
                let past = sim.read_file(files_in(sim, "checkpoints").pop().unwrap()).unwrap();
                let store = open(sim).unwrap();
                append(&store, 11, 12, SMALL);
                store.close().unwrap();
                let newest = files_in(sim, "checkpoints").pop().unwrap();
                sim.write_file(newest, &past).unwrap();
            },
            Expected::Whole(12),
        ),
    ];
    run(&closed(10, SMALL), SMALL, table);
}

#[test]
fn damage_after_a_close_frame_is_refused() {
    // Closed, opened again, written to, stopped: the last frame before the damage is a close frame.
    let base = closed(5, SMALL);
    let store = open(&base).unwrap();
    append(&store, 6, 10, SMALL);
    stop(&base, store);
    let session = frames_of(&base, 1).iter().rposition(|frame| frame.kind == 5).unwrap();
    let session = frames_of(&base, 1)[session];
    for without_checkpoint in [false, true] {
        for (name, len) in [("its header", FRAME_HEADER), ("all of it", session.len)] {
            let sim = base.fork();
            if without_checkpoint {
                remove_all(&sim, "checkpoints");
            }
            zero(&sim, &segment(1), session.offset, len);
            hold(&format!("zeroed session frame, {name}"), &sim, SMALL, Expected::Refused);
        }
    }
    // Bytes that cannot have been written after the close are harmless.
    let sim = closed(5, SMALL);
    let close = *frames_of(&sim, 1).last().unwrap();
    overwrite(&sim, &segment(1), close.offset + close.len + 512, b"left over");
    let store = open(&sim).unwrap();
    append(&store, 6, 7, SMALL);
    stop(&sim, store);
    hold("leftovers", &sim, SMALL, Expected::Cut(7));
}

#[test]
fn checkpoint_of_a_diverged_copy_is_not_used() {
    // A copy of the store to which other events were appended: the same identity, another history.
    let base = closed(5, LARGE);
    let twin = base.fork();
    let store = open(&twin).unwrap();
    for _ in 6..=14 {
        let event = NewEvent::new("Other", vec![1; LARGE]);
        store.append("other", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    let store = open(&base).unwrap();
    append(&store, 6, 14, LARGE);
    store.close().unwrap();
    let foreign = files_in(&twin, "checkpoints").pop().unwrap();
    let own = files_in(&base, "checkpoints").pop().unwrap();
    base.write_file(own, &twin.read_file(foreign).unwrap()).unwrap();
    let store = open(&base).unwrap();
    assert_eq!(read_back(&store, LARGE).unwrap(), 14);
}

#[test]
fn frame_of_a_diverged_copy_is_damage() {
    // Everything in the frame is valid for its offset and position; only the next frame does not
    // continue from it.
    let base = SimStorage::new(7);
    let store = open(&base).unwrap();
    append(&store, 1, 3, SMALL);
    stop(&base, store);
    let twin = base.fork();
    let store = open(&base).unwrap();
    append(&store, 4, 9, SMALL);
    stop(&base, store);
    let store = open(&twin).unwrap();
    for _ in 4..=9 {
        let event = NewEvent::new("Other", vec![9; SMALL]).id(id_of(77)).tag("tag:1");
        let stream = stream_of(1);
        if store.append(&stream, ExpectedVersion::Any, [event]).unwrap().already_recorded {
            break;
        }
    }
    stop(&twin, store);
    let (own, other) = (frame_with(&base, 1, 4), frame_with(&twin, 1, 4));
    assert_eq!((own.offset, own.len), (other.offset, other.len));
    let (from, to) = (usize::try_from(own.offset).unwrap(), own.offset + own.len);
    let bytes = twin.read_file(segment(1)).unwrap();
    overwrite(&base, &segment(1), own.offset, &bytes[from..usize::try_from(to).unwrap()]);
    let refused = open(&base);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

#[test]
fn rebuilt_derived_files_are_reported_and_not_rebuilt_again() {
    let sim = closed(20, LARGE);
    remove(&sim, &index(2));
    let store = open(&sim).unwrap();
    let Opened::Recovered(recovery) = store.opened() else { panic!("{:?}", store.opened()) };
    assert_eq!((recovery.rebuilt, recovery.dropped_bytes), (1, 0));
    store.close().unwrap();
    assert_eq!(*open(&sim).unwrap().opened(), Opened::Clean);
}

#[test]
fn verify_names_every_fault_and_goes_on_after_each() {
    use annals::testing::{Fault, Operation, verify_on};

    let base = closed(40, LARGE);
    let named = |sim: &SimStorage| -> Vec<(u64, u64)> {
        let report = verify_on(&sim.process(), ROOT, |_| {}).unwrap();
        let number = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().parse();
        report.faults.iter().map(|fault| (number(&fault.file).unwrap(), fault.offset)).collect()
    };
    // Damage: two frames in one segment, one frame in another, both header copies in a third, and
    // two gaps.
    let sim = base.fork();
    let (two, four) = (frames_of(&sim, 2), frames_of(&sim, 4));
    let hit = [(2, two[1].offset), (2, two[3].offset), (4, four[2].offset)];
    for (number, offset) in hit {
        sim.flip_bit(segment(number), offset + 70, 1).unwrap();
    }
    assert_eq!(named(&sim), hit);
    zero(&sim, &segment(3), 0, DATA_START);
    remove(&sim, &segment(1));
    remove(&sim, &segment(5));
    let mut all = vec![(1, 0), (3, 0), (5, 0)];
    all.extend(hit);
    assert_eq!(named(&sim), all);
    // A medium that cannot be read at one place.
    let sim = base.fork();
    sim.flip_bit(segment(4), four[2].offset + 70, 1).unwrap();
    let path = segment(2);
    sim.inject_at(&path, Fault::FailFrom { operation: Operation::Read, nth: 3 });
    let faults = named(&sim);
    assert!(faults.contains(&(4, four[2].offset)), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.0 == 2), "{faults:?}");
}
