//! A store in memory with one flaw: what the checker has to find.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use annals_es::{
    AppendError, Commit, CommitParts, Committed, Conflict, EventParts, EventStore, Expected,
    FailedCheck, Mark, Message, OrderedStore, Position, ReadAll, ReadStream, RecordedEvent,
    SeveralStreams, Snapshot, StoreError, StreamName, Subscribe, Timestamp, Version,
};
use futures_core::Stream;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// None: the checker finds nothing.
    Sound,
    /// Appends whatever the expected version is.
    IgnoresVersions,
    /// Acknowledges commits that a fault takes away before they are stored.
    AcknowledgesFirst,
    /// Takes positions from a sequence, and makes events visible later.
    Sequence,
    /// Appends again, with new ids, when the outcome is not known.
    RetriesBlindly,
    /// Loses the newest commit at a fault.
    LosesLast,
    /// Some reads of streams see an older state, as those that a replica answers which was cut off.
    StaleReads,
}

#[derive(Default)]
struct State {
    events: BTreeMap<u64, RecordedEvent>,
    versions: HashMap<StreamName, u64>,
    next: u64,
    appends: u64,
    /// Commits that are acknowledged and not stored.
    buffered: Vec<RecordedEvent>,
    waiting: Vec<Waker>,
}

#[derive(Clone)]
pub(crate) struct Flawed {
    flaw: Flaw,
    state: Arc<Mutex<State>>,
}

impl Flawed {
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self { flaw, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server is killed and starts again.
    pub(crate) fn strike(&self) {
        let mut state = self.state();
        if self.flaw == Flaw::AcknowledgesFirst {
            for event in std::mem::take(&mut state.buffered) {
                state.next = state.next.min(event.position().get() - 1);
                let version = event.version().get() - 1;
                let last = state.versions.entry(event.stream().into()).or_default();
                *last = (*last).min(version);
            }
        }
        if self.flaw == Flaw::LosesLast
            && let Some(commit) = state.events.values().next_back().map(RecordedEvent::commit)
        {
            for event in state.events.split_off(&commit.get()).into_values() {
                *state.versions.entry(event.stream().into()).or_default() -= 1;
            }
            state.next = commit.get() - 1;
        }
    }

    fn record(&self, commit: CommitParts, checks: bool) -> Result<Committed, AppendError> {
        let mut state = self.state();
        if checks {
            for part in &commit.streams {
                let actual = Version::new(state.versions.get(&part.stream).copied().unwrap_or(0));
                if !part.expected.holds_for(actual) {
                    let (stream, expected) = (part.stream.clone(), part.expected);
                    let failed = vec![FailedCheck::Version { stream, expected, actual }];
                    return Err(Conflict { failed }.into());
                }
            }
        }
        let first = state.next + 1;
        let (versions, events) = state.place(commit, first);
        state.appends += 1;
        match self.flaw {
            Flaw::AcknowledgesFirst => {
                state.buffered.extend(events);
                if state.buffered.len() > 40 {
                    let stored = std::mem::take(&mut state.buffered);
                    state.events.extend(stored.into_iter().map(|it| (it.position().get(), it)));
                }
            }
            Flaw::Sequence => {
                let delay = Duration::from_micros(state.appends * 7919 % 1500);
                drop(state);
                thread::sleep(delay);
                state = self.state();
                state.events.extend(events.into_iter().map(|it| (it.position().get(), it)));
            }
            _ => state.events.extend(events.into_iter().map(|it| (it.position().get(), it))),
        }
        state.waiting.drain(..).for_each(Waker::wake);
        let last = first + versions.iter().map(|(_, count)| count).sum::<u64>() - 1;
        let (first, last) = (Position::new(first), Position::new(last));
        let versions = versions.into_iter().map(|(version, _)| version).collect();
        Ok(Committed::new(first, last, versions, Timestamp::from_micros(1)))
    }

    fn select(&self, selects: impl Fn(&RecordedEvent) -> bool) -> Events {
        let state = self.state();
        // An acknowledged commit is read, also if it is not stored.
        let all = state.events.values().chain(&state.buffered);
        let selected: Vec<_> = all.filter(|event| selects(event)).cloned().collect();
        Events(selected.into_iter())
    }
}

impl State {
    /// Gives the events of a commit their places. Returns the version of each stream, and its number of events.
    fn place(
        &mut self,
        commit: CommitParts,
        first: u64,
    ) -> (Vec<(Version, u64)>, Vec<RecordedEvent>) {
        let count: usize = commit.streams.iter().map(|part| part.events.len()).sum();
        let last = self.next + count as u64;
        let (mut versions, mut events) = (Vec::new(), Vec::new());
        for part in commit.streams {
            let count = part.events.len() as u64;
            for new in part.events {
                self.next += 1;
                let version = self.versions.entry(part.stream.clone()).or_default();
                *version += 1;
                let (position, version) = (Position::new(self.next), Version::new(*version));
                let stream = part.stream.clone();
                let at = Timestamp::from_micros(1);
                let mut parts = EventParts::of(new, Uuid::nil(), stream, version, position, at);
                parts.commit = Position::new(first);
                parts.is_last_in_commit = position.get() == last;
                events.push(RecordedEvent::from(parts));
            }
            versions.push((Version::new(self.versions[&part.stream]), count));
        }
        (versions, events)
    }
}

pub(crate) struct Events(std::vec::IntoIter<RecordedEvent>);

impl Stream for Events {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl EventStore for Flawed {
    type Events = Events;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        if self.flaw == Flaw::RetriesBlindly {
            let mut again = parts.clone();
            let done = self.record(parts, true)?;
            if self.state().appends.is_multiple_of(50) {
                // The acknowledgement is lost, and the client appends once more.
                again.streams.iter_mut().for_each(|part| part.expected = Expected::Any);
                return self.record(again, false);
            }
            return Ok(done);
        }
        self.record(parts, self.flaw != Flaw::IgnoresVersions)
    }

