//! A connection to SQLite as the target of a projection.
//!
//! Owns the transaction in which handlers change the read model, and the position that is committed with it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_es::projection::{Opened, Progress, ProjectionId, Target, TargetError};
use annals_es::{OrderedStore, Position, StoreError};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::tables;

/// A read model in the tables of a SQLite database.
///
/// Each projection has a connection of its own. Handlers get it with a transaction open, and cannot end that
/// transaction: `BEGIN`, `COMMIT` and `ROLLBACK` fail with "not authorized". With [savepoints](Connection::savepoint)
/// they can undo a part of their own work. The target uses the connection's [authorizer](Connection::authorizer) and
/// [commit hook](Connection::commit_hook) for that, and replaces those that are set.
///
/// Beside the tables of the program, the database has `annals_projections` and `annals_parked`, with the position, the
/// proof of the store's history and the parked events of each projection.
pub struct Sqlite {
    connection: Connection,
    id: ProjectionId,
    /// The position that is recorded; `None` if there is none yet.
    position: Option<Position>,
    /// Whether a handler has the connection.
    is_lent: Arc<AtomicBool>,
}

impl Sqlite {
    /// Opens a database, and creates it if it does not exist. It is set to write-ahead logging, so that readers do not
    /// wait for the projection, with `synchronous = NORMAL`: a power failure may undo the last transactions, together
    /// with their positions, and the projection repeats them. Locks of other writers are waited for up to five seconds.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub fn open(path: impl AsRef<Path>) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(Self::new(connection))
    }

    /// Uses a connection as it is configured.
    pub fn new(connection: Connection) -> Self {
        let (id, is_lent) = (ProjectionId::new("", 0), Arc::default());
        Self { connection, id, position: None, is_lent }
    }

    fn is_open(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Lets no handler end the transaction, and commits nothing after SQLite has ended it because of an error that a
    /// handler ignores: what follows would be committed without its position.
    fn keep_transactions(&mut self) -> rusqlite::Result<()> {
        let is_lent = Arc::clone(&self.is_lent);
        // True: the commit becomes a rollback.
        self.connection.commit_hook(Some(move || is_lent.load(Ordering::Relaxed)))?;
        let is_lent = Arc::clone(&self.is_lent);
        let authorizer = move |context: AuthContext<'_>| match context.action {
            AuthAction::Transaction { .. } if is_lent.load(Ordering::Relaxed) => {
                Authorization::Deny
            }
            _ => Authorization::Allow,
        };
        self.connection.authorizer(Some(authorizer))
    }

    fn start(&mut self) -> Result<&mut Connection, TargetError> {
        // The lock is taken at the start: taken later, it could fail in the middle of a handler.
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(TargetError::failed)?;
        self.is_lent.store(true, Ordering::Relaxed);
        Ok(&mut self.connection)
    }

    fn record(&self, progress: &Progress<'_>, token: &str) -> Result<bool, rusqlite::Error> {
        let (connection, id, to) = (&self.connection, &self.id, progress.position);
        let is_moved = match self.position {
            Some(from) => tables::advance(connection, id, from, to, token)?,
            None => tables::insert(connection, id, to, token)?,
        };
        if !is_moved {
            return Ok(false);
        }
        if let Some(parked) = progress.park {
            tables::park(connection, id, parked)?;
        }
        if let Some(position) = progress.unpark {
            tables::unpark(connection, id, position)?;
        }
        if progress.activate {
            tables::activate(connection, id)?;
        }
        Ok(true)
    }

    /// What the database has recorded.
    fn recorded(&self) -> Result<Option<tables::Recorded>, TargetError> {
        tables::load(&self.connection, &self.id).map_err(TargetError::failed)
    }
}

impl<S: OrderedStore> Target<S> for Sqlite {
    type Model = Connection;

    async fn open(&mut self, store: &S, id: &ProjectionId) -> Result<Opened, TargetError> {
        self.id = id.clone();
        self.position = None;
        self.is_lent.store(false, Ordering::Relaxed);
        self.keep_transactions().map_err(TargetError::failed)?;
        tables::create(&self.connection).map_err(TargetError::failed)?;
        let Some(recorded) = self.recorded()? else {
            let other = tables::has_active(&self.connection, &id.name);
            return Ok(Opened::new(None).active(!other.map_err(TargetError::failed)?));
        };
        self.position = Some(recorded.position);
        store.verify_token(&recorded.token).await.map_err(|error| match error {
            StoreError::OtherHistory(_)
            | StoreError::PositionAhead { .. }
            | StoreError::InvalidArgument { .. } => TargetError::OtherHistory(error),
            error => error.into(),
        })?;
        let parked = tables::parked(&self.connection, id).map_err(TargetError::failed)?;
        Ok(Opened::new(self.position).parked(parked).active(recorded.active))
    }

    async fn begin(&mut self) -> Result<&mut Connection, TargetError> {
        self.start()
    }

    async fn commit(&mut self, store: &S, progress: Progress<'_>) -> Result<(), TargetError> {
        self.is_lent.store(false, Ordering::Relaxed);
        if !self.is_open() {
            return Err(TargetError::failed("a handler has ended the transaction; it must not"));
        }
        let token = store.checkpoint_token(progress.position).await?;
        if !self.record(&progress, &token).map_err(TargetError::failed)? {
            let found = self.recorded()?.map_or(Position::START, |it| it.position);
            return Err(TargetError::Moved { expected: self.position.unwrap_or_default(), found });
        }
        self.connection.execute_batch("COMMIT").map_err(TargetError::failed)?;
        self.position = Some(progress.position);
        Ok(())
    }

    async fn rollback(&mut self, _: &S) -> Result<Position, TargetError> {
        self.is_lent.store(false, Ordering::Relaxed);
        if self.is_open() {
            self.connection.execute_batch("ROLLBACK").map_err(TargetError::failed)?;
        }
        // After a commit that failed, the database alone shows whether it has taken effect.
        self.position = self.recorded()?.map(|it| it.position);
        Ok(self.position.unwrap_or_default())
    }

    async fn reset(&mut self) -> Result<&mut Connection, TargetError> {
        self.start()?;
        tables::reset(&self.connection, &self.id).map_err(TargetError::failed)?;
        self.position = self.position.map(|_| Position::START);
        Ok(&mut self.connection)
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("connection", &self.connection)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
