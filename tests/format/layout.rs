//! Sizes and offsets in the specification's tables, compared with a new store. The Python reader
//! checks the contents; these tests name the number that changed.

use std::fs;
use std::path::Path;

use annals::{ContentType, ExpectedVersion, NewEvent};

use crate::support::{SEGMENT_SIZE, open};

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().unwrap())
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

/// The magic, kind, body length, event count and first position of the frame at `at`.
fn frame(b: &[u8], at: usize) -> (&[u8], u8, u32, u32, u64) {
    (&b[at..at + 2], b[at + 2], u32_at(b, at + 4), u32_at(b, at + 8), u64_at(b, at + 16))
}

fn read(root: &Path, name: &str) -> Vec<u8> {
    fs::read(root.join(name)).unwrap()
}

const SEGMENT_1: &str = "log/00000000000000000001.seg";

#[test]
fn active_segment_is_laid_out_as_specified() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let event = NewEvent::new("Type", "0123456789")
        .metadata("meta")
        .tags(["a", "bc"])
        .schema_version(7)
        .content_type(ContentType::Json);
    store.append("stream", ExpectedVersion::Any, [event]).unwrap();
    store.close().unwrap();

    let b = read(dir.path(), SEGMENT_1);
    assert_eq!(b.len() as u64, SEGMENT_SIZE);
    assert_eq!(b[..8], *b"ANNALSEG");
    assert_eq!((u16_at(&b, 8), u16_at(&b, 10), u32_at(&b, 12)), (1, 1, 128));
    assert_eq!((u64_at(&b, 16), u64_at(&b, 24)), (15, 0));
    assert_eq!((u64_at(&b, 48), u64_at(&b, 64)), (1, SEGMENT_SIZE));

    let magic = &[0xAF, 0x4E][..];
    assert_eq!(frame(&b, 8192), (magic, 5, 8, 0, 1));
    // 48 + 6 + 4 + 5 + 4 + 10 = 77, padded to 80.
    assert_eq!(frame(&b, 8248), (magic, 1, 80, 1, 1));
    assert_eq!(frame(&b, 8376), (magic, 3, 0, 0, 2));
    assert_eq!(u32_at(&b, 8248 + 12), u32_at(&b, 8192 + 44), "the chain");
    assert_eq!(u32_at(&b, 8376 + 12), u32_at(&b, 8248 + 44), "the chain");
    assert_eq!((u64_at(&b, 8248 + 24), u64_at(&b, 8376 + 24)), (0, 1), "durable positions");

    let record = &b[8296..8376];
    assert_eq!((u32_at(record, 4), u64_at(record, 8)), (77, 1));
    assert_eq!((u16_at(record, 32), record[34], record[35]), (6, 4, 5));
    assert_eq!((u16_at(record, 36), u16_at(record, 38)), (7, 5));
    assert_eq!((u32_at(record, 40), u32_at(record, 44)), (4, 48));
    assert_eq!(record[48..], *b"streamType\x01a\x02bcmeta0123456789\0\0\0");
    assert!(b[8424..].iter().all(|&byte| byte == 0));

    let status = read(dir.path(), "STATUS");
    assert_eq!((status.len(), &status[..4], u64_at(&status, 8)), (32, &b"ANST"[..], 1));
}

#[test]
fn sealed_segment_and_its_derived_files_are_laid_out_as_specified() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // A session frame of 56 bytes, then frames of 48 + 48 + 2 + 4000 bytes, padded: 13 of them.
    for number in 1..=14_u8 {
        let event = NewEvent::new("T", vec![number; 4000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();

    let b = read(dir.path(), SEGMENT_1);
    let seal = 8192 + 56 + 13 * 4104;
    assert_eq!(frame(&b, seal), (&[0xAF, 0x4E][..], 4, 56 + 64, 0, 14));
    assert_eq!(b.len(), seal + 48 + 56 + 64, "the trailer ends the file");
    let table = &b[seal + 48..];
    for ordinal in 0..13 {
        assert_eq!(u32_at(table, ordinal * 4) as usize, 8192 + 56 + ordinal * 4104 + 48);
    }
    let trailer = &table[56..];
    assert_eq!(trailer[..8], *b"ANNALEND");
    assert_eq!((u32_at(trailer, 8), u32_at(trailer, 12), u64_at(trailer, 16)), (13, 13, 1));
    assert_eq!(u64_at(trailer, 24), seal as u64);

    let next = read(dir.path(), "log/00000000000000000002.seg");
    assert_eq!(frame(&next, 8192).4, 14, "the base position");
    let last = seal - 4104;
    assert_eq!(u32_at(&next, 8192 + 12), u32_at(&b, last + 44), "the chain");
    assert_eq!(u32_at(trailer, 48), u32_at(&b, last + 44), "the chain");

    for (name, magic, version, sections, meta) in [
        ("index/00000000000000000001.idx", b"ANNALIDX", 1, 14, 64),
        ("checkpoints/00000000000000000001.ckp", b"ANNALCKP", 2, 12, 96),
    ] {
        let b = read(dir.path(), name);
        let versions = (u16_at(&b, 8), u16_at(&b, 10));
        assert_eq!((&b[..8], versions), (&magic[..], (version, version)), "{name}");
        assert_eq!(u32_at(&b, 12), sections, "{name}");
        let payload = usize::try_from(u64_at(&b, 32)).unwrap();
        let blocks = payload.div_ceil(4096);
        assert_eq!(b.len(), payload + 4 * blocks + 16, "{name}");
        let footer = &b[b.len() - 16..];
        assert_eq!(
            (u32_at(footer, 0) as usize, &footer[8..]),
            (blocks, &b"ANNALBLK"[..]),
            "{name}"
        );
        let first = 64 + 24 * u64::from(sections);
        assert_eq!((u32_at(&b, 64), u64_at(&b, 72), u64_at(&b, 80)), (1, first, meta), "{name}");
    }
}
