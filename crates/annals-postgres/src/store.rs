//! The store: the traits of the toolkit over tables.
//!
//! Owns the choice of what is asked of the server. Every exchange is made on the store's runtime.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_es::{
    AppendError, AtomicCheckpoints, Boundaries, Cause, Commit, Committed, Conflict, EventStore,
    FailedCheck, Mark, OrderedStore, Position, ReadAll, ReadStream, RecordedEvent, SeveralStreams,
    Snapshot, StoreError, StreamName, Subscribe, Timestamp, Version,
};
use bytes::Bytes;
use deadpool_postgres::Object;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::batch::{self, Batches};
use crate::pool::{BoxFuture, Connections, Runtime, once, retry};
use crate::queue::Queue;
use crate::reads::on_runtime;
use crate::rows::{self, number, unsigned};
use crate::signal::Signal;
use crate::sql::Sql;
use crate::subscription::PostgresSubscription;
use crate::{Error, Positions, PostgresEvents, PostgresOptions, check, decide, open};

/// A store in the tables of a PostgreSQL database; see the [crate](crate) for what it promises. Clones share its
/// connections.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

/// What the clones of a store share.
pub(crate) struct Shared {
    pub(crate) batches: Arc<Batches>,
    pub(crate) connections: Connections,
    pub(crate) signal: Arc<Signal>,
    pub(crate) poll_interval: Duration,
    queue: Arc<Queue>,
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

    /// The last visible position, and the last one that is recorded.
    pub(crate) async fn heads(&self) -> Result<(Position, Position), Error> {
        let sql = &self.batches.sql.head;
        let row = retry!(&self.connections, client => {
                        let select = client.prepare_cached(sql).await?;
                        Ok(client.query_opt(&select, &[]).await?)
        });
        let row: Result<Option<tokio_postgres::Row>, Error> = row;
        rows::heads(row?.as_ref())
    }

    async fn version(&self, stream: &str) -> Result<Version, Error> {
        if stream.contains('\0') {
            return Ok(Version::NONE);
        }
        let sql = &self.batches.sql.versions;
        let names = [stream];
        let names = &names;
        let row = retry!(&self.connections, client => {
                        let select = client.prepare_cached(sql).await?;
                        Ok(client.query_opt(&select, &[&&names[..]]).await?)
        });
        row?.map_or(Ok(Version::NONE), |row| Ok(Version::new(unsigned(row.try_get(1)?)?)))
    }

    async fn event(&self, id: Uuid) -> Result<Option<RecordedEvent>, Error> {
        let sql = &self.batches.sql.events_by_id;
        let row = retry!(&self.connections, client => {
                        let select = client.prepare_cached(sql).await?;
                        Ok(client.query_opt(&select, &[&vec![id]]).await?)
        });
        row?.as_ref().map(rows::event).transpose()
    }

