//! Sparse files of a terabyte. The allocator of these tests refuses to allocate more than 32 MiB at
//! once, and a scan of a terabyte would not end.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use annals::{Error, snapshot::Snapshot};

use super::support::*;

const TERABYTE: u64 = 1 << 40;

/// Makes a file sparse and that long; `false`, with a message, if the file system refuses.
fn grow(path: &Path) -> bool {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    match file.set_len(TERABYTE) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED: no file of a terabyte here: {error}");
            false
        }
    }
}

#[test]
fn segment_of_a_terabyte_is_refused_by_its_length() {
    for name in [SEALED, ACTIVE] {
        for killed in [false, true] {
            let place = Place::filled();
            if killed {
                // Without it, an opening searches the bytes after the last frame for a tail.
                fs::remove_file(place.at("STATUS")).unwrap();
            }
            if !grow(&place.at(name)) {
                return;
            }
            for opened in [place.open(), place.read()] {
                let Err(Error::Corrupt { file, offset, what, .. }) = opened else {
                    panic!("{name}: {opened:?}");
                };
                assert_eq!(file, place.at(name));
                assert_eq!(offset, 8192 + 2 * annals::Options::MIN_SEGMENT_SIZE, "{what}");
            }
            let report = annals::verify(place.path(), |_| {}).unwrap();
            assert!(report.faults.iter().any(|fault| fault.file == place.at(name)), "{report:?}");
        }
    }
}

#[test]
fn segment_that_grows_to_a_terabyte_is_not_scanned_by_an_open_reader() {
    let place = Place::filled();
    let reader = place.read().unwrap();
    if !grow(&place.at(ACTIVE)) {
        return;
    }
    // Reads use the length that the opening found.
    assert_eq!(read_back(&reader).unwrap(), EVENTS);
}

#[test]
fn derived_files_of_a_terabyte_are_rebuilt() {
    for name in ["index", "checkpoint"] {
        let place = Place::filled();
        let path = if name == "index" { place.at(INDEX) } else { place.checkpoint() };
        if !grow(&path) {
            return;
        }
        let report = annals::verify(place.path(), |_| {}).unwrap();
        assert!(report.faults.iter().any(|fault| fault.file == path), "{name}: {report:?}");
        goes_on(name, &place);
    }
}

/// The smallest files that pass for containers of a terabyte: a valid first block, its checksum and
/// a footer, and a gigabyte of checksums that is a hole.
#[test]
fn containers_that_claim_a_terabyte_cost_no_memory() {
    let blocks = u32::try_from((TERABYTE - 16) / 4100).unwrap();
    let payload = u64::from(blocks) * 4096;
    for (name, magic) in [("index", b"ANNALIDX"), ("checkpoint", b"ANNALCKP")] {
        let place = Place::filled();
        let path = if name == "index" { place.at(INDEX) } else { place.checkpoint() };
        let mut block = vec![0; 4096];
        let genuine = fs::read(&path).unwrap();
        block[..64].copy_from_slice(&genuine[..64]);
        assert_eq!(&block[..8], magic);
        block[12..16].copy_from_slice(&0_u32.to_le_bytes());
        block[32..40].copy_from_slice(&payload.to_le_bytes());
        let first = crc32(0, &block).to_le_bytes();
        let mut table = crc32fast::Hasher::new_with_initial(blocks);
        table.update(&first);
        let zeros = vec![0; 1 << 20];
        let mut left = u64::from(blocks) * 4 - 4;
        while left > 0 {
            let len = usize::try_from(left).unwrap().min(zeros.len());
            table.update(&zeros[..len]);
            left -= len as u64;
        }
        let file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        let end = payload + u64::from(blocks) * 4;
        if let Err(error) = file.set_len(end + 16) {
            eprintln!("SKIPPED: no file of a terabyte here: {error}");
            return;
        }
        file.write_all_at(&block, 0).unwrap();
        file.write_all_at(&first, payload).unwrap();
        let footer =
            [&blocks.to_le_bytes()[..], &table.finalize().to_le_bytes(), b"ANNALBLK"].concat();
        file.write_all_at(&footer, end).unwrap();
        goes_on(name, &place);
    }
}

fn crc32(state: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(state);
    hasher.update(bytes);
    hasher.finalize()
}

#[test]
fn snapshot_of_a_terabyte_is_ignored_and_a_status_is_read_in_part() {
    let place = Place::filled();
    let grown = [place.snapshot(), place.pack(), place.at("STATUS"), place.at("LOCK")];
    if !grown.iter().all(|path| grow(path)) {
        return;
    }
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert_eq!(report.faults, []);
    let snapshot = place.snapshot().display().to_string();
    assert!(report.notes.iter().any(|note| note.contains(&snapshot)), "{report:?}");
    let store = place.open().unwrap();
    assert_eq!(*store.opened(), annals::Opened::Clean);
    assert_eq!(store.snapshots().load("stream-1").unwrap(), None);
    assert!(store.snapshots().load("stream-2").unwrap().is_some());
    store.snapshots().save(&Snapshot::new("stream-1", 1, "again")).unwrap();
    assert!(store.snapshots().load("stream-1").unwrap().is_some());
    store.close().unwrap();
    goes_on("snapshot, status and lock", &place);
}
