//! Reads of events, page by page.
//!
//! Owns the place of a read. Where it ends is asked of the leader when it begins; what lies before is read from any
//! replica. At most two pages are in memory: the next one is fetched while events of one are returned.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use annals_es::{Position, Query, ReadAll, ReadStream, RecordedEvent, StoreError, Version};
use futures_core::Stream;
use futures_util::future::join;

use crate::Error;
use crate::message::{Stored, sequence_of};
use crate::pages::{BYTES, MESSAGES, Page};
use crate::runtime::{BoxFuture, Runtime};
use crate::shared::Shared;
use crate::tails::Tail;

/// Number of events of a stream that are read and passed over, rather than looking for a later message to begin with.
const PASSED_OVER: u64 = 512;
/// Number of sequences that the first page of a read backwards covers.
const WINDOW: u64 = 256;

/// What is left of a read.
#[derive(Debug, Clone)]
struct Left {
    filter: String,
    is_stream: bool,
    /// Forwards: the first sequence to read; backwards: the last one.
    place: u64,
    /// The last message that is known to exist.
    existing: u64,
    /// The last sequence to read.
    end: u64,
    /// Backwards: the number of sequences of the next page.
    window: u64,
    /// The next version of a stream, if it is known.
    version: Option<Version>,
    limit: u64,
    is_backwards: bool,
    versions: (Version, Version),
    positions: (Position, Position),
    query: Option<Query>,
}

impl Left {
    fn of_stream(shared: &Shared, read: &ReadStream) -> Self {
        Self {
            filter: shared.subjects.stream(&read.stream),
            is_stream: true,
            place: 1,
            existing: 0,
            end: sequence_of(read.up_to_position),
            window: WINDOW,
            version: None,
            limit: read.limit,
            is_backwards: read.backwards,
            versions: (read.from, read.up_to),
            positions: (Position::START, read.up_to_position),
            query: None,
        }
    }

    fn of_all(shared: &Shared, read: ReadAll) -> Self {
        Self {
            filter: shared.subjects.of_query(&read.query),
            is_stream: false,
            place: sequence_of(read.after).max(1),
            existing: 0,
            end: sequence_of(read.up_to),
            window: WINDOW,
            version: None,
            limit: read.limit,
            is_backwards: read.backwards,
            versions: (Version::NONE, Version::MAX),
            positions: (read.after, read.up_to),
            query: Some(read.query).filter(|query| !query.is_all()),
        }
    }

    fn is_empty(&self) -> bool {
        let ((from, up_to), (after, last)) = (self.versions, self.positions);
        self.limit == 0
            || from > up_to
            || after >= last
            || self.query.as_ref().is_some_and(|query| query.items().is_empty())
    }

    fn selects(&self, event: &RecordedEvent) -> bool {
        let ((from, up_to), (after, last)) = (self.versions, self.positions);
        (from..=up_to).contains(&event.version())
            && event.position() > after
            && event.position() <= last
            && self.query.as_ref().is_none_or(|query| query.matches(event))
    }

    /// Finds where the read ends, and its first messages if they come with that.
    async fn begin(&mut self, shared: &Shared) -> Result<Vec<Stored>, Error> {
        let mut first = Vec::new();
        if self.is_stream {
            let is_whole = !self.is_backwards && self.versions.0.get() <= PASSED_OVER;
            let page = async {
                if is_whole {
                    shared.pages.page(&self.filter, 1, MESSAGES).await
                } else {
                    Ok(Page::default())
                }
            };
            let (tail, page) = join(shared.tail(&self.filter), page).await;
            let (tail, last) = tail?;
            self.existing = tail.sequence;
            if self.versions.0 > tail.version {
                self.existing = 0;
            }
            first = page?.messages;
            if self.is_backwards {
                first = last.into_iter().collect();
            } else if !is_whole && self.existing > 0 {
                self.place = start_of(shared, &self.filter, self.versions.0, tail).await?;
            }
        } else if self.filter == shared.subjects.events() {
            let head = shared.head().await?;
            self.existing = if head > self.positions.0 { sequence_of(head) } else { 0 };
        } else if let Some(last) = shared.servers.last(&shared.name, &self.filter).await? {
            self.existing = last.sequence;
        }
        self.end = self.end.min(self.existing);
        if self.is_backwards {
            self.place = self.end;
            first.retain(|message| message.sequence == self.place);
        }
        first.retain(|message| message.sequence <= self.existing);
        Ok(first)
    }

