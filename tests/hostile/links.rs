//! Symbolic links inside a store are refused or replaced, never followed. The path of the store
//! itself may contain links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use annals::{ExpectedVersion, NewEvent, snapshot::Snapshot};

use super::support::*;

/// Moves a file or directory out of the store and puts a link to it in its place.
fn replace_by_link(place: &Place, path: &Path) {
    let outside = place.around().join("outside");
    fs::rename(path, &outside).unwrap();
    symlink(&outside, path).unwrap();
}

#[test]
fn symbolic_link_in_place_of_a_required_file_is_refused() {
    for path in ["LOCK", SEALED, ACTIVE] {
        let place = Place::filled();
        replace_by_link(&place, &place.at(path));
        let before = contents(place.around());
        assert_eq!(refused_as_io(path, place.open()), place.at(path), "{path}");
        // A reader inspects the lock, and opens every segment.
        assert_eq!(refused_as_io(path, place.read()), place.at(path), "{path}");
        assert!(before == contents(place.around()), "{path}: something was changed");
    }
    // The next segment does not exist yet; a link in its place must not be taken for it.
    let place = Place::filled();
    let next = place.at("log/00000000000000000009.seg");
    symlink(place.around().join("nothing"), &next).unwrap();
    assert_eq!(refused_as_io("the next segment", place.open()), next);
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert!(report.faults.iter().any(|fault| fault.file == next), "{report:?}");
}

#[test]
fn symbolic_link_in_place_of_the_status_is_not_written_through() {
    let place = Place::filled();
    replace_by_link(&place, &place.at("STATUS"));
    let before = contents(place.around());
    assert_eq!(refused_as_io("STATUS", place.open()), place.at("STATUS"));
    assert!(before == contents(place.around()));
    // A reader does not need it.
    assert_eq!(read_back(&place.read().unwrap()).unwrap(), EVENTS);
}

#[test]
fn symbolic_links_in_place_of_derived_files_are_replaced() {
    for name in ["index", "checkpoint"] {
        let place = Place::filled();
        let path = if name == "index" { place.at(INDEX) } else { place.checkpoint() };
        replace_by_link(&place, &path);
        let outside = fs::read(place.around().join("outside")).unwrap();
        goes_on(name, &place);
        let kept = fs::read(place.around().join("outside")).unwrap();
        assert!(outside == kept, "{name}: written through the link");
        let still_a_link = path.symlink_metadata().is_ok_and(|it| it.is_symlink());
        assert!(!still_a_link || name == "checkpoint", "{name}: the link was not replaced");
    }
}

#[test]
fn symbolic_link_in_place_of_a_snapshot_is_ignored() {
    let place = Place::filled();
    let path = place.snapshot();
    replace_by_link(&place, &path);
    let store = place.open().unwrap();
    assert_eq!(store.snapshots().load("stream-1").unwrap(), None);
    assert!(!store.snapshots().delete("stream-1").unwrap());
    let again = "again".repeat(200);
    store.snapshots().save(&Snapshot::new("stream-1", 1, again.clone())).unwrap();
    let loaded = store.snapshots().load("stream-1").unwrap().unwrap();
    assert_eq!(loaded.state(), again.as_bytes());
    assert!(path.symlink_metadata().unwrap().is_file(), "the link was replaced, not followed");
    assert!(
        fs::read(place.around().join("outside")).unwrap().ends_with(b"state") || {
            // The state is followed by a checksum.
            let bytes = fs::read(place.around().join("outside")).unwrap();
            bytes[..bytes.len() - 4].ends_with(b"state")
        }
    );
}

#[test]
fn symbolic_links_in_place_of_directories_are_refused() {
    for name in ["log", "index", "checkpoints", "snapshots", "quarantine"] {
        let place = Place::filled();
        if name == "quarantine" {
            fs::create_dir(place.at(name)).unwrap();
        }
        replace_by_link(&place, &place.at(name));
        let before = contents(place.around());
        for opened in [place.open(), place.read()] {
            match (name, opened) {
                // Without a directory `log` it is not a store.
                ("log", Err(annals::Error::NotAStore { .. })) => {}
                (_, other) => assert_eq!(refused_as_io(name, other), place.at(name)),
            }
        }
        let report = annals::verify(place.path(), |_| {});
        match report {
            Ok(report) => {
                let named = report.faults.iter().any(|fault| fault.file == place.at(name));
                assert!(named && name != "log", "{name}: {report:?}");
                assert_eq!(report.events, EVENTS);
            }
            Err(error) => assert!(name == "log", "{name}: {error:?}"),
        }
        assert!(before == contents(place.around()), "{name}: something was changed");
    }
}

