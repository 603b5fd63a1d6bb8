//! Connections to the server, and the runtime that drives them.
//!
//! Owns the choice of the runtime. Must never send a statement.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread;

use futures_channel::oneshot;
use tokio::runtime::{Builder, Handle};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Error, Socket};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The exchange of messages with the server. It ends with the connection.
pub(crate) type Driver = BoxFuture<Result<(), Error>>;

/// What connects, without the type of its encryption.
pub(crate) trait Connect: Send + Sync {
    fn connect(&self, config: Config) -> BoxFuture<Result<(Client, Driver), Error>>;

    /// Cancels the statement that a connection runs.
    fn cancel(&self, token: CancelToken) -> BoxFuture<Result<(), Error>>;
}

impl<T> Connect for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: Config) -> BoxFuture<Result<(Client, Driver), Error>> {
        let tls = self.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            Ok((client, Box::pin(connection) as Driver))
        })
    }

    fn cancel(&self, token: CancelToken) -> BoxFuture<Result<(), Error>> {
        let tls = self.clone();
        Box::pin(async move { token.cancel_query(tls).await })
    }
}

/// The tokio runtime that drives connections: that in which the projection runs, or else one in a thread of its own.
#[derive(Default)]
pub(crate) struct Runtime {
    own: Option<Own>,
}

struct Own {
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Runtime {
    pub(crate) fn handle(&mut self) -> io::Result<Handle> {
        if let Ok(current) = Handle::try_current() {
            return Ok(current);
        }
        let own = match self.own.take() {
            Some(own) => own,
            None => Own::start()?,
        };
        Ok(self.own.insert(own).handle.clone())
    }
}

impl Own {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("postgres".into()).spawn(move || {
            // It ends when the sender is dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }
}
