//! Damage or a torn tail, by the specification's recovery rule: the engine, `verify` and the Python
//! reader must agree, and read the same events if it is a tail.
//!
//! The fault to detect: a store that was not closed has damage at its beginning, after a close
//! frame or at the start of a segment, and opens as if it were empty there.

use std::fs;
use std::path::Path;

use annals::{Error, ExpectedVersion, NewEvent, Options, Store, verify};
use tempfile::TempDir;

use crate::support::{SEGMENT_SIZE, copy_of, ndjson, open, python, segment, used};

fn put(store: &Store, events: usize, len: usize) {
    for _ in 0..events {
        let event = NewEvent::new("Put", vec![7; len]);
        store.append("stream-1", ExpectedVersion::Any, [event]).unwrap();
    }
}

/// A copy of the open store, as a crash leaves it: no close frame.
fn crashed(store: &Store) -> TempDir {
    copy_of(store.path())
}

/// The offsets of the bytes that look like a frame.
fn frames(bytes: &[u8]) -> Vec<usize> {
    (8192..used(bytes)).step_by(8).filter(|&at| bytes[at..at + 2] == [0xAF, 0x4E]).collect()
}

/// Compares the three on the store in `dir`; the engine last, because recovery writes.
fn judge(dir: &Path, what: &str) {
    let printed = python(&[], dir);
    let damage = String::from_utf8_lossy(&printed.stderr).into_owned();
    let is_damage = !printed.status.success();
    let report = verify(dir, |_| {}).unwrap();
    match Options::new().segment_size(SEGMENT_SIZE).open(dir) {
        // An opening does not scan what a checkpoint covers; a read does.
        Ok(store) if is_damage => {
            let failure = store.read_all().into_iter().find_map(Result::err);
            let noticed = matches!(failure, Some(Error::Corrupt { .. }));
            assert!(noticed, "opened as {:?} and read: {what}: {damage}", store.opened());
        }
        Ok(store) => assert_eq!(ndjson(&store), String::from_utf8_lossy(&printed.stdout), "{what}"),
        Err(Error::Corrupt { .. }) => assert!(is_damage, "refused: {what}"),
        Err(error) => panic!("{what}: {error}"),
    }
    assert_eq!(!report.faults.is_empty(), is_damage, "verify: {what}: {damage}");
}

/// Damages each frame's header, and zeroes each sector, of one segment in turn.
fn damage_everywhere(store: &Path, number: u64) {
    let whole = fs::read(segment(store, number)).unwrap();
    let try_with = |bytes: &[u8], what: &str| {
        let copy = copy_of(store);
        fs::write(segment(copy.path(), number), bytes).unwrap();
        judge(copy.path(), what);
    };
    try_with(&whole, "nothing");
    for at in frames(&whole) {
        let mut bytes = whole.clone();
        bytes[at + 20] ^= 1;
        try_with(&bytes, &format!("the frame at {at} of segment {number}"));
        // The end of the frame, with or without a body.
        let next = frames(&whole).into_iter().find(|&next| next > at);
        let end = next.unwrap_or_else(|| used(&whole).next_multiple_of(8));
        let mut bytes = whole.clone();
        bytes[at..end].fill(0);
        try_with(&bytes, &format!("zeros for the frame at {at} of segment {number}"));
    }
    for at in (8192..used(&whole)).step_by(512 * 7) {
        let mut bytes = whole.clone();
        bytes[at..at + 512].fill(0);
        try_with(&bytes, &format!("zeros at {at} of segment {number}"));
    }
}

#[test]
fn damage_in_a_first_session_is_judged_alike_by_engine_verify_and_python() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 6, 300);
    damage_everywhere(crashed(&store).path(), 1);
}

#[test]
fn damage_after_a_close_frame_is_judged_alike_by_engine_verify_and_python() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 2, 300);
    store.close().unwrap();
    let store = open(dir.path());
    put(&store, 4, 300);
    damage_everywhere(crashed(&store).path(), 1);
}

/// The first session ends in segment 1, the second begins in segment 2, and segment 1 is not
/// sealed yet.
#[test]
fn damage_at_the_start_of_a_segment_is_judged_alike_by_engine_verify_and_python() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 3, 15_000);
    put(&store, 1, 8_000);
    store.close().unwrap();
    let unsealed = fs::read(segment(dir.path(), 1)).unwrap();
    let store = open(dir.path());
    put(&store, 3, 15_000);
    let copy = crashed(&store);
    fs::write(segment(copy.path(), 1), unsealed).unwrap();
    fs::remove_dir_all(copy.path().join("checkpoints")).unwrap();
    damage_everywhere(copy.path(), 2);
    damage_everywhere(copy.path(), 1);
}
