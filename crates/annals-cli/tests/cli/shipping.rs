//! `annals ship`, `restore`, `follow`, `promote`, and `backup list|verify|prune|new-key`, with a directory as the storage.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;

#[cfg(unix)]
use super::running::Running;
use super::support::{Scratch, count, run, run_with, tool};

#[track_caller]
fn ok(args: &[&str]) -> String {
    run(args).ok().stdout
}

/// Imports events, each in a commit of its own.
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
    run_with(&["import", store, "-"], lines).ok();
}

#[cfg(unix)]
fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what}");
}

#[test]
fn store_is_shipped_restored_to_the_past_and_looked_after() {
    let scratch = Scratch::new();
    let (store, url) = (scratch.store("ledger"), scratch.store("backups"));
    import(&store, 0..100);
    let shipped = ok(&["ship", &store, &url, "--once"]);
    assert!(shipped.starts_with("shipped up to position 100: "), "{shipped}");
    import(&store, 100..150);
    ok(&["ship", &store, &url, "--once"]);
    let restored = ok(&["restore", &url, &scratch.store("copy")]);
    assert!(restored.starts_with("restored up to position 150 of 150 in branch 1: "), "{restored}");
    assert_eq!(ok(&["export", &scratch.store("copy")]), ok(&["export", &store]));
    ok(&["restore", &url, &scratch.store("past"), "--to", "70"]);
    assert_eq!(count(&scratch.store("past")), 70);
    run(&["restore", &url, &scratch.store("none"), "--to", "2001-01-01"]).fails(2, "does not hold");
    run(&["restore", &url, &scratch.store("past")]).fails(1, "whole backup");
    let listed = ok(&["backup", "list", &url]);
    assert!(listed.contains("branch 1: up to position 150"), "{listed}");
    let verified = ok(&["backup", "verify", &url, "--compare", &store]);
    assert!(verified.contains("branch 1 is whole up to position 150"), "{verified}");
    assert!(verified.contains("150 events are those of"), "{verified}");
    import(&scratch.store("past"), 500..510);
    run(&["ship", &scratch.store("past"), &url, "--once"]).fails(1, "begin a new branch");
    ok(&["ship", &scratch.store("past"), &url, "--once", "--new-branch"]);
    assert!(ok(&["backup", "list", &url]).contains("branch 2: up to position 80"));
    run(&["backup", "verify", &url, "--compare", &store]).fails(1, "differ at position 71");
    let pruned = ok(&["backup", "prune", &url, "--keep-branches", "1", "--grace", "0s"]);
    assert!(pruned.contains("1 branches"), "{pruned}");
    assert!(!ok(&["backup", "list", &url]).contains("branch 1:"));
    // Without the commands for object storage, a directory.
    assert!(
        ok(&["backup", &store, &scratch.store("nightly")]).contains("backup up to position 150")
    );
    run(&["backup", &store]).fails(2, "required");
    run(&["ship", &store, "gopher://x/y", "--once"]).fails(2, "not the URL");
    run(&["restore", &scratch.store("missing"), &scratch.store("x")]).fails(1, "no backup");
}

#[test]
fn keys_are_made_and_needed() {
    let scratch = Scratch::new();
    let (store, url, keys) =
        (scratch.store("ledger"), scratch.store("backups"), scratch.store("keys"));
    import(&store, 0..20);
    std::fs::write(&keys, ok(&["backup", "new-key"])).unwrap();
    ok(&["ship", &store, &url, "--once", "--keys", &keys]);
    run(&["restore", &url, &scratch.store("copy")]).fails(1, "needs the key");
    run(&["restore", &url, &scratch.store("copy"), "--keys", &store]).fails(1, "cannot read");
    ok(&["restore", &url, &scratch.store("copy"), "--keys", &keys]);
    ok(&["backup", "verify", &url, "--keys", &keys]);
    std::fs::write(&keys, "no key").unwrap();
    run(&["backup", "list", &url, "--keys", &keys]).fails(1, "line 1");
}

