//! Repositories of every kind, and every directory that the example may be started in.

use std::ffi::OsStr;

use super::script::small_history;
use super::support::{Place, git, run, run_with};

#[test]
fn repositories_of_every_kind_are_read() {
    for init in [&["--bare"][..], &["--object-format=sha256"]] {
        let place = Place::new(init);
        place.import(&small_history().bytes);
        let ran = place.record("store");
        ran.assert_match();
        assert_eq!(ran.value("events"), "5");
        let sha256 = ran.stdout.contains("(sha256, 3 first-parent commits)");
        assert_eq!(sha256, init[0].ends_with("sha256"), "{}", ran.stdout);
    }

    let place = Place::new(&[]);
    let mut script = small_history();
    script.commit().put("644", b"dir/file", "1");
    place.import(&script.bytes);

    let url = format!("file://{}", place.repo().display());
    git(place.directory.path(), &["clone", "--quiet", "--depth=2", &url, "shallow"]);
    let ran = run(&[place.path("shallow"), place.path("of-shallow")]);
    ran.assert_match();
    assert!(ran.stdout.contains("2 first-parent commits, shallow"), "{}", ran.stdout);
    assert_eq!(ran.value("events"), "3");

    let within = place.path("shallow").join("dir");
    let ran = run(&[within, place.path("from-within")]);
    ran.assert_match();
    assert_eq!(ran.value("events"), "3");

    place.git(&["checkout", "--quiet", "--detach", "main~2"]);
    let ran = place.record("detached");
    ran.assert_match();
    assert_eq!(ran.value("events"), "3");
}

#[test]
fn git_environment_of_a_hook_is_ignored() {
    let (place, other) = (Place::new(&[]), Place::new(&[]));
    place.import(&small_history().bytes);
    let git_dir = other.repo().join(".git");
    let variables = [
        ("GIT_DIR", git_dir.as_os_str()),
        ("GIT_WORK_TREE", other.directory.path().as_os_str()),
        ("GIT_INDEX_FILE", OsStr::new("nowhere")),
        ("GIT_OBJECT_DIRECTORY", OsStr::new("nowhere")),
        ("GIT_PREFIX", OsStr::new("nowhere/")),
    ];
    run_with(&[place.repo(), place.path("store")], &variables).assert_match();
}

#[test]
fn replaced_git_object_is_read_as_the_original() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    place.git(&["replace", "main~1", "main~2"]);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("events"), "5");
}

#[test]
fn run_without_arguments_uses_this_repository_and_a_temporary_store() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let here = place.repo();
    let ran = run_with::<&str>(&[], &[("CARGO_MANIFEST_DIR", here.as_os_str())]);
    ran.assert_match();
    assert_eq!(ran.value("events"), "5");
}
