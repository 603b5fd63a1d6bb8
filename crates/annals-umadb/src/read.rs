//! Responses of reads: an iterator and a stream.
//!
//! Owns the head of a response. Must never hold more than one batch of an unlimited read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use annals::{EventStream, Events, Position, ReadAll, Store};
use async_trait::async_trait;
use futures_core::Stream;
use futures_util::StreamExt;
use umadb_dcb::{
    DcbQuery, DcbReadResponseAsync, DcbReadResponseSync, DcbResult, DcbSequencedEvent,
    ShutdownStatus, StreamCancelHandle,
};

use crate::error::from_engine;
use crate::event;

/// The maximum number of events in a batch.
const BATCH: usize = 256;

type Next = DcbResult<DcbSequencedEvent>;

/// The position of the last event, if there is one.
pub(crate) fn head(position: Position) -> Option<u64> {
    (position > Position::START).then_some(position.get())
}

pub(crate) fn status(cancelled: bool) -> ShutdownStatus {
    if cancelled { ShutdownStatus::CancelledByUser } else { ShutdownStatus::NotStopped }
}

/// A start is inclusive in both directions.
pub(crate) fn prepare(
    store: &Store,
    query: Option<DcbQuery>,
    start: Option<u64>,
    backwards: bool,
    limit: Option<u32>,
) -> ReadAll {
    let mut read = store.read_all().matching(event::query(query));
    if let Some(limit) = limit {
        read = read.limit(limit.into());
    }
    match (start, backwards) {
        (None, false) => read,
        (None, true) => read.backwards(),
        (Some(start), false) => read.after(start.saturating_sub(1)),
        (Some(start), true) => read.up_to(start).backwards(),
    }
}

/// What both forms of a response share.
struct Progress {
    /// The head of a limited read is the position of its last event.
    limited: bool,
    last: Option<u64>,
    /// Events that were read to determine the head.
    ahead: VecDeque<DcbSequencedEvent>,
    cancelled: Arc<AtomicBool>,
}

impl Progress {
    fn new(limit: Option<u32>) -> Self {
        Self {
            limited: limit.is_some(),
            last: None,
            ahead: VecDeque::new(),
            cancelled: Arc::default(),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn decode(&mut self, event: annals::Result<annals::Event>) -> Next {
        let event = event::decode(event.map_err(from_engine)?)?;
        self.last = Some(event.position);
        Ok(event)
    }

    fn handle(&self) -> StreamCancelHandle {
        let cancelled = Arc::clone(&self.cancelled);
        StreamCancelHandle::new(move || cancelled.store(true, Ordering::Release))
    }
}

/// The response of a synchronous read.
pub(crate) struct Blocking {
    events: Events,
    progress: Progress,
}

impl Blocking {
    pub(crate) fn start(read: ReadAll, limit: Option<u32>) -> DcbResult<Self> {
        Ok(Self { events: read.start().map_err(from_engine)?, progress: Progress::new(limit) })
    }
}

impl Iterator for Blocking {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        if self.progress.is_cancelled() {
            return None;
        }
        if let Some(event) = self.progress.ahead.pop_front() {
            return Some(Ok(event));
        }
        let event = self.events.next()?;
        Some(self.progress.decode(event))
    }
}

impl DcbReadResponseSync for Blocking {
    fn head(&mut self) -> DcbResult<Option<u64>> {
        if !self.progress.limited {
            return Ok(head(self.events.head()));
        }
        for event in self.events.by_ref() {
            let event = self.progress.decode(event)?;
            self.progress.ahead.push_back(event);
        }
        Ok(self.progress.last)
    }

    fn collect_with_head(&mut self) -> DcbResult<(Vec<DcbSequencedEvent>, Option<u64>)> {
        let events = self.by_ref().collect::<DcbResult<Vec<_>>>()?;
        Ok((events, self.head()?))
    }

    fn next_batch(&mut self) -> DcbResult<Vec<DcbSequencedEvent>> {
        self.by_ref().take(BATCH).collect()
    }

    fn cancel(&mut self) {
        self.progress.handle().cancel();
    }

    fn cancel_handle(&self) -> Option<StreamCancelHandle> {
        Some(self.progress.handle())
    }
}

/// The response of an asynchronous read.
pub(crate) struct Polled {
    events: EventStream,
    progress: Progress,
}

impl Polled {
    pub(crate) fn start(read: ReadAll, limit: Option<u32>) -> Self {
        Self { events: read.into_stream(), progress: Progress::new(limit) }
    }
}

impl Stream for Polled {
    type Item = Next;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Next>> {
        if self.progress.is_cancelled() {
            return Poll::Ready(None);
        }
        if let Some(event) = self.progress.ahead.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        let next = std::task::ready!(self.events.poll_next_unpin(context));
        Poll::Ready(next.map(|event| self.progress.decode(event)))
    }
}

#[async_trait]
impl DcbReadResponseAsync for Polled {
    async fn head(&mut self) -> DcbResult<Option<u64>> {
        // An unlimited read has its head with the first event or with its end.
        while self.progress.limited || self.events.head().is_none() {
            let Some(event) = self.events.next().await else { break };
            let event = self.progress.decode(event)?;
            self.progress.ahead.push_back(event);
        }
        if self.progress.limited {
            return Ok(self.progress.last);
        }
        Ok(self.events.head().and_then(head))
    }

    async fn next_batch(&mut self) -> DcbResult<Vec<DcbSequencedEvent>> {
        self.next_batch_timeout(Duration::MAX).await
    }

    /// A read waits for no events that are appended later, so it needs no timer: the batch ends with the
    /// first event after the timeout.
    async fn next_batch_timeout(&mut self, timeout: Duration) -> DcbResult<Vec<DcbSequencedEvent>> {
        let deadline = Instant::now().checked_add(timeout);
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(event) = self.next().await else { break };
            batch.push(event?);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(batch)
    }

    fn cancel(&mut self) {
        self.progress.handle().cancel();
    }

    fn cancel_handle(&self) -> Option<StreamCancelHandle> {
        Some(self.progress.handle())
    }

    fn check_shutdown_status(&self) -> ShutdownStatus {
        status(self.progress.is_cancelled())
    }
}
