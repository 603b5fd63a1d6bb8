//! The seeds: files in `fuzz/seeds`, which published packages do not have.
//!
//! `cargo test --test fuzz_smoke -- --ignored` writes the generated ones.

use std::fs;
use std::path::{Path, PathBuf};

use annals::testing::SimStorage;
use annals::testing::decode::{PATCHED, STRUCTURES};
use annals::{ExpectedVersion, NewEvent, Options, snapshot::Snapshot};

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// The seeds of a target, by name.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory(target)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(directory(target)).unwrap();
    fs::write(directory(target).join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes the seeds"]
fn missing_fuzz_seeds_are_written() {
    write_structures();
    write_damage();
    write_operations();
    write_queries();
    write_lines();
}

/// Each structure, from the golden store and from a new one.
fn write_structures() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/sealed");
    write_structures_of("golden", |path| fs::read(golden.join(path)).ok());
    let disk = small_store();
    write_structures_of("now", |path| disk.read_file(format!("/store/{path}")).ok());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/metadata");
    write_structures_of("metadata", |path| fs::read(golden.join(path)).ok());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/extended");
    write_structures_of("extended", |path| fs::read(golden.join(path)).ok());
    structure(7, "segment", b"00000000000000000042.seg");
    let is_snapshot = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "snap");
    let snapshot = disk.files().into_iter().find(is_snapshot).expect("one was saved");
    structure(8, "now", &disk.read_file(snapshot).unwrap());
    let merged = disk.fork();
    let store = small_options(&merged).open("/store").unwrap();
    while store.stats().sealed_segments < 3 {
        store.cursors().reset("reader", 1).unwrap();
        let large = NewEvent::new("Filled", vec![1; 14_000]).tag("blue");
        store.append("account-2", ExpectedVersion::Any, [large]).unwrap();
    }
    store.compact().unwrap();
    let is_level = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "lvl");
    let level = merged.files().into_iter().find(is_level).expect("they were merged");
    structure(10, "now", payload_of(&mut merged.read_file(level).unwrap()));
}

/// With recomputed checksums, and without.
fn write_structures_of(source: &str, find: impl Fn(&str) -> Option<Vec<u8>>) {
    let read = |path: &str| find(path).expect(path);
    let segment = read("log/00000000000000000001.seg");
    let word = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    // Frames with events, without events, and the seal.
    let mut frames = Vec::new();
    let mut at = 8192;
    while at < segment.len() {
        let end = at + 48 + word(at + 4).next_multiple_of(8);
        frames.push(segment[at..end].to_vec());
        at = end;
    }
    let kinds = [(5, "session"), (1, "commit"), (2, "metadata"), (3, "close"), (4, "seal")];
    for (kind, name) in kinds {
        let frame = frames.iter().filter(|frame| frame[2] == kind).min_by_key(|frame| frame.len());
        if let Some(frame) = frame {
            structure(1, &format!("{name}-{source}"), frame);
            if kind == 2 {
                let len = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
                structure(9, source, &frame[48..48 + len]);
            }
        }
    }
    let events = frames.iter().find(|frame| frame[2] == 1).unwrap();
    let record = u32::from_le_bytes(events[52..56].try_into().unwrap()) as usize;
    structure(2, source, &events[48..48 + record.next_multiple_of(8)]);
    structure(0, source, &segment[..128]);
    let len = (segment.len() as u64).to_le_bytes();
    structure(3, source, &[&segment[segment.len() - 64..], &len].concat());
    // The golden store has checkpoints 3 and 4.
    let checkpoint =
        ["checkpoints/00000000000000000002.ckp", "checkpoints/00000000000000000003.ckp"];
    let checkpoint = checkpoint.into_iter().find_map(&find).expect("a checkpoint");
    for (index, mut bytes) in [(4, read("index/00000000000000000001.idx")), (5, checkpoint)] {
        structure(index, source, payload_of(&mut bytes));
    }
    if let Some(status) = find("STATUS") {
        structure(6, source, &status);
    }
}

/// A container without its checksums.
fn payload_of(bytes: &mut Vec<u8>) -> &[u8] {
    let footer = bytes.len() - 16;
    let blocks = u32::from_le_bytes(bytes[footer..footer + 4].try_into().unwrap()) as usize;
    bytes.truncate(footer - 4 * blocks);
    bytes
}

