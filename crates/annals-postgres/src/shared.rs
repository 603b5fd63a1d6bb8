//! What the clones of a store share: its connections, and what is asked of the server.
//!
//! Must never be called outside the store's runtime, which drives the connections.

use std::sync::Arc;
use std::time::Duration;

use annals_es::{
    AppendError, Cause, CommitParts, Committed, Conflict, FailedCheck, Mark, Position,
    RecordedEvent, Snapshot, StoreError, Timestamp, Version,
};
use bytes::Bytes;
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::batch::{self, Batches};
use crate::pool::{BoxFuture, Connections, Runtime, once, retry};
use crate::queue::Queue;
use crate::rows::{self, number, unsigned};
use crate::signal::Signal;
use crate::sql::Sql;
use crate::{Error, Positions, PostgresOptions, check, decide, open};

/// What the clones of a store share.
pub(crate) struct Shared {
    pub(crate) batches: Arc<Batches>,
    pub(crate) connections: Connections,
    pub(crate) signal: Arc<Signal>,
    pub(crate) poll_interval: Duration,
    pub(crate) queue: Arc<Queue>,
    // Dropped last: it drives the connections.
    pub(crate) runtime: Runtime,
}

impl Shared {
    pub(crate) async fn open(options: PostgresOptions) -> Result<Self, Error> {
        let runtime = Runtime::current_or_own()?;
        let mut config = options.config;
        if config.get_application_name().is_none() {
            config.application_name("annals");
        }
        config.connect_timeout(crate::pool::CONNECT);
        let pool = options.connector.pool(config.clone(), options.connections)?;
        let connections = Connections { pool, limit: options.time_limit };
        let (schema, wanted) = (options.schema.clone(), options.positions);
        let (creates, accepts_loss) = (options.creates, options.accepts_loss);
        let connecting = connections.clone();
        let opening = async move {
            let schema = &schema;
            once!(&connecting, client => {
                open::open(client, schema, wanted, creates, accepts_loss).await
            })
        };
        let opened = Runtime::run(runtime.handle().clone(), opening).await?;
        let sql = Sql::new(&options.schema, opened.positions);
        let batches = Arc::new(Batches { sql, positions: opened.positions, id: opened.id });
        let handle = runtime.handle().clone();
        let (own, connector) = (connections.clone(), options.connector);
        let signal = Arc::new(Signal::new(handle, own, connector, config, opened.id));
        let (all, own) = (Arc::clone(&batches), connections.clone());
        let queue = Arc::new(Queue::new(all, own, Arc::clone(&signal)));
        let poll_interval = options.poll_interval;
        Ok(Self { batches, connections, signal, poll_interval, queue, runtime })
    }

    /// The first row of a query that changes nothing.
    async fn row(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
        retry!(&self.connections, client => {
            let select = client.prepare_cached(sql).await?;
            Ok(client.query_opt(&select, values).await?)
        })
    }

    /// The rows of a query that changes nothing.
    pub(crate) async fn all_rows(&self, sql: &str) -> Result<Vec<Row>, Error> {
        retry!(&self.connections, client => Ok(client.query(sql, &[]).await?))
    }

    /// The last visible position, and the last one that is recorded.
    pub(crate) async fn heads(&self) -> Result<(Position, Position), Error> {
        let sql = &self.batches.sql.head;
        let row = self.row(sql, &[]).await?;
        rows::heads(row.as_ref())
    }

    pub(crate) async fn version(&self, stream: &str) -> Result<Version, Error> {
        if stream.contains('\0') {
            return Ok(Version::NONE);
        }
        let sql = &self.batches.sql.versions;
        let row = self.row(sql, &[&&[stream][..]]).await?;
        row.map_or(Ok(Version::NONE), |row| Ok(Version::new(unsigned(row.try_get(1)?)?)))
    }

    pub(crate) async fn event(&self, id: Uuid) -> Result<Option<RecordedEvent>, Error> {
        let sql = &self.batches.sql.events_by_id;
        let row = self.row(sql, &[&vec![id]]).await?;
        row.as_ref().map(rows::event).transpose()
    }

