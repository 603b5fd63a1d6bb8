//! The pager, on a pseudo terminal.

use super::pty::Terminal;
use super::support::{Done, Scratch, import, lines, run, tool};

fn filled(scratch: &Scratch, events: u64) -> String {
    let store = scratch.store("s");
    import(&store, lines(1..events + 1)).ok();
    store
}

/// The tool on a terminal of 120 columns and 12 rows, with this pager.
fn paged(args: &[&str], pager: Option<&str>) -> Terminal {
    let mut command = tool(args);
    command.env("TERM", "xterm").env_remove("LESS").env_remove("PAGER").env_remove("ANNALS_PAGER");
    if let Some(pager) = pager {
        command.env("ANNALS_PAGER", pager);
    }
    Terminal::of(command, 120, 12)
}

#[test]
fn listings_and_events_go_through_the_pager_on_a_terminal_alone() {
    let scratch = Scratch::new();
    let store = filled(&scratch, 3);
    let mark = "sed s/^/PAGED:/";
    for args in [
        &["read", &store][..],
        &["query", &store, "all"],
        &["show", &store, "1"],
        &["log", &store],
        &["diff", &store, "s-1"],
        &["streams", &store],
        &["types", &store],
        &["stats", &store],
        &["cursor", "list", &store],
    ] {
        let mut terminal = paged(args, Some(mark));
        assert!(terminal.end().success(), "{args:?}: {}", terminal.screen());
        let listed = args[0] != "cursor";
        assert_eq!(terminal.screen().contains("PAGED:"), listed, "{args:?}: {}", terminal.screen());
        assert!(terminal.is_cooked());
    }
    for args in
        [&["read", &store, "--no-pager"][..], &["read", &store, "--count"], &["export", &store]]
    {
        let mut terminal = paged(args, Some(mark));
        assert!(terminal.end().success());
        assert!(!terminal.screen().contains("PAGED:"), "{args:?}: {}", terminal.screen());
    }
    let piped = tool(&["read", &store]).env("ANNALS_PAGER", mark).output().expect("the tool runs");
    assert!(!Done::of(piped).ok().stdout.contains("PAGED:"));
}

#[test]
fn pager_that_is_closed_early_ends_the_command_without_a_fault() {
    let scratch = Scratch::new();
    let store = filled(&scratch, 20_000);
    let mut terminal = paged(&["read", &store], Some("head -n 2"));
    let status = terminal.end();
    assert!(status.success(), "{status:?} {}", terminal.screen());
    assert_eq!(terminal.screen().lines().filter(|line| line.contains('@')).count(), 2);
}

#[test]
fn errors_are_printed_after_the_pager_and_pagers_that_cannot_run_are_named() {
    let scratch = Scratch::new();
    let store = filled(&scratch, 3);
    let mut terminal = paged(&["show", &store, "9"], Some("sed s/^/PAGED:/"));
    assert_eq!(terminal.end().code(), Some(1));
    assert!(terminal.screen().contains("annals: there is no event"), "{}", terminal.screen());
    let mut terminal = paged(&["read", &store], Some("/nowhere/pager"));
    assert!(terminal.end().success(), "it prints without one");
    assert!(terminal.screen().contains("the pager /nowhere/pager cannot be run"));
    assert!(terminal.screen().contains("s-1@1"), "{}", terminal.screen());
    let mut terminal = paged(&["read", &store], Some("/nowhere/pager --option"));
    assert_eq!(terminal.end().code(), Some(1));
    assert!(terminal.screen().contains("--no-pager"), "{}", terminal.screen());
}

#[test]
fn less_is_the_default_and_quits_by_itself_if_one_screen_is_enough() {
    if std::process::Command::new("less").arg("--version").output().is_err() {
        return;
    }
    let scratch = Scratch::new();
    let store = filled(&scratch, 300);
    let mut terminal = paged(&["read", &store, "--limit", "3"], None);
    assert!(terminal.end().success());
    assert_eq!(terminal.screen().lines().filter(|line| line.contains('@')).count(), 3);
    let mut terminal = paged(&["read", &store], None);
    terminal.expect("s-4@1");
    // Ctrl-C belongs to the pager; the command waits until it is closed.
    terminal.press("\u{3}");
    terminal.press("q");
    let status = terminal.end();
    assert!(status.success(), "{status:?}");
    assert!(!terminal.screen().contains("s-6@30"), "the rest is not printed");
    assert!(terminal.is_cooked());
    let _store_is_sound = run(&["verify", &store]).ok();
}
