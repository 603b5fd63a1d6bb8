//! A connection between a client and a server that loses what it is told to lose.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct State {
    /// What the server answers does not reach the client.
    swallows: AtomicBool,
    /// Bytes that were swallowed.
    swallowed: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

/// A proxy of one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

fn copy(mut from: TcpStream, mut to: TcpStream, state: Option<&State>) {
    let mut bytes = vec![0; 65536];
    while let Ok(number @ 1..) = from.read(&mut bytes) {
        if let Some(state) = state
            && state.swallows.load(Ordering::SeqCst)
        {
            state.swallowed.fetch_add(number as u64, Ordering::SeqCst);
            continue;
        }
        if to.write_all(&bytes[..number]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl Proxy {
    pub(crate) fn of(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                    return;
                };
                let (client_2, server_2) = (client.try_clone(), server.try_clone());
                let (Ok(client_2), Ok(server_2)) = (client_2, server_2) else { return };
                let mut connections = shared.connections.lock().expect("no panic");
                connections.extend(client.try_clone());
                let state = Arc::clone(&shared);
                thread::spawn(move || copy(client, server, None));
                thread::spawn(move || copy(server_2, client_2, Some(&state)));
            }
        });
        Self { address, state }
    }

    /// Answers do not reach the client from now on.
    pub(crate) fn swallow(&self) {
        self.state.swallows.store(true, Ordering::SeqCst);
    }

    /// Bytes of answers that did not reach the client.
    pub(crate) fn swallowed(&self) -> u64 {
        self.state.swallowed.load(Ordering::SeqCst)
    }

    /// Ends all connections. New ones lose nothing.
    pub(crate) fn cut(&self) {
        let mut connections = self.state.connections.lock().expect("no panic");
        for connection in connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.state.swallows.store(false, Ordering::SeqCst);
    }
}