    pub(crate) async fn load(&self, key: &str, at_most: Mark) -> Result<Option<Snapshot>, Error> {
        let sql = &self.batches.sql.load_snapshot;
        let (kind, mark) = batch::mark(at_most);
        if key.contains('\0') {
            return Ok(None);
        }
        let row = self.row(sql, &[&key, &kind, &mark]).await?;
        let Some(row) = row else { return Ok(None) };
        let mark = unsigned(row.try_get(0)?)?;
        let mark = match at_most {
            Mark::Version(_) => Mark::Version(Version::new(mark)),
            Mark::Position(_) => Mark::Position(Position::new(mark)),
        };
        let state = Bytes::copy_from_slice(row.try_get::<_, &[u8]>(3)?);
        let schema_version: i64 = row.try_get(1)?;
        let schema_version = u32::try_from(schema_version)
            .map_err(|_| rows::altered("the schema version of a snapshot is out of range"))?;
        let mut snapshot = Snapshot::new(key, mark, state).schema_version(schema_version);
        snapshot.saved_at = Timestamp::from_micros(unsigned(row.try_get(2)?)?);
        Ok(Some(snapshot))
    }

    pub(crate) async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let is_ahead = match snapshot.mark {
            Mark::Version(version) => version > self.version(&snapshot.key).await?,
            Mark::Position(position) => position > self.heads().await?.1,
        };
        if is_ahead {
            return Err(check::invalid("snapshot", "it is ahead of what it covers"));
        }
        let (sql, new) = (&self.batches.sql, &snapshot);
        let saved: Result<bool, Error> =
            retry!(&self.connections, client => batch::save_snapshot(sql, client, new).await);
        if saved? {
            return Ok(());
        }
        let saved = self.load(&snapshot.key, snapshot.mark).await?;
        let is_same = saved.is_some_and(|saved| {
            saved.mark != snapshot.mark
                || saved.schema_version == snapshot.schema_version && saved.state == snapshot.state
        });
        if is_same {
            Ok(())
        } else {
            Err(check::invalid("snapshot", "another state is saved at its mark"))
        }
    }

    pub(crate) async fn checkpoint(&self, name: &str) -> Result<Option<Position>, Error> {
        if name.contains('\0') {
            return Ok(None);
        }
        let sql = &self.batches.sql.checkpoints;
        let row = self.row(sql, &[&&[name][..]]).await?;
        row.map(|row| Ok(Position::new(unsigned(row.try_get(1)?)?))).transpose()
    }

    pub(crate) async fn reset(&self, name: &str, to: Position) -> Result<(), AppendError> {
        check::name("checkpoint", name)?;
        if to > self.heads().await.map_err(StoreError::from)?.1 {
            return Err(Conflict { failed: vec![decide::checkpoint_ahead(name, to)] }.into());
        }
        let (sql, place) = (&self.batches.sql.reset_checkpoint, number(to.get()));
        let set: Result<u64, Error> = retry!(&self.connections, client => {
            let save = client.prepare_cached(sql).await?;
            Ok(client.execute(&save, &[&name, &place]).await?)
        });
        let set = match set {
            Ok(0) => Err(Error::Fenced {
                to: self.fence().await.map_err(StoreError::from)?.unwrap_or_default(),
            }),
            set => set,
        };
        set.map(drop).map_err(|error| match error {
            Error::Unreachable(_) | Error::TimedOut { .. } => {
                AppendError::OutcomeUnknown(Box::new(error))
            }
            error => StoreError::from(error).into(),
        })
    }

    /// The last event at or before a time, by bisection: the times of events grow with their positions.
    pub(crate) async fn position_at(&self, time: Timestamp) -> Result<Position, Error> {
        let sql = &self.batches.sql.at_or_after;
        let (mut low, mut high) = (0, self.heads().await?.0.get());
        while low < high {
            let middle = low + (high - low) / 2;
            let from = number(middle + 1);
            let row = self.row(sql, &[&from]).await?;
            match row {
                Some(row) if unsigned(row.try_get(1)?)? <= time.as_micros() => {
                    low = unsigned(row.try_get(0)?)?;
                }
                _ => high = middle,
            }
        }
        Ok(Position::new(low))
    }

    pub(crate) async fn wait_for(&self, position: Position) -> Result<(), Error> {
        let mut news = self.signal.news();
        let mut briefly = Duration::from_millis(1);
        loop {
            news.borrow_and_update();
            let (visible, recorded) = self.heads().await?;
            if visible >= position {
                return Ok(());
            }
            self.wait_for_news(&mut news, recorded > visible, &mut briefly).await?;
        }
    }

    /// Waits until there may be more to see. Events that are recorded and not visible yet become visible without news.
    pub(crate) async fn wait_for_news(
        &self,
        news: &mut tokio::sync::watch::Receiver<u64>,
        is_near: bool,
        briefly: &mut Duration,
    ) -> Result<(), Error> {
        if is_near {
            tokio::time::sleep(*briefly).await;
            *briefly = (*briefly * 2).min(Duration::from_millis(50));
            return Ok(());
        }
        *briefly = Duration::from_millis(1);
        match tokio::time::timeout(self.poll_interval, news.changed()).await {
            Ok(Err(_)) => Err(Error::Ended),
            _ => Ok(()),
        }
    }
}

