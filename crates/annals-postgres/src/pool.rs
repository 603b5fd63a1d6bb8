//! Connections to the server, and the runtime that drives them.
//!
//! Owns the time limit and the repetition of work that is safe to repeat. Must never send a statement of the store.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use futures_util::future::poll_fn;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use crate::Error;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long a connection may take to be made.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// The settings of each session. A session that does not wait for the disk would acknowledge what is not durable.
const SETTINGS: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off';
    SET default_transaction_read_only = off;
    SET client_min_messages = warning;
    SET timezone = 'UTC';";

/// What connects, without the type of its encryption.
pub(crate) trait Connect: Send + Sync {
    fn pool(&self, config: Config, connections: usize) -> Result<Pool, Error>;

    /// Connects a session that calls a function at each notification until it ends.
    fn listen(
        &self,
        config: Config,
        heard: Box<dyn Fn() + Send>,
    ) -> BoxFuture<'static, Result<(Client, BoxFuture<'static, ()>), tokio_postgres::Error>>;
}

impl<T> Connect for T
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync + 'static,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn pool(&self, config: Config, connections: usize) -> Result<Pool, Error> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, self.clone(), recycling);
        let prepare = Hook::async_fn(|client, _| {
            Box::pin(
                async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) },
            )
        });
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .create_timeout(Some(CONNECT))
            .post_create(prepare)
            .build();
        pool.map_err(|error| Error::Driver(io::Error::other(error)))
    }

    fn listen(
        &self,
        config: Config,
        heard: Box<dyn Fn() + Send>,
    ) -> BoxFuture<'static, Result<(Client, BoxFuture<'static, ()>), tokio_postgres::Error>> {
        let tls = self.clone();
        Box::pin(async move {
            let (client, mut connection) = config.connect(tls).await?;
            let exchange = async move {
                while let Some(Ok(message)) =
                    poll_fn(|context| connection.poll_message(context)).await
                {
                    if matches!(message, AsyncMessage::Notification(_)) {
                        heard();
                    }
                }
            };
            Ok((client, Box::pin(exchange) as BoxFuture<'static, ()>))
        })
    }
}

/// The tokio runtime that drives connections: that in which the store was opened, or else one in a thread of its own.
#[derive(Debug)]
pub(crate) struct Runtime {
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: Option<Mutex<oneshot::Sender<()>>>,
}

impl Runtime {
    pub(crate) fn current_or_own() -> Result<Self, Error> {
        if let Ok(handle) = Handle::try_current() {
            return Ok(Self { handle, _stop: None });
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Driver)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("annals-postgres".into());
        let run = move || {
            // It ends when the sender is dropped.
            let _ = runtime.block_on(stopped);
        };
        thread.spawn(run).map_err(Error::Driver)?;
        Ok(Self { handle, _stop: Some(Mutex::new(stop)) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs work to its end on the runtime, also if the returned future is dropped after it was polled.
    pub(crate) async fn run<T: Send + 'static>(
        handle: Handle,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        handle.spawn(work).await.unwrap_or(Err(Error::Ended))
    }
}

/// Connections, with a limit for the time of an exchange.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pub(crate) pool: Pool,
    pub(crate) limit: Duration,
}

impl Connections {
    /// A connection. Also a new one is given up when the server does not answer in time.
    pub(crate) async fn get(&self) -> Result<Object, Error> {
        self.limited(async { Ok(self.pool.get().await?) }).await
    }

    /// Waits for the answer of the server, as long as the limit permits.
    pub(crate) async fn limited<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.limit;
        tokio::time::timeout(limit, answer).await.unwrap_or(Err(Error::TimedOut { limit }))
    }
}

/// Returns a connection to the pool, unless its exchange has failed: it may be inside a transaction, wait for a server
/// that does not answer, or have prepared statements that no longer fit the tables.
pub(crate) fn give_back<T>(client: Object, done: Result<T, Error>) -> Result<T, Error> {
    if done.is_err() {
        drop(Object::take(client));
    }
    done
}

/// Evaluates an expression with a connection. It is evaluated once, with the time limit of the connections.
macro_rules! once {
    ($connections:expr, $client:ident => $answer:expr) => {{
        let connections: &$crate::pool::Connections = $connections;
        match connections.get().await {
            Ok(connection) => {
                let $client = &connection;
                let done = connections.limited(async { $answer }).await;
                $crate::pool::give_back(connection, done)
            }
            Err(error) => Err(error),
        }
    }};
}

/// Evaluates an expression with a connection, again and again until the server answers or the time limit is reached:
/// for what may be done twice.
macro_rules! retry {
    ($connections:expr, $client:ident => $answer:expr) => {{
        let mut pause = $crate::pool::Pause::new($connections.limit);
        loop {
            match $crate::pool::once!($connections, $client => $answer) {
                Err(error) if error.is_transient() => match pause.wait_after(error).await {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                done => break done,
            }
        }
    }};
}
pub(crate) use {once, retry};

/// The delays between attempts.
pub(crate) struct Pause {
    deadline: Instant,
    next: Duration,
}

impl Pause {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, next: Duration::from_millis(2) }
    }

    /// Waits before the next attempt. Returns the error after the time limit.
    pub(crate) async fn wait_after(&mut self, error: Error) -> Result<(), Error> {
        if Instant::now() + self.next >= self.deadline {
            return Err(error);
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_millis(500));
        Ok(())
    }
}
