//! The annotated hexdump of the specification: written from the golden file once, and compared with
//! it since.

use std::fmt::Write as _;
use std::fs;

use crate::support::{golden, repository, segment};

const FENCE: &str = "```hexdump\n";
/// The column of the meaning in a line, after the offset and sixteen bytes.
const MEANING_AT: usize = 10 + 16 * 3 + 1;

/// How the value of a field is shown.
#[derive(Clone, Copy)]
enum Show {
    /// Not shown: the bytes suffice.
    Bytes,
    Number,
    Hex,
    Text,
}
use Show::{Bytes, Hex, Number, Text};

type Field = (usize, &'static str, Show);

const SEGMENT: [Field; 15] = [
    (8, "magic", Text),
    (2, "format version", Number),
    (2, "minimum reader version", Number),
    (4, "header length", Number),
    (8, "incompatible feature bits", Number),
    (8, "read-only-compatible feature bits", Number),
    (16, "store id", Bytes),
    (8, "segment number", Number),
    (8, "salt", Hex),
    (8, "capacity", Number),
    (8, "created at (µs)", Number),
    (16, "zero", Bytes),
    (16, "zero", Bytes),
    (12, "zero", Bytes),
    (4, "checksum of bytes 0..124", Hex),
];

const FRAME: [Field; 11] = [
    (2, "magic", Bytes),
    (1, "kind", Number),
    (1, "zero", Bytes),
    (4, "body length", Number),
    (4, "event count", Number),
    (4, "link: the header checksum of the frame before", Hex),
    (8, "first position", Number),
    (8, "durable position", Number),
    (8, "recorded at (µs)", Number),
    (4, "body checksum", Hex),
    (4, "header checksum, seeded with this frame's offset", Hex),
];

const RECORD: [Field; 18] = [
    (4, "checksum, seeded with position 1", Hex),
    (4, "length", Number),
    (8, "version in its stream", Number),
    (16, "event id", Bytes),
    (2, "length of the stream's name", Number),
    (1, "length of the type", Number),
    (1, "flags: JSON", Number),
    (2, "schema version", Number),
    (2, "length of the tags", Number),
    (4, "length of the metadata", Number),
    (4, "distance from the frame's first byte", Number),
    (9, "stream", Text),
    (13, "type", Text),
    (1, "length of the tag", Number),
    (8, "tag", Text),
    (12, "metadata", Text),
    (23, "data", Text),
    (6, "padding to a multiple of 8", Bytes),
];

fn file() -> Vec<u8> {
    fs::read(segment(&golden("basic"), 1)).unwrap()
}

fn field(out: &mut String, bytes: &[u8], mut at: usize, (len, what, show): Field) -> usize {
    let value = &bytes[at..at + len];
    let number = || value.iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let mut meaning = match show {
        Bytes => what.to_owned(),
        Number => format!("{what}: {}", number()),
        Hex => format!("{what}: 0x{:0width$x}", number(), width = 2 * len),
        Text => format!("{what}: {}", std::str::from_utf8(value).unwrap()),
    };
    for line in value.chunks(16) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{at:08x}  {:<48} {meaning}", hex.join(" ")).unwrap();
        at += line.len();
        "…".clone_into(&mut meaning);
    }
    at
}

fn fields(out: &mut String, title: &str, at: usize, fields: &[Field]) -> usize {
    writeln!(out, "# {title}").unwrap();
    let bytes = file();
    fields.iter().fold(at, |at, one| field(out, &bytes, at, *one))
}

fn dump() -> String {
    let mut out = String::new();
    fields(&mut out, "segment header, first copy (the second, at 4096, is the same)", 0, &SEGMENT);
    let at = fields(&mut out, "a session frame", 8192, &FRAME);
    let at = fields(&mut out, "its body", at, &[(8, "random", Hex)]);
    let at = fields(&mut out, "a commit frame", at, &FRAME);
    let at = fields(&mut out, "its body: one record, for position 1", at, &RECORD);
    fields(&mut out, "a close frame", at, &FRAME);
    out
}

/// Replaces the block in the specification; for the generator.
pub(crate) fn write_into_the_specification() {
    let path = repository("format-spec.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(FENCE).unwrap();
    let (_, after) = rest.split_once("```").unwrap();
    fs::write(path, format!("{before}{FENCE}{}```{after}", dump())).unwrap();
}

/// The offset and bytes of each line of the specification's hexdump.
fn specified() -> Vec<(usize, Vec<u8>)> {
    let text = fs::read_to_string(repository("format-spec.md")).unwrap();
    let (_, rest) = text.split_once(FENCE).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let offset = usize::from_str_radix(&line[..8], 16).unwrap();
            let hex = line[10..MEANING_AT].split_whitespace();
            (offset, hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect())
        })
        .collect()
}

#[test]
fn hexdump_of_the_specification_equals_the_golden_file() {
    let file = file();
    let lines = specified();
    assert!(lines.len() > 50);
    let mut end = 0;
    for (offset, bytes) in &lines {
        assert!(*offset >= end, "{offset:#x} stands twice");
        if (end, *offset) != (128, 8192) {
            assert_eq!(*offset, end, "a gap");
        }
        assert_eq!(file[*offset..offset + bytes.len()], bytes[..], "{offset:#x}");
        end = offset + bytes.len();
    }
    assert_eq!(file[..128], file[4096..4224], "the second copy");
    assert!(file[128..4096].iter().chain(&file[4224..8192]).all(|&byte| byte == 0));
    // The session ends with a close frame, and the next session follows.
    let (last, _) = lines[lines.len() - 11];
    assert_eq!((file[last + 2], last + 48), (3, end));
    assert_eq!(file[end..end + 3], [0xAF, 0x4E, 5]);
}

#[test]
fn hexdump_fields_follow_the_tables_of_the_specification() {
    let text = fs::read_to_string(repository("format-spec.md")).unwrap();
    assert!(text.contains(&dump()), "the comments beside the bytes are not theirs");
}
