//! A proxy between the target and the server, which cuts connections at a request, stalls, or is out of reach.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals_es_postgres::tokio_postgres::Config;
use annals_es_postgres::tokio_postgres::config::Host;
use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{RUNTIME, server};

/// What becomes of the request at which a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server does not have it.
    Before,
    /// The server has it, and its answer is lost.
    After,
}

pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    cut: Cut,
    /// The number of the request at which a connection is cut, once; the first is 1.
    cut_at: u64,
    requests: AtomicU64,
    is_down: AtomicBool,
    is_silent: AtomicBool,
}

impl Proxy {
    pub(crate) fn cutting(cut: Cut, cut_at: u64) -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = State {
            cut,
            cut_at,
            requests: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
        };
        let state = Arc::new(state);
        let accepting = Arc::clone(&state);
        RUNTIME.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&accepting);
                if !state.is_down.load(Ordering::Relaxed) {
                    tokio::spawn(async move { state.forward(client).await });
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn new() -> Self {
        Self::cutting(Cut::Before, u64::MAX)
    }

    /// The number of requests that clients have sent.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Ends the connections at their next message, and refuses others.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Forwards nothing, and keeps the connections.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// The parameters of a connection, through the proxy.
    pub(crate) fn config(&self, to: &Config) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port);
        config.user(to.get_user().unwrap_or("postgres"));
        config.dbname(to.get_dbname().or(to.get_user()).unwrap_or("postgres"));
        if let Some(password) = to.get_password() {
            config.password(password);
        }
        config.options(to.get_options().unwrap_or_default());
        config.application_name(to.get_application_name().unwrap_or_default());
        config
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

async fn server_socket() -> Box<dyn Socket> {
    let config = server().expect("a server");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(Host::Unix(directory)) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(path).await.expect("the server"))
        }
        Some(Host::Tcp(host)) => {
            Box::new(TcpStream::connect((host.as_str(), port)).await.expect("the server"))
        }
        None => panic!("ANNALS_ES_POSTGRES names a host"),
    }
}

/// Reads a message of a client. The first has no type.
async fn message(from: &mut (impl AsyncRead + Unpin), is_first: bool) -> Option<Vec<u8>> {
    let mut message = vec![0; if is_first { 4 } else { 5 }];
    from.read_exact(&mut message).await.ok()?;
    let length = message.last_chunk::<4>().map(|it| u32::from_be_bytes(*it))?;
    let start = message.len();
    message.resize(start + length as usize - 4, 0);
    from.read_exact(&mut message[start..]).await.ok()?;
    Some(message)
}

impl State {
    async fn forward(&self, client: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = tokio::io::split(server_socket().await);
        let (cut_answers, mut answers_are_cut) = tokio::sync::oneshot::channel();
        let answers = async {
            let mut bytes = vec![0; 1 << 16];
            loop {
                let answer = pin!(from_server.read(&mut bytes));
                let read = match select(&mut answers_are_cut, answer).await {
                    Either::Left(_) => break,
                    Either::Right((read, _)) => read.unwrap_or(0),
                };
                self.stall().await;
                if read == 0 || to_client.write_all(&bytes[..read]).await.is_err() {
                    return;
                }
            }
            // The server has time to carry out what it has, and its answer goes nowhere.
            let _ =
                tokio::time::timeout(Duration::from_millis(20), from_server.read(&mut bytes)).await;
        };
        let requests = async {
            let mut is_first = true;
            while let Some(message) = message(&mut from_client, is_first).await {
                is_first = false;
                self.stall().await;
                // The start of a connection and a simple query are one message; other requests end with a Sync.
                let ends_request = matches!(message.first(), Some(0 | b'Q' | b'S'));
                let number = u64::from(ends_request)
                    + self.requests.fetch_add(u64::from(ends_request), Ordering::Relaxed);
                let is_cut = ends_request && number == self.cut_at;
                if self.is_down.load(Ordering::Relaxed) || (is_cut && self.cut == Cut::Before) {
                    return false;
                }
                if is_cut {
                    let _ = cut_answers.send(());
                    return to_server.write_all(&message).await.is_ok();
                }
                if to_server.write_all(&message).await.is_err() {
                    return false;
                }
            }
            false
        };
        if let Either::Right((true, answers)) = select(pin!(answers), pin!(requests)).await {
            answers.await;
        }
    }

    async fn stall(&self) {
        while self.is_silent.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