    /// The events of the next page, and what is left then.
    async fn next(mut self, shared: &Shared, is_begun: bool) -> Fetched {
        let mut messages = Vec::new();
        if !is_begun {
            if self.is_empty() {
                return Ok((VecDeque::new(), None));
            }
            messages = self.begin(shared).await?;
        }
        if self.end == 0 || self.place > self.end || self.place == 0 {
            return Ok((VecDeque::new(), None));
        }
        if self.is_backwards {
            return self.backwards(shared, messages).await;
        }
        if messages.is_empty() {
            messages = shared.messages(&self.filter, self.place, self.existing).await?;
        }
        let mut events = VecDeque::new();
        let mut is_over = false;
        for message in messages {
            is_over = message.sequence > self.end;
            if is_over {
                break;
            }
            self.place = message.sequence + 1;
            is_over = self.take(&message, &mut events)?;
            if is_over {
                break;
            }
        }
        let is_over = is_over || self.place > self.end || self.limit == 0;
        Ok((events, (!is_over).then_some(self)))
    }

    /// Takes the selected events of a message. True: nothing that follows is selected.
    fn take(
        &mut self,
        message: &Stored,
        events: &mut VecDeque<RecordedEvent>,
    ) -> Result<bool, Error> {
        if self.is_stream {
            let part = message.part()?;
            let first = Version::new(part.first_version);
            let is_next = self
                .version
                .map_or(first <= self.versions.0.max(Version::new(1)), |it| it == first);
            if !is_next {
                let what = format!(
                    "version {first} follows where another one is expected, on {}",
                    self.filter
                );
                return Err(Error::Altered { what });
            }
            self.version = Some(part.last_version().next());
            if part.last_version() < self.versions.0 {
                return Ok(false);
            }
        }
        for event in message.events()? {
            if self.limit == 0 || event.version() > self.versions.1 {
                return Ok(true);
            }
            if self.selects(&event) {
                self.limit -= 1;
                events.push_back(event);
            }
        }
        Ok(false)
    }

    /// The page before a place. It is read forwards, and of what is read the last part is kept that fits into a page.
    async fn backwards(mut self, shared: &Shared, known: Vec<Stored>) -> Fetched {
        let mut kept: VecDeque<Stored> = known.into();
        let mut is_cut = false;
        let mut first = self.place;
        if kept.is_empty() {
            let after = sequence_of(self.positions.0).max(1);
            first = self.place.saturating_sub(self.window - 1).max(after);
            let (mut from, mut bytes) = (first, 0);
            'pages: while from <= self.place {
                for message in shared.messages(&self.filter, from, self.existing).await? {
                    if message.sequence > self.place {
                        break 'pages;
                    }
                    from = message.sequence + 1;
                    bytes += message.payload.len() as u64;
                    kept.push_back(message);
                    while kept.len() > 1 && (kept.len() as u64 > 2 * MESSAGES || bytes > 2 * BYTES)
                    {
                        bytes -= kept.pop_front().map_or(0, |it| it.payload.len() as u64);
                        is_cut = true;
                    }
                }
            }
            self.window = match kept.len() as u64 {
                _ if is_cut => (self.window / 4).max(2),
                few if few < MESSAGES / 4 => self.window.saturating_mul(4),
                _ => self.window,
            };
            if is_cut && let Some(oldest) = kept.front() {
                first = oldest.sequence;
            }
            if first == after && !is_cut && kept.is_empty() {
                return Ok((VecDeque::new(), None));
            }
        } else if let Some(oldest) = kept.front() {
            first = oldest.sequence;
        }
        self.place = first - 1;
        let (mut events, mut is_over) = (VecDeque::new(), false);
        while let Some(message) = kept.pop_back() {
            for event in message.events()?.into_iter().rev() {
                let is_before = self.is_stream && event.version() < self.versions.0;
                if self.limit == 0 || is_before || event.position() <= self.positions.0 {
                    is_over = true;
                    break;
                }
                if self.selects(&event) {
                    self.limit -= 1;
                    events.push_back(event);
                }
            }
        }
        let is_over = is_over || self.limit == 0 || self.place == 0;
        Ok((events, (!is_over).then_some(self)))
    }
}

