//! Reads for tasks: a `Stream` of events whose files are read by a thread of the store.
//!
//! Owns the batches that the thread hands over, and the turns after which the stream yields. Must never
//! read a file in the polling thread while the store has a thread for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};

use super::{EventSource, Events, ReadAll, ReadStream};
use crate::engine::Engine;
use crate::engine::errands::Errand;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::read::event::Event;

/// The number of events in the first batch; each is four times the one before, up to [`MAX_BATCH`].
/// A short read then reads little in vain.
const FIRST_BATCH: usize = 64;
const MAX_BATCH: usize = 4096;
/// The cost of the events that are examined for one batch: other work waits for the same thread.
const BATCH_COST: u64 = 8192;
/// The cost of the events after which the stream yields.
const TURN: u64 = 1024;
/// The number of bytes of an event that take as long as an event.
const BYTES_AN_EVENT: usize = 1 << 10;

/// A read as a `Stream` of owned events, for tasks (feature `async`); see [`ReadAll::into_stream`].
///
/// A thread of the store reads the events, in batches of at most 4,096 events and about 8 MiB, one batch
/// ahead; opening files and rebuilding damaged indexes is done there too. While batches are ready, the
/// stream yields after about 1,024 events or one mebibyte: it returns `Pending` after it has woken its
/// task. A query that matches nothing is examined in the same portions.
///
/// It ends after an error; if it ends without one, every requested event was returned. Closing the store
/// ends it with [`Error::Closed`]. It does not keep the store open.
#[derive(Debug)]
#[must_use = "a stream does nothing before it is polled"]
pub struct EventStream {
    /// `None` if the read failed before it had a store.
    engine: Option<Arc<Engine>>,
    /// What is left to read; `None` while a thread reads, and at the end.
    unread: Option<Unread>,
    errand: Option<Errand<Batch>>,
    ready: std::vec::IntoIter<Event>,
    /// An error that is returned after the events that precede it.
    failed: Option<Error>,
    most: usize,
    since_pending: u64,
    head: Option<Position>,
}

/// A read that goes on.
#[derive(Debug)]
enum Unread {
    All(ReadAll),
    Stream(ReadStream),
    Started(Events),
}

/// What a thread has read.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    failed: Option<Error>,
    unread: Option<Unread>,
    head: Option<Position>,
}

impl EventStream {
    /// The next event, or `None` at the end; as `StreamExt::next` of the futures crates, for programs without them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// # store.append("account-1", annals::ExpectedVersion::Any, [annals::NewEvent::new("Opened", "")])?;
    /// # futures::executor::block_on(async {
    /// let mut events = store.read_stream("account-1").into_stream();
    /// while let Some(event) = events.next().await {
    ///     println!("{}", event?.event_type());
    /// }
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl ReadAll {
    /// The read as a stream (feature `async`): polling it never blocks the executor. The read starts,
    /// and pins its head, after the stream is first polled.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    /// use futures::TryStreamExt;
    ///
    /// let events = ["Opened", "Closed"].map(|it| NewEvent::new(it, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// # futures::executor::block_on(async {
    /// let mut events = store.read_all().into_stream();
    /// while let Some(event) = events.try_next().await? {
    ///     println!("{} {}", event.position(), event.event_type());
    /// }
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> EventStream {
        EventStream::new(Some(Arc::clone(&self.engine)), Some(Unread::All(self)))
    }
}

impl ReadStream {
    /// The read as a stream of a task (feature `async`); see [`ReadAll::into_stream`].
    pub fn into_stream(self) -> EventStream {
        EventStream::new(Some(Arc::clone(&self.engine)), Some(Unread::Stream(self)))
    }
}

impl Events {
    /// The rest of the events as a stream of a task (feature `async`); see [`ReadAll::into_stream`].
    pub fn into_stream(self) -> EventStream {
        let engine = match &self.source {
            EventSource::All(events) => Some(Arc::clone(events.engine())),
            EventSource::Stream(events) => Some(Arc::clone(events.engine())),
            EventSource::Failed(_) => None,
        };
        let head = self.head;
        let mut stream = EventStream::new(engine, None);
        match self.source {
            EventSource::Failed(error) => stream.failed = error,
            source => {
                stream.head = Some(head);
                stream.unread = Some(Unread::Started(Self { head, source }));
            }
        }
        stream
    }

