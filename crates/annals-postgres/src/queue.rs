//! Commits that wait, and the transactions that record many of them together.
//!
//! Owns the order of commits, their repetition after a failure, and the answer to whether a transaction was committed
//! whose connection has ended.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_es::{AppendError, CommitParts, Committed, Timestamp};
use deadpool_postgres::Object;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::batch::{Batches, Outcome, Prepared};
use crate::pool::{Connections, Pause, once};
use crate::rows::number;
use crate::signal::Signal;
use crate::{Error, Positions, check};

/// Number of commits of one transaction, at most.
const COMMITS: usize = 128;
/// Number of waiting commits for which one more transaction begins beside others: each transaction costs a wait for the
/// disk.
const MORE: usize = 16;
/// Bytes of data and metadata of one transaction, at most, unless its only commit is larger.
const BYTES: u64 = 8 << 20;
/// KiB of data and metadata that wait or are being written. Further appends wait until there is room.
const PENDING_KIB: u32 = 128 << 10;

/// A commit and the caller that waits for its outcome.
struct Waiting {
    commit: CommitParts,
    bytes: u64,
    reply: oneshot::Sender<Outcome>,
    /// Room among the pending bytes.
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Number of tasks that take commits.
    running: usize,
}

/// The commits of one store handle and its clones.
pub(crate) struct Queue {
    batches: Arc<Batches>,
    connections: Connections,
    signal: Arc<Signal>,
    state: Mutex<State>,
    room: Arc<Semaphore>,
    /// Number of transactions at once. Those of a dense store wait for each other anyway.
    transactions: usize,
}

impl Queue {
    pub(crate) fn new(
        batches: Arc<Batches>,
        connections: Connections,
        signal: Arc<Signal>,
    ) -> Self {
        let transactions = match batches.positions {
            Positions::Dense => 1,
            Positions::Fast => (connections.pool.status().max_size / 2).clamp(1, 4),
        };
        let room = Arc::new(Semaphore::new(PENDING_KIB as usize));
        Self { batches, connections, signal, state: Mutex::default(), room, transactions }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a commit, in a transaction with others that wait.
    pub(crate) async fn append(self: Arc<Self>, commit: CommitParts, bytes: u64) -> Outcome {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(PENDING_KIB).min(PENDING_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
        let ended = |_| AppendError::from(annals_es::StoreError::from(Error::Ended));
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting { commit, bytes, reply, _room: room.map_err(ended)? };
        let starts = {
            let mut state = self.state();
            state.waiting.push_back(waiting);
            let starts = state.running < self.transactions
                && (state.running == 0 || state.waiting.len() >= MORE * state.running);
            state.running += usize::from(starts);
            starts
        };
        if starts {
            tokio::spawn(Arc::clone(&self).work());
        }
        match outcome.await {
            Ok(outcome) => outcome,
            // The task has panicked, or its runtime has ended in the middle of a transaction.
            Err(_) => Err(AppendError::OutcomeUnknown(Box::new(Error::Ended))),
        }
    }

    /// Records batches until no commit waits.
    async fn work(self: Arc<Self>) {
        loop {
            // Tasks that are ready to append do so first.
            tokio::task::yield_now().await;
            let batch = {
                let mut state = self.state();
                // Few commits are left to another task, which takes them together.
                let others = state.running - 1;
                let is_enough = others == 0 || state.waiting.len() >= MORE * others;
                let batch = if is_enough { Self::take(&mut state) } else { Vec::new() };
                if batch.is_empty() {
                    state.running -= 1;
                    return;
                }
                batch
            };
            self.record(batch).await;
        }
    }

    /// The next commits for one transaction. No two have a common id, so that the second is decided after the first
    /// is recorded.
    fn take(state: &mut State) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut ids: HashSet<Uuid> = HashSet::new();
        let (mut bytes, mut events) = (0, 0);
        while let Some(next) = state.waiting.front() {
            let count = || next.commit.streams.iter().map(|part| part.events.len()).sum::<usize>();
            let of_next = || {
                let events = next.commit.streams.iter().flat_map(|part| &part.events);
                events.filter_map(|event| event.id)
            };
            bytes += next.bytes;
            events += count();
            let is_full = batch.len() >= COMMITS
                || bytes > BYTES
                || events as u64 > check::MAX_FAST
                || of_next().any(|id| ids.contains(&id));
            if is_full && !batch.is_empty() {
                break;
            }
            ids.extend(of_next());
            batch.extend(state.waiting.pop_front());
        }
        batch
    }

    async fn record(&self, batch: Vec<Waiting>) {
        let commits: Vec<CommitParts> = batch.iter().map(|it| it.commit.clone()).collect();
        let outcomes = match self.transact(&commits, &[]).await {
            Ok(outcomes) => outcomes,
            // One of them may be what the server refuses.
            Err(AppendError::Store(_)) if commits.len() > 1 => {
                let mut outcomes = Vec::with_capacity(commits.len());
                for commit in commits {
                    outcomes.push(match self.transact(&[commit], &[]).await {
                        Ok(mut own) => own.pop().unwrap_or(Err(ended())),
                        Err(error) => Err(error),
                    });
                }
                outcomes
            }
            Err(AppendError::OutcomeUnknown(cause)) => {
                let cause: Arc<dyn std::error::Error + Send + Sync> = cause.into();
                let unknown = || AppendError::OutcomeUnknown(Box::new(Shared(Arc::clone(&cause))));
                batch.iter().map(|_| Err(unknown())).collect()
            }
            Err(error) => vec![Err(error)],
        };
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            // A caller that has gone does not want it.
            let _ = waiting.reply.send(outcome);
        }
    }

