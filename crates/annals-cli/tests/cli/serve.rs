//! The web page, served by the tool.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::running::Running;
use super::support::{Done, Scratch, run, run_with};

const PATIENCE: Duration = Duration::from_secs(60);

/// A tool that serves, and its address.
struct Serving {
    running: Running,
    address: String,
}

impl Serving {
    fn start(args: &[&str]) -> Self {
        let running = Running::start(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        let line = running.next();
        let address = line.strip_prefix("serving http://").expect(&line);
        let address = address.split('/').next().expect("an address").to_owned();
        Self { running, address }
    }

    fn get(&self, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n{header}\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn end(self) -> Done {
        self.running.signal("-INT");
        self.running.end()
    }
}

fn store(scratch: &Scratch) -> String {
    let store = scratch.store("ledger");
    run(&["append", &store, "account-1", "Opened", "--data", "{\"owner\":42}"]).ok();
    store
}

#[test]
fn page_is_served_until_a_signal() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let serving = Serving::start(&[&store]);
    let page = serving.get("/stream?name=account-1", "");
    assert!(page.starts_with("HTTP/1.0 200") && page.contains("Opened"), "{page}");
    // Events of a writer beside it are shown.
    run(&["append", &store, "account-1", "Closed"]).ok();
    assert!(serving.get("/stream?name=account-1", "").contains("Closed"));
    assert!(serving.get("/health", "").ends_with("{\"head\":2,\"status\":\"ok\"}\n"));
    assert!(serving.get("/", "Origin: http://evil.example\r\n").starts_with("HTTP/1.0 403"));
    let done = serving.end();
    assert_eq!((done.code, done.stderr.as_str()), (130, ""));
}

#[test]
fn export_of_the_page_can_be_imported() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    run(&["append", &store, "s", "Binary", "--binary", "--data", "a, \"b\"", "--tag", "x:1"]).ok();
    let serving = Serving::start(&[&store]);
    let export = serving.get("/export?q=all", "");
    let (_, lines) = export.split_once("\r\n\r\n").expect("a body");
    assert_eq!(lines, run(&["export", &store]).ok().stdout);
    let copy = scratch.store("copy");
    run_with(&["import", &copy, "-"], lines).ok();
    assert_eq!(run(&["read", &copy]).ok().lines().len(), 2);
    assert_eq!(serving.end().code, 130);
}

#[test]
fn token_is_needed_for_other_machines() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    run(&["serve", &store, "--listen", "0.0.0.0:0"]).fails(2, "--token");
    run(&["serve", &store, "--token", ""]).fails(2, "the token is empty");
    run(&["serve", &scratch.store("none")]).fails(1, "does not exist");
    let serving = Serving::start(&[&store, "--token", "secret"]);
    assert!(serving.get("/", "").starts_with("HTTP/1.0 401"));
    let page = serving.get("/", "Authorization: Bearer secret\r\n");
    assert!(page.starts_with("HTTP/1.0 200") && page.contains("Opened"), "{page}");
    assert_eq!(serving.end().code, 130);
}