    async fn load(&self, key: &str, at_most: Mark) -> Result<Option<Snapshot>, Error> {
        let sql = &self.batches.sql.load_snapshot;
        let (kind, mark) = batch::mark(at_most);
        if key.contains('\0') {
            return Ok(None);
        }
        let row = retry!(&self.connections, client => {
                        let select = client.prepare_cached(sql).await?;
                        Ok(client.query_opt(&select, &[&key, &kind, &mark]).await?)
        });
        let Some(row) = row? else { return Ok(None) };
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

    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
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

    async fn checkpoint(&self, name: &str) -> Result<Option<Position>, Error> {
        if name.contains('\0') {
            return Ok(None);
        }
        let sql = &self.batches.sql.checkpoints;
        let names = [name];
        let names = &names;
        let row = retry!(&self.connections, client => {
                        let select = client.prepare_cached(sql).await?;
                        Ok(client.query_opt(&select, &[&&names[..]]).await?)
        });
        row?.map(|row| Ok(Position::new(unsigned(row.try_get(1)?)?))).transpose()
    }

    async fn reset(&self, name: &str, to: Position) -> Result<(), AppendError> {
        check::name("checkpoint", name)?;
        if to > self.heads().await.map_err(StoreError::from)?.1 {
            return Err(Conflict { failed: vec![decide::checkpoint_ahead(name, to)] }.into());
        }
        let sql = &self.batches.sql.save_checkpoints;
        let (names, places) = ([name], [number(to.get())]);
        let (names, places) = (&names, &places);
        let set = retry!(&self.connections, client => {
                        let save = client.prepare_cached(sql).await?;
                        Ok(client.execute(&save, &[&&names[..], &&places[..]]).await?)
        });
        set.map(drop).map_err(|error| match error {
            Error::Unreachable(_) | Error::TimedOut { .. } => {
                AppendError::OutcomeUnknown(Box::new(error))
            }
            error => StoreError::from(error).into(),
        })
    }

    /// The last event at or before a time, by bisection: the times of events grow with their positions.
    async fn position_at(&self, time: Timestamp) -> Result<Position, Error> {
        let sql = &self.batches.sql.at_or_after;
        let (mut low, mut high) = (0, self.heads().await?.0.get());
        while low < high {
            let middle = low + (high - low) / 2;
            let from = number(middle + 1);
            let row = retry!(&self.connections, client => {
                                let select = client.prepare_cached(sql).await?;
                                Ok(client.query_opt(&select, &[&from]).await?)
            });
            match row? {
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
type Also =
    Box<dyn for<'a> FnOnce(&'a Client, &'a Committed) -> BoxFuture<'a, Result<(), Cause>> + Send>;

impl PostgresStore {
    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Opens the store in the schema `annals`, and creates it if it does not exist. See [`PostgresOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`PostgresOptions::open`].
    pub async fn open(config: tokio_postgres::Config) -> Result<Self, Error> {
        PostgresOptions::new(config).open().await
    }

    /// What positions are made of.
    pub fn positions(&self) -> Positions {
        self.shared.batches.positions
    }

    /// Records a commit, and changes other tables of the database in the same transaction: both take effect, or neither.
    /// `also` is called with the transaction open, once the commit is known to succeed. It must not end the
    /// transaction. A commit that is [already recorded](Committed::already_recorded) calls nothing: what belonged to it
    /// took effect with it.
    ///
    /// In a dense store every other commit waits for `also`.
    ///
    /// ```no_run
    /// use annals_es::{AppendError, Commit, Expected, NewEvent};
    /// use annals_postgres::PostgresStore;
    ///
    /// async fn open(store: &PostgresStore) -> Result<(), AppendError> {
    ///     let opened = NewEvent::new("Opened", "{}");
    ///     let commit = Commit::to("account-1", Expected::NoStream, [opened]);
    ///     let insert = "INSERT INTO accounts (id, version) VALUES ('account-1', 1)";
    ///     let also = store.append_with(commit, move |tables, _| {
    ///         Box::pin(async move {
    ///             tables.execute(insert, &[]).await?;
    ///             Ok(())
    ///         })
    ///     });
    ///     also.await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`EventStore::append`]. An error of `also` is returned as [`StoreError::Backend`], and nothing is recorded.
    pub async fn append_with(
        &self,
        commit: Commit<Self>,
        also: impl for<'a> FnOnce(&'a Client, &'a Committed) -> BoxFuture<'a, Result<(), Cause>>
        + Send
        + 'static,
    ) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        check::commit(&parts, self.shared.batches.positions)?;
        let (shared, also): (_, Also) = (Arc::clone(&self.shared), Box::new(also));
        let work = async move { Ok(shared.append_alone(parts, also).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }
}

fn unknown(error: Error) -> AppendError {
    AppendError::OutcomeUnknown(Box::new(error))
}

impl Shared {
    async fn append_alone(
        &self,
        parts: annals_es::CommitParts,
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
        parts: annals_es::CommitParts,
        also: Also,
    ) -> Result<Committed, AppendError> {
        let failed = |error: Error| AppendError::from(StoreError::from(error));
        let mut prepared = self.batches.prepare(client, vec![parts]).await.map_err(failed)?;
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
    async fn show(&self, conflict: &Conflict) -> Result<(), Error> {
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

impl EventStore for PostgresStore {
    type Events = PostgresEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        let bytes = check::commit(&parts, self.shared.batches.positions)?;
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let outcome = Arc::clone(&shared.queue).append(parts, bytes).await;
            if let Err(AppendError::Conflict(conflict)) = &outcome {
                shared.show(conflict).await?;
            }
            Ok(outcome)
        };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    fn read_stream(&self, read: ReadStream) -> PostgresEvents {
        PostgresEvents::of_stream(Arc::clone(&self.shared), read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        let work = async move { shared.version(stream.as_str()).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let found = on_runtime(&self.shared, async move { shared.event(id).await }).await?;
        Ok(found.filter(|event| event.stream() == stream.as_str()))
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let work = async move { shared.load(&key, at_most).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        check::name("snapshot", &snapshot.key)
            .map_err(|error| check::invalid("snapshot", error.to_string()))?;
        let shared = Arc::clone(&self.shared);
        on_runtime(&self.shared, async move { Ok(shared.save(snapshot).await) }).await?
    }
}

impl OrderedStore for PostgresStore {
    type Subscription = PostgresSubscription;

    async fn head(&self) -> Result<Position, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.heads().await }).await?.0)
    }

    fn read_all(&self, read: ReadAll) -> PostgresEvents {
        PostgresEvents::of_all(Arc::clone(&self.shared), read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> PostgresSubscription {
        PostgresSubscription::new(&self.shared, subscribe)
    }

    async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let waiting = self.shared.runtime.handle().spawn(async move {
            // The caller may give up. Nothing is left behind then.
            shared.wait_for(position).await
        });
        let _guard = crate::subscription::Aborts(waiting.abort_handle());
        Ok(waiting.await.unwrap_or(Err(Error::Ended))?)
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.position_at(time).await }).await?)
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let work = async move { shared.checkpoint(&name).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn save_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        self.append(Commit::progress(name, to)).await.map(drop)
    }

    async fn reset_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let work = async move { Ok(shared.reset(&name, to).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    async fn checkpoint_token(&self, position: Position) -> Result<String, StoreError> {
        crate::token::of(self, position).await
    }

    async fn verify_token(&self, token: &str) -> Result<Position, StoreError> {
        crate::token::verify(self, token).await
    }
}

impl PostgresStore {
    pub(crate) fn id(&self) -> Uuid {
        self.shared.batches.id
    }
}

impl SeveralStreams for PostgresStore {}
impl Boundaries for PostgresStore {}
impl AtomicCheckpoints for PostgresStore {}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("id", &self.id())
            .field("positions", &self.positions())
            .finish_non_exhaustive()
    }
}
