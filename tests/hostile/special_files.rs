//! Pipes, sockets and devices in place of files. Opening a pipe blocks until the other end is
//! opened, and opening a device may have any effect: neither is opened.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use annals::Error;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::support::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Pipe,
    Socket,
    /// `/dev/zero`: reading it never ends.
    Device,
}

/// Makes the file; `false`, with a message, if that is impossible.
fn make(kind: Kind, path: &Path) -> bool {
    let mode = Mode::from_raw_mode(0o600);
    let result = match kind {
        Kind::Socket => {
            // The path of a socket is limited in length; the path of this place may be longer.
            let directory = tempfile::tempdir().unwrap();
            let short = directory.path().join("s");
            drop(UnixListener::bind(&short).unwrap());
            let renamed = fs::rename(&short, path);
            if let Err(error) = &renamed {
                eprintln!("SKIPPED: no socket can be put here: {error}");
            }
            return renamed.is_ok();
        }
        Kind::Pipe => mknodat(CWD, path, FileType::Fifo, mode, 0),
        Kind::Device => mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5)),
    };
    if let Err(error) = result {
        eprintln!("SKIPPED: no {kind:?} can be made here: {error}");
    }
    result.is_ok()
}

fn each_kind(test: fn(Kind)) {
    for kind in [Kind::Pipe, Kind::Socket, Kind::Device] {
        without_waiting(&format!("{kind:?}"), move || test(kind));
    }
}

#[test]
fn special_file_in_place_of_a_required_file_is_refused() {
    each_kind(|kind| {
        for name in ["LOCK", "STATUS", SEALED, ACTIVE, "log/00000000000000000009.seg"] {
            let place = Place::filled();
            let _ = fs::remove_file(place.at(name));
            if !make(kind, &place.at(name)) {
                return;
            }
            assert_eq!(refused_as_io(name, place.open()), place.at(name), "{kind:?}");
            if name == "STATUS" {
                assert_eq!(read_back(&place.read().unwrap()).unwrap(), EVENTS, "{kind:?}");
            } else {
                assert_eq!(refused_as_io(name, place.read()), place.at(name), "{kind:?}");
            }
            let _ = annals::verify(place.path(), |_| {});
        }
    });
}

#[test]
fn special_file_in_place_of_a_directory_is_refused() {
    each_kind(|kind| {
        for name in ["index", "checkpoints", "snapshots", "quarantine"] {
            let place = Place::filled();
            let _ = fs::remove_dir_all(place.at(name));
            if !make(kind, &place.at(name)) {
                return;
            }
            assert_eq!(refused_as_io(name, place.open()), place.at(name), "{kind:?}");
            assert_eq!(refused_as_io(name, place.read()), place.at(name), "{kind:?}");
            let report = annals::verify(place.path(), |_| {}).unwrap();
            let named = report.faults.iter().any(|fault| fault.file == place.at(name));
            assert!(named, "{kind:?}: {report:?}");
        }
        let place = Place::new();
        if make(kind, &place.path()) {
            for opened in [place.open(), place.read()] {
                assert!(matches!(opened, Err(Error::NotAStore { .. })), "{kind:?}: {opened:?}");
            }
        }
    });
}

#[test]
fn special_file_in_place_of_a_derived_file_is_ignored() {
    each_kind(|kind| {
        let place = Place::filled();
        for path in [place.at(INDEX), place.checkpoint(), place.snapshot(), place.pack()] {
            fs::remove_file(&path).unwrap();
            if !make(kind, &path) {
                return;
            }
        }
        let report = annals::verify(place.path(), |_| {}).unwrap();
        assert!(report.faults.iter().any(|fault| fault.file == place.at(INDEX)), "{report:?}");
        goes_on(&format!("{kind:?}"), &place);
        let store = place.open().unwrap();
        assert_eq!(store.snapshots().load("stream-1").unwrap(), None, "{kind:?}");
        assert!(place.at(INDEX).symlink_metadata().unwrap().is_file(), "it was replaced");
    });
}