fn structure(index: u8, name: &str, bytes: &[u8]) {
    let structure = STRUCTURES[usize::from(index)];
    let mut patched = bytes.to_vec();
    (structure.patch)(&mut patched);
    for (name, first, bytes) in [
        (format!("{}-{name}", structure.name), index, &patched[..]),
        (format!("{}-{name}-patched", structure.name), index | PATCHED, bytes),
    ] {
        write("decode", &name, &[&[first], bytes].concat());
    }
}

fn small_options(disk: &SimStorage) -> Options {
    let storage = std::sync::Arc::new(disk.process());
    Options::new().storage(storage).background(false).segment_size(Options::MIN_SEGMENT_SIZE)
}

/// A sealed segment of a few large events, an active one, and their derived files.
fn small_store() -> SimStorage {
    let disk = SimStorage::new(1);
    let open = || small_options(&disk).open("/store").unwrap();
    let small = NewEvent::new("Opened", "data").metadata("meta").tags(["red", "owner:1"]);
    let store = open();
    store.append("account-1", ExpectedVersion::NoStream, [small.clone(), small.clone()]).unwrap();
    store.close().unwrap();
    let store = open();
    while store.stats().sealed_segments == 0 {
        let large = NewEvent::new("Filled", vec![1; 14_000]).tag("blue");
        store.append("account-2", ExpectedVersion::Any, [large]).unwrap();
    }
    store.append("order-1", ExpectedVersion::Any, [small]).unwrap();
    store.snapshots().save(&Snapshot::new("account-1", 2, "state").with_schema_version(3)).unwrap();
    store.close().unwrap();
    disk
}

/// Changes to files: see `recovery/damage.rs`. Files are in the order of their paths: in the
/// sealed store the lock, checkpoints 1 and 2, index files 3 and 4, segments 5 to 7.
fn write_damage() {
    let programs: [(&str, &[u8]); 18] = [
        ("nothing", &[1]),
        ("nothing-killed", &[2]),
        ("flip-in-a-record", &[1, 0, 5, 0x90, 0x20, 3]),
        ("flip-in-a-trailer", &[1, 0x80, 5, 40, 0, 3]),
        ("flip-in-the-active-segment", &[1, 0, 7, 0x70, 0x20, 3]),
        ("flip-in-a-header", &[0, 0, 3, 9, 0, 3]),
        ("flip-in-a-checkpoint", &[1, 0, 2, 100, 0, 3]),
        ("flip-in-an-index", &[1, 0, 3, 100, 0, 3]),
        ("zeros-in-a-segment", &[1, 4, 6, 0, 0x30, 0, 2, 0]),
        ("cut-segment", &[1, 8, 6, 0, 0x40]),
        ("cut-tail", &[2, 0x88, 3, 100, 0]),
        ("no-newest-checkpoint", &[1, 10, 2]),
        ("no-checkpoints", &[1, 10, 1, 10, 1]),
        ("no-index", &[1, 10, 3]),
        ("no-last-segment", &[1, 10, 7]),
        ("segments-swapped", &[1, 11, 6, 5]),
        ("a-segment-too-many", &[1, 12, 1, 6]),
        ("an-old-frame-behind-the-last", &[2, 13, 3, 0, 0x80, 3, 0, 0x20, 0, 4]),
    ];
    for (name, program) in programs {
        write("recovery", name, program);
        let patched = [&[program[0] | crate::recovery::PATCHED], &program[1..]].concat();
        write("recovery", &format!("{name}-patched"), &patched);
    }
    let numbers: [(&str, &[u8]); 6] = [
        ("count-in-a-trailer", &[0x86, 5, 62, 0, 0, 8]),
        ("length-in-a-frame", &[6, 7, 4, 0x20, 0, 8]),
        ("length-in-a-record", &[6, 7, 0x34, 0x20, 0, 8]),
        ("position-in-a-frame", &[6, 7, 0x10, 0x20, 1, 10]),
        ("position-in-a-checkpoint", &[6, 2, 0, 1, 1, 10]),
        ("count-in-an-index", &[6, 3, 0x20, 1, 0, 8]),
    ];
    for (name, change) in numbers {
        let program = [&[1 | crate::recovery::PATCHED], change].concat();
        write("recovery", &format!("{name}-patched"), &program);
    }
    let first = crate::recovery::WITH_CURSORS | crate::recovery::PATCHED;
    let position = [first, 6, 3, 0xA0, 1, 1, 10];
    write("recovery", "position-in-an-index-patched", &position);
}

