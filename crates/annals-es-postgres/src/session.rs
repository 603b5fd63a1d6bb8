//! One connection, and what is known about its end.
//!
//! Owns the time limit for the server's answers. Must never decide what is sent.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error as ServerError};

use crate::Error;
use crate::connect::Connect;
use crate::model::Tables;

/// How long a rollback waits for the statement that the connection runs, before that is cancelled.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the orderly end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The settings of the session. Transactions are read-only, except those that the target begins: if a handler ended its
/// transaction, each change that follows would be committed by itself, without the position.
///
/// The others are set unless the server, the database, the user or the connection has set them. Without a
/// limit, the runner would wait for a lock as long as another session holds it. Without the keep-alives, a session
/// whose client has vanished would hold its locks for hours.
const SETTINGS: &str = "
    SET default_transaction_read_only = on;
    SELECT set_config(d.name, d.value, false)
    FROM (VALUES ('lock_timeout', '5s'), ('tcp_keepalives_idle', '30'),
                 ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')) AS d (name, value)
    JOIN pg_settings s ON s.name = d.name AND s.source = 'default'";

pub(crate) struct Session {
    pub(crate) tables: Tables,
    runtime: Handle,
    driver: JoinHandle<()>,
    /// Why the connection has ended.
    ended: Arc<OnceLock<Arc<ServerError>>>,
    limit: Duration,
}

impl Session {
    pub(crate) async fn open(
        runtime: &Handle,
        connector: &dyn Connect,
        config: Config,
        limit: Duration,
    ) -> Result<Self, Error> {
        let connecting = runtime.spawn(connector.connect(config));
        let abort = connecting.abort_handle();
        let (client, mut exchange) = match limited(limit, connecting).await {
            Some(connected) => connected.map_err(|it| Error::Driver(io::Error::other(it)))??,
            None => {
                abort.abort();
                return Err(Error::TimedOut { limit });
            }
        };
        let ended = Arc::new(OnceLock::new());
        let reason = Arc::clone(&ended);
        let driver = runtime.spawn(async move {
            if let Err(error) = (&mut exchange).await {
                // Only this task sets it. It is set before statements that wait are told of the end.
                let _ = reason.set(Arc::new(error));
            }
            drop(exchange);
        });
        let runtime = runtime.clone();
        let session = Self { tables: Tables::new(client), runtime, driver, ended, limit };
        session.run(session.tables.batch_execute(SETTINGS)).await?;
        Ok(session)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.tables.is_closed()
    }

    /// Waits for the answer of the server, as long as the limit permits. After that, the connection is given up.
    pub(crate) async fn run<T, E: Into<Error>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        match limited(self.limit, answer).await {
            Some(answer) => answer.map_err(|error| self.explained(error.into())),
            None => {
                self.driver.abort();
                Err(Error::TimedOut { limit: self.limit })
            }
        }
    }

    pub(crate) fn disconnected(&self) -> Error {
        Error::Disconnected { reason: self.ended.get().cloned() }
    }

    fn explained(&self, error: Error) -> Error {
        match error {
            Error::Server(error) if error.is_closed() => self.disconnected(),
            Error::Server(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                Error::FailureIgnored
            }
            error => error,
        }
    }

    /// Rolls back. A statement that a cancelled handler has left behind is cancelled first.
    pub(crate) async fn rollback(&self, connector: &dyn Connect) -> Result<(), Error> {
        self.tables.forget_statements();
        self.run(async {
            let rollback = pin!(self.tables.batch_execute("ROLLBACK"));
            match select(rollback, Delay::new(PATIENCE)).await {
                Either::Left((done, _)) => done,
                Either::Right(((), rollback)) => {
                    let cancel = connector.cancel(self.tables.cancel_token());
                    // The rollback shows whether it had an effect.
                    let _ = self.runtime.spawn(cancel).await;
                    rollback.await
                }
            }
        })
        .await
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) {
        drop(self.tables);
        // If it takes longer, the runtime ends the connection later.
        let _ = limited(FAREWELL, self.driver).await;
    }
}

async fn limited<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), Delay::new(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
