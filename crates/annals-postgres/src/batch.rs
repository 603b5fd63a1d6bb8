//! One transaction that records a batch of commits.
//!
//! Owns the exchange with the server: what is locked and read, and what is written. Must never decide a commit.

use std::collections::BTreeSet;

use annals_es::{
    AppendError, CommitParts, Committed, Mark, Position, Snapshot, StreamName, Timestamp, Version,
};
use deadpool_postgres::Object;
use futures_util::future::{try_join, try_join_all};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::condition::{self, Parameters};
use crate::decide::{State, Writes};
use crate::rows::{self, number, unsigned};
use crate::sql::{INDEX_BITS, Sql};
use crate::{Error, Positions, import};

/// Number of events that one statement inserts.
const CHUNK: usize = 512;

/// Number of locks of a transaction above which it locks the whole store instead: the server has room for a few thousand
/// of all sessions.
const MAX_LOCKS: usize = 256;

pub(crate) type Outcome = Result<Committed, AppendError>;

/// What every transaction needs to know of its store.
#[derive(Debug)]
pub(crate) struct Batches {
    pub(crate) sql: Sql,
    pub(crate) positions: Positions,
    pub(crate) id: Uuid,
}

/// A transaction in which commits are decided, and nothing is written yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) writes: Writes,
    /// The id of the transaction.
    pub(crate) transaction: i64,
    last: i64,
    /// The time of the newest commit.
    newest: i64,
}

/// What the transaction reads after it has its locks.
struct Read {
    base: i64,
    recorded_at: i64,
    transaction: i64,
    now: i64,
    fence: Option<String>,
}

impl Batches {
    /// Begins a transaction, and decides each commit in it. `times` has the time of each commit, or is empty for now.
    pub(crate) async fn prepare(
        &self,
        client: &Object,
        commits: Vec<CommitParts>,
        times: &[Timestamp],
    ) -> Result<Prepared, Error> {
        let begin = async {
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
            client.batch_execute(begin).await.map_err(Error::from)
        };
        // The server executes statements in the order in which they are first polled, each with a snapshot of its own:
        // what is read after the locks has all that other holders of them have committed.
        let read = async {
            let mut locked = match self.positions {
                Positions::Dense => self.lock_head(client).await?,
                Positions::Fast => self.lock_streams(client, &commits).await?,
            };
            locked.now = locked.now.max(locked.recorded_at);
            Ok::<_, Error>(locked)
        };
        let ((), mut locked) = try_join(begin, read).await?;
        if let Some(to) = locked.fence.take() {
            return Err(Error::Fenced { to });
        }
        if self.positions == Positions::Fast && !times.is_empty() {
            let newest = client.query_opt(&self.sql.newest_time, &[]).await?;
            locked.recorded_at = newest.map_or(Ok(0), |row| row.try_get(0))?;
        }
        let (mut state, matches) = self.read(client, &commits, &locked).await?;
        let first = state.last;
        let mut matches = &matches[..];
        let mut outcomes = Vec::with_capacity(commits.len());
        let mut earliest = Timestamp::from_micros(unsigned(locked.recorded_at)?);
        for (index, commit) in commits.into_iter().enumerate() {
            let (own, others) = matches.split_at(commit.boundaries.len());
            matches = others;
            let Some(&time) = times.get(index) else {
                outcomes.push(state.decide(commit, own));
                continue;
            };
            state.now = time;
            let outcome = state.decide(commit, own);
            // A commit that is recorded already may be of any time.
            if outcome.as_ref().is_ok_and(|done| !done.already_recorded) {
                import::check_time(time, earliest)?;
                earliest = time;
            }
            state.now = earliest;
            outcomes.push(outcome);
        }
        let last = if state.last == first { locked.base } else { number(state.last) };
        let (transaction, newest) = (locked.transaction, number(state.now.as_micros()));
        Ok(Prepared { outcomes, writes: state.writes, transaction, last, newest })
    }

    async fn lock_head(&self, client: &Object) -> Result<Read, Error> {
        let lock = client.prepare_cached(&self.sql.lock_head).await?;
        Self::locked(client.query_opt(&lock, &[]).await?)
    }

    fn locked(row: Option<tokio_postgres::Row>) -> Result<Read, Error> {
        let row = row.ok_or_else(|| rows::altered("a row of the store is missing"))?;
        Ok(Read {
            base: row.try_get(0)?,
            recorded_at: row.try_get(1)?,
            transaction: row.try_get(2)?,
            now: row.try_get(3)?,
            fence: row.try_get(4)?,
        })
    }

