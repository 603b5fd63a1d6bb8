//! Unknown format versions and features, and false lengths and counts with valid checksums.

use annals::testing::SimStorage;
use annals::{Error, ExpectedRecord, ExpectedVersion, NewEvent};

use super::support::*;

const SIZE: usize = 40;

fn crc32(state: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(state);
    hasher.update(bytes);
    hasher.finalize()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Changes both copies of a segment's header and recomputes their checksums.
fn change_header(sim: &SimStorage, number: u64, at: usize, value: &[u8]) {
    sim.corrupt(segment(number), |bytes| {
        for copy in [0, 4096] {
            put(bytes, copy + at, value);
            let checksum = crc32(0, &bytes[copy..copy + 124]);
            put(bytes, copy + 124, &checksum.to_le_bytes());
        }
    })
    .unwrap();
}

#[test]
fn unknown_versions_and_features_are_refused_by_name() {
    for (name, at, value) in [
        ("a newer minimum reader version", 10, [2, 0]),
        ("an incompatible feature", 16, [31, 0]),
        ("the last incompatible feature", 22, [0, 0x80]),
    ] {
        let base = closed(12, 9000);
        for number in [1, 3] {
            let sim = base.fork();
            change_header(&sim, number, at, &value);
            hold(name, &sim, 9000, Expected::Unsupported);
            let read_only = options(&sim).read_only(true).open(ROOT);
            assert!(matches!(read_only, Err(Error::Unsupported { .. })), "{name}: {read_only:?}");
        }
    }
    // A newer version that this version of the reader may read.
    let sim = closed(3, SIZE);
    change_header(&sim, 1, 8, &[2, 0]);
    let store = options(&sim).read_only(true).open(ROOT).unwrap();
    assert_eq!(read_back(&store, SIZE).unwrap(), 3);
}

#[test]
fn unknown_feature_that_permits_reading_refuses_writing() {
    let base = closed(12, 9000);
    for number in [1, 3] {
        let sim = base.fork();
        change_header(&sim, number, 24, &[1]);
        hold("a read-only-compatible feature", &sim, 9000, Expected::Unsupported);
        let store = options(&sim).read_only(true).open(ROOT).unwrap();
        assert_eq!(read_back(&store, 9000).unwrap(), 12);
    }
}

#[test]
fn impossible_segment_capacity_is_damage() {
    let base = closed(12, 9000);
    for capacity in [1 << 32, u64::MAX] {
        let sim = base.fork();
        change_header(&sim, 3, 64, &u64::to_le_bytes(capacity));
        hold("a capacity", &sim, 9000, Expected::Refused);
    }
}

#[test]
fn checkpoint_or_index_of_a_newer_version_is_not_used() {
    let base = closed(12, 9000);
    let level = merged(&base);
    for path in [level, index(1), files_in(&base, "checkpoints").pop().unwrap()] {
        let sim = with(&base, &path);
        sim.corrupt(&path, |bytes| {
            put(bytes, 8, &[9, 0, 9, 0]);
            sign_container(bytes);
        })
        .unwrap();
        match open(&sim) {
            Ok(store) => assert_eq!(read_back(&store, 9000).unwrap(), 12, "{path}"),
            Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{path}: {error:?}"),
        }
    }
}

/// The name of the level file that a merge writes.
fn merged(base: &SimStorage) -> String {
    let sim = base.fork();
    open(&sim).unwrap().compact().unwrap();
    files_in(&sim, "index").pop().unwrap()
}

/// A copy of the store, merged first if `path` is a level file.
fn with(base: &SimStorage, path: &str) -> SimStorage {
    let sim = base.fork();
    if path != index(1) && path.contains("/index/") {
        open(&sim).unwrap().compact().unwrap();
    }
    sim
}

/// Recomputes the checksums of a derived file.
fn sign_container(bytes: &mut [u8]) {
    let len = bytes.len();
    let blocks = u32::from_le_bytes(bytes[len - 16..len - 12].try_into().unwrap());
    let payload = len - 16 - 4 * blocks as usize;
    for (number, at) in (0..blocks).zip((0..payload).step_by(4096)) {
        let checksum = crc32(number, &bytes[at..(at + 4096).min(payload)]);
        put(bytes, payload + 4 * number as usize, &checksum.to_le_bytes());
    }
    let checksum = crc32(blocks, &bytes[payload..len - 16]);
    put(bytes, len - 12, &checksum.to_le_bytes());
}

/// A segment's seed, from the salt in its header.
fn seed(bytes: &[u8]) -> u32 {
    crc32(0, &bytes[56..64])
}

fn sign_frame(bytes: &mut [u8], offset: u64) {
    let at = usize::try_from(offset).unwrap();
    let place = offset as u32 ^ (offset >> 32) as u32;
    let checksum = crc32(seed(bytes) ^ place, &bytes[at..at + 44]);
    put(bytes, at + 44, &checksum.to_le_bytes());
}

/// Opens and reads everything. Any result is accepted, if it comes soon and without a panic.
fn survives(sim: &SimStorage, size: usize) {
    for read_only in [true, false] {
        if let Ok(store) = options(sim).read_only(read_only).open(ROOT) {
            let read = |read: annals::ReadAll| read.into_iter().take(1000).all(|it| it.is_ok());
            read(store.read_all());
            read(store.read_all().backwards());
            for number in 0..4 {
                let stream = store.read_stream(stream_of(number));
                let _ = stream.into_iter().take(1000).find(Result::is_err);
            }
            let _ = store.streams().into_iter().take(1000).find(Result::is_err);
            let _ = (store.event(id_of(2)), store.stream_head(&stream_of(1)));
            let _ = store.position_at(annals::Timestamp::from_micros(u64::MAX / 2));
            let _ = store.append(stream_of(1), annals::ExpectedVersion::Any, [event(99, size)]);
        }
    }
    let _ = annals::testing::verify_on(sim, ROOT, |_| {});
}

/// Asserts on the address space of the process, which a large allocation would take even unused.
fn took_no_large_allocation() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 3 << 20, "{} MiB of address space", kib >> 10);
}

