//! File names that resemble the store's, and names of the store that belong to something else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use annals::Error;

use super::support::*;

/// Names next to segments, index files and checkpoints, none of which is a file of the store.
const FOREIGN: [&[u8]; 19] = [
    b"1.seg",
    b"0000000000000000001.seg",
    b"000000000000000000001.seg",
    b"00000000000000000009.SEG",
    b"00000000000000000009.Seg",
    b"+0000000000000000009.seg",
    b"0000000000000000000x.seg",
    b"99999999999999999999.seg",
    b"18446744073709551615.seg",
    b"00000000000000000009.seg ",
    b"00000000000000000009.seg~",
    b".00000000000000000009.seg",
    b"\xFF\xFE0000000000000000009.seg",
    b"0000000000000000\xF0\x9F\xA6\x80.seg",
    b"1-2.lvl",
    b"00000000000000000002-00000000000000000001.lvl",
    b"00000000000000000001-00000000000000000001.lvl",
    b"00000000000000000001-00000000000000000002.lvl~",
    b"notes.lvl.tmp",
];

#[test]
fn file_names_that_resemble_the_stores_are_foreign_and_unchanged() {
    let place = Place::filled();
    let bytes = fs::read(place.at(SEALED)).unwrap();
    let mut paths = Vec::new();
    for directory in ["log", "index", "checkpoints"] {
        for name in FOREIGN {
            let path = place.at(directory).join(OsStr::from_bytes(name));
            fs::write(&path, &bytes).unwrap();
            paths.push(path);
        }
    }
    // On a case-sensitive file system these are other names; elsewhere they are the store's own.
    for name in ["LOG", "Index", "lock", "status", "stray"] {
        let path = place.at(name);
        if !path.exists() {
            fs::write(&path, "foreign").unwrap();
        }
    }
    goes_on("foreign names", &place);
    for path in &paths {
        assert_eq!(fs::read(path).unwrap(), bytes, "{}", path.display());
    }
    assert_eq!(fs::read(place.at("stray")).unwrap(), b"foreign");
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert_eq!(report.faults, []);
    let noted = report.notes.iter().filter(|note| note.contains("not a file of the store"));
    assert!(noted.count() >= paths.len(), "{report:?}");
}

#[test]
fn unfinished_files_are_ignored() {
    let place = Place::filled();
    for name in ["log/00000000000000000009.seg.tmp", "index/00000000000000000002.idx.tmp"] {
        fs::write(place.at(name), b"half").unwrap();
    }
    fs::write(place.at("snapshots/af.tmp"), b"half").unwrap();
    goes_on("unfinished files", &place);
}

#[test]
fn directories_in_place_of_files_are_refused_or_ignored() {
    // A directory in place of a required file is refused with its path.
    for name in ["LOCK", SEALED, ACTIVE] {
        let place = Place::filled();
        fs::remove_file(place.at(name)).unwrap();
        fs::create_dir(place.at(name)).unwrap();
        assert_eq!(refused_as_io(name, place.open()), place.at(name));
        assert_eq!(refused_as_io(name, place.read()), place.at(name));
    }
    let place = Place::filled();
    fs::remove_file(place.at("STATUS")).unwrap();
    fs::create_dir(place.at("STATUS")).unwrap();
    assert_eq!(refused_as_io("STATUS", place.open()), place.at("STATUS"));
    assert_eq!(read_back(&place.read().unwrap()).unwrap(), EVENTS);

    // Derived files are not required.
    let place = Place::filled();
    fs::remove_file(place.at(INDEX)).unwrap();
    fs::create_dir(place.at(INDEX)).unwrap();
    let checkpoint = place.checkpoint();
    fs::remove_file(&checkpoint).unwrap();
    fs::create_dir(&checkpoint).unwrap();
    for snapshot in [place.snapshot(), place.pack()] {
        fs::remove_file(&snapshot).unwrap();
        fs::create_dir(&snapshot).unwrap();
    }
    let closed = closes_and_goes_on("directories in the place of derived files", &place);
    assert!(matches!(closed, Err(annals::Error::MaintenanceFailed { .. })), "{closed:?}");
    let store = place.open().unwrap();
    assert_eq!(store.snapshots().load("stream-1").unwrap(), None);
    assert!(place.at(INDEX).is_dir(), "what is foreign is not removed");
    // The index file cannot be written, which is counted and has no other effect.
    append(&store, EVENTS + 2).unwrap();
    assert!(store.stats().maintenance_failures > 0);
}

#[test]
fn files_in_place_of_directories_are_refused() {
    for name in ["index", "checkpoints", "snapshots", "quarantine"] {
        let place = Place::filled();
        if place.at(name).exists() {
            fs::rename(place.at(name), place.around().join("aside")).unwrap();
        }
        fs::write(place.at(name), "a file").unwrap();
        assert_eq!(refused_as_io(name, place.open()), place.at(name));
        assert_eq!(refused_as_io(name, place.read()), place.at(name));
        assert_eq!(fs::read(place.at(name)).unwrap(), b"a file");
    }
}

#[test]
fn directory_in_place_of_the_next_segment_fails_the_append() {
    let place = Place::filled();
    fs::create_dir_all(place.at("log/00000000000000000009.seg.tmp/inside")).unwrap();
    let store = place.open().unwrap();
    let mut appended = EVENTS;
    let error = loop {
        match append(&store, appended + 1) {
            Ok(position) => appended = position,
            Err(error) => break error,
        }
        assert!(appended < EVENTS + 20, "it never needed another segment");
    };
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(read_back(&store).unwrap(), appended);
    // Once the directory is removed, the store goes on.
    fs::remove_dir_all(place.at("log/00000000000000000009.seg.tmp")).unwrap();
    assert_eq!(append(&store, appended + 1).unwrap(), appended + 1);
}

#[test]
fn store_inside_a_store_is_a_foreign_directory() {
    let place = Place::filled();
    // In a foreign directory, and in an empty directory of the store.
    fs::create_dir(place.at("inner")).unwrap();
    fs::create_dir(place.at("quarantine")).unwrap();
    for inner in ["inner/deep", "quarantine"] {
        fs::create_dir_all(place.at(inner)).unwrap();
        let store = options().open(place.at(inner)).unwrap();
        append(&store, 1).unwrap();
        store.close().unwrap();
    }
    // A directory of a store that is not empty is no store.
    for inner in ["log", "index", "checkpoints", "snapshots"] {
        let refused = options().open(place.at(inner));
        assert!(matches!(refused, Err(Error::NotAStore { .. })), "{inner}: {refused:?}");
    }
    goes_on("stores inside", &place);
    for inner in ["inner/deep", "quarantine"] {
        assert_eq!(read_back(&options().open(place.at(inner)).unwrap()).unwrap(), 1);
    }
}