    /// Records commits at given times in one transaction: all of them, or none.
    pub(crate) async fn import(
        &self,
        commits: &[CommitParts],
        times: &[Timestamp],
    ) -> Result<Vec<Committed>, AppendError> {
        self.transact(commits, times).await?.into_iter().collect()
    }

    /// Records commits in one transaction, which is repeated as long as it is known not to have been committed. With times,
    /// it records all of them or none.
    async fn transact(
        &self,
        commits: &[CommitParts],
        times: &[Timestamp],
    ) -> Result<Vec<Outcome>, AppendError> {
        let mut pause = Pause::new(self.connections.limit);
        loop {
            let error = match self.attempt(commits.to_vec(), times).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Before(error)) => error,
                Err(Failed::Unknown { prepared, error }) => {
                    match self.was_committed(&prepared).await {
                        Ok(true) => {
                            self.signal.committed();
                            return Ok(prepared.outcomes);
                        }
                        Ok(false) => error,
                        Err(_) => return Err(AppendError::OutcomeUnknown(Box::new(error))),
                    }
                }
            };
            let is_transient = error.is_transient();
            if !is_transient {
                return Err(annals_es::StoreError::from(error).into());
            }
            pause.wait_after(error).await.map_err(annals_es::StoreError::from)?;
        }
    }

    async fn attempt(
        &self,
        commits: Vec<CommitParts>,
        times: &[Timestamp],
    ) -> Result<Vec<Outcome>, Failed> {
        let client = self.connections.get().await.map_err(Failed::Before)?;
        let limit = self.connections.limit;
        let timed_out = || Error::TimedOut { limit };
        let prepared =
            tokio::time::timeout(limit, self.batches.prepare(&client, commits, times)).await;
        let mut prepared = match prepared.unwrap_or_else(|_| Err(timed_out())) {
            Ok(prepared) => prepared,
            Err(error) => {
                drop(Object::take(client));
                return Err(Failed::Before(error));
            }
        };
        if !times.is_empty()
            && let Some(index) = prepared.outcomes.iter().position(Result::is_err)
            && let Err(error) = prepared.outcomes.swap_remove(index)
        {
            drop(Object::take(client));
            return Err(Failed::Refused(error));
        }
        if prepared.writes.is_empty() {
            // The answers are as durable as what they were made of.
            if client.batch_execute("COMMIT").await.is_err() {
                drop(Object::take(client));
            }
            return Ok(prepared.outcomes);
        }
        let done = tokio::time::timeout(limit, self.batches.write(&client, &prepared, true)).await;
        match done.unwrap_or_else(|_| Err(timed_out())) {
            Ok(()) => {
                self.signal.committed();
                Ok(prepared.outcomes)
            }
            Err(error) => {
                drop(Object::take(client));
                match error {
                    Error::Unreachable(_) | Error::TimedOut { .. } => {
                        Err(Failed::Unknown { prepared: Box::new(prepared), error })
                    }
                    error => Err(Failed::Before(error)),
                }
            }
        }
    }

    /// Whether a transaction was committed whose connection has ended. While the server still has it in progress, its
    /// end is waited for.
    ///
    /// The status of a transaction's id is no proof that it was committed: a server that crashes forgets an id that was
    /// assigned and not written, and assigns it again. What proves it is an event at its place.
    async fn was_committed(&self, prepared: &Prepared) -> Result<bool, Error> {
        let mut pause = Pause::new(self.connections.limit);
        loop {
            let status: Result<Option<bool>, Error> = once!(&self.connections, client => {
                self.status(client, prepared).await
            });
            match status {
                Ok(Some(is_committed)) => return Ok(is_committed),
                Ok(None) => pause.wait_after(Error::Ended).await?,
                Err(error) if error.is_transient() => pause.wait_after(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: the transaction is in progress.
    async fn status(&self, client: &Object, prepared: &Prepared) -> Result<Option<bool>, Error> {
        let ask = "SELECT pg_xact_status($1::text::xid8)";
        let status = match client.query_one(ask, &[&prepared.transaction.to_string()]).await {
            Ok(row) => row.try_get::<_, Option<String>>(0)?,
            // The id is in the future: the server has crashed and forgotten it.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                return Ok(Some(false));
            }
            Err(error) => return Err(error.into()),
        };
        match status.as_deref() {
            Some("aborted") => return Ok(Some(false)),
            Some("in progress") => return Ok(None),
            _ => {}
        }
        let Some(event) = prepared.writes.events.first() else { return Err(Error::Ended) };
        let schema = &self.batches.sql.schema;
        let find = format!("SELECT 1 FROM {schema}.events WHERE id = $1 AND position = $2");
        let at = number(event.position.get());
        Ok(Some(client.query_opt(&find, &[&event.id, &at]).await?.is_some()))
    }
}

fn ended() -> AppendError {
    annals_es::StoreError::from(Error::Ended).into()
}

enum Failed {
    /// One of several commits was refused, and none is recorded.
    Refused(AppendError),
    /// Nothing is recorded.
    Before(Error),
    /// The connection has ended while the transaction was being committed.
    Unknown { prepared: Box<Prepared>, error: Error },
}

/// A cause that several errors have.
#[derive(Debug)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