const HOSTILE: [u64; 6] = [0, 1, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX];

#[test]
fn hostile_frame_headers_cause_neither_panic_nor_large_allocation() {
    let base = stopped(6, SIZE);
    let frames = frames_of(&base, 1);
    // The fields: body length, event count, link, first and durable position, time.
    for (at, width) in [(4, 4), (8, 4), (12, 4), (16, 8), (24, 8), (32, 8)] {
        for value in HOSTILE {
            for frame in [frames[0], frames[3], *frames.last().unwrap()] {
                let sim = base.fork();
                sim.corrupt(segment(1), |bytes| {
                    let field = usize::try_from(frame.offset).unwrap() + at;
                    put(bytes, field, &value.to_le_bytes()[..width]);
                    sign_frame(bytes, frame.offset);
                })
                .unwrap();
                survives(&sim, SIZE);
            }
        }
    }
    took_no_large_allocation();
}

#[test]
fn hostile_records_cause_neither_panic_nor_large_allocation() {
    let base = stopped(6, SIZE);
    let frames = frames_of(&base, 1);
    // Every field of the record's header, as words of 2 and 4 bytes, without recomputed checksums,
    // covered by a checkpoint: a read is the first to meet them.
    let store = open(&base).unwrap();
    store.append("x", annals::ExpectedVersion::Any, [event(7, SIZE)]).unwrap();
    store.close().unwrap();
    let record = frames[2].offset + FRAME_HEADER;
    for at in (0..72).step_by(2) {
        for value in HOSTILE {
            let sim = base.fork();
            overwrite(&sim, &segment(1), record + at, &value.to_le_bytes()[..4]);
            survives(&sim, SIZE);
        }
    }
    took_no_large_allocation();
}

#[test]
fn hostile_derived_files_cause_neither_panic_nor_large_allocation() {
    let base = closed(14, 9000);
    let level = merged(&base);
    for path in [level, index(1), files_in(&base, "checkpoints").pop().unwrap()] {
        let base = with(&base, &path);
        let len = base.read_file(&path).unwrap().len();
        for at in (8..len.min(800)).step_by(4).chain((800..len).step_by(64)) {
            for value in [0xFFFF_FFFF_u32, 0x7FFF_FFFF, 0x0100_0000, 3] {
                let sim = base.fork();
                sim.corrupt(&path, |bytes| {
                    if at + 4 <= bytes.len() {
                        put(bytes, at, &value.to_le_bytes());
                    }
                    let blocks = u32::from_le_bytes(bytes[len - 16..len - 12].try_into().unwrap());
                    // A false number of blocks cannot be given a valid checksum.
                    if (blocks as usize) < len / 20 {
                        sign_container(bytes);
                    }
                })
                .unwrap();
                survives(&sim, 9000);
            }
        }
    }
    took_no_large_allocation();
}

/// The entry of a record in an index file names a segment that does not exist.
#[test]
fn record_in_a_false_segment_is_an_error_that_names_the_file() {
    const VALUE: u32 = 12_345;
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    store.records().put("r", vec![7; VALUE as usize], ExpectedRecord::Any).unwrap();
    while store.stats().segments < 3 {
        let event = NewEvent::new("T", vec![7; 9_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    sim.corrupt(index(1), |bytes| {
        // The length of the value, a place, the version and the segment.
        let is_entry = |at: &usize| {
            bytes[*at..].starts_with(&VALUE.to_le_bytes())
                && bytes[at + 8..].starts_with(&[1_u64.to_le_bytes(); 2].concat())
        };
        let at = (0..bytes.len()).step_by(4).find(is_entry).unwrap();
        put(bytes, at + 16, &77_u64.to_le_bytes());
        sign_container(bytes);
    })
    .unwrap();
    let store = open(&sim).unwrap();
    for read in
        [store.records().get("r").map(drop), store.records().list().try_for_each(|r| r.map(drop))]
    {
        let Err(Error::Corrupt { file, offset, expected_position, what, .. }) = read else {
            panic!("{read:?}")
        };
        assert!(file.ends_with("log/00000000000000000077.seg"), "{}", file.display());
        assert!(offset >= DATA_START && expected_position.get() > 1, "{offset}");
        assert!(what.contains("record \"r\""), "{what}");
    }
}

#[test]
fn hostile_seals_cause_neither_panic_nor_large_allocation() {
    let base = closed(8, 9000);
    let len = base.read_file(segment(1)).unwrap().len();
    for at in (8..60).step_by(4) {
        for value in HOSTILE {
            let sim = base.fork();
            sim.corrupt(segment(1), |bytes| {
                put(bytes, len - 64 + at, &value.to_le_bytes()[..4]);
                let checksum = crc32(seed(bytes), &bytes[len - 64..len - 4]);
                put(bytes, len - 4, &checksum.to_le_bytes());
            })
            .unwrap();
            survives(&sim, 9000);
        }
    }
    took_no_large_allocation();
}
