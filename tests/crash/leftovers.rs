//! Data that an earlier session, another store or a failed sync has left on the disk, and the order
//! in which writes must become durable so that it does no harm.

use annals::testing::{Crash, Fault, Keep, SimStorage};
use annals::{Durability, ExpectedVersion, NewEvent};

use super::support::*;

const SIZE: usize = 300;
/// Six events fill a segment.
const LARGE: usize = 9_000;

/// The durable contents of a segment from an offset on, after a power loss.
fn durable_from(sim: &SimStorage, number: u64, offset: u64) -> Vec<u8> {
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    sim.read_durable(segment(number)).unwrap().split_off(offset as usize)
}

#[test]
fn bytes_after_a_cut_are_durably_zero() {
    let sim = stopped(3, SIZE);
    let store = open(&sim).unwrap();
    (4..=6).for_each(|number| append_buffered(&store, number, SIZE));
    stop(&sim, store);
    let is_fifth = |frame: &&Frame| frame.kind == 1 && frame.first_position == 5;
    let cut = frames_of(&sim, 1).iter().find(is_fifth).unwrap().offset;
    zero(&sim, &segment(1), cut, FRAME_HEADER);
    let store = open(&sim).unwrap();
    assert_eq!(read_back(&store, SIZE).unwrap(), 4);
    let left = durable_from(&sim, 1, cut);
    assert!(left.iter().all(|&byte| byte == 0), "what was cut off is still there");
}

#[test]
fn segment_whose_only_commit_was_cut_is_durably_zero() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 6, LARGE);
    // The seventh event goes to the next segment; the power is lost before the full one is sealed.
    sim.fail_after_ops(1);
    append_buffered(&store, 7, LARGE);
    stop(&sim, store);
    assert_eq!(frames_of(&sim, 2).len(), 1);
    zero(&sim, &segment(2), DATA_START, FRAME_HEADER);
    let store = open(&sim).unwrap();
    assert_eq!(read_back(&store, LARGE).unwrap(), 6);
    let left = durable_from(&sim, 2, DATA_START);
    assert!(left.iter().all(|&byte| byte == 0), "what was cut off is still there");
}

#[test]
fn zeroed_session_frame_is_refused_after_a_power_loss() {
    // The status file recorded a clean close. Its unsynced change is lost with the power, and the
    // opening must still search for what the session has made durable.
    let sim = closed(5, SIZE);
    let store = open(&sim).unwrap();
    append(&store, 6, 10, SIZE);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    let session = *frames_of(&sim, 1).iter().rfind(|frame| frame.kind == 5).unwrap();
    remove_all(&sim, "checkpoints");
    zero(&sim, &segment(1), session.offset, session.len);
    hold("zeroed session frame", &sim, SIZE, Expected::Refused);
}

#[test]
fn frames_of_another_store_are_no_evidence() {
    // Blocks of a deleted file that are at the same offsets of the file that reuses them.
    let former = stopped(10, SIZE);
    let sim = SimStorage::new(8);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, SIZE);
    stop(&sim, store);
    let end = frames_of(&sim, 1).last().map(|frame| frame.offset + frame.len).unwrap();
    let bytes = former.read_file(segment(1)).unwrap();
    overwrite(&sim, &segment(1), end, &bytes[end as usize..]);
    assert!(frames_of(&sim, 1).iter().any(|frame| frame.durable_position > 3));
    hold("leftovers of another store", &sim, SIZE, Expected::Cut(3));
}

#[test]
fn close_frame_whose_sync_failed_is_written_again() {
    // At some of these sizes the close frame extends into a sector that was empty before.
    for size in (100..612).step_by(8) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 3, size);
        sim.inject_at("log", Fault::SyncDropsPages { nth: 1 });
        assert!(store.close().is_err());
        sim.kill();
        let store = open(&sim).unwrap();
        append(&store, 4, 4, size);
        sim.crash(Crash::new(1).keep(Keep::Nothing));
        drop(store);
        assert_eq!(read_back(&open(&sim).unwrap(), size).unwrap(), 4, "{size} bytes");
    }
}

#[test]
fn seal_is_not_durable_before_the_commits_it_proves() {
    let live = |sim: &SimStorage| {
        let store = options(sim).durability(Durability::BUFFERED).open(ROOT)?;
        (1..=8).try_for_each(|number| {
            let events = [event(number, LARGE)];
            store.append(stream_of(number), ExpectedVersion::Any, events).map(drop)
        })
    };
    let sim = SimStorage::new(1);
    live(&sim).unwrap();
    for step in 0..sim.op_count() {
        let base = SimStorage::new(1);
        base.fail_after_ops(step);
        let _ = live(&base);
        for seed in 0..30 {
            let sim = base.fork();
            sim.crash(Crash::new(seed));
            let store = open(&sim).unwrap_or_else(|e| panic!("step {step} seed {seed}: {e}"));
            assert!(read_back(&store, LARGE).unwrap() <= 8);
        }
    }
}

#[test]
fn records_of_a_diverged_copy_in_an_own_frame_are_damage() {
    // Each record is valid for its offset and position, but the frame was written with others.
    let base = stopped(3, SIZE);
    let twin = base.fork();
    let write = |sim: &SimStorage, fourth: NewEvent| {
        let store = open(sim).unwrap();
        store.append(stream_of(4), ExpectedVersion::Any, [fourth]).unwrap();
        append(&store, 5, 8, SIZE);
        stop(sim, store);
        let is_it = |frame: &&Frame| frame.kind == 1 && frame.first_position == 4;
        *frames_of(sim, 1).iter().find(is_it).unwrap()
    };
    let own = write(&base, event(4, SIZE));
    let other = write(&twin, event(4 + 5 * 256 * 3, SIZE).id(id_of(77)));
    assert_eq!((own.offset, own.len), (other.offset, other.len));
    let (from, to) = ((own.offset + FRAME_HEADER) as usize, (own.offset + own.len) as usize);
    let bytes = twin.read_file(segment(1)).unwrap();
    overwrite(&base, &segment(1), from as u64, &bytes[from..to]);
    hold("another body", &base, SIZE, Expected::Refused);
}

#[test]
fn index_file_of_a_diverged_copy_is_not_used() {
    // The copy has the same identity, segment, lengths and streams, and other ids.
    let base = closed(0, LARGE);
    let twin = base.fork();
    let write = |sim: &SimStorage, first_id: u64| {
        let store = open(sim).unwrap();
        for number in 1..=8 {
            let event = event(number, LARGE).id(id_of(first_id + number));
            store.append(stream_of(number), ExpectedVersion::Any, [event]).unwrap();
        }
        store.close().unwrap();
    };
    write(&base, 0);
    write(&twin, 100);
    base.write_file(index(1), &twin.read_file(index(1)).unwrap()).unwrap();
    hold("the index of a twin", &base, LARGE, Expected::Whole(8));
}
