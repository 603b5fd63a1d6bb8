//! The manifest of a backup, read by the engine and by the reader in Python.

use std::fs;

use annals::{ExpectedVersion, NewEvent};

use crate::support::{ndjson, open, python, python_prints, segment};

#[test]
fn reader_in_python_reads_a_backup_and_notices_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let store = open(&dir.path().join("store"));
    for number in 0..40 {
        let event = NewEvent::new("T", vec![number; 3_000]);
        store.append("s", ExpectedVersion::Any, [event]).unwrap();
    }
    store.cursors().advance("reader", 40).unwrap();
    let done = store.backup_to(&copy, |_| {}).unwrap();
    assert_eq!(python_prints(&[], &copy), ndjson(&store));

    let manifest = fs::read(copy.join("BACKUP")).unwrap();
    assert_eq!((manifest.len(), &manifest[..4]), (96, &b"ANBK"[..]));
    assert_eq!(manifest[16..32], *store.stats().store_id.as_bytes());
    assert_eq!(manifest[32..40], 40_u64.to_le_bytes());
    assert_eq!(manifest[48..56], done.segments.to_le_bytes());
    let last = segment(&copy, done.segments);
    assert_eq!(manifest[56..64], fs::metadata(&last).unwrap().len().to_le_bytes());

    // The last frame, which moves a cursor and has no event.
    let whole = fs::read(&last).unwrap();
    fs::write(&last, &whole[..whole.len() - 8]).unwrap();
    let read = python(&[], &copy);
    assert_eq!(read.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&read.stderr).contains("whole up to position 40"), "{read:?}");
}