    /// Reads the next events, at most `most` or until enough was examined.
    fn read_batch(mut self, most: usize) -> Batch {
        let mut batch = Batch { head: Some(self.head), ..Batch::default() };
        let mut left = BATCH_COST;
        if let EventSource::All(events) = &mut self.source {
            events.part_from_earlier_events();
        }
        while batch.events.len() < most && left > 0 {
            let examined = |event: &Event| {
                left = left.saturating_sub(cost(event));
                left > 0
            };
            let next = match &mut self.source {
                EventSource::All(events) => events.next_while(examined),
                EventSource::Stream(events) => events.next_while(examined),
                EventSource::Failed(error) => error.take().map_or(Ok(None), Err),
            };
            match next {
                Ok(Some(event)) => batch.events.push(event),
                Ok(None) if left == 0 => break,
                Ok(None) => return batch,
                Err(error) => {
                    batch.failed = Some(error);
                    return batch;
                }
            }
        }
        batch.unread = Some(Unread::Started(self));
        batch
    }
}

impl Unread {
    fn read_batch(self, most: usize) -> Batch {
        let events = match self {
            Self::All(read) => read.start(),
            Self::Stream(read) => read.start(),
            Self::Started(events) => Ok(events),
        };
        match events {
            Ok(events) => events.read_batch(most),
            Err(error) => Batch { failed: Some(error), ..Batch::default() },
        }
    }
}

/// The cost of an event, in events without data.
fn cost(event: &Event) -> u64 {
    1 + (event.record_len() / BYTES_AN_EVENT) as u64
}

impl EventStream {
    fn new(engine: Option<Arc<Engine>>, unread: Option<Unread>) -> Self {
        Self {
            engine,
            unread,
            errand: None,
            ready: Vec::new().into_iter(),
            failed: None,
            most: FIRST_BATCH,
            since_pending: 0,
            head: None,
        }
    }

    /// The head that the read is pinned to; `None` before the first event is ready.
    pub fn head(&self) -> Option<Position> {
        self.head
    }

    /// Has the next batch read.
    fn read_ahead(&mut self) {
        let (Some(engine), Some(unread)) = (&self.engine, self.unread.take()) else { return };
        // A closed store has no thread to read.
        if let Err(closed) = engine.check_open() {
            self.failed = Some(closed);
            return;
        }
        let most = self.most;
        self.most = (most * 4).min(MAX_BATCH);
        self.errand = Some(engine.send(move |_| unread.read_batch(most)));
    }

    fn yield_now(&mut self, context: &Context<'_>) -> Poll<Option<Result<Event>>> {
        self.since_pending = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if self.since_pending >= TURN {
            return self.yield_now(context);
        }
        loop {
            if let Some(event) = self.ready.next() {
                self.since_pending += cost(&event);
                return Poll::Ready(Some(Ok(event)));
            }
            if self.errand.is_none() {
                if let Some(error) = self.failed.take() {
                    self.unread = None;
                    return Poll::Ready(Some(Err(error)));
                }
                if self.unread.is_none() {
                    return Poll::Ready(None);
                }
                self.read_ahead();
                continue;
            }
            let Some(errand) = &mut self.errand else { continue };
            let batch = ready!(Pin::new(errand).poll(context));
            self.errand = None;
            let Batch { events, failed, unread, head } = batch;
            let (first, nothing_found) = (self.head.is_none(), events.is_empty());
            self.head = head.or(self.head);
            (self.ready, self.failed, self.unread) = (events.into_iter(), failed, unread);
            if nothing_found && self.unread.is_some() {
                self.read_ahead();
                return self.yield_now(context);
            }
            // The next batch is read while this one is handled, except for the first one: a short read
            // ends there.
            if !first {
                self.read_ahead();
            }
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}

impl FusedStream for EventStream {
    fn is_terminated(&self) -> bool {
        self.ready.as_slice().is_empty()
            && self.failed.is_none()
            && self.unread.is_none()
            && self.errand.is_none()
    }
}
