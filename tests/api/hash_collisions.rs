//! Ids and keys with equal hashes: an index returns candidates, and the records decide.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;
use std::path::{Path, PathBuf};

use annals::{Error, ExpectedVersion, NewEvent, Options, Uuid, snapshot::Snapshot};

/// The hash of an id, as described in section 10 of `format-spec.md`: `mix(low ^ mix(high))`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// An id with a number; all of these ids have the same 64-bit hash.
fn colliding(number: u64) -> Uuid {
    let low = 0x1234_5678_9ABC_DEF0 ^ mix(number);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    Uuid::from_bytes(bytes)
}

#[test]
fn event_ids_with_equal_hashes_are_told_apart() {
    const IDS: u64 = 30;
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).background(false);
    let event = |number| {
        let data = vec![u8::try_from(number).unwrap(); 5_000];
        NewEvent::new("T", data).id(colliding(number))
    };
    let store = options.clone().open(dir.path()).unwrap();
    for number in 1..=IDS {
        store.append("a", ExpectedVersion::Any, [event(number)]).unwrap();
    }
    for round in ["as it was written", "opened again", "without its checkpoints"] {
        let store = options.clone().read_only(true).open(dir.path()).unwrap();
        assert!(store.stats().sealed_segments > 1, "in index files, and in memory");
        for number in 1..=IDS {
            let found = store.event(colliding(number)).unwrap().expect(round);
            assert_eq!((found.id(), found.position().get()), (colliding(number), number));
        }
        for number in IDS + 1..IDS + 20 {
            assert!(store.event(colliding(number)).unwrap().is_none(), "{round}");
        }
        if round == "opened again" {
            // Windows does not remove files that an open store has mapped.
            let removed = fs::remove_dir_all(dir.path().join("checkpoints"));
            assert!(removed.is_ok() || cfg!(windows), "{removed:?}");
        }
    }
    // A repeated event is recognised by its id, in whichever segment the first one lies.
    for number in [1, 7, IDS] {
        let again = store.append("a", ExpectedVersion::Any, [event(number)]).unwrap();
        assert!(again.already_recorded && again.last_position.get() == number);
    }
    let other = NewEvent::new("T", "other data").id(colliding(2));
    let reused = store.append("a", ExpectedVersion::Any, [other]);
    assert!(matches!(reused, Err(Error::IdReused { .. })), "{reused:?}");
    let new = store.append("a", ExpectedVersion::Any, [event(IDS + 1)]).unwrap();
    assert!(!new.already_recorded && new.last_position.get() == IDS + 1);
}

#[test]
fn snapshot_keys_with_equal_hashes_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).open(dir.path()).unwrap();
    // Large enough for files of their own.
    let [of_a, of_b] = ["of a", "of b"].map(|state| state.repeat(1000));
    for stream in ["a", "b"] {
        store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    }
    let file_of = |path: &Path| -> PathBuf {
        let fan_out = fs::read_dir(path.join("snapshots")).unwrap().next().unwrap().unwrap();
        fs::read_dir(fan_out.path()).unwrap().next().unwrap().unwrap().path()
    };
    store.snapshots().save(&Snapshot::new("a", 1, of_a)).unwrap();
    let of_a = fs::read(file_of(dir.path())).unwrap();
    store.snapshots().delete("a").unwrap();
    fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    store.snapshots().save(&Snapshot::new("b", 1, of_b)).unwrap();
    // The file name that a key with the hash of `b` would get.
    fs::write(file_of(dir.path()), of_a).unwrap();
    assert_eq!(store.snapshots().load("b").unwrap(), None);
}
