//! Files and directories without read or write permission. Root has every permission, so the checks
//! run in a child process of another user; if that is impossible, the test prints that it is
//! skipped.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use annals::Error;

use super::support::*;

const STORE: &str = "ANNALS_TEST_HOSTILE_STORE";
const WHAT: &str = "ANNALS_TEST_HOSTILE_WHAT";
/// Printed by the child, so that a child that did nothing fails the test.
const DONE: &str = "the child has done it";
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the owner of the store to `nobody`; `false`: this process may not.
fn give_away(place: &Place) -> bool {
    fn each(path: &Path) -> std::io::Result<()> {
        chown(path, Some(NOBODY), Some(NOBODY))?;
        if path.is_dir() { files_in(path).iter().try_for_each(|path| each(path)) } else { Ok(()) }
    }
    set_mode(place.around(), 0o755);
    each(&place.path()).is_ok()
}

/// Runs [`child_process_opens_a_store_without_permission`] as another user; `false`: impossible.
fn run_as_nobody(place: &Place, what: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        // The modes apply to the owner of the files.
        return act(&place.path(), what);
    }
    if !give_away(place) {
        eprintln!("SKIPPED: files cannot be given to another user here");
        return false;
    }
    // The other user may not be able to read the directory of the test binary.
    let binary = place.around().join("child");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    set_mode(&binary, 0o755);
    let output = Command::new(&binary)
        .args([
            "--exact",
            "permissions::child_process_opens_a_store_without_permission",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(STORE, place.path())
        .env(WHAT, what)
        .current_dir(place.around())
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.contains(DONE), "{what}: {said}{errors}");
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: no child of another user can be had here: {error}");
            false
        }
    }
}

/// The child process, not a test.
#[test]
#[allow(clippy::print_stdout, reason = "the parent listens")]
fn child_process_opens_a_store_without_permission() {
    let (Some(store), Ok(what)) = (std::env::var_os(STORE), std::env::var(WHAT)) else { return };
    assert!(act(Path::new(&store), &what));
    println!("{DONE}");
}

fn denied<T: std::fmt::Debug>(result: annals::Result<T>, at: &Path) {
    match result {
        Err(Error::Io { path, source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            assert_eq!(path, at, "{source}");
        }
        other => panic!("{}: {other:?}", at.display()),
    }
}

fn act(root: &Path, what: &str) -> bool {
    let (path, expected) = what.split_once('=').unwrap();
    let (write, read) = (options().open(root), options().read_only(true).open(root));
    let at = if path.is_empty() { root.to_path_buf() } else { root.join(path) };
    match expected {
        "refused" => {
            denied(write, &at);
            denied(read, &at);
        }
        "read only" => {
            denied(write, &at);
            let read = read.unwrap();
            assert_eq!(read_back(&read).unwrap(), EVENTS);
        }
        "done without" => {
            drop(read.unwrap());
            let store = write.unwrap();
            assert_eq!(read_back(&store).unwrap(), EVENTS);
            append(&store, EVENTS + 1).unwrap();
            store.close().unwrap();
        }
        "cannot grow" => {
            let store = write.unwrap();
            assert_eq!(read_back(&store).unwrap(), EVENTS);
            let failed = (EVENTS + 1..EVENTS + 20).find_map(|number| append(&store, number).err());
            let failed = failed.expect("a segment cannot be created");
            assert!(matches!(failed, Error::Io { .. }), "{failed:?}");
            let head = store.head().get();
            assert_eq!(read_back(&store).unwrap(), head);
            assert!(head > EVENTS);
        }
        other => panic!("{other}"),
    }
    true
}

#[test]
fn missing_permission_is_an_error_with_the_file() {
    let rows: [(&str, u32, &str); 9] = [
        ("", 0o000, "refused"),
        ("log", 0o000, "refused"),
        (SEALED, 0o000, "refused"),
        (ACTIVE, 0o000, "refused"),
        (ACTIVE, 0o400, "read only"),
        ("LOCK", 0o400, "read only"),
        ("STATUS", 0o400, "read only"),
        (INDEX, 0o000, "done without"),
        ("log", 0o500, "cannot grow"),
    ];
    for (path, mode, expected) in rows {
        let place = Place::filled();
        let at = place.at(path);
        if path == "LOCK" || path == "STATUS" {
            assert!(at.exists());
        }
        set_mode(&at, mode);
        let ran = run_as_nobody(&place, &format!("{path}={expected}"));
        // Permits the removal of the directory.
        set_mode(&at, 0o700);
        if !ran {
            return;
        }
    }
}

#[test]
fn read_permission_suffices_for_a_reader() {
    let place = Place::filled();
    let all = contents(&place.path());
    for (path, _) in &all {
        set_mode(path, 0o444);
    }
    for directory in ["", "log", "index", "checkpoints"] {
        set_mode(&place.at(directory), 0o555);
    }
    // The lock is the first file that a writer opens.
    run_as_nobody(&place, "LOCK=read only");
    for directory in ["", "log", "index", "checkpoints"] {
        set_mode(&place.at(directory), 0o755);
    }
}
