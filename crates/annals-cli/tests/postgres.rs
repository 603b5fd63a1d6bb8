//! `annals copy` to a server. Without one, which `ANNALS_ES_POSTGRES` names and `.ci/postgres` starts, nothing is tested.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The address of a new schema, from the parameters of a connection through a Unix socket.
fn address(schema: &str) -> Option<String> {
    let Ok(server) = std::env::var("ANNALS_ES_POSTGRES") else {
        eprintln!("ANNALS_ES_POSTGRES names no server; .ci/postgres starts one");
        return None;
    };
    let parameter = |name: &str| {
        let mut all = server.split_whitespace().filter_map(|it| it.split_once('='));
        all.find(|(key, _)| *key == name).map_or("", |(_, value)| value).replace('/', "%2F")
    };
    let (user, host, database) = (parameter("user"), parameter("host"), parameter("dbname"));
    let schema = format!("{schema}_{}", std::process::id());
    Some(format!("postgres://{user}@{host}/{database}?accept_loss=1&schema={schema}"))
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

fn import(store: &str, events: u64) {
    let mut lines = String::new();
    for number in 0..events {
        let stream = number % 7;
        let key = number / 3;
        writeln!(
            lines,
            "{{\"stream\":\"s-{stream}\",\"type\":\"T\",\"data\":{number},\"commit\":{key}}}"
        )
        .unwrap();
    }
    let mut child = annals(&["import", store, "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

/// Killed at any moment, in both directions and with both kinds of positions, a copy goes on where it was.
#[test]
fn killed_copies_to_a_server_and_back_are_continued() {
    for positions in ["dense", "fast"] {
        let Some(url) = address(&format!("annals_cli_{positions}")) else { return };
        let url = format!("{url}&positions={positions}");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (old, new, map) = (path("old"), path("new"), path("map"));
        import(&old, 30_000);
        ok(&["cursor", "set", &old, "mailer", "1236"]);
        for copy in [["copy", &old, &url], ["copy", &url, &new]] {
            let mut kills = 0;
            for milliseconds in [20, 60, 100, 140, 180, 220, 260] {
                let mut child = annals(&copy).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(milliseconds));
                kills += u32::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert!(kills > 2, "{kills}");
            ok(&copy);
        }
        assert_eq!(ok(&["export", &old]), ok(&["export", &new]));
        assert_eq!(ok(&["cursor", "get", &new, "mailer"]), "1236\n");
        ok(&["copy", &url, &new, "--map", &map]);
        assert_eq!(ok(&["position", &map, "18446744073709551615"]), "30000\n");
    }
}

#[test]
fn store_on_a_server_is_fenced_and_errors_have_no_password() {
    let Some(url) = address("annals_cli_fence") else { return };
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old").to_str().unwrap().to_owned();
    import(&old, 10);
    ok(&["copy", &old, &url]);
    assert_eq!(ok(&["fence", "show", &url]), "not fenced\n");
    ok(&["fence", "raise", &url, "--to", "elsewhere"]);
    assert_eq!(ok(&["fence", "show", &url]), "fenced: the history goes on at elsewhere\n");
    import(&old, 1);
    let (code, _, stderr) = run(&["copy", &old, &url]);
    assert!(code == 1 && stderr.contains("its history goes on at \"elsewhere\""), "{stderr}");
    ok(&["fence", "lift", &url]);
    ok(&["copy", &old, &url]);

    let wrong = "postgres://ann:secret@127.0.0.1:1/db";
    let (code, _, stderr) = run(&["copy", wrong, &old]);
    assert!(code == 1 && stderr.contains("cannot be reached"), "{stderr}");
    assert!(!stderr.contains("secret"), "{stderr}");
}
