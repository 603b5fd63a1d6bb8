//! Every flipped byte of the log is reported, by the engine and by the Python reader.

use std::fs;

use annals::verify;

use crate::support::{copy_of, golden, python, python_prints, segment, used};

/// Only a close frame may be lost without losing anything else: damage to it looks like a tail that
/// was never acknowledged.
const LAST_FRAME_LEN: usize = 48;

#[test]
fn verify_reports_every_flipped_byte() {
    let copy = copy_of(&golden("basic"));
    let path = segment(copy.path(), 1);
    let whole = fs::read(&path).unwrap();
    let end = used(&whole);
    let mut missed = Vec::new();
    for at in 0..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        let report = verify(copy.path(), |_| {}).unwrap();
        let noticed = if at < end - LAST_FRAME_LEN {
            !report.faults.is_empty()
        } else {
            !report.faults.is_empty() || !report.notes.is_empty()
        };
        if !noticed {
            missed.push(at);
        }
    }
    assert_eq!(missed, Vec::<usize>::new(), "of {end} bytes");
}

#[test]
fn python_reader_reports_flipped_bytes() {
    for (name, step) in [("basic", "7"), ("sealed", "997")] {
        let printed = python_prints(&["--flip-every", step], &golden(name));
        assert!(printed.ends_with(" flips, 0 not noticed\n"), "{name}: {printed}");
    }
}

#[test]
fn damaged_derived_files_are_reported_by_verify_and_python() {
    for (store, directory) in [("basic", "checkpoints"), ("sealed", "index")] {
        let copy = copy_of(&golden(store));
        let entry = fs::read_dir(copy.path().join(directory)).unwrap().next().unwrap();
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(61) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let report = verify(copy.path(), |_| {}).unwrap();
            assert_eq!(report.faults.len(), 1, "{store}: byte {at}");
        }
        let output = python(&["--check-derived"], copy.path());
        assert_eq!(output.status.code(), Some(1), "{store}");
    }
}
