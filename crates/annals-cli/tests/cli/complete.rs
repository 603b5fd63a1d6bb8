//! Completions of names, and man pages.

use super::support::{Scratch, import, quoted, run};

fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    let hostile = quoted("acc-\n\u{1b}[2J");
    let lines = [
        r#"{"stream":"acc-1","type":"Opened","tags":["owner:1"],"data":1}"#,
        r#"{"stream":"acc-2","type":"Closed","tags":["owner:2"],"data":1}"#,
        r#"{"stream":"b c","type":"Odd","tags":["x"],"data":1}"#,
        &format!("{{\"stream\":{hostile},\"type\":{hostile},\"data\":1}}"),
    ];
    import(&store, lines.join("\n") + "\n").ok();
    run(&["cursor", "set", &store, "mailer", "1"]).ok();
    store
}

#[test]
fn names_of_the_store_complete_the_last_word() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let names = |words: &[&str]| run(&[&["complete-names", "--"], words].concat()).ok();
    for (words, expected) in [
        (&["read", &store, "--stream", "acc"][..], &["acc-1", "acc-2"][..]),
        (&["diff", &store, ""], &["acc-1", "acc-2", "b c"]),
        (&["log", &store, "--type", ""], &["Closed", "Odd", "Opened"]),
        (&["tail", &store, "-n", "1", "--tag", "owner:"], &["owner:1", "owner:2"]),
        (&["read", &store, "--category", "a"], &["acc"]),
        (&["cursor", "get", &store, ""], &["mailer"]),
        (&["cursor", "get", &store, "x"], &[]),
        (&["read", &store, "--limit", ""], &[]),
        (&["read", "/nowhere", "--stream", ""], &[]),
        (&["--", "--", ""], &[]),
        (&[], &[]),
    ] {
        let done = names(words);
        assert_eq!(done.lines(), expected, "{words:?}");
        assert!(done.stderr.is_empty(), "{done:?}");
    }
    // The value of an option of all commands is not the store.
    #[cfg(feature = "backup")]
    assert_eq!(names(&["diff", "--cold", "/nowhere", &store, "b"]).lines(), ["b c"]);
    let line = |n| format!("{{\"stream\":\"m-{n}\",\"type\":\"T\",\"data\":1}}");
    let many: Vec<String> = (0..500).map(line).collect();
    import(&store, many.join("\n") + "\n").ok();
    assert_eq!(names(&["read", &store, "--stream", "m-"]).lines().len(), 100);
}

#[cfg(unix)]
#[test]
fn bash_completes_names_where_the_script_is_loaded() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let tool = env!("CARGO_BIN_EXE_annals");
    let completed = |line: &str| {
        let script = format!(
            "source <('{tool}' completions bash)
             COMP_WORDS=('{tool}' {line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _annals '{tool}' \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let done = std::process::Command::new("bash").args(["--norc", "-c", &script]).output();
        done.ok().map(|done| String::from_utf8(done.stdout).expect("UTF-8"))
    };
    // Not every system has bash.
    let Some(names) = completed(&format!("read '{store}' --stream acc")) else { return };
    assert_eq!(names, "acc-1\nacc-2\n");
    assert_eq!(completed(&format!("diff '{store}' b")).as_deref(), Some("b\\ c\n"));
    let words = completed("curs").expect("bash");
    assert_eq!(words, "cursor\n", "words of the tool are completed as before");
}

#[cfg(feature = "man")]
#[test]
fn man_pages_are_written_for_every_command() {
    let scratch = Scratch::new();
    let directory = scratch.store("man");
    run(&["man", &directory]).fails(1, "cannot be written");
    std::fs::create_dir(&directory).expect("a directory");
    run(&["man", &directory]).ok();
    let page =
        |name: &str| std::fs::read_to_string(scratch.path("man").join(name)).expect("a page");
    assert!(page("annals.1").contains(".TH annals 1"), "{}", page("annals.1"));
    assert!(
        page("annals-stream-info.1").contains("\\fBannals stream info\\fR"),
        "{}",
        page("annals-stream-info.1")
    );
    assert!(!scratch.path("man").join("annals-complete-names.1").exists());
}
