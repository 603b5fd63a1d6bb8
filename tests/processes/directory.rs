//! Directories of a store that are read-only, without permission, missing, a file, or on other file
//! systems.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use annals::{Error, ExpectedVersion, Options, Result, Store};
use rustix::process::{Gid, Uid, geteuid};

use super::life::child::{Running, command};
use super::life::commits::{Commit, Key, Planned};
use super::life::ledger::Ledger;
use super::life::rounds::{Lives, Tally};
use super::life::writer::Life;
use super::namespace::{inside, mount, skipped, tmpfs, try_mount};

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

fn open_to_read(path: &Path) -> Result<Store> {
    options().read_only(true).open(path)
}

/// Creates a store that was closed, or whose last writer was killed.
fn a_store(path: &Path, closed: bool) -> Ledger {
    let mut ledger = Ledger::default();
    let life = Life { seed: 3, number: 1, synced: true };
    let child = Running::start(command("write", path, life));
    child.hear_until(|line| {
        ledger.hear(line);
        ledger.acknowledged() > 300
    });
    child.kill(|line| ledger.hear(line));
    if closed {
        let store = options().open(path).unwrap();
        ledger.check(&store, 1);
        store.close().unwrap();
    }
    ledger
}

/// All paths below a directory, with sizes, to compare later.
fn listing(path: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(listing(&path));
        }
        all.push((path.clone(), path.metadata().unwrap().len()));
    }
    all.sort();
    all
}

fn assert_io<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    match result {
        Err(Error::Io { ref source, .. }) if source.kind() == kind => {}
        other => panic!("{other:?} instead of {kind:?}"),
    }
}

/// On a read-only mount, writers get the system's error, and readers and `verify` see every event,
/// also if the last writer was killed and a recovery is due.
#[test]
fn store_on_a_read_only_mount_can_be_read_only() {
    inside("directory::store_on_a_read_only_mount_can_be_read_only", || {
        for closed in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            tmpfs(dir.path(), 16 << 10);
            let path = dir.path().join("store");
            let mut ledger = a_store(&path, closed);
            mount(&["-o", "remount,bind,ro"], dir.path());
            let before = listing(&path);
            assert_io(options().open(&path), ErrorKind::ReadOnlyFilesystem);
            let created = options().open(dir.path().join("another"));
            assert_io(created, ErrorKind::ReadOnlyFilesystem);
            ledger.check(&open_to_read(&path).unwrap(), 2);
            assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, []);
            assert_eq!(listing(&path), before);
            mount(&["-o", "remount,bind,rw"], dir.path());
            ledger.check(&options().open(&path).unwrap(), 3);
        }
    });
}

/// An ext4 that stops writing under an open writer, as after an error of the disk: errors are
/// typed, nothing is acknowledged from then on, and what was acknowledged is there after the next
/// mount.
#[test]
fn store_on_a_failing_file_system_keeps_what_was_acknowledged() {
    let test = "directory::store_on_a_failing_file_system_keeps_what_was_acknowledged";
    inside(test, || {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("ext4"));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output();
        let made = made.is_ok_and(|output| output.status.success());
        let flags = ["-t", "ext4", "-o", "loop", image.to_str().unwrap()];
        if !made || !try_mount(&flags, &at) {
            return skipped(test, "an ext4 in a file can be made and mounted by root alone");
        }
        for round in 0..4_u64 {
            let path = at.join(format!("store-{round}"));
            let store = options().open(&path).unwrap();
            let mut ledger = Ledger::default();
            let mut append = |count: u64| {
                let commit = Commit::of(Key::new(1, 0, count));
                let mut transaction = store.transaction();
                for (stream, events) in &commit.operations {
                    let events = events.iter().map(Planned::event);
                    transaction = transaction.append(stream, ExpectedVersion::Any, events);
                }
                let done = transaction.commit()?;
                let (first, last) = (done.first_position.get(), done.last_position.get());
                ledger.note(commit.key, first, last);
                Ok::<(), Error>(())
            };
            let enough = 10 + round * 23;
            for count in 1..=enough {
                append(count).unwrap();
            }
            mount(&["-o", "remount,abort"], &at);
            let mut failures = Vec::new();
            for count in enough + 1..enough + 5 {
                let error = append(count).unwrap_err();
                // A commit without room in the segment finds it out first, and poisons nothing.
                let was_written =
                    failures.iter().any(|it| matches!(it, Error::OutcomeUnknown { .. }));
                let is_typed = match error {
                    Error::Io { .. } => true,
                    Error::OutcomeUnknown { .. } => !was_written,
                    Error::WriterPoisoned { .. } => was_written,
                    _ => false,
                };
                failures.push(error);
                assert!(is_typed, "{failures:?}");
            }
            let read = store.read_all().into_iter().flatten().count() as u64;
            assert!(read >= ledger.last_acknowledged());
            println!("round {round}: {failures:?}, closed: {:?}", store.close());
            let unmounted = Command::new("umount").arg(&at).status().unwrap();
            assert!(unmounted.success());
            mount(&flags, &at);
            ledger.check(&open_to_read(&path).unwrap(), round);
            ledger.check(&options().open(&path).unwrap(), round);
            assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, []);
        }
    });
}

