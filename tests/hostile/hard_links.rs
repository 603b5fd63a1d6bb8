//! A hard link cannot be distinguished from the file itself. A file that is replaced by a rename is
//! separated from its links; a file that is written in place (an unsealed segment, `STATUS`,
//! `LOCK`) is not.

use std::fs;

use annals::Error;

use super::support::*;

/// A copy whose files are all hard links to the store's, as `cp -al` makes it.
fn linked_copy(place: &Place) -> Place {
    let copy = Place::new();
    for (path, _) in contents(&place.path()) {
        let to = copy.path().join(path.strip_prefix(place.path()).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::hard_link(path, to).unwrap();
    }
    copy
}

#[test]
fn hard_linked_copy_shares_the_lock() {
    let place = Place::filled();
    let copy = linked_copy(&place);
    let store = place.open().unwrap();
    assert!(matches!(copy.open(), Err(Error::Locked { .. })));
    assert_eq!(read_back(&copy.read().unwrap()).unwrap(), EVENTS);
    store.close().unwrap();
}

#[test]
fn sealed_segments_and_derived_files_of_a_hard_linked_copy_never_change() {
    let place = Place::filled();
    let copy = linked_copy(&place);
    let fixed = |path: &std::path::Path| {
        let name = path.to_string_lossy();
        !["LOCK", "STATUS", ACTIVE, SPARE].iter().any(|it| name.ends_with(it))
    };
    let before: Vec<_> =
        contents(&copy.path()).into_iter().filter(|(path, _)| fixed(path)).collect();
    // A rebuilt index file is a new file.
    fs::remove_file(place.at(INDEX)).unwrap();
    let store = place.open().unwrap();
    for number in EVENTS + 1..EVENTS + 20 {
        append(&store, number).unwrap();
    }
    let other = annals::snapshot::Snapshot::new("stream-1", 1, "other").with_schema_version(1);
    store.snapshots().save(&other).unwrap();
    store.close().unwrap();
    let after: Vec<_> =
        contents(&copy.path()).into_iter().filter(|(path, _)| fixed(path)).collect();
    assert!(before == after, "a file that is never written in place was");
}
