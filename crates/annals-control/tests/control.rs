//! Both sides of the socket, in one process.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use annals::snapshot::Snapshot;
use annals::{ExpectedVersion, NewEvent, Options, Store};
use annals_control::{Client, Control, Error, LimitChange, Request};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let events: Vec<NewEvent> = (0..5).map(|_| NewEvent::new("T", "")).collect();
    store.append("a-1", ExpectedVersion::Any, events).unwrap();
    (dir, store)
}

#[test]
fn requests_change_the_store_with_the_checks_of_its_calls() {
    let (_dir, store) = store();
    let control = Control::start(&store).unwrap();
    let mut client = Client::connect(store.path()).unwrap();
    let set = |position, reset| Request::SetCursor { name: "c".to_owned(), position, reset };
    client.request(&set(4, false)).unwrap();
    let back = client.request(&set(2, false)).unwrap_err();
    assert!(matches!(&back, Error::Refused { what } if what.contains("--reset")), "{back}");
    assert_eq!(store.cursors().get("c").unwrap().unwrap().get(), 4);
    client.request(&set(2, true)).unwrap();
    assert_eq!(store.cursors().get("c").unwrap().unwrap().get(), 2);
    client.request(&Request::DeleteCursor { name: "c".to_owned() }).unwrap();
    assert_eq!(store.cursors().get("c").unwrap(), None);

    let stream = || "a-1".to_owned();
    let info = || store.stream_info("a-1").unwrap().unwrap();
    client.request(&Request::TruncateStream { stream: stream(), before: 3 }).unwrap();
    assert_eq!(info().first_version, 3);
    client.request(&Request::ArchiveStream { stream: stream() }).unwrap();
    assert!(info().archived);
    client.request(&Request::UnarchiveStream { stream: stream() }).unwrap();
    assert!(!info().archived);
    let limit = |max_age_micros, max_count| Request::LimitStream {
        stream: stream(),
        max_age_micros,
        max_count,
    };
    client.request(&limit(LimitChange::Set(5_000_000), LimitChange::Set(2))).unwrap();
    client.request(&limit(LimitChange::Keep, LimitChange::Remove)).unwrap();
    let metadata = info().metadata;
    assert_eq!((metadata.max_age, metadata.max_count), (Some(Duration::from_secs(5)), None));

    store.snapshots().save(&Snapshot::new("a-1", 5, b"state".to_vec())).unwrap();
    let delete = Request::DeleteSnapshots { key: stream() };
    assert!(client.request(&delete).unwrap().existed);
    assert!(!client.request(&delete).unwrap().existed);
    control.stop();
    assert!(matches!(Client::connect(store.path()), Err(Error::NotOffered { .. })));
    store.close().unwrap();
}

#[test]
fn only_the_user_of_the_service_may_connect_and_old_sockets_are_replaced() {
    let (_dir, store) = store();
    let control = Control::start(&store).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(control.path()), mode(control.path().parent().unwrap())), (0o600, 0o700));
    // A process that was killed leaves its socket.
    std::mem::forget(control);
    let control = Control::start(&store).unwrap();
    let mut client = Client::connect(store.path()).unwrap();
    client.request(&Request::ArchiveStream { stream: "a-1".to_owned() }).unwrap();
    // A reader does not take the writer's socket away.
    let reader = Options::new().read_only(true).open(store.path()).unwrap();
    assert!(matches!(Control::start(&reader), Err(Error::ReadOnly)));
    assert!(Client::connect(store.path()).is_ok());
    drop(client);
    control.stop();
    // The store is as usable as before, with the directory in it.
    let path = store.path().to_path_buf();
    store.close().unwrap();
    assert!(annals::verify(&path, |_| {}).unwrap().faults.is_empty());
    Store::open(&path).unwrap().close().unwrap();
}

#[test]
fn control_that_outlives_its_store_leaves_the_next_one_alone() {
    let (_dir, store) = store();
    let path = store.path().to_path_buf();
    let old = Control::start(&store).unwrap();
    store.close().unwrap();
    let next = Store::open(&path).unwrap();
    let control = Control::start(&next).unwrap();
    let (ended, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(old);
        ended.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("it ends without a client");
    let mut client = Client::connect(&path).unwrap();
    client.request(&Request::ArchiveStream { stream: "a-1".to_owned() }).unwrap();
    drop(client);
    control.stop();
    next.close().unwrap();
}

#[test]
fn bad_lines_are_refused_and_clients_that_stop_do_not_keep_others_out() {
    let (_dir, store) = store();
    let control = Control::start(&store).unwrap();
    let connect = || {
        let connection = UnixStream::connect(control.path()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        connection
    };
    for bad in [
        "{\"do\":\"erase\"}\n",
        "nonsense\n",
        "{\"do\":\"archive_stream\",\"stream\":\"a\",\"x\":1}\n",
    ] {
        let connection = connect();
        (&connection).write_all(bad.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(&connection).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("{\"refused\":\"bad request: "), "{answer}");
    }
    let connection = connect();
    // The service may end the connection before all of it is sent.
    let _sent = (&connection).write_all(&vec![b'x'; 1 << 20]);
    let mut answer = Vec::new();
    let _ended = (&connection).read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.contains("too long"), "{answer}");
    let _silent = connect();
    let mut client = Client::connect(store.path()).unwrap();
    client.request(&Request::ArchiveStream { stream: "a-1".to_owned() }).unwrap();
    // The thread ends even while a client is connected.
    drop(control);
    store.close().unwrap();
}

#[test]
fn paths_that_are_too_long_for_a_socket_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x".repeat(120));
    let store = Store::open(path).unwrap();
    assert!(matches!(Control::start(&store), Err(Error::PathTooLong { .. })));
    assert!(matches!(Client::connect(store.path()), Err(Error::PathTooLong { .. })));
}