/// What changes tables in the transaction of a commit: it gets the connection and the result of the commit.
pub(crate) type Also =
    Box<dyn for<'a> FnOnce(&'a Client, &'a Committed) -> BoxFuture<'a, Result<(), Cause>> + Send>;

pub(crate) fn unknown(error: Error) -> AppendError {
    AppendError::OutcomeUnknown(Box::new(error))
}

impl Shared {
    pub(crate) async fn append_alone(
        &self,
        parts: CommitParts,
        also: Also,
    ) -> Result<Committed, AppendError> {
        let failed = |error: Error| AppendError::from(StoreError::from(error));
        let client = self.connections.get().await.map_err(failed)?;
        let done = self.append_on(&client, parts, also).await;
        if done.is_err() {
            // It may have an open transaction.
            drop(Object::take(client));
        }
        done
    }

    async fn append_on(
        &self,
        client: &Object,
        parts: CommitParts,
        also: Also,
    ) -> Result<Committed, AppendError> {
        let failed = |error: Error| AppendError::from(StoreError::from(error));
        let mut prepared = self.batches.prepare(client, vec![parts], &[]).await.map_err(failed)?;
        let committed = prepared.outcomes.pop().unwrap_or(Err(failed(Error::Ended)))?;
        self.batches.write(client, &prepared, false).await.map_err(failed)?;
        if !committed.already_recorded {
            let client: &Client = client;
            also(client, &committed).await.map_err(StoreError::Backend)?;
        }
        let open = "SELECT pg_current_xact_id_if_assigned()::text = $1";
        let is_open = client.query_one(open, &[&prepared.transaction.to_string()]).await;
        let is_open = is_open.and_then(|row| row.try_get::<_, Option<bool>>(0));
        if is_open.map_err(|error| failed(error.into()))? != Some(true) {
            return Err(check::invalid("also", "it has ended the transaction").into());
        }
        client.batch_execute("COMMIT").await.map_err(|error| unknown(error.into()))?;
        self.signal.committed();
        Ok(committed)
    }

    /// Waits until reads show what a boundary lost to.
    pub(crate) async fn show(&self, conflict: &Conflict) -> Result<(), Error> {
        let lost_to = conflict.failed.iter().filter_map(|check| match check {
            FailedCheck::Boundary { position, .. } => Some(*position),
            _ => None,
        });
        match lost_to.max() {
            Some(position) if self.batches.positions == Positions::Fast => {
                self.wait_for(position).await
            }
            _ => Ok(()),
        }
    }
}