#[test]
#[cfg(unix)]
fn standby_follows_a_running_shipper_and_takes_over() {
    let scratch = Scratch::new();
    let (store, url, standby) =
        (scratch.store("ledger"), scratch.store("backups"), scratch.store("standby"));
    import(&store, 0..50);
    let shipper = Running::start(&["ship", &store, &url, "--interval", "20ms"]);
    let line = shipper.next();
    assert!(line.starts_with("shipped up to position "), "{line}");
    let follower = Running::start(&["follow", &url, &standby, "--interval", "20ms"]);
    let line = follower.next();
    assert!(line.starts_with("up to position "), "{line}");
    import(&store, 50..90);
    wait_for("the standby has all", || count(&standby) == 90);
    run(&["append", &standby, "s", "T", "--data", "1"]).fails(1, "open for writing elsewhere");
    shipper.signal("-INT");
    shipper.end().ok();
    import(&store, 90..95);
    follower.signal("-INT");
    follower.end().ok();
    let promoted = ok(&["promote", &url, &standby, "--as", "db2", "--old-store", &store]);
    assert!(promoted.contains("promoted at position 95; nothing is lost"), "{promoted}");
    run(&["append", &store, "s", "T", "--data", "1"]).fails(1, "goes on at \"db2\"");
    ok(&["append", &standby, "s", "T", "--data", "1"]);
    run(&["ship", &standby, &url, "--once"]).fails(1, "goes on in \"db2\"");
    ok(&["ship", &standby, &url, "--once", "--new-branch"]);
    assert_eq!(count(&standby), 96);
}

#[test]
fn damaged_store_is_repaired_from_its_backup() {
    let scratch = Scratch::new();
    let (store, url) = (scratch.store("ledger"), scratch.store("backups"));
    import(&store, 0..400);
    ok(&["ship", &store, &url, "--once"]);
    let before = ok(&["export", &store]);
    let segment = Path::new(&store).join("log/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8192 + 9_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (lossy, whole) = (scratch.store("lossy"), scratch.store("whole"));
    ok(&["repair", &store, "--to", &lossy]);
    assert!(count(&lossy) < 400);
    ok(&["repair", &store, "--to", &whole, "--from-url", &url]);
    assert_eq!(ok(&["export", &whole]), before);
    assert!(!Path::new(&scratch.store("whole.backup")).exists());
}

#[test]
fn make_cold_frees_what_the_backup_has_and_make_local_brings_it_back() {
    let scratch = Scratch::new();
    let (store, backup) = (scratch.store("ledger"), scratch.store("backup"));
    ok(&["import", &store, "--segment-size", "64K", "/dev/null"]);
    import(&store, 0..4_000);
    let before = ok(&["read", &store]);
    ok(&["ship", &store, &backup, "--once"]);
    let moved = run(&["make-cold", &store, &backup, "--keep", "100K"]).ok();
    assert!(moved.stderr.contains("bytes are free"), "{moved:?}");
    let cold = |store: &str| {
        let files = std::fs::read_dir(Path::new(store).join("log")).unwrap();
        files
            .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "cold"))
            .count()
    };
    assert!(cold(&store) > 2, "{}", cold(&store));

    let refused = run(&["read", &store]).fails(1, "cold storage");
    assert!(refused.stderr.contains("--cold URL"), "{refused:?}");
    assert_eq!(ok(&["read", &store, "--cold", &backup]), before);
    assert!(ok(&["verify", &store]).contains("cold segments were not read"));
    let whole = ok(&["verify", &store, "--cold", &backup]);
    assert!(whole.contains("no fault found: 4000 events") && !whole.contains("cold"), "{whole}");
    let mut by_variable = tool(&["read", &store]);
    let by_variable = by_variable.env("ANNALS_COLD", &backup).output().unwrap();
    assert_eq!(String::from_utf8(by_variable.stdout).unwrap(), before);
    run(&["make-local", &store, &scratch.store("nothing")]).fails(1, "cold storage");

    ok(&["make-local", &store, &backup]);
    assert_eq!(cold(&store), 0);
    std::fs::remove_dir_all(&backup).unwrap();
    assert_eq!(ok(&["read", &store]), before);
}
