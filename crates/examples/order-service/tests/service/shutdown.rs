//! The shutdown, with real sockets and a real signal.

use std::net::SocketAddr;
use std::time::Duration;

use annals_es::Clock;
use order_service::Service;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::client::Client;

/// Far more than is ever needed.
const PATIENCE: Duration = Duration::from_secs(60);

const HEAD: &str = "POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
    connection: close\r\nexpect: 100-continue\r\ncontent-length: 18\r\n\r\n";

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer").expect("a read");
    answer
}

async fn wait_until_refused(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("connections are refused");
}

#[tokio::test]
async fn shutdown_answers_the_request_in_flight_and_closes_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let service = Service::open(dir.path(), Clock::system()).await.expect("a service");
    let router = service.router();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(service.serve(listener, async { drop(stopped.await) }));

    let mut in_flight = TcpStream::connect(address).await.expect("a connection");
    in_flight.write_all(HEAD.as_bytes()).await.expect("a write");
    // The handler waits for the body when the service is told to stop.
    let mut proceed = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    let read = in_flight.read_exact(&mut proceed);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer").expect("a read");
    assert!(proceed.starts_with(b"HTTP/1.1 100 "));
    stop.send(()).expect("the service runs");
    wait_until_refused(address).await;
    in_flight.write_all(br#"{"customer":"ann"}"#).await.expect("a write");
    let answer = answer(&mut in_flight).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let ended = tokio::time::timeout(PATIENCE, serving).await.expect("an end");
    ended.expect("no panic").expect("a shutdown");

    // The connections to a server are open as long as a handle of the store.
    if cfg!(not(any(feature = "postgres", feature = "nats"))) {
        late_request_is_refused(&Client::new(router)).await;
    }
    let service = Service::open(dir.path(), Clock::system()).await.expect("the lock is free");
    let list = Client::new(service.router()).get("/orders").await;
    assert_eq!(list.json["orders"][0]["customer"], "ann", "{list:?}");
    assert_eq!(list.json["orders"].as_array().map(Vec::len), Some(1), "{list:?}");
    service.close().await.expect("a shutdown");
}

async fn late_request_is_refused(client: &Client) {
    let late = client.post("/orders", &[], json!({"customer": "cid"})).await;
    assert_eq!(late.status.as_u16(), 503, "the store is closed: {late:?}");
}

#[cfg(unix)]
#[test]
fn program_stops_in_order_at_sigterm() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let dir = tempfile::tempdir().expect("a directory");
    let mut program = Command::new(env!("CARGO_BIN_EXE_order-service"))
        .arg(dir.path())
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a program");
    let mut out = BufReader::new(program.stdout.take().expect("its output"));
    let mut introduction = String::new();
    for _ in 0..4 {
        out.read_line(&mut introduction).expect("a line");
    }
    assert!(introduction.starts_with("orders at http://127.0.0.1:"), "{introduction}");
    assert_eq!(introduction.matches("\n  curl ").count(), 3, "{introduction}");
    let id = program.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &id]).status().expect("a signal");
    assert!(killed.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    assert_eq!(rest, "stopped: requests, process, projection, store\n");
    assert!(program.wait().expect("an end").success());
    if cfg!(not(any(feature = "postgres", feature = "nats"))) {
        let opened = annals::Store::open(dir.path().join("events")).expect("the lock is free");
        assert!(matches!(opened.opened(), annals::Opened::Clean), "{:?}", opened.opened());
    }
}
