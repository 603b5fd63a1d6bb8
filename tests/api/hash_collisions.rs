//! Ids and keys with equal hashes: an index returns candidates, and the records decide.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use annals::{Error, ExpectedRecord, ExpectedVersion, NewEvent, Options, Uuid, snapshot::Snapshot};

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

/// The hash of a name in a section of index files, as described there.
fn hash_term(section: u64, name: &str) -> u64 {
    let fnv_1a = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    mix(name.bytes().fold(0xCBF2_9CE4_8422_2325, fnv_1a) ^ mix(section))
}

/// Pairs of names of which the indexes keep the same half hash.
fn colliding_names(section: u64) -> Vec<[String; 2]> {
    let mut seen = HashMap::new();
    let pairs = (0_u32..1 << 20).filter_map(|number| {
        let half = hash_term(section, &format!("n-{number}")) >> 32;
        Some([seen.insert(half, number)?, number].map(|number| format!("n-{number}")))
    });
    pairs.collect()
}

#[test]
fn streams_and_records_with_equal_hashes_are_told_apart() {
    // The filter over names lets one in a hundred pass that are not in the file.
    let (streams, keys) = (colliding_names(2), colliding_names(14));
    assert!(streams.len() > 100 && keys.len() > 100);
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).background(false);
    let store = options.open(dir.path()).unwrap();
    for ([stream, _], [key, _]) in streams.iter().zip(&keys) {
        let of_both = store
            .transaction()
            .append(stream, ExpectedVersion::NoStream, [NewEvent::new("T", "1")])
            .put(key, "1", ExpectedRecord::NoRecord);
        of_both.commit().unwrap();
    }
    let fill = |sealed| {
        while store.stats().sealed_segments < sealed {
            let event = NewEvent::new("T", vec![0; 5_000]);
            store.append("filler", ExpectedVersion::Any, [event]).unwrap();
        }
    };
    for (round, sealed) in [("in index files", 2), ("in a level file", 3)] {
        fill(sealed);
        for ([stream, other_stream], [key, other_key]) in streams.iter().zip(&keys) {
            assert_eq!(store.stream_head(stream).unwrap().unwrap().version, 1, "{round}");
            assert_eq!(store.stream_head(other_stream).unwrap(), None, "{round}");
            assert_eq!(store.records().get(key).unwrap().unwrap().value, "1", "{round}");
            assert_eq!(store.records().get(other_key).unwrap(), None, "{round}");
        }
        store.compact().unwrap();
    }
    assert_eq!(store.stats().level_files, 1);
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