    /// Locks what commits check, in one order everywhere. The transaction gets its id afterwards: of two transactions
    /// that append to a stream, the later one has the higher id.
    async fn lock_streams(&self, client: &Object, commits: &[CommitParts]) -> Result<Read, Error> {
        let mut keys = BTreeSet::new();
        for commit in commits {
            keys.extend(commit.streams.iter().map(|it| self.key("stream", it.stream.as_str())));
            keys.extend(commit.checkpoints.iter().map(|it| self.key("checkpoint", &it.name)));
        }
        let alone = keys.len() > MAX_LOCKS || commits.iter().any(|it| !it.boundaries.is_empty());
        let store = self.store_key();
        let lock = if alone {
            keys.clear();
            "SELECT pg_advisory_xact_lock($1)"
        } else {
            "SELECT pg_advisory_xact_lock_shared($1)"
        };
        let keys: Vec<i64> = keys.into_iter().collect();
        let lock = client.prepare_cached(lock).await?;
        let lock_streams = client.prepare_cached(&self.sql.lock_streams).await?;
        let transaction = client.prepare_cached(&self.sql.transaction).await?;
        let (of_store, of_streams): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) =
            ([&store], [&keys]);
        let locks =
            try_join(client.query(&lock, &of_store), client.query(&lock_streams, &of_streams));
        let (_, row) = try_join(locks, client.query_opt(&transaction, &[])).await?;
        Self::locked(row)
    }

    /// The key of the lock that every commit of a fast store holds, some alone.
    pub(crate) fn store_key(&self) -> i64 {
        self.key("store", "")
    }

    /// The key of an advisory lock. Two names with one key only wait for each other.
    fn key(&self, kind: &str, name: &str) -> i64 {
        let of = Uuid::new_v5(&self.id, format!("{kind} {name}").as_bytes());
        let (high, _) = of.as_u64_pair();
        i64::from_le_bytes(high.to_le_bytes())
    }

    /// Reads what the commits are decided from.
    async fn read(
        &self,
        client: &Object,
        commits: &[CommitParts],
        locked: &Read,
    ) -> Result<(State, Vec<Option<Position>>), Error> {
        let mut state =
            State { now: Timestamp::from_micros(unsigned(locked.now)?), ..State::default() };
        let (mut names, mut ids, mut checkpoints) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut needs_head = false;
        for commit in commits {
            names.extend(commit.streams.iter().map(|it| it.stream.as_str()));
            let keys = commit.snapshots.iter().filter(|it| matches!(it.mark, Mark::Version(_)));
            names.extend(keys.map(|it| it.key.as_str()));
            let events = commit.streams.iter().flat_map(|part| &part.events);
            ids.extend(events.filter_map(|event| event.id));
            checkpoints.extend(commit.checkpoints.iter().map(|it| it.name.as_str()));
            let events = commit.streams.iter().any(|part| !part.events.is_empty());
            needs_head |= !events || !commit.checkpoints.is_empty();
        }
        let names: Vec<&str> = names.into_iter().collect();
        let versions = async {
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let select = client.prepare_cached(&self.sql.versions).await?;
            client.query(&select, &[&names]).await.map_err(Error::from)
        };
        let recorded = async {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let select = client.prepare_cached(&self.sql.events_by_id).await?;
            client.query(&select, &[&ids]).await.map_err(Error::from)
        };
        let saved = async {
            if checkpoints.is_empty() {
                return Ok(Vec::new());
            }
            let select = client.prepare_cached(&self.sql.checkpoints).await?;
            client.query(&select, &[&checkpoints]).await.map_err(Error::from)
        };
        let head = async {
            match self.positions {
                Positions::Dense => Ok(locked.base),
                Positions::Fast if needs_head => {
                    let row = client.query_one(&self.sql.head, &[]).await?;
                    row.try_get(0).map_err(Error::from)
                }
                Positions::Fast => Ok(0),
            }
        };
        let boundaries = commits.iter().flat_map(|commit| &commit.boundaries);
        let matches = try_join_all(boundaries.map(|it| self.newest_match(client, it)));
        let ((versions, recorded), ((saved, head), matches)) =
            try_join(try_join(versions, recorded), try_join(try_join(saved, head), matches))
                .await?;
        for row in versions {
            let version = Version::new(unsigned(row.try_get(1)?)?);
            state.versions.insert(StreamName::from(row.try_get::<_, &str>(0)?), version);
        }
        for row in recorded {
            let event = rows::event(&row)?;
            state.recorded.insert(event.id(), event);
        }
        for row in saved {
            let position = Position::new(unsigned(row.try_get(1)?)?);
            state.checkpoints.insert(row.try_get(0)?, position);
        }
        state.head = Position::new(unsigned(head)?);
        state.last = match self.positions {
            Positions::Dense => unsigned(locked.base)?,
            Positions::Fast => (unsigned(locked.transaction + locked.base)? << INDEX_BITS) - 1,
        };
        Ok((state, matches))
    }

    async fn newest_match(
        &self,
        client: &Object,
        boundary: &annals_es::Boundary,
    ) -> Result<Option<Position>, Error> {
        let mut parameters = Parameters::default();
        parameters.add_number(number(boundary.after.get()));
        let condition = condition::of(&boundary.query, &mut parameters);
        let select = self.sql.boundary(&condition);
        let rows = client.query_typed(&select, &parameters.values()).await?;
        let newest: Option<i64> = match rows.first() {
            Some(row) => row.try_get(0)?,
            None => None,
        };
        newest.map(|it| unsigned(it).map(Position::new)).transpose()
    }

    /// Writes, and commits if `ends` is set. After an error of the server's own nothing is recorded; after the end of
    /// the connection, only the server can answer whether it is.
    pub(crate) async fn write(
        &self,
        client: &Object,
        prepared: &Prepared,
        ends: bool,
    ) -> Result<(), Error> {
        let writes = &prepared.writes;
        if !writes.checkpoints.is_empty() {
            let save = client.prepare_cached(&self.sql.save_checkpoints).await?;
            let names: Vec<&str> = writes.checkpoints.keys().map(String::as_str).collect();
            let places: Vec<i64> = writes.checkpoints.values().map(|it| number(it.get())).collect();
            client.execute(&save, &[&names, &places]).await?;
        }
        for snapshot in &writes.snapshots {
            save_snapshot(&self.sql, client, snapshot).await?;
        }
        let insert = client.prepare_cached(&self.sql.insert).await?;
        let update = client.prepare_cached(&self.sql.move_head).await?;
        let chunks = writes.events.chunks(CHUNK);
        let chunks = chunks.map(|events| Columns::of(events).insert(client, &insert));
        let head = async {
            if writes.events.is_empty() || self.positions == Positions::Fast {
                return Ok(());
            }
            let moved = client.execute(&update, &[&prepared.last, &prepared.newest]).await?;
            if moved == 1 { Ok(()) } else { Err(rows::altered("the row of the head is missing")) }
        };
        // Sent last. After a statement that failed, it rolls back, and the error of the statement is returned.
        let commit = async {
            if ends { client.batch_execute("COMMIT").await.map_err(Error::from) } else { Ok(()) }
        };
        try_join(try_join_all(chunks), try_join(head, commit)).await?;
        Ok(())
    }
}

