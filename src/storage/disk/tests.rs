//! Tests of real files: modes, links, locks, mappings.

use std::panic::AssertUnwindSafe;

use super::*;
use crate::storage::{read_exact_at, write_all_at};

fn create(dir: &tempfile::TempDir, name: &str) -> Arc<dyn File> {
    DiskStorage.open(&dir.path().join(name), OpenMode::CreateNew).unwrap()
}

fn refused(path: &Path, mode: OpenMode) -> ErrorKind {
    DiskStorage.open(path, mode).unwrap_err().kind()
}

#[test]
fn file_is_read_and_written_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    write_all_at(&*file, b"world", 6).unwrap();
    write_all_at(&*file, b"hello ", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.len().unwrap(), 11);
    let mut buf = [0; 11];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"hello world");
    assert_eq!(file.read_at(&mut buf, 11).unwrap(), 0);
    let end = read_exact_at(&*file, &mut buf, 1).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn open_modes_permit_what_they_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    assert_eq!(refused(&path, OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(refused(&path, OpenMode::ReadWrite), ErrorKind::NotFound);
    write_all_at(&*create(&dir, "a"), b"x", 0).unwrap();
    assert_eq!(refused(&path, OpenMode::CreateNew), ErrorKind::AlreadyExists);
    let reader = DiskStorage.open(&path, OpenMode::Read).unwrap();
    assert_eq!(reader.len().unwrap(), 1);
    assert!(reader.write_at(b"y", 0).is_err());
    let writer = DiskStorage.open(&path, OpenMode::ReadWrite).unwrap();
    assert_eq!(writer.write_at(b"yz", 0).unwrap(), 2);
    let mut buf = [0; 2];
    read_exact_at(&*reader, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"yz");
}

#[test]
fn allocate_extends_and_never_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    write_all_at(&*file, b"data", 0).unwrap();
    file.allocate(10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    let mut buf = vec![9; 10_000];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(&buf[..4], b"data");
    assert!(buf[4..].iter().all(|&byte| byte == 0));
    file.allocate(100).unwrap();
    file.allocate(0).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    file.set_len(2).unwrap();
    assert_eq!(file.len().unwrap(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn allocate_reserves_blocks() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    if !reserve(&fs::File::create(dir.path().join("probe")).unwrap(), 4096).unwrap() {
        return; // The file system cannot: the length alone is all there is.
    }
    file.allocate(1 << 20).unwrap();
    let metadata = fs::metadata(dir.path().join("a")).unwrap();
    assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
}

/// The clock of the storage is that of the standard library.
#[test]
fn clock_is_that_of_the_system() {
    let system = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    };
    let (before, now, after) = (system(), DiskStorage.now_micros(), system());
    assert!((before..=after).contains(&now), "{now} is not in {before}..={after}");
}

#[test]
#[cfg(target_os = "linux")]
fn live_mapping_shows_later_writes() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    file.allocate(1 << 16).unwrap();
    let mapping = file.map(1 << 16, true).unwrap().unwrap();
    for step in 0..64_u64 {
        let offset = step * 1000;
        let bytes = [u8::try_from(step).unwrap() + 1; 1000];
        write_all_at(&*file, &bytes, offset).unwrap();
        assert_eq!(mapping.get(offset, 1000), Some(&bytes[..]));
    }
    drop(file);
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(mapping.get(0, 1), Some(&[1][..]));
}

#[test]
#[cfg(target_os = "linux")]
fn stores_through_a_mapping_are_read_and_stay_in_their_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    assert!(file.map_for_writes(1 << 16, true).unwrap().is_none(), "the file is shorter");
    file.allocate(1 << 17).unwrap();
    let Some(stores) = file.map_for_writes(1 << 16, true).unwrap() else {
        return; // The file system cannot reserve space.
    };
    let live = file.map(1 << 16, true).unwrap().unwrap();
    stores.prepare(0, 1 << 16).unwrap();
    stores.store(b"abc", (1 << 16) - 3);
    stores.store(b"def", 4095);
    assert_eq!(live.get((1 << 16) - 3, 3), Some(&b"abc"[..]));
    let mut read = [0; 3];
    read_exact_at(&*file, &mut read, 4095).unwrap();
    assert_eq!(&read, b"def");
    for (from, to) in [(0, (1 << 16) + 1), (4096, 4095), (u64::MAX, u64::MAX)] {
        assert!(stores.prepare(from, to).is_err(), "{from}..{to}");
    }
    for offset in [(1 << 16) - 2, 1 << 16, u64::MAX] {
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| stores.store(b"xyz", offset)));
        assert!(panicked.is_err(), "{offset}");
    }
    file.set_len(1 << 12).unwrap();
    assert!(stores.prepare(1 << 13, 1 << 14).is_err(), "an error, not a signal");
}