/// Runs `body` without the rights of root: directly, or in a thread that gives them up.
fn without_privileges<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let body = scope.spawn(|| {
            if geteuid().is_root() {
                let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            body()
        });
        body.join().unwrap()
    })
}

fn set_mode(path: &Path, directories: u32, files: u32) {
    for (path, _) in listing(path) {
        let mode = if path.is_dir() { directories } else { files };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(directories)).unwrap();
}

/// Without the rights of root, mode bits refuse writers, and readers see every event; both are
/// refused without read permission. Nothing in the directory changes.
#[test]
fn store_without_write_permission_can_be_read_only() {
    for closed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut ledger = a_store(&path, closed);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        set_mode(&path, 0o555, 0o444);
        let before = listing(&path);
        without_privileges(|| {
            assert_io(options().open(&path), ErrorKind::PermissionDenied);
            let created = options().open(dir.path().join("store/log/another"));
            assert_io(created, ErrorKind::PermissionDenied);
            ledger.check(&open_to_read(&path).unwrap(), 2);
            assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, []);
        });
        assert_eq!(listing(&path), before);
        // The directories are writable, the files are not.
        set_mode(&path, 0o777, 0o444);
        without_privileges(|| assert_io(options().open(&path), ErrorKind::PermissionDenied));
        assert_eq!(listing(&path), before);
        set_mode(&path, 0o755, 0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        without_privileges(|| {
            assert_io(options().open(&path), ErrorKind::PermissionDenied);
            assert_io(open_to_read(&path), ErrorKind::PermissionDenied);
        });
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        ledger.check(&options().open(&path).unwrap(), 3);
    }
}

fn assert_not_a_store(result: Result<Store>) {
    let result = result.map(drop);
    assert!(matches!(result, Err(Error::NotAStore { .. })), "{result:?}");
}

/// No directory, no parent, a file, a link, a foreign directory: each is a typed error, and nothing
/// changes.
#[test]
fn path_without_a_store_is_a_typed_error_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert_not_a_store(open_to_read(&missing));
    assert_not_a_store(options().create(false).open(&missing));
    assert_io(options().open(missing.join("store")), ErrorKind::NotFound);
    assert!(!missing.exists());
    let file = dir.path().join("file");
    fs::write(&file, "not a store").unwrap();
    assert_not_a_store(options().open(&file));
    assert_not_a_store(open_to_read(&file));
    assert_io(options().open(file.join("store")), ErrorKind::NotADirectory);
    assert_eq!(fs::read(&file).unwrap(), b"not a store");
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear").unwrap();
    assert_not_a_store(options().open(&foreign));
    assert_eq!(listing(&foreign).len(), 1);
    let nowhere = dir.path().join("nowhere");
    std::os::unix::fs::symlink(dir.path().join("gone"), &nowhere).unwrap();
    let opened = options().open(&nowhere);
    assert!(matches!(opened, Err(Error::Io { .. } | Error::NotAStore { .. })), "{opened:?}");
    assert!(!dir.path().join("gone").exists());
    // A link to a directory is followed.
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    drop(options().open(&link).unwrap());
    drop(open_to_read(&real).unwrap());
}

/// Killed writers lose nothing acknowledged on a tmpfs, on an overlay, or in a store whose parts
/// are on different file systems.
#[test]
fn killed_writers_on_other_file_systems_lose_nothing_acknowledged() {
    let test = "directory::killed_writers_on_other_file_systems_lose_nothing_acknowledged";
    inside(test, || {
        let dir = tempfile::tempdir().unwrap();
        let (plain, parts) = (dir.path().join("tmpfs"), dir.path().join("parts"));
        tmpfs(&plain, 64 << 10);
        for part in ["log", "index", "checkpoints"] {
            tmpfs(&parts.join(part), 64 << 10);
        }
        let mut places = vec![plain.join("store"), parts];
        let layers = dir.path().join("layers");
        tmpfs(&layers, 64 << 10);
        let layer = |name: &str| {
            fs::create_dir(layers.join(name)).unwrap();
            layers.join(name).display().to_string()
        };
        let (lower, upper, work) = (layer("lower"), layer("upper"), layer("work"));
        // The first half of the life is in the lower layer: its files are copied up at their first
        // write.
        let mut ledger = a_store(&layers.join("lower/store"), false);
        fs::create_dir(dir.path().join("overlay")).unwrap();
        let flags = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let overlay = dir.path().join("overlay");
        if try_mount(&["-t", "overlay", "-o", &flags, "overlay"], &overlay) {
            ledger.check(&open_to_read(&overlay.join("store")).unwrap(), 4);
            ledger.check(&options().open(overlay.join("store")).unwrap(), 5);
            places.push(overlay.join("another"));
        } else {
            skipped(test, "no overlay can be mounted here; the rest ran");
        }
        for (seed, place) in places.into_iter().enumerate() {
            println!("{}", place.display());
            let mut lives = Lives::new(place, 40 + seed as u64);
            let mut tally = Tally::default();
            for _ in 0..5 {
                lives.round(&mut tally);
            }
            lives.end(&mut tally);
            println!("{tally}");
        }
    });
}
