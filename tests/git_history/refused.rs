//! Invalid input, and the messages for it.

use super::script::small_history;
use super::support::{Place, run};

#[test]
fn path_without_a_git_history_is_refused_with_a_reason() {
    let place = Place::new(&[]);
    place.record("store").assert_refused(1, "has no commit at HEAD");

    let no_repository = tempfile::tempdir().unwrap();
    run(&[no_repository.path(), &place.path("store")]).assert_refused(1, "not a git repository");
    run(&[place.path("missing"), place.path("store")]).assert_refused(1, "missing");
    assert!(!place.path("store").exists(), "nothing is created for what cannot be read");

    place.import(&small_history().bytes);
    // A file in place of the store.
    let file = place.repo().join(".git").join("config");
    run(&[place.repo(), file]).assert_refused(1, "");
}

/// It is refused, instead of recorded as if the history ended there.
#[test]
fn history_with_a_missing_object_is_an_error() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let tree = place.git(&["rev-parse", "main^{tree}"]);
    let head = place.git(&["rev-parse", "main"]);
    let nowhere = "1".repeat(40);

    let without_tree = place.commit_object(&nowhere, &head, b"\n");
    let behind_it = place.commit_object(&tree, &without_tree, b"\n");
    place.git(&["update-ref", "refs/heads/main", &behind_it]);
    place.record("store").assert_refused(1, "git diff-tree failed");

    let without_parent = place.commit_object(&tree, &nowhere, b"\n");
    place.git(&["update-ref", "refs/heads/main", &without_parent]);
    place.record("other").assert_refused(1, "git rev-list failed");
}

#[test]
fn wrong_arguments_exit_with_2() {
    run(&["a", "b", "c"]).assert_refused(2, "one argument too many: c");
    run(&["--frobnicate"]).assert_refused(2, "unknown option --frobnicate");
    run(&["--frobnicate"]).assert_refused(2, "Usage: git_history [REPO] [STORE]");
    run(&[""]).assert_refused(2, "an argument is empty");
    run(&["--", "--no-such-repository"]).assert_refused(1, "--no-such-repository");

    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Usage: git_history [REPO] [STORE]"), "{}", help.stdout);
}