#[test]
#[cfg(target_os = "linux")]
fn mapping_for_writes_reserves_the_space_of_a_copy_with_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    file.set_len(1 << 20).unwrap();
    let blocks = || fs::metadata(dir.path().join("a")).unwrap().blocks() * 512;
    assert_eq!(blocks(), 0, "it is a hole");
    if file.map_for_writes(1 << 20, true).unwrap().is_some() {
        assert!(blocks() >= 1 << 20, "{} bytes", blocks());
    }
}

/// A file that may be stored to, or has stores that are not synced, is not closed: an error that the system reports later would be lost.
#[test]
#[cfg(target_os = "linux")]
fn file_with_unsynced_stores_stays_open_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let binding = Binding { held: &[], max_open_files: Some(8) };
    let storage = DiskStorage.at(&root, binding).unwrap().unwrap().storage;
    let file = storage.open(&root.join("a"), OpenMode::CreateNew).unwrap();
    file.allocate(1 << 16).unwrap();
    let Some(stores) = file.map_for_writes(1 << 16, true).unwrap() else {
        return; // The file system cannot reserve space.
    };
    file.sync_data().unwrap();
    let is_open = || {
        let links = fs::read_dir("/proc/self/fd").unwrap();
        let mut targets = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
        targets.any(|target| target == root.join("a"))
    };
    let open_others = |round: u32| -> Vec<_> {
        let open = |number| {
            let path = root.join(format!("b{round}-{number}"));
            drop(storage.open(&path, OpenMode::CreateNew).unwrap());
            storage.open(&path, OpenMode::Read).unwrap()
        };
        (0..20).map(open).collect()
    };
    stores.prepare(0, 1 << 16).unwrap();
    let _others = open_others(0);
    assert!(is_open(), "it may be stored to");
    stores.store(b"abc", 0);
    drop(stores);
    let _more = open_others(1);
    assert!(is_open(), "it is not synced");
    file.sync_data().unwrap();
    let _still_more = open_others(2);
    assert!(!is_open());
}

#[test]
#[cfg(not(target_os = "linux"))]
fn live_mapping_is_not_offered_on_this_system() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    file.allocate(100).unwrap();
    assert!(file.map(100, true).unwrap().is_none());
}

#[test]
fn mapping_beyond_the_end_of_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = create(&dir, "a");
    assert!(file.map(0, false).unwrap().is_none());
    assert_eq!(file.map(1, false).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    write_all_at(&*file, b"abc", 0).unwrap();
    assert_eq!(file.map(4, false).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mapping = file.map(2, false).unwrap().unwrap();
    assert_eq!(mapping.get(0, 2), Some(&b"ab"[..]));
    assert_eq!(mapping.get(0, 3), None);
}

#[test]
fn directories_are_created_listed_and_their_files_renamed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    DiskStorage.create_dir(&sub).unwrap();
    DiskStorage.create_dir(&sub).unwrap();
    drop(create(&dir, "a"));
    assert!(DiskStorage.create_dir(&dir.path().join("a")).is_err());
    assert!(DiskStorage.create_dir(&dir.path().join("no/such")).is_err());
    DiskStorage.rename(&dir.path().join("a"), &dir.path().join("b")).unwrap();
    DiskStorage.sync_dir(dir.path()).unwrap();
    let mut entries = DiskStorage.read_dir(dir.path()).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let expected = [("b", EntryKind::File), ("sub", EntryKind::Directory)];
    let expected = expected.map(|(name, kind)| DirEntry { name: name.into(), kind });
    assert_eq!(entries, expected);
    DiskStorage.remove_file(&dir.path().join("b")).unwrap();
    assert_eq!(DiskStorage.entry_kind(&dir.path().join("b")).unwrap(), None);
    assert_eq!(DiskStorage.entry_kind(&sub).unwrap(), Some(EntryKind::Directory));
    assert_eq!(refused(&sub, OpenMode::Read), ErrorKind::InvalidInput);
}

