//! A database as the target of a projection.
//!
//! Owns the transaction in which handlers change the read model, and the position that is committed with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_es::projection::{Opened, Progress, ProjectionId, Target, TargetError};
use annals_es::{OrderedStore, Position, StoreError};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

use crate::connect::{Connect, Runtime};
use crate::session::Session;
use crate::tables::{self, Move, Recorded};
use crate::{Error, Tables};

/// A read model in the tables of a PostgreSQL database.
///
/// Each projection has a connection of its own, which is opened when its runner starts, and again after it has ended.
/// Handlers get it with a transaction open. The row with the position of the projection is locked in each transaction,
/// so that of two runners of a projection only one changes the read model.
///
/// Beside the tables of the program, the database has `annals_projections` and `annals_parked`, in the schema that the
/// connection uses, with the position, the proof of the store's history and the parked events of each projection. In
/// these, U+FFFD stands for the character NUL, which PostgreSQL cannot store.
pub struct Postgres {
    connector: Arc<dyn Connect>,
    config: Config,
    limit: Duration,
    // Before the runtime, so that it is dropped first.
    session: Option<Session>,
    runtime: Runtime,
    id: ProjectionId,
    /// The position that is recorded; `None` if there is none yet.
    position: Option<Position>,
    /// The position of a commit whose outcome is not known.
    committing: Option<Position>,
    /// The open transaction.
    transaction: i64,
}

impl Postgres {
    /// A database that is reached without encryption. It is not connected yet.
    ///
    /// ```
    /// use annals_es_postgres::Postgres;
    ///
    /// let target = Postgres::new("host=localhost user=app dbname=app".parse()?);
    /// # let _ = target;
    /// # Ok::<(), annals_es_postgres::tokio_postgres::Error>(())
    /// ```
    pub fn new(config: Config) -> Self {
        Self::with_tls(config, NoTls)
    }

    /// A database that is reached with encryption, for example by the crate `postgres-native-tls`. It is not connected
    /// yet.
    pub fn with_tls<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self {
            connector: Arc::new(tls),
            config,
            limit: Duration::from_secs(30),
            session: None,
            runtime: Runtime::default(),
            id: ProjectionId::new("", 0),
            position: None,
            committing: None,
            transaction: 0,
        }
    }

    /// Sets how long the server may take to connect, to begin or to commit. After that the connection is given up, and
    /// the attempt has failed. Default: 30 s. For the time of handlers, see
    /// [`Options::timeout`](annals_es::projection::Options::timeout).
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The session, connected if it is not.
    async fn connected(&mut self) -> Result<&Session, Error> {
        let session = match self.session.take().filter(|it| !it.is_closed()) {
            Some(session) => session,
            None => {
                let runtime = self.runtime.handle().map_err(Error::Driver)?;
                let mut config = self.config.clone();
                if config.get_application_name().is_none() {
                    config.application_name(format!("annals-es {}", self.id));
                }
                Session::open(&runtime, &*self.connector, config, self.limit).await?
            }
        };
        Ok(self.session.insert(session))
    }

    fn session(&self) -> Result<&Session, Error> {
        match &self.session {
            Some(session) if session.is_closed() => Err(session.disconnected()),
            Some(session) => Ok(session),
            None => Err(Error::Disconnected { reason: None }),
        }
    }

    /// What is recorded, after the transactions that other sessions had begun.
    async fn recorded(&mut self) -> Result<(Option<Recorded>, Opened), Error> {
        let id = self.id.clone();
        let session = self.connected().await?;
        // One that was left open by an attempt that has failed.
        session.run(session.tables.batch_execute("ROLLBACK")).await?;
        session.run(tables::create(&session.tables)).await?;
        session
            .run(async {
                let tables = &session.tables;
                let mut recorded = tables::begin(tables, &id).await?;
                if recorded.is_none() {
                    tables::announce(tables, &id).await?;
                    recorded = tables::lock(tables, &id).await?;
                }
                let is_read = match &recorded {
                    Some(Recorded { position: Some(_), active, .. }) => *active,
                    _ => tables::active_version(&**tables, &id.name).await?.is_none(),
                };
                let parked = tables::parked(tables, &id).await?;
                tables.batch_execute("COMMIT").await?;
                let position = recorded.as_ref().and_then(|it| it.position);
                Ok::<_, Error>((recorded, Opened::new(position).parked(parked).active(is_read)))
            })
            .await
    }

    async fn start(&mut self) -> Result<(), TargetError> {
        let session = self.session()?;
        let recorded = session.run(tables::begin(&session.tables, &self.id)).await?;
        match recorded {
            Some(recorded) if recorded.position == self.position => {
                self.transaction = recorded.transaction;
                Ok(())
            }
            recorded => Err(self.moved(recorded.and_then(|it| it.position))),
        }
    }

    fn moved(&self, found: Option<Position>) -> TargetError {
        let expected = self.position.unwrap_or_default();
        TargetError::Moved { expected, found: found.unwrap_or_default() }
    }

    /// False if the position is not the expected one.
    async fn record(&self, progress: &Progress<'_>, token: &str) -> Result<bool, Error> {
        let (tables, id) = (&self.session()?.tables, &self.id);
        let (from, to, transaction) = (self.position, progress.position, self.transaction);
        let advanced = tables::advance(tables, id, &Move { from, to, token, transaction }).await;
        match advanced {
            Ok(true) => {}
            Ok(false) if tables::is_current(tables, transaction).await? => return Ok(false),
            Ok(false) => return Err(Error::TransactionEnded),
            // The transactions that the target begins are not read-only.
            Err(Error::Server(error))
                if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) =>
            {
                return Err(Error::TransactionEnded);
            }
            Err(error) => return Err(error),
        }
        if let Some(parked) = progress.park {
            tables::park(tables, id, parked).await?;
        }
        if let Some(position) = progress.unpark {
            tables::unpark(tables, id, position).await?;
        }
        if progress.activate {
            tables::activate(tables, id).await?;
        }
        Ok(true)
    }
}

