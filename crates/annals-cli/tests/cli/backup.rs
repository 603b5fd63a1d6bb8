//! `annals backup`.

use std::process::Stdio;

use super::support::{Scratch, import, line, lines, run, tool};

fn export(store: &str) -> String {
    run(&["export", store]).ok().stdout
}

#[test]
fn backup_beside_a_running_writer_is_whole_and_is_brought_up_to_now() {
    let scratch = Scratch::new();
    let (store, copy) = (scratch.store("ledger"), scratch.store("copy"));
    import(&store, lines(0..3000)).ok();
    // A writer that waits for input.
    let mut writer = tool(&["import", &store]).stdin(Stdio::piped()).spawn().unwrap();
    let done = run(&["backup", &store, &copy]).ok();
    assert!(done.stdout.starts_with("backup up to position 3000: 1 segments; "), "{}", done.stdout);
    assert_eq!(export(&copy), export(&store));
    let verified = run(&["verify", &copy]).ok();
    assert!(verified.stdout.contains("a backup, whole up to position 3000"), "{}", verified.stdout);
    drop(writer.stdin.take());
    writer.wait().unwrap();
    import(&store, line(5000)).ok();
    let again = run(&["backup", &store, &copy]).ok();
    assert!(again.stdout.starts_with("backup up to position 3001: "), "{}", again.stdout);
    assert_eq!(export(&copy), export(&store));
    assert_eq!(run(&["-q", "backup", &store, &copy]).ok().stdout, "");
}

#[test]
fn backup_into_something_else_is_refused() {
    let scratch = Scratch::new();
    let (store, other) = (scratch.store("ledger"), scratch.store("other"));
    import(&store, lines(0..3)).ok();
    import(&other, lines(0..3)).ok();
    run(&["backup", &store, &other]).fails(1, "is not a backup");
    run(&["backup", &scratch.store("missing"), &scratch.store("copy")]).fails(1, "does not exist");
    assert_eq!(export(&other).lines().count(), 3);
}