#[test]
fn lock_is_exclusive_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    assert!(!DiskStorage.is_locked(&path).unwrap());
    let guard = DiskStorage.try_lock(&path).unwrap().unwrap();
    assert!(DiskStorage.is_locked(&path).unwrap());
    assert!(DiskStorage.try_lock(&path).unwrap().is_none());
    drop(guard);
    assert!(!DiskStorage.is_locked(&path).unwrap());
    assert!(DiskStorage.try_lock(&path).unwrap().is_some());
}

#[test]
#[cfg(unix)]
fn symbolic_links_are_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    write_all_at(&*create(&dir, "target"), b"secret", 0).unwrap();
    std::os::unix::fs::symlink(dir.path().join("target"), &link).unwrap();
    assert_eq!(refused(&link, OpenMode::Read), ErrorKind::InvalidInput);
    assert_eq!(refused(&link, OpenMode::ReadWrite), ErrorKind::InvalidInput);
    assert!(DiskStorage.open(&link, OpenMode::CreateNew).is_err());
    assert!(DiskStorage.try_lock(&link).is_err());
    assert!(DiskStorage.is_locked(&link).is_err());
    assert_eq!(DiskStorage.entry_kind(&link).unwrap(), Some(EntryKind::Other));
    let dangling = dir.path().join("dangling");
    std::os::unix::fs::symlink(dir.path().join("nothing"), &dangling).unwrap();
    assert!(DiskStorage.try_lock(&dangling).is_err());
    assert!(!dir.path().join("nothing").exists());
    std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
    assert!(DiskStorage.create_dir(&dir.path().join("loop")).is_err());
}

/// A link that is created between the check and the opening.
#[test]
#[cfg(target_os = "linux")]
fn open_call_itself_refuses_symbolic_links() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir, "target"));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("target"), &link).unwrap();
    let mut options = OpenOptions::new();
    options.read(true);
    assert!(options.open(&link).is_ok());
    refuse_links(&mut options);
    assert!(options.open(&link).is_err());
}

#[test]
#[cfg(unix)]
fn sockets_and_other_special_files_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(refused(&path, OpenMode::ReadWrite), ErrorKind::InvalidInput);
    assert_eq!(DiskStorage.entry_kind(&path).unwrap(), Some(EntryKind::Other));
    assert_eq!(refused(Path::new("/dev/null"), OpenMode::Read), ErrorKind::InvalidInput);
}

#[test]
fn random_numbers_differ_and_time_is_after_2020() {
    let numbers: std::collections::HashSet<u64> =
        (0..1000).map(|_| DiskStorage.random_u64()).collect();
    assert_eq!(numbers.len(), 1000);
    assert!(DiskStorage.now_micros() > 1_577_836_800_000_000);
}

/// Closing the file unlocks it, even if the unlock itself reports an error, as under Wine.
#[test]
fn inspected_free_lock_is_free_and_stays_free() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    drop(DiskStorage.try_lock(&path).unwrap().unwrap());
    for _ in 0..3 {
        assert!(!DiskStorage.is_locked(&path).unwrap());
        let guard = DiskStorage.try_lock(&path).unwrap().expect("nobody holds it");
        assert!(DiskStorage.is_locked(&path).unwrap());
        drop(guard);
    }
}
