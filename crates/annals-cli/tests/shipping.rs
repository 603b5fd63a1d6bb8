//! `annals ship`, `restore`, `follow`, `promote`, and `backup list|verify|prune|new-key`, with a directory as the storage.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn annals(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn run(args: &[&str]) -> (i32, String, String) {
    let done = annals(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[track_caller]
fn ok(args: &[&str]) -> String {
    let (code, stdout, stderr) = run(args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

#[track_caller]
fn fails(args: &[&str], code: i32, message: &str) {
    let (found, stdout, stderr) = run(args);
    assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
    assert!(stderr.contains(message) || stdout.contains(message), "{args:?}: {stdout}{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn import(store: &str, events: std::ops::Range<u64>) {
    let mut lines = String::new();
    for number in events {
        let stream = number % 7;
        writeln!(
            lines,
            "{{\"stream\":\"s-{stream}\",\"type\":\"T\",\"data\":{number},\"commit\":{number}}}"
        )
        .unwrap();
    }
    let mut child = annals(&["import", store, "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

/// Starts a command that goes on, and waits for its first line.
fn start(args: &[&str]) -> (Child, String) {
    let mut child = annals(args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what}");
}

fn interrupt(mut child: Child) {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success() && child.wait().unwrap().success());
}

fn events(store: &str) -> usize {
    ok(&["export", store]).lines().count()
}

#[test]
fn store_is_shipped_restored_to_the_past_and_looked_after() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let (store, url) = (scratch.path("ledger"), scratch.path("backups"));
    import(&store, 0..100);
    let shipped = ok(&["ship", &store, &url, "--once"]);
    assert!(shipped.starts_with("shipped up to position 100: "), "{shipped}");
    import(&store, 100..150);
    ok(&["ship", &store, &url, "--once"]);
    let restored = ok(&["restore", &url, &scratch.path("copy")]);
    assert!(restored.starts_with("restored up to position 150 of 150 in branch 1: "), "{restored}");
    assert_eq!(ok(&["export", &scratch.path("copy")]), ok(&["export", &store]));
    ok(&["restore", &url, &scratch.path("past"), "--to", "70"]);
    assert_eq!(events(&scratch.path("past")), 70);
    fails(&["restore", &url, &scratch.path("none"), "--to", "2001-01-01"], 2, "does not hold");
    fails(&["restore", &url, &scratch.path("past")], 1, "whole backup");
    let listed = ok(&["backup", "list", &url]);
    assert!(listed.contains("branch 1: up to position 150"), "{listed}");
    let verified = ok(&["backup", "verify", &url, "--compare", &store]);
    assert!(verified.contains("branch 1 is whole up to position 150"), "{verified}");
    assert!(verified.contains("150 events are those of"), "{verified}");
    import(&scratch.path("past"), 500..510);
    fails(&["ship", &scratch.path("past"), &url, "--once"], 1, "begin a new branch");
    ok(&["ship", &scratch.path("past"), &url, "--once", "--new-branch"]);
    assert!(ok(&["backup", "list", &url]).contains("branch 2: up to position 80"));
    fails(&["backup", "verify", &url, "--compare", &store], 1, "differ at position 71");
    let pruned = ok(&["backup", "prune", &url, "--keep-branches", "1", "--grace", "0s"]);
    assert!(pruned.contains("1 branches"), "{pruned}");
    assert!(!ok(&["backup", "list", &url]).contains("branch 1:"));
    // Without the commands for object storage, a directory.
    assert!(
        ok(&["backup", &store, &scratch.path("nightly")]).contains("backup up to position 150")
    );
    fails(&["backup", &store], 2, "required");
    fails(&["ship", &store, "gopher://x/y", "--once"], 2, "not the URL");
    fails(&["restore", &scratch.path("missing"), &scratch.path("x")], 1, "no backup");
}

#[test]
fn keys_are_made_and_needed() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let (store, url, keys) =
        (scratch.path("ledger"), scratch.path("backups"), scratch.path("keys"));
    import(&store, 0..20);
    std::fs::write(&keys, ok(&["backup", "new-key"])).unwrap();
    ok(&["ship", &store, &url, "--once", "--keys", &keys]);
    fails(&["restore", &url, &scratch.path("copy")], 1, "needs the key");
    fails(&["restore", &url, &scratch.path("copy"), "--keys", &store], 1, "cannot read");
    ok(&["restore", &url, &scratch.path("copy"), "--keys", &keys]);
    ok(&["backup", "verify", &url, "--keys", &keys]);
    std::fs::write(&keys, "no key").unwrap();
    fails(&["backup", "list", &url, "--keys", &keys], 1, "line 1");
}

#[test]
#[cfg(unix)]
fn standby_follows_a_running_shipper_and_takes_over() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let (store, url, standby) =
        (scratch.path("ledger"), scratch.path("backups"), scratch.path("standby"));
    import(&store, 0..50);
    let (shipper, line) = start(&["ship", &store, &url, "--interval", "20ms"]);
    assert!(line.starts_with("shipped up to position "), "{line}");
    let (follower, line) = start(&["follow", &url, &standby, "--interval", "20ms"]);
    assert!(line.starts_with("up to position "), "{line}");
    import(&store, 50..90);
    wait_for("the standby has all", || events(&standby) == 90);
    fails(&["append", &standby, "s", "T", "--data", "1"], 1, "open for writing elsewhere");
    interrupt(shipper);
    import(&store, 90..95);
    interrupt(follower);
    let promoted = ok(&["promote", &url, &standby, "--as", "db2", "--old-store", &store]);
    assert!(promoted.contains("promoted at position 95; nothing is lost"), "{promoted}");
    fails(&["append", &store, "s", "T", "--data", "1"], 1, "goes on at \"db2\"");
    ok(&["append", &standby, "s", "T", "--data", "1"]);
    fails(&["ship", &standby, &url, "--once"], 1, "goes on in \"db2\"");
    ok(&["ship", &standby, &url, "--once", "--new-branch"]);
    assert_eq!(events(&standby), 96);
}

#[test]
fn damaged_store_is_repaired_from_its_backup() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let (store, url) = (scratch.path("ledger"), scratch.path("backups"));
    import(&store, 0..400);
    ok(&["ship", &store, &url, "--once"]);
    let before = ok(&["export", &store]);
    let segment = Path::new(&store).join("log/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8192 + 9_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (lossy, whole) = (scratch.path("lossy"), scratch.path("whole"));
    ok(&["repair", &store, "--to", &lossy]);
    assert!(events(&lossy) < 400);
    ok(&["repair", &store, "--to", &whole, "--from-url", &url]);
    assert_eq!(ok(&["export", &whole]), before);
    assert!(!Path::new(&scratch.path("whole.backup")).exists());
}

#[test]
fn cool_frees_what_the_backup_has_and_thaw_brings_it_back() {
    let scratch = Scratch(tempfile::tempdir().unwrap());
    let (store, backup) = (scratch.path("ledger"), scratch.path("backup"));
    ok(&["import", &store, "--segment-size", "64K", "/dev/null"]);
    import(&store, 0..4_000);
    let before = ok(&["read", &store]);
    ok(&["ship", &store, &backup, "--once"]);
    let (code, _, stderr) = run(&["cool", &store, &backup, "--keep", "100K"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("bytes are free"), "{stderr}");
    let cold = |store: &str| {
        let files = std::fs::read_dir(Path::new(store).join("log")).unwrap();
        files
            .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "cold"))
            .count()
    };
    assert!(cold(&store) > 2, "{}", cold(&store));

    let (code, _, stderr) = run(&["read", &store]);
    assert_ne!(code, 0);
    assert!(stderr.contains("cold storage") && stderr.contains("--cold URL"), "{stderr}");
    assert_eq!(ok(&["read", &store, "--cold", &backup]), before);
    assert!(ok(&["verify", &store]).contains("cold segments were not read"));
    let whole = ok(&["verify", &store, "--cold", &backup]);
    assert!(whole.contains("no fault found: 4000 events") && !whole.contains("cold"), "{whole}");
    let mut by_variable = annals(&["read", &store]);
    let by_variable = by_variable.env("ANNALS_COLD", &backup).output().unwrap();
    assert_eq!(String::from_utf8(by_variable.stdout).unwrap(), before);
    fails(&["thaw", &store, &scratch.path("nothing")], 1, "cold storage");

    ok(&["thaw", &store, &backup]);
    assert_eq!(cold(&store), 0);
    std::fs::remove_dir_all(&backup).unwrap();
    assert_eq!(ok(&["read", &store]), before);
}
