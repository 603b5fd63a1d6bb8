//! `top`, as text and on a pseudo terminal.

use super::support::{Scratch, import, lines, quoted, run};

fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    import(&store, lines(1..6)).ok();
    store
}

#[test]
fn once_prints_a_frame_of_printable_text() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let hostile = quoted("a\u{1b}[2J\u{202e}\u{7}b-1");
    let line = format!("{{\"stream\":{hostile},\"type\":{hostile},\"data\":{hostile}}}\n");
    import(&store, line).ok();
    run(&["cursor", "set", &store, "evil\u{1b}]0;x\u{7}", "2"]).ok();
    let frame = run(&["top", &store, "--once", "-n", "100ms"]).ok().stdout;
    for part in
        ["events 6 ", "rate 0 events/s", "1 cursors", r"evil\u{1b}]0;x\u{7}", r"a\u{1b}[2J\u{202e}"]
    {
        assert!(frame.contains(part), "{part:?} is not in\n{frame}");
    }
    let moves = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!frame.contains(moves), "{frame:?}");
}

#[test]
fn without_a_terminal_the_error_names_once_and_bad_stores_are_refused() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    run(&["top", &store]).fails(2, "`annals top --once`");
    run(&["top", &store, "--once", "-n", "1ms"]).fails(2, "from 100ms to 1h");
    run(&["top", &scratch.store("none"), "--once"]).fails(1, "does not exist");
    let segment = scratch.path("s").join("log/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let name = bytes.windows(3).position(|window| window == b"s-3").expect("a name");
    bytes[name] ^= 0x10;
    std::fs::write(&segment, bytes).expect("it is written");
    let refused = run(&["top", &store, "--once"]).fails(1, "is damaged");
    assert!(refused.stderr.contains("annals: next: annals verify"), "{refused:?}");
}

#[cfg(unix)]
mod terminal {
    use super::*;
    use crate::pty::Terminal;
    use rustix::process::{Pid, Signal, kill_process};

    const ENTER: &str = "\u{1b}[?1049h";
    const LEAVE: &str = "\u{1b}[?1049l";

    fn started(store: &str) -> Terminal {
        let mut terminal = Terminal::start(&["top", store, "-n", "100ms"], 100, 30);
        terminal.expect("newest events");
        assert!(terminal.text().contains(ENTER));
        assert!(!terminal.is_cooked());
        terminal
    }

    #[track_caller]
    fn is_restored(terminal: &mut Terminal, code: i32) {
        let status = terminal.end();
        assert_eq!(status.code(), Some(code), "{}", terminal.screen());
        assert!(terminal.text().contains(LEAVE));
        assert!(terminal.is_cooked());
    }

    #[test]
    fn it_follows_a_writer_and_keys_and_sizes_change_the_screen() {
        let scratch = Scratch::new();
        let store = filled(&scratch);
        let mut terminal = started(&store);
        run(&["append", &store, "later-1", "JustNow", "--data", "1"]).ok();
        terminal.expect("later-1");
        terminal.expect("JustNow");
        terminal.press("?");
        terminal.expect("pause and continue");
        terminal.press("\u{1b}");
        terminal.press("p");
        terminal.expect("PAUSED");
        terminal.resize(60, 10);
        terminal.expect("q quit");
        let rows: Vec<String> = terminal.screen().lines().map(str::to_owned).collect();
        assert!(rows.len() <= 10 && rows.iter().all(|row| row.chars().count() <= 60), "{rows:?}");
        terminal.press("q");
        is_restored(&mut terminal, 0);
    }

    #[test]
    fn ctrl_c_and_signals_restore_the_terminal() {
        let scratch = Scratch::new();
        let store = filled(&scratch);
        let mut terminal = started(&store);
        terminal.press("\u{3}");
        is_restored(&mut terminal, 130);
        let mut terminal = started(&store);
        let id = Pid::from_raw(terminal.id().cast_signed()).expect("a process");
        kill_process(id, Signal::TERM).expect("a signal");
        is_restored(&mut terminal, 130);
    }

    #[test]
    fn store_that_is_removed_or_replaced_ends_it_with_a_message() {
        let scratch = Scratch::new();
        let store = filled(&scratch);
        let mut terminal = started(&store);
        std::fs::rename(&store, scratch.path("elsewhere")).expect("it is moved");
        is_restored(&mut terminal, 1);
        assert!(
            terminal.text().contains("was removed while it was watched"),
            "{}",
            terminal.screen()
        );
        // Only links can be exchanged at once, so that the name never lacks a store.
        let (link, other) = (scratch.store("link"), scratch.store("other"));
        std::os::unix::fs::symlink(scratch.path("elsewhere"), &link).expect("a link");
        let mut terminal = started(&link);
        let new = scratch.store("new");
        import(&new, lines(1..3)).ok();
        std::os::unix::fs::symlink(&new, &other).expect("a link");
        std::fs::rename(&other, &link).expect("it is replaced");
        is_restored(&mut terminal, 1);
        assert!(
            terminal.text().contains("was replaced while it was watched"),
            "{}",
            terminal.screen()
        );
    }
}
