//! Transactions, and the tickets of commits that were submitted.

use crate::append::{Operation, Sequenced, prepare};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Committed, ExpectedVersion, NewEvent};
use crate::options::Durability;
use std::sync::Arc;

/// One atomic commit over any number of streams: all of it becomes visible and durable together,
/// or nothing does.
///
/// Operations are checked in the order they were added, each against its stream as the operations
/// before it leave it. If any fails, nothing is written, and the error lists all that failed.
/// A transaction with checks and nothing to append is a question: it answers with the conflict or
/// with the current versions.
#[derive(Debug)]
#[must_use = "a transaction does nothing before it is committed"]
pub struct Transaction<'a> {
    engine: &'a Arc<Engine>,
    operations: Vec<Owned>,
    durability: Durability,
}

#[derive(Debug)]
struct Owned {
    stream: String,
    expected: ExpectedVersion,
    events: Vec<NewEvent>,
}

/// A commit on its way to disk. Dropping it changes nothing about the commit.
///
/// With feature `async` it is a `Future` too.
#[derive(Debug)]
#[must_use = "the commit is not durable before the ticket says so"]
pub struct Ticket {
    engine: Arc<Engine>,
    group: u64,
    sync: bool,
    committed: Committed,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>) -> Self {
        let durability = engine.options.durability;
        Self { engine, operations: Vec::new(), durability }
    }

    /// Appends events to a stream that is as expected.
    pub fn append(
        mut self,
        stream: impl Into<String>,
        expected: ExpectedVersion,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        let events = events.into_iter().collect();
        self.operations.push(Owned { stream: stream.into(), expected, events });
        self
    }

    /// Requires a stream to be as expected, and appends nothing to it.
    pub fn check(self, stream: impl Into<String>, expected: ExpectedVersion) -> Self {
        self.append(stream, expected, [])
    }

    /// When this commit counts as done, instead of what the store was opened with.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Commits, and returns when the commit is as durable as asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) with every failed check, and those of
    /// [`Store::append`](crate::Store::append).
    pub fn commit(self) -> Result<Committed> {
        self.submit()?.wait()
    }

    /// Commits, and returns as soon as the commit has its place in the order of commits: every
    /// check has passed, and everything submitted later sees it. It is durable when the ticket
    /// says so. This is how one thread keeps many commits in flight.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that are known by then.
    pub fn submit(self) -> Result<Ticket> {
        let operations: Vec<Operation<'_>> = self
            .operations
            .iter()
            .map(|o| Operation { stream: &o.stream, expected: o.expected, events: &o.events })
            .collect();
        let prepared = prepare(&operations, &self.engine.options)?;
        let mut versions = vec![0; operations.len()];
        let sync = self.durability.is_sync();
        let (mut writer, sequenced) = self.engine.sequence(&prepared, sync, &mut versions)?;
        if let Durability::Buffered { interval } = self.durability {
            writer.buffered_interval = writer.buffered_interval.min(interval);
        }
        if !writer.flush_requested {
            writer.flush_requested = true;
            self.engine.flush_wanted.notify_one();
        }
        drop(writer);
        let Sequenced { group, first_position, last_position, recorded_at, already_recorded } =
            sequenced;
        let committed =
            Committed { first_position, last_position, versions, recorded_at, already_recorded };
        Ok(Ticket { engine: Arc::clone(self.engine), group, sync, committed })
    }
}

impl Ticket {
    /// What the commit will have done once it is durable.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Waits until the commit is as durable as asked for.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown),
    /// [`Error::WriterPoisoned`](crate::Error::WriterPoisoned) or
    /// [`Error::DiskFull`](crate::Error::DiskFull).
    pub fn wait(self) -> Result<Committed> {
        let writer = self.engine.writer.lock();
        let (writer, outcome) = self.engine.wait_for_group(writer, self.group, self.sync);
        drop(writer);
        outcome?;
        self.engine.after_commit();
        Ok(self.committed)
    }
}

#[cfg(feature = "async")]
impl Future for Ticket {
    type Output = Result<Committed>;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match self.engine.poll_group(self.group, self.sync, context.waker()) {
            Some(outcome) => std::task::Poll::Ready(outcome.map(|()| self.committed.clone())),
            None => std::task::Poll::Pending,
        }
    }
}
