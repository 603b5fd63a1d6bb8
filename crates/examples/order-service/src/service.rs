//! The service: its parts put together, and stopped in order.
//!
//! Owns the order of the shutdown, in which nothing is stopped that something else still uses:
//!
//! 1. Accept no further connection, and answer the requests in flight, for at most [`LONGEST_REQUEST`].
//! 2. Stop the process after the reaction in progress.
//! 3. Stop the projection after the batch in flight.
//! 4. Close the store: everything is durable, and the next opening is fast.
//!
//! A service that is killed instead loses nothing: it takes longer to open, and the process and the projection go on
//! from what they had committed.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_es::process::{RunError, Runner};
use annals_es::projection::{self, RunnerThread, WaitError};
use annals_es::{Cause, Clock, Repository, SchemaError, StoreError};
use annals_es_sqlite::{Sqlite, rusqlite};
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::expiry::Expiry;
use crate::http::{self, App};
use crate::list::{OrderList, OrderTable};
use crate::store::{self, Store};

/// How long requests in flight may take when the service stops.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// Why the service could not start, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The store could not be opened or closed.
    #[error("the store: {0}")]
    Store(#[source] Cause),
    /// An earlier version of an event has no path to the present one.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database of the read model could not be opened.
    #[error("the read model: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The read model could not catch up.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The projection could not read the events.
    #[error("the projection: {0}")]
    Projection(#[from] Arc<StoreError>),
    /// The process could not react.
    #[error("the process: {0}")]
    Process(#[from] RunError),
    /// The directory, or a thread or socket.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A task has panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}

/// A service that runs: a store, a read model and a process.
pub struct Service {
    app: App,
    projections: RunnerThread,
    process: JoinHandle<Result<(), RunError>>,
    /// Is ready when the process has ended.
    process_ended: oneshot::Receiver<()>,
}

impl Service {
    /// Opens the store in a directory, creates it if it does not exist, and waits until the read model is complete.
    /// Deadlines pass by the clock.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: for example, another process has the store open.
    pub async fn open(directory: &Path, clock: Clock) -> Result<Self, ServiceError> {
        tokio::fs::create_dir_all(directory).await?;
        let store = store::open(directory).await.map_err(ServiceError::Store)?;

        let database = directory.join("orders.db");
        let mut runner = projection::Runner::new(store.clone());
        let options = projection::Options::new().rebuild_if_restored();
        let projection = runner.add_with(OrderTable, Sqlite::open(&database)?, options)?;
        // SQLite blocks, and so has a thread of its own.
        let projections = runner.spawn_thread()?;
        projection.wait_until_live().await?;
        let list = Arc::new(OrderList::open(&database)?);

        let orders = Repository::new(store.clone())?;
        let process = Runner::new(store, Expiry { orders: orders.clone() })?.clock(clock);
        let app = App { orders, list, projection, process: process.handle() };
        let (process, process_ended) = spawn(process);
        Ok(Self { app, projections, process, process_ended })
    }

    /// The routes, for tests without a socket.
    pub fn router(&self) -> Router {
        http::router(self.app.clone())
    }

    /// Answers requests until `stop` is ready or the process has failed, and then stops in order.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: the first of the failures, after all parts were stopped.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServiceError> {
        let (_, never) = oneshot::channel();
        let process_ended = std::mem::replace(&mut self.process_ended, never);
        let (stopping, is_stopping) = oneshot::channel::<()>();
        let stop = async move {
            tokio::select! {
                () = stop => {}
                _ = process_ended => {}
            }
            // Nothing waits for it if the server has ended before.
            let _ = stopping.send(());
        };
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(stop);
        let too_long = async {
            let _ = is_stopping.await;
            tokio::time::sleep(LONGEST_REQUEST).await;
        };
        let ended = tokio::select! {
            ended = serving => ended,
            () = too_long => Ok(()),
        };
        self.close().await?;
        Ok(ended?)
    }

    /// Stops the process and the projection, and closes the store. Requests are to have ended before; one that has not
    /// is answered with an error.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: the first of the failures, after all parts were stopped.
    pub async fn close(self) -> Result<(), ServiceError> {
        let Self { app, projections, process, .. } = self;
        app.process.stop();
        let process = process.await;
        let projections = spawn_blocking(|| projections.stop()).await;
        let closed = store::close(app.orders.store()).await;
        process??;
        projections??;
        closed.map_err(ServiceError::Store)
    }
}

/// Runs the process in a task.
fn spawn(
    mut process: Runner<Expiry, Store>,
) -> (JoinHandle<Result<(), RunError>>, oneshot::Receiver<()>) {
    let (ended, has_ended) = oneshot::channel();
    let task = tokio::spawn(async move {
        // Dropped when the task ends, also by a panic.
        let _ended: oneshot::Sender<()> = ended;
        process.run().await
    });
    (task, has_ended)
}