#[test]
fn symbolic_link_among_snapshots_of_an_open_store_is_not_followed() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let fan_out = place.snapshot().parent().unwrap().to_path_buf();
    replace_by_link(&place, &fan_out);
    let before = contents(place.around());
    refused_as_io("load", store.snapshots().load("stream-1"));
    refused_as_io("delete", store.snapshots().delete("stream-1"));
    refused_as_io("save", store.snapshots().save(&Snapshot::new("stream-1", 2, "new")));
    assert!(before == contents(place.around()), "something was changed behind the link");
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("not a directory")), "{report:?}");
}

#[test]
fn symbolic_links_in_place_of_unfinished_files_are_removed() {
    let place = Place::filled();
    let target = place.around().join("precious");
    fs::write(&target, "precious").unwrap();
    // Files that the next appends and the close create.
    for name in ["log/00000000000000000008.seg.tmp", "log/00000000000000000009.seg.tmp"] {
        symlink(&target, place.at(name)).unwrap();
    }
    for number in 1..9 {
        let name = format!("checkpoints/{number:020}.ckp.tmp");
        symlink(&target, place.at(&name)).unwrap();
        symlink(&target, place.at(&format!("index/{number:020}.idx.tmp"))).unwrap();
    }
    let store = place.open().unwrap();
    for number in EVENTS + 1..EVENTS + 15 {
        append(&store, number).unwrap();
    }
    assert_eq!(store.stats().maintenance_failures, 0);
    store.close().unwrap();
    assert_eq!(fs::read(target).unwrap(), b"precious");
    assert_eq!(read_back(&place.open().unwrap()).unwrap(), EVENTS + 14);
}

#[test]
fn store_opens_through_a_symbolic_link_to_its_directory() {
    let place = Place::filled();
    let link = place.around().join("link");
    symlink(place.path(), &link).unwrap();
    let store = options().open(&link).unwrap();
    assert_eq!(read_back(&store).unwrap(), EVENTS);
    // The lock belongs to the directory, by whichever path it is opened.
    assert!(matches!(place.open(), Err(annals::Error::Locked { .. })));
    store.close().unwrap();

    // A dangling link is refused, and nothing is created at its target.
    let dangling = place.around().join("dangling");
    symlink(place.around().join("nowhere"), &dangling).unwrap();
    let refused = options().open(&dangling);
    assert!(matches!(refused, Err(annals::Error::Io { .. })), "{refused:?}");
    assert!(!place.around().join("nowhere").exists());

    // A new store can be created through a link to an empty directory.
    let empty = place.around().join("empty");
    fs::create_dir(&empty).unwrap();
    let to_empty = place.around().join("to-empty");
    symlink(&empty, &to_empty).unwrap();
    let store = options().open(&to_empty).unwrap();
    store.append("a", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    store.close().unwrap();
    assert_eq!(options().open(&empty).unwrap().head().get(), 1);
}

#[test]
fn symbolic_link_in_place_of_a_pack_is_ignored() {
    let place = Place::filled();
    replace_by_link(&place, &place.pack());
    let before = fs::read(place.around().join("outside")).unwrap();
    let store = place.open().unwrap();
    assert_eq!(store.snapshots().load("stream-2").unwrap(), None);
    for number in [1, 2] {
        store.snapshots().save(&Snapshot::new("stream-2", number, "again")).unwrap();
    }
    assert!(store.snapshots().load("stream-2").unwrap().is_some());
    store.compact().unwrap();
    assert!(store.snapshots().load("stream-2").unwrap().is_some());
    assert_eq!(fs::read(place.around().join("outside")).unwrap(), before);
}