    fn read_stream(&self, read: ReadStream) -> Events {
        let last = match self.state() {
            state if self.flaw == Flaw::StaleReads && state.appends.is_multiple_of(3) => {
                state.next.saturating_sub(40)
            }
            _ => u64::MAX,
        };
        let mut events = self.select(|event| {
            event.stream() == read.stream.as_str()
                && event.version() >= read.from
                && event.commit().get() <= last
        });
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX);
        events.0 = events.0.take(limit).collect::<Vec<_>>().into_iter();
        events
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        Ok(Version::new(self.state().versions.get(stream).copied().unwrap_or(0)))
    }

    async fn find_event(
        &self,
        _: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        Ok(self.select(|event| event.id() == id).0.next())
    }

    async fn load_snapshot(&self, _: &str, _: Mark) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    async fn save_snapshot(&self, _: Snapshot) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) struct Subscription {
    store: Flawed,
    after: Position,
}

impl Stream for Subscription {
    type Item = Result<Message, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let after = self.after;
        let events: Vec<RecordedEvent> = self.store.select(|it| it.position() > after).0.collect();
        let Some(last) = events.last() else {
            self.store.state().waiting.push(context.waker().clone());
            return Poll::Pending;
        };
        self.after = last.position();
        Poll::Ready(Some(Ok(Message::new(events, self.after, false))))
    }
}

impl OrderedStore for Flawed {
    type Subscription = Subscription;

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(self.select(|_| true).0.next_back().map_or(Position::START, |event| event.position()))
    }

    fn read_all(&self, read: ReadAll) -> Events {
        let mut events =
            self.select(|it| it.position() > read.after && it.position() <= read.up_to);
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX);
        events.0 = events.0.take(limit).collect::<Vec<_>>().into_iter();
        events
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        Subscription { store: self.clone(), after: subscribe.after }
    }

    async fn wait_for(&self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }

    async fn position_at(&self, _: Timestamp) -> Result<Position, StoreError> {
        Ok(Position::START)
    }

    async fn checkpoint(&self, _: &str) -> Result<Option<Position>, StoreError> {
        Ok(None)
    }

    async fn save_checkpoint(&self, _: &str, _: Position) -> Result<(), AppendError> {
        Ok(())
    }

    async fn reset_checkpoint(&self, _: &str, _: Position) -> Result<(), AppendError> {
        Ok(())
    }
}

impl SeveralStreams for Flawed {}
