//! Effects of a power loss on names.

use super::*;

fn names_after(sim: &SimStorage, seed: u64) -> Vec<String> {
    let sim = sim.fork();
    sim.crash(Crash::new(seed));
    sim.files().iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

fn all_names(sim: &SimStorage) -> Vec<Vec<String>> {
    let mut found: Vec<_> = (0..200).map(|seed| names_after(sim, seed)).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn synced_file_can_lose_its_name() {
    let sim = SimStorage::new(1);
    let file = create(&sim, "/a");
    write_all_at(&*file, b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(all_names(&sim), [vec![], vec!["/a"]]);
    assert_eq!(sim.unsynced_names(), 1);
    assert_eq!(sim.read_durable("/a").unwrap_err().kind(), ErrorKind::NotFound);
    sim.sync_dir(Path::new("/")).unwrap();
    assert_eq!(all_names(&sim), [vec!["/a"]]);
    assert_eq!(sim.read_durable("/a").unwrap(), b"x");
}

#[test]
fn file_name_can_survive_without_data() {
    let sim = SimStorage::new(1);
    write_all_at(&*create(&sim, "/a"), b"x", 0).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(sim.read_file("/a").unwrap(), b"");
}

#[test]
fn changes_of_names_survive_in_order() {
    let sim = SimStorage::new(1);
    for name in ["/a", "/b", "/c"] {
        create(&sim, name);
    }
    sim.remove_file(Path::new("/a")).unwrap();
    let expected: [&[&str]; 5] = [&[], &["/a"], &["/a", "/b"], &["/a", "/b", "/c"], &["/b", "/c"]];
    assert_eq!(all_names(&sim), expected);
}

#[test]
fn rename_is_atomic_and_replaces() {
    let sim = SimStorage::new(1);
    sim.write_file("/new", b"new").unwrap();
    sim.write_file("/current", b"old").unwrap();
    sim.rename(Path::new("/new"), Path::new("/current")).unwrap();
    assert_eq!(sim.read_file("/current").unwrap(), b"new");
    assert_eq!(all_names(&sim), [vec!["/current"], vec!["/current", "/new"]]);
    let lost = sim.fork();
    lost.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(lost.read_file("/current").unwrap(), b"old");
    assert_eq!(lost.read_file("/new").unwrap(), b"new");
    sim.crash(Crash::new(0).keep(Keep::Everything));
    assert_eq!(sim.read_file("/current").unwrap(), b"new");
    assert_eq!(sim.files(), [PathBuf::from("/current")]);
}

#[test]
fn renamed_file_stays_open() {
    let sim = SimStorage::new(1);
    let file = create(&sim, "/spare");
    sim.rename(Path::new("/spare"), Path::new("/one")).unwrap();
    create(&sim, "/spare");
    write_all_at(&*file, b"x", 0).unwrap();
    assert_eq!(sim.read_file("/one").unwrap(), b"x");
    sim.remove_file(Path::new("/one")).unwrap();
    let mut buf = [0];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"x", "a removed file can still be read by who has it open");
}

#[test]
fn lost_directory_loses_its_files() {
    let sim = SimStorage::new(1);
    sim.create_dir(Path::new("/d")).unwrap();
    sim.create_dir(Path::new("/d")).unwrap();
    create(&sim, "/d/a").sync_data().unwrap();
    sim.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(all_names(&sim), [vec![], vec!["/d/a"]]);
    sim.sync_dir(Path::new("/")).unwrap();
    assert_eq!(all_names(&sim), [vec!["/d/a"]]);
}

#[test]
fn directories_are_independent_in_the_strict_model() {
    let make = |model| {
        let sim = SimStorage::with_directory_model(1, model);
        for directory in ["/c", "/d"] {
            sim.create_dir(Path::new(directory)).unwrap();
        }
        sim.sync_dir(Path::new("/")).unwrap();
        create(&sim, "/c/first");
        create(&sim, "/d/second");
        sim
    };
    let strict = all_names(&make(DirectoryModel::Strict));
    assert_eq!(strict.len(), 4);
    assert!(strict.contains(&vec!["/d/second".to_owned()]));
    let journal = all_names(&make(DirectoryModel::Ext4Like));
    assert_eq!(journal, [vec![], vec!["/c/first"], vec!["/c/first", "/d/second"]]);
}

#[test]
fn sync_of_a_new_file_makes_its_name_durable_in_the_ext4_model() {
    let sim = SimStorage::with_directory_model(1, DirectoryModel::Ext4Like);
    sim.create_dir(Path::new("/d")).unwrap();
    let file = create(&sim, "/d/a");
    create(&sim, "/d/b");
    file.sync_data().unwrap();
    assert_eq!(all_names(&sim), [vec!["/d/a"], vec!["/d/a", "/d/b"]]);
    sim.rename(Path::new("/d/a"), Path::new("/d/c")).unwrap();
    file.sync_data().unwrap();
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(sim.files(), [PathBuf::from("/d/a")], "an old file's rename is not its sync's");
}

#[test]
fn invalid_paths_are_refused_as_on_a_real_disk() {
    let sim = SimStorage::new(1);
    sim.write_file("/d/a", b"").unwrap();
    let kind = |path| sim.entry_kind(Path::new(path)).unwrap();
    assert_eq!(kind("/d"), Some(EntryKind::Directory));
    assert_eq!(kind("d/a"), Some(EntryKind::File));
    assert_eq!(kind("/x/y"), None);
    let refused = |path, mode| sim.open(Path::new(path), mode).unwrap_err().kind();
    assert_eq!(refused("/d/b", OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(refused("/d/a", OpenMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(refused("/d", OpenMode::Read), ErrorKind::InvalidInput);
    assert_eq!(refused("/x/y", OpenMode::CreateNew), ErrorKind::NotFound);
    assert_eq!(refused("/d/../a", OpenMode::Read), ErrorKind::InvalidInput);
    assert!(sim.create_dir(Path::new("/d/a")).is_err());
    assert!(sim.create_dir(Path::new("/x/y")).is_err());
    assert!(sim.remove_file(Path::new("/d")).is_err());
    assert!(sim.remove_file(Path::new("/d/b")).is_err());
    assert!(sim.rename(Path::new("/d/b"), Path::new("/d/c")).is_err());
    assert!(sim.rename(Path::new("/d/a"), Path::new("/d")).is_err());
    let entries = sim.read_dir(Path::new("/d")).unwrap();
    assert_eq!(entries, [DirEntry { name: "a".into(), kind: EntryKind::File }]);
    let reader = sim.open(Path::new("/d/a"), OpenMode::Read).unwrap();
    assert_eq!(reader.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
}
