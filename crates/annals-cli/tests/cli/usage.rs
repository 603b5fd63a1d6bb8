//! The command line itself.

use super::support::{Scratch, run};

#[test]
fn usage_errors_exit_with_2() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let store = store.as_str();
    for args in [
        &[][..],
        &["frobnicate"],
        &["import"],
        &["read"],
        &["read", store, "--from-version", "2"],
        &["read", store, "--all", "--stream", "a"],
        &["read", store, "--stream", "a", "--category", "b"],
        &["read", store, "--as-of", "yesterday"],
        &["read", store, "--as-of", "2026-01-01T00:00:00"],
        &["read", store, "--after", "-1"],
        &["read", store, "--format", "xml"],
        &["import", store, "--batch", "0"],
        &["import", store, "--sync", "--buffered"],
        &["import", store, "--segment-size", "1K"],
        &["import", store, "--max-line", "lots"],
        &["append", store, "a"],
        &["append", store, "a", "T", "--expect", "some"],
        &["append", store, "a", "T", "--id", "7"],
        &["append", store, "a", "T", "--binary"],
        &["append", store, "a", "T", "--schema-version", "65536"],
        &["tail", store, "-n", "x"],
        &["completions", "cmd"],
    ] {
        let done = run(args).fails(2, "");
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{args:?}: {done:?}");
    }
    assert!(!scratch.path("s").exists());
}

#[test]
fn every_command_explains_itself() {
    assert!(run(&["--help"]).ok().stdout.contains("Exit codes:"));
    assert!(run(&["--version"]).ok().stdout.starts_with("annals "));
    for command in [
        "import",
        "append",
        "read",
        "query",
        "export",
        "tail",
        "streams",
        "stream",
        "cursor",
        "snapshot",
        "record",
        "stats",
        "verify",
        "completions",
    ] {
        let help = run(&[command, "--help"]).ok().stdout;
        assert!(help.contains("Examples:\n  ") && help.contains("Usage: annals"), "{help}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ok().stdout;
        assert!(script.contains("annals") && script.contains("verify"), "{shell}");
    }
}