fn write_operations() {
    // Any bytes are operations.
    let mut state = 1_u64;
    for number in 0..8 {
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        write("operations", &format!("any-{number}"), &(0..256).map(byte).collect::<Vec<u8>>());
    }
    for number in 0..8 {
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let mut bytes: Vec<u8> = (0..512).map(byte).collect();
        bytes[0] = crate::operations::EVERY | number;
        write("operations", &format!("every-{number}"), &bytes);
    }
}

/// Options and items: see `query.rs`.
fn write_queries() {
    let reads: [(&str, &[u8]); 16] = [
        ("nothing", &[0, 0]),
        ("everything", &[0, 1, 0]),
        ("a-type", &[0, 1, 1, 1, 0]),
        ("two-tags-backwards", &[16, 1, 2, 2, 0, 2]),
        ("a-stream-after", &[1, 100, 0, 1, 4, 1]),
        ("a-category-borrowed", &[32, 1, 8, 0]),
        ("an-absent-tag", &[0, 1, 2, 1, 9]),
        ("two-items-as-of-limit", &[6, 20, 200, 0, 2, 1, 1, 2, 9, 1, 3, 3]),
        ("a-boundary-that-finds-nothing", &[64, 1, 2, 1, 9]),
        ("a-boundary-on-a-tag", &[64, 1, 2, 1, 0]),
        ("a-boundary-behind-a-position", &[72, 200, 0, 2, 17, 1, 0, 40, 0, 2, 1, 3]),
        ("text-of-two-items", b"type:Opened,\"a b\" tag:owner:42 or category:account after:17"),
        ("text-with-escapes", b" stream:\"a \\\"b\\\\\" or tag:\xc3\xa9"),
        ("text-of-empty-values", b"type:\"\" tag:\"\" or type:A,\"\""),
        ("text-all", b"all"),
        ("all-of-it", &[63, 9, 0, 5, 44, 1, 3, 0, 1, 31, 2, 0, 1, 1, 3, 2, 1, 20, 0]),
    ];
    for (name, bytes) in reads {
        write("query", name, bytes);
    }
}

fn write_lines() {
    let lines = [
        ("smallest", r#"{"stream":"a","type":"T","data":null}"#),
        (
            "all-keys",
            concat!(
                r#"{"position":7,"stream":"a-1","version":2,"type":"T","#,
                r#""id":"00000000-0000-0000-0000-000000000005","recorded_at":"2026-01-01T00:00:00Z","#,
                r#""commit":6,"data":{"b": 1.50, "a":[ ], "a":2},"metadata":{"by":"ann"},"#,
                r#""tags":["x:1","ü"],"schema_version":3}"#
            ),
        ),
        (
            "base64",
            r#"{"stream":"a","type":"T","data_base64":"AP8=","content_type":"json","metadata_base64":"/w"}"#,
        ),
        (
            "escapes",
            r#"{"stream":"\ud83e\udd80\n\"","type":"\u0000","data":"\ud800","commit":"\u0061"}"#,
        ),
        (
            "cloudevent",
            concat!(
                r#"{"specversion":"1.0","type":"Sold","source":"/shop","subject":"order-5","#,
                r#""id":"17","time":"2026-01-01T00:00:00Z","traceparent": "00-ab","#,
                r#""datacontenttype":"application/json","data":{"n": 1.0}}"#
            ),
        ),
        (
            "cloudevent-base64",
            r#"{"specversion":"1.0","type":"S","source":"/s","id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11","data_base64":"AA=="}"#,
        ),
        ("bad-key-twice", r#"{"stream":"s","type":"t","data":1,"str\u0065am":"u"}"#),
    ];
    for (name, line) in lines {
        write("ndjson", name, line.as_bytes());
    }
}
