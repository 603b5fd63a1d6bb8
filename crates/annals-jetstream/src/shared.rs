//! What the clones of a store share, and what is asked of the servers.
//!
//! Must never be called outside of the store's runtime.

use std::sync::Arc;
use std::time::Duration;

use annals_es::{Position, StoreError, Timestamp, Version};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use uuid::Uuid;

use crate::Error;
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::message::{self, Stored};
use crate::pages::{self, Page, Pages};
use crate::partition::Partition;
use crate::runtime::{Pause, Runtime};
use crate::server::Servers;
use crate::signal::Signal;
use crate::subject::Subjects;
use crate::tails::{Tail, Tails};

/// Number of attempts after which the leader is asked instead of a replica that lacks messages.
const ATTEMPTS: u32 = 6;

/// Limits the number of batches that are on their way: the server has a limit for all of its clients.
#[derive(Debug)]
pub(crate) struct Batches(Semaphore);

impl Batches {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(16))
    }

    /// The permission to send a number of messages.
    pub(crate) async fn acquire(&self, messages: usize) -> Option<SemaphorePermit<'_>> {
        if messages > 1 { self.0.acquire().await.ok() } else { None }
    }
}

/// What the clones of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The name of the stream.
    pub(crate) name: String,
    /// The name of the stream that is the bucket.
    pub(crate) bucket: String,
    pub(crate) id: Uuid,
    /// Which streams are here, if the store is a partition.
    pub(crate) partition: Option<Partition>,
    pub(crate) subjects: Subjects,
    pub(crate) servers: Servers,
    pub(crate) pages: Pages,
    pub(crate) tails: Tails,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) batches: Batches,
    pub(crate) clock: Arc<Clock>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) poll_interval: Duration,
    // Dropped last: it drives the connections.
    pub(crate) runtime: Arc<Runtime>,
}

impl Shared {
    /// The state of a stream, from the leader, and its last message. Never an older state than this handle has seen.
    pub(crate) async fn tail(&self, subject: &str) -> Result<(Tail, Option<Stored>), Error> {
        let Some(last) = self.servers.last(&self.name, subject).await? else {
            return Ok((self.tails.get(subject).unwrap_or_default(), None));
        };
        let tail = Tail { sequence: last.sequence, version: last.part()?.last_version() };
        let later = self.tails.note(subject, tail);
        Ok((later, Some(last).filter(|_| later == tail)))
    }

    pub(crate) async fn version(&self, subject: &str) -> Result<Version, Error> {
        Ok(self.tail(subject).await?.0.version)
    }

    /// The position of the last event, from the leader, or a later one that is known.
    pub(crate) async fn head(&self) -> Result<Position, Error> {
        if let Some(last) = self.servers.last(&self.name, &self.subjects.events()).await? {
            let events = last.part()?.events;
            self.signal.seen(message::position_of(last.sequence, events - 1));
        }
        Ok(self.signal.known())
    }

    /// The messages of a subject from a sequence on, up to a message of it that is known to exist: at least one, and not
    /// all of them if a page ends.
    pub(crate) async fn messages(
        &self,
        filter: &str,
        from: u64,
        existing: u64,
    ) -> Result<Vec<Stored>, Error> {
        let mut pause = Pause::new(self.servers.limit);
        for attempt in 1_u32.. {
            let Page { mut messages, .. } = self.pages.page(filter, from, pages::MESSAGES).await?;
            if messages.is_empty() && attempt % ATTEMPTS == 0 {
                messages.extend(self.servers.next(&self.name, filter, from).await?);
            }
            messages.retain(|message| message.sequence <= existing);
            if !messages.is_empty() {
                return Ok(messages);
            }
            pause.wait(format!("no replica has message {existing}")).await?;
        }
        Ok(Vec::new())
    }

    /// The messages of a subject, one after the other.
    pub(crate) fn scan<'a>(&'a self, filter: &'a str, from: u64, existing: u64) -> Scan<'a> {
        Scan { shared: self, filter, from, existing, page: Vec::new().into_iter() }
    }

    /// Waits until a position is recorded.
    pub(crate) async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        let mut news = self.signal.news();
        while *news.borrow_and_update() < position {
            if self.head().await? >= position {
                break;
            }
            self.wait_for_news(&mut news).await;
        }
        Ok(())
    }

    /// Waits for news, at most until it is time to ask.
    pub(crate) async fn wait_for_news(&self, news: &mut watch::Receiver<Position>) {
        // Whether there was news is seen from the position.
        let _ = tokio::time::timeout(self.poll_interval, news.changed()).await;
    }

    /// The position of the last event that was recorded at or before a time: the times of commits are searched as if they
    /// did not go back.
    pub(crate) async fn position_at(&self, time: Timestamp) -> Result<Position, Error> {
        let events = self.subjects.events();
        let existing = message::sequence_of(self.head().await?);
        let (mut found, mut from, mut to) = (Position::START, 1, existing);
        while from <= to {
            let middle = from + (to - from) / 2;
            let Some(next) = self.one(&events, middle, existing).await? else { break };
            let part = next.part()?;
            if part.recorded_at <= time {
                found = message::position_of(next.sequence, part.events - 1);
                from = next.sequence + 1;
            } else {
                to = middle - 1;
            }
        }
        Ok(found)
    }

    /// The first message of a subject from a sequence on.
    async fn one(&self, filter: &str, from: u64, existing: u64) -> Result<Option<Stored>, Error> {
        let page = self.pages.page(filter, from, 2).await?;
        match page.messages.into_iter().next() {
            Some(message) => Ok(Some(message).filter(|it| it.sequence <= existing)),
            None => self.servers.next(&self.name, filter, from).await,
        }
    }
}

/// The messages of a subject; see [`Shared::scan`].
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    shared: &'a Shared,
    filter: &'a str,
    from: u64,
    existing: u64,
    page: std::vec::IntoIter<Stored>,
}

impl Scan<'_> {
    pub(crate) async fn next(&mut self) -> Result<Option<Stored>, Error> {
        loop {
            if let Some(message) = self.page.next() {
                self.from = message.sequence + 1;
                return Ok(Some(message));
            }
            if self.from > self.existing {
                return Ok(None);
            }
            let page = self.shared.messages(self.filter, self.from, self.existing).await?;
            self.page = page.into_iter();
        }
    }
}
