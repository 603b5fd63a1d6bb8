//! The stub of a cold segment, by the offsets of the specification.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

use annals::cold::{ColdSegment, SegmentSource};
use annals::{ExpectedVersion, NewEvent, Options};

use crate::support::{python, segment};

#[derive(Debug)]
struct Anywhere;

impl SegmentSource for Anywhere {
    fn holds(&self, _: &ColdSegment) -> io::Result<bool> {
        Ok(true)
    }

    fn fetch(&self, _: &ColdSegment, _: &mut dyn Write) -> io::Result<()> {
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[test]
fn stub_has_the_layout_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let options =
        Options::new().segment_size(Options::MIN_SEGMENT_SIZE).cold_segments(Arc::new(Anywhere));
    let store = options.clone().open(&path).unwrap();
    for number in 0..40 {
        let event = NewEvent::new("T", vec![number; 3_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
    let store = options.open(&path).unwrap();
    let whole = fs::read(segment(&path, 1)).unwrap();
    assert_eq!(store.make_cold(1).unwrap(), whole.len() as u64);
    store.close().unwrap();

    let stub = fs::read(segment(&path, 1).with_extension("cold")).unwrap();
    assert_eq!((stub.len(), &stub[..4]), (272, &b"ANCD"[..]));
    assert_eq!(stub[4..8], crc32fast::hash(&stub[8..]).to_le_bytes());
    assert_eq!(stub[8..16], [1, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(stub[16..24], (whole.len() as u64).to_le_bytes());
    assert_eq!(stub[24..28], crc32fast::hash(&whole).to_le_bytes());
    assert_eq!(stub[28..32], [0; 4]);
    assert_eq!(stub[32..160], whole[..128]);
    assert_eq!(stub[160..208], whole[8192..8192 + 48]);
    assert_eq!(stub[208..], whole[whole.len() - 64..]);

    let read = python(&[], &path);
    assert_eq!(read.status.code(), Some(1));
    let says = format!("{} bytes from position 1 on are in cold storage", whole.len());
    assert!(String::from_utf8_lossy(&read.stderr).contains(&says), "{read:?}");
    // Where both exist the segment counts.
    fs::write(segment(&path, 1), &whole).unwrap();
    assert_eq!(python(&[], &path).status.code(), Some(0));
}