impl<S: OrderedStore> Target<S> for Postgres {
    type Model = Tables;

    async fn open(&mut self, store: &S, id: &ProjectionId) -> Result<Opened, TargetError> {
        self.id = id.clone();
        (self.position, self.committing) = (None, None);
        let (recorded, opened) = self.recorded().await?;
        self.position = opened.position;
        if let Some(Recorded { position: Some(_), token, .. }) = recorded {
            store.verify_token(&token).await.map_err(|error| match error {
                StoreError::OtherHistory(_)
                | StoreError::PositionAhead { .. }
                | StoreError::InvalidArgument { .. } => TargetError::OtherHistory(error),
                error => error.into(),
            })?;
        }
        Ok(opened)
    }

    async fn begin(&mut self) -> Result<&mut Tables, TargetError> {
        self.start().await?;
        match &mut self.session {
            Some(session) => Ok(&mut session.tables),
            None => Err(Error::Disconnected { reason: None }.into()),
        }
    }

    async fn commit(&mut self, store: &S, progress: Progress<'_>) -> Result<(), TargetError> {
        let token = store.checkpoint_token(progress.position).await?;
        let session = self.session()?;
        if !session.run(self.record(&progress, &token)).await? {
            let found = session.run(tables::position(&*session.tables, &self.id)).await?;
            return Err(self.moved(found));
        }
        self.committing = Some(progress.position);
        let session = self.session()?;
        session.run(session.tables.batch_execute("COMMIT")).await?;
        self.committing = None;
        self.position = Some(progress.position);
        Ok(())
    }

    async fn rollback(&mut self, _: &S) -> Result<Position, TargetError> {
        // If the connection has ended, only a new one shows the position: the runner opens the target again.
        let session = self.session()?;
        session.rollback(&*self.connector).await?;
        let found = session.run(tables::position(&*session.tables, &self.id)).await?;
        // After a commit that failed, the database alone shows whether it has taken effect.
        let committing = self.committing.take();
        if found != self.position && (committing.is_none() || found != committing) {
            return Err(self.moved(found));
        }
        self.position = found;
        Ok(found.unwrap_or_default())
    }

    async fn reset(&mut self) -> Result<&mut Tables, TargetError> {
        self.start().await?;
        let session = self.session()?;
        // The position is replaced by the commit, whose history is not compared with the former one.
        session.run(tables::unpark_all(&session.tables, &self.id)).await?;
        match &mut self.session {
            Some(session) => Ok(&mut session.tables),
            None => Err(Error::Disconnected { reason: None }.into()),
        }
    }

    async fn close(&mut self, _: &S) -> Result<(), TargetError> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("config", &self.config)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
