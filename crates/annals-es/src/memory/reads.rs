//! Reads and subscriptions of a store in memory.
//!
//! Owns the place of a read. Holds the lock for one event, or for a bounded number of candidates.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Shared;
use super::state::State;
use crate::store::{Message, Position, ReadAll, ReadStream, RecordedEvent, StoreError, Subscribe};

/// The number of events that a subscription examines for one message.
const SCAN: usize = 4096;

/// The events of a read of a [`MemoryStore`](crate::MemoryStore).
pub struct MemoryEvents {
    shared: Arc<Shared>,
    read: Read,
    /// What is left to read: indexes of events, or of a stream's events. `None` before the first poll.
    left: Option<Range<usize>>,
    limit: u64,
}

enum Read {
    Stream(ReadStream),
    All(ReadAll),
}

impl MemoryEvents {
    pub(super) fn of_stream(shared: Arc<Shared>, read: ReadStream) -> Self {
        let limit = read.limit;
        Self { shared, read: Read::Stream(read), left: None, limit }
    }

    pub(super) fn of_all(shared: Arc<Shared>, read: ReadAll) -> Self {
        let limit = read.limit;
        Self { shared, read: Read::All(read), left: None, limit }
    }

    fn next(&mut self) -> Option<RecordedEvent> {
        if self.limit == 0 {
            return None;
        }
        let state = self.shared.state();
        let left = self.left.get_or_insert_with(|| self.read.range(&state));
        let backwards = self.read.backwards();
        while let Some(index) = if backwards { left.next_back() } else { left.next() } {
            let event = match &self.read {
                Read::Stream(read) => &state.events()[state.stream(&read.stream)[index]],
                Read::All(read) => {
                    let event = &state.events()[index];
                    if !read.query.matches(event) {
                        continue;
                    }
                    event
                }
            };
            self.limit -= 1;
            return Some(event.clone());
        }
        None
    }
}

impl Read {
    fn backwards(&self) -> bool {
        match self {
            Self::Stream(read) => read.backwards,
            Self::All(read) => read.backwards,
        }
    }

    /// The indexes that the read covers now.
    fn range(&self, state: &State) -> Range<usize> {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (start, end) = match self {
            Self::Stream(read) => {
                let stream = state.stream(&read.stream);
                let events = state.events();
                let visible = stream
                    .partition_point(|&index| events[index].position() <= read.up_to_position);
                (index(read.from.get().max(1) - 1), index(read.up_to.get()).min(visible))
            }
            Self::All(read) => {
                (index(read.after.get()), index(read.up_to.get()).min(state.events().len()))
            }
        };
        start.min(end)..end
    }
}

impl Stream for MemoryEvents {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().map(Ok))
    }
}

/// A subscription of a [`MemoryStore`](crate::MemoryStore).
pub struct MemorySubscription {
    shared: Arc<Shared>,
    subscribe: Subscribe,
    /// The number of events that were examined.
    scanned: usize,
    started: bool,
    /// Whether visible events were left undelivered since it was last reported that there are none.
    behind: bool,
    ended: bool,
}

impl MemorySubscription {
    pub(super) fn new(shared: Arc<Shared>, subscribe: Subscribe) -> Self {
        let scanned = usize::try_from(subscribe.after.get()).unwrap_or(usize::MAX);
        Self { shared, subscribe, scanned, started: false, behind: true, ended: false }
    }

    fn scan(&mut self, state: &State) -> Message {
        let mut found = Vec::new();
        let mut examined = 0;
        let batch_size = self.subscribe.batch_size.max(1);
        for event in &state.events()[self.scanned..] {
            examined += 1;
            if self.subscribe.query.matches(event) {
                found.push(event.clone());
            }
            let is_enough = found.len() >= batch_size || examined >= SCAN;
            if is_enough && event.is_last_in_commit() {
                break;
            }
        }
        self.scanned += examined;
        self.behind |= self.scanned < state.events().len();
        Message::new(found, Position::new(self.scanned as u64), false)
    }
}

impl Stream for MemorySubscription {
    type Item = Result<Message, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let shared = Arc::clone(&this.shared);
        let mut state = shared.state();
        if !std::mem::replace(&mut this.started, true) && this.scanned > state.events().len() {
            this.ended = true;
            let (position, head) = (this.subscribe.after, state.head());
            return Poll::Ready(Some(Err(StoreError::PositionAhead { position, head })));
        }
        if this.scanned < state.events().len() {
            return Poll::Ready(Some(Ok(this.scan(&state))));
        }
        if std::mem::take(&mut this.behind) {
            return Poll::Ready(Some(Ok(Message::new(Vec::new(), state.head(), true))));
        }
        state.wait(context.waker());
        Poll::Pending
    }
}

macro_rules! debug_as_name {
    ($($type:ident),*) => {
        $(impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        })*
    };
}

debug_as_name!(MemoryEvents, MemorySubscription);
