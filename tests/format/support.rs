//! Helpers of the format tests: golden stores, the canonical NDJSON, the Python reader.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use annals::{ContentType, Event, Options, Result, Store};
use tempfile::TempDir;

pub(crate) const GOLDEN: [&str; 12] = [
    "basic",
    "sealed",
    "metadata",
    "long",
    "records",
    "extended",
    "heads",
    "record-table",
    "record-hashes",
    "plain-records",
    "large-records",
    "cursor-times",
];
/// The segment size of the golden stores and of every other store here.
pub(crate) const SEGMENT_SIZE: u64 = 64 << 10;

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn golden(name: &str) -> PathBuf {
    repository("tests/golden/v1").join(name)
}

pub(crate) fn expected_ndjson(name: &str) -> String {
    fs::read_to_string(golden(&format!("{name}.ndjson"))).unwrap()
}

/// A writable copy, with the empty directories that git does not keep.
pub(crate) fn copy_of(store: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["log", "index", "checkpoints"] {
        let to = dir.path().join(name);
        fs::create_dir(&to).unwrap();
        let Ok(entries) = fs::read_dir(store.join(name)) else {
            continue;
        };
        for entry in entries.map(std::result::Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// The path of a segment.
pub(crate) fn segment(store: &Path, number: u64) -> PathBuf {
    store.join(format!("log/{number:020}.seg"))
}

/// The exclusive end of the bytes that are not zero.
pub(crate) fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

/// Opens a store with small new segments.
pub(crate) fn open(path: &Path) -> Store {
    let options = Options::new().segment_size(SEGMENT_SIZE);
    options.open(path).unwrap()
}

/// The whole store in the format of the Python reader, which the head comment of that reader
/// describes.
pub(crate) fn ndjson(store: &Store) -> String {
    let events: Vec<Event> =
        store.read_all().include_hidden().into_iter().collect::<Result<_>>().unwrap();
    events.iter().map(|event| line(event) + "\n").collect()
}

fn line(event: &Event) -> String {
    let tags: Vec<String> = event.tags().map(quoted).collect();
    let json = event.content_type() == ContentType::Json;
    let data = match std::str::from_utf8(event.data()) {
        Ok(text) if json => format!("\"data\":{}", quoted(text)),
        _ => format!("\"data_base64\":\"{}\"", base64(event.data())),
    };
    format!(
        "{{\"position\":{},\"commit\":{},\"stream\":{},\"version\":{},\"type\":{},\"id\":\"{}\",\
         \"recorded_at\":{},\"schema_version\":{},\"tags\":[{}],\"json\":{json},\
         \"metadata_base64\":\"{}\",{data}}}",
        event.position(),
        event.commit(),
        quoted(event.stream()),
        event.version(),
        quoted(event.event_type()),
        event.id(),
        event.recorded_at().as_micros(),
        event.schema_version(),
        tags.join(","),
        base64(event.metadata()),
    )
}

/// A JSON string with the fewest escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).unwrap(),
            c => out.push(c),
        }
    }
    out + "\""
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            (0..3).fold(0_usize, |group, i| group << 8 | usize::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = ALPHABET[group >> (18 - 6 * i) & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Runs the Python reader.
pub(crate) fn python(arguments: &[&str], store: &Path) -> Output {
    let script = repository("tests/reader/annals_reader.py");
    let run = Command::new("python3").arg(script).args(arguments).arg(store).output();
    run.expect("these tests compare with a reader in Python: `python3` must be installed")
}

/// The output of the Python reader, which must succeed without a message.
pub(crate) fn python_prints(arguments: &[&str], store: &Path) -> String {
    let output = python(arguments, store);
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && remarks.is_empty(), "{}: {remarks}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