/// A sequence from which a stream has a version and few before it.
async fn start_of(
    shared: &Shared,
    filter: &str,
    version: Version,
    tail: Tail,
) -> Result<u64, Error> {
    // The last message that is known to end before the version, and one that does not.
    let (mut low, mut low_version) = (0, 0);
    let (mut high, mut high_version) = (tail.sequence, tail.version.get());
    // Where no message of the stream follows `low`, as far as a replica knows. It may lack messages that the
    // leader has, so this only shows where to ask.
    let mut empty = 0;
    for step in 0..40 {
        let missing = version.get().saturating_sub(low_version + 1);
        let from = empty.max(low);
        let span = high.saturating_sub(from);
        if missing <= PASSED_OVER || span <= 1 {
            break;
        }
        // A place in proportion, and the middle by turns: streams do not grow evenly.
        let share = if step % 2 == 0 {
            let versions = u128::from(high_version.saturating_sub(low_version)).max(1);
            let share = u128::from(span) * u128::from(missing - PASSED_OVER / 2) / versions;
            u64::try_from(share).unwrap_or(0).clamp(1, span - 1)
        } else {
            span / 2
        };
        let Some(found) = shared.pages.before(filter, from + share).await? else { break };
        let part = found.part()?;
        if part.last_version() >= version {
            (high, high_version) = (found.sequence, part.last_version().get());
        } else {
            empty = from + share;
            if found.sequence > low {
                (low, low_version) = (found.sequence, part.last_version().get());
            }
        }
    }
    Ok(low + 1)
}

type Fetched = Result<(VecDeque<RecordedEvent>, Option<Left>), Error>;

/// The events of a read of a [`JetStreamStore`](crate::JetStreamStore).
pub struct JetStreamEvents {
    shared: Arc<Shared>,
    state: State,
    page: VecDeque<RecordedEvent>,
}

enum State {
    /// Nothing was polled yet.
    Unread(Box<Left>),
    Fetching(BoxFuture<'static, Fetched>),
    Ended,
}

impl JetStreamEvents {
    pub(crate) fn of_stream(shared: Arc<Shared>, read: &ReadStream) -> Self {
        let left = Left::of_stream(&shared, read);
        Self { shared, state: State::Unread(Box::new(left)), page: VecDeque::new() }
    }

    pub(crate) fn of_all(shared: Arc<Shared>, read: ReadAll) -> Self {
        let left = Left::of_all(&shared, read);
        Self { shared, state: State::Unread(Box::new(left)), page: VecDeque::new() }
    }

    /// Starts to fetch the next page.
    fn fetch(&self, left: Left, is_begun: bool) -> State {
        let shared = Arc::clone(&self.shared);
        let handle = self.shared.runtime.handle().clone();
        let work = handle.spawn(async move { left.next(&shared, is_begun).await });
        State::Fetching(Box::pin(async move { work.await.unwrap_or(Err(Error::Ended)) }))
    }
}

impl Stream for JetStreamEvents {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.page.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let fetched = match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Fetching(fetching) => ready!(fetching.as_mut().poll(context)),
                State::Unread(left) => {
                    let left = left.as_ref().clone();
                    this.state = this.fetch(left, false);
                    continue;
                }
            };
            match fetched {
                Ok((page, left)) => {
                    this.state = left.map_or(State::Ended, |left| this.fetch(left, true));
                    this.page = page;
                }
                Err(error) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

impl fmt::Debug for JetStreamEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamEvents").field("ready", &self.page.len()).finish_non_exhaustive()
    }
}

/// Runs work on the store's runtime.
pub(crate) async fn on_runtime<T: Send + 'static>(
    shared: &Shared,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    Runtime::run(shared.runtime.handle().clone(), work).await
}