/// Saves a snapshot, and removes all but the newest few of its key.
pub(crate) async fn save_snapshot(
    sql: &Sql,
    client: &Object,
    snapshot: &Snapshot,
) -> Result<bool, Error> {
    let (kind, mark) = mark(snapshot.mark);
    let save = client.prepare_cached(&sql.save_snapshot).await?;
    let (schema, state) = (i64::from(snapshot.schema_version), &snapshot.state[..]);
    let saved = client.execute(&save, &[&snapshot.key, &kind, &mark, &schema, &state]).await?;
    if saved == 1 {
        let drop = client.prepare_cached(&sql.drop_snapshots).await?;
        client.execute(&drop, &[&snapshot.key, &kind]).await?;
    }
    Ok(saved == 1)
}

pub(crate) fn mark(mark: Mark) -> (i16, i64) {
    match mark {
        Mark::Version(version) => (0, number(version.get())),
        Mark::Position(position) => (1, number(position.get())),
    }
}

/// Events as columns.
#[derive(Default)]
struct Columns<'a> {
    positions: Vec<i64>,
    commits: Vec<i64>,
    lasts: Vec<bool>,
    ids: Vec<Uuid>,
    streams: Vec<&'a str>,
    versions: Vec<i64>,
    types: Vec<&'a str>,
    schema_versions: Vec<i32>,
    content_types: Vec<i16>,
    times: Vec<i64>,
    tags: Vec<&'a str>,
    tags_from: Vec<i32>,
    tags_to: Vec<i32>,
    data: Vec<&'a [u8]>,
    metadata: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(events: &'a [annals_es::EventParts]) -> Self {
        let mut columns = Self::default();
        let index = |tags: &Vec<&str>| i32::try_from(tags.len()).unwrap_or(i32::MAX);
        for event in events {
            columns.positions.push(number(event.position.get()));
            columns.commits.push(number(event.commit.get()));
            columns.lasts.push(event.is_last_in_commit);
            columns.ids.push(event.id);
            columns.streams.push(event.stream.as_str());
            columns.versions.push(number(event.version.get()));
            columns.types.push(&event.event_type);
            columns.schema_versions.push(event.schema_version.into());
            columns.content_types.push(rows::content_type(event.content_type));
            columns.times.push(number(event.recorded_at.as_micros()));
            columns.tags_from.push(index(&columns.tags) + 1);
            columns.tags.extend(event.tags.iter().map(String::as_str));
            columns.tags_to.push(index(&columns.tags));
            columns.data.push(&event.data);
            columns.metadata.push(&event.metadata);
        }
        columns
    }

    async fn insert(
        self,
        client: &Object,
        insert: &tokio_postgres::Statement,
    ) -> Result<(), Error> {
        client
            .execute(
                insert,
                &[
                    &self.positions,
                    &self.commits,
                    &self.lasts,
                    &self.ids,
                    &self.streams,
                    &self.versions,
                    &self.types,
                    &self.schema_versions,
                    &self.content_types,
                    &self.tags_from,
                    &self.times,
                    &self.tags,
                    &self.tags_to,
                    &self.data,
                    &self.metadata,
                ],
            )
            .await?;
        Ok(())
    }
}
