//! Reads of events, page by page.
//!
//! Owns the place of a read. At most two pages are in memory: the next one is fetched while events of one are returned.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use annals_es::{Position, Query, ReadAll, ReadStream, RecordedEvent, StoreError};
use futures_core::Stream;
use futures_util::future::try_join;
use tokio_postgres::Row;

use crate::condition::{self, Parameters};
use crate::pool::{BoxFuture, retry};
use crate::rows::{self, WIDTH, number, unsigned};
use crate::shared::Shared;
use crate::{Error, pool};

/// Number of events and of bytes of a page.
pub(crate) const PAGE: i64 = 512;
const PAGE_BYTES: i64 = 2 << 20;

/// A page of events.
pub(crate) struct Page {
    pub(crate) events: VecDeque<RecordedEvent>,
    /// The last key that the read may return, as it was when the first page was read.
    pub(crate) pin: i64,
    /// Nothing follows.
    pub(crate) is_last: bool,
}

impl Page {
    /// The page of rows that end with the number of events that were found within the limit of events, and the pin.
    fn of(rows: &[Row], asked: i64, none: i64) -> Result<Self, Error> {
        let events: VecDeque<RecordedEvent> =
            rows.iter().map(rows::event).collect::<Result<_, _>>()?;
        let Some(row) = rows.first() else {
            return Ok(Self { events, pin: none, is_last: true });
        };
        let (taken, pin): (i64, i64) = (row.try_get(WIDTH)?, row.try_get(WIDTH + 1)?);
        let is_whole = i64::try_from(events.len()).is_ok_and(|length| length == taken);
        Ok(Self { events, pin, is_last: is_whole && taken < asked })
    }
}

/// A page of all streams that is asked for: what a query selects after one position and up to another, at most `events`
/// and about `PAGE_BYTES`.
pub(crate) struct AskAll<'a> {
    pub(crate) query: &'a Query,
    pub(crate) after: i64,
    pub(crate) up_to: i64,
    pub(crate) events: i64,
    pub(crate) backwards: bool,
}

impl AskAll<'_> {
    fn statement(&self, shared: &Shared) -> (String, Parameters) {
        let mut parameters = Parameters::default();
        for value in [self.after, self.up_to, self.events, PAGE_BYTES] {
            parameters.add_number(value);
        }
        let condition = condition::of(self.query, &mut parameters);
        (shared.batches.sql.page(&condition, self.backwards), parameters)
    }

    async fn page(&self, shared: &Shared) -> Result<Page, Error> {
        let (select, parameters) = &self.statement(shared);
        let rows: Result<Vec<Row>, Error> = retry!(&shared.connections, client => {
            Ok(client.query_typed(select, &parameters.values()).await?)
        });
        Page::of(&rows?, self.events, self.up_to)
    }

    /// The page, and the last visible and the last recorded position of just before: each event up to the visible one
    /// that the query selects is on the page or after it.
    pub(crate) async fn page_and_heads(
        &self,
        shared: &Shared,
    ) -> Result<(Page, (Position, Position)), Error> {
        let (select, parameters) = &self.statement(shared);
        let heads = &shared.batches.sql.head;
        let both: Result<(Option<Row>, Vec<Row>), Error> = retry!(&shared.connections, client => {
            let heads = client.prepare_cached(heads).await?;
            let values = parameters.values();
            // A connection executes statements in the order in which they are first polled.
            let both = try_join(client.query_opt(&heads, &[]), client.query_typed(select, &values));
            Ok(both.await?)
        });
        let (heads, rows) = both?;
        Ok((Page::of(&rows, self.events, self.up_to)?, rows::heads(heads.as_ref())?))
    }
}

async fn page_of_stream(shared: &Shared, read: &ReadStream, asked: i64) -> Result<Page, Error> {
    let sql = &shared.batches.sql;
    let select = if read.backwards { &sql.stream_backwards } else { &sql.stream_forwards };
    let (stream, from, to) =
        (read.stream.as_str(), number(read.from.get()), number(read.up_to.get()));
    if stream.contains('\0') {
        return Page::of(&[], asked, 0);
    }
    let at_most = number(read.up_to_position.get());
    let rows: Result<Vec<Row>, Error> = retry!(&shared.connections, client => {
        let select = client.prepare_cached(select).await?;
        Ok(client.query(&select, &[&stream, &from, &to, &at_most, &asked, &PAGE_BYTES]).await?)
    });
    Page::of(&rows?, asked, to)
}

/// What is left to read.
#[derive(Clone)]
enum Left {
    Stream(ReadStream),
    All(ReadAll),
}

impl Left {
    fn limit(&mut self) -> &mut u64 {
        match self {
            Self::Stream(read) => &mut read.limit,
            Self::All(read) => &mut read.limit,
        }
    }

    fn asked(&mut self) -> i64 {
        number(*self.limit()).min(PAGE)
    }

    /// Goes on after a page.
    fn advance(&mut self, page: &Page) -> Result<(), Error> {
        let read = page.events.len() as u64;
        let limit = self.limit();
        *limit = limit.saturating_sub(read);
        let Some(last) = page.events.back() else { return Ok(()) };
        match self {
            Self::Stream(read) if read.backwards => {
                read.up_to = annals_es::Version::new(last.version().get() - 1);
            }
            Self::Stream(read) => {
                read.from = last.version().next();
                read.up_to = read.up_to.min(unsigned(page.pin)?.into());
            }
            Self::All(read) if read.backwards => {
                read.up_to = annals_es::Position::new(last.position().get() - 1);
            }
            Self::All(read) => {
                read.after = last.position();
                read.up_to = read.up_to.min(unsigned(page.pin)?.into());
            }
        }
        Ok(())
    }
}

type Fetched = Result<(Page, Left), Error>;

/// The events of a read of a [`PostgresStore`](crate::PostgresStore).
pub struct PostgresEvents {
    shared: Arc<Shared>,
    state: State,
    page: VecDeque<RecordedEvent>,
}

enum State {
    /// Nothing was polled yet.
    Unread(Left),
    Fetching(BoxFuture<'static, Fetched>),
    Ended,
}

impl PostgresEvents {
    pub(crate) fn of_stream(shared: Arc<Shared>, read: ReadStream) -> Self {
        Self { shared, state: State::Unread(Left::Stream(read)), page: VecDeque::new() }
    }

    pub(crate) fn of_all(shared: Arc<Shared>, read: ReadAll) -> Self {
        Self { shared, state: State::Unread(Left::All(read)), page: VecDeque::new() }
    }

    /// Starts to fetch the next page.
    fn fetch(&self, mut left: Left) -> State {
        let asked = left.asked();
        if asked == 0 {
            return State::Ended;
        }
        let shared = Arc::clone(&self.shared);
        let handle = self.shared.runtime.handle().clone();
        let work = handle.spawn(async move {
            let page = match &left {
                Left::Stream(read) => page_of_stream(&shared, read, asked).await?,
                Left::All(read) => {
                    let (after, up_to) = (number(read.after.get()), number(read.up_to.get()));
                    let (query, backwards) = (&read.query, read.backwards);
                    AskAll { query, after, up_to, events: asked, backwards }.page(&shared).await?
                }
            };
            left.advance(&page)?;
            Ok((page, left))
        });
        State::Fetching(Box::pin(async move { work.await.unwrap_or(Err(Error::Ended)) }))
    }
}

impl Stream for PostgresEvents {
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
                    let left = left.clone();
                    this.state = this.fetch(left);
                    continue;
                }
            };
            match fetched {
                Ok((page, left)) => {
                    this.state = if page.is_last { State::Ended } else { this.fetch(left) };
                    this.page = page.events;
                }
                Err(error) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

impl fmt::Debug for PostgresEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEvents").field("ready", &self.page.len()).finish_non_exhaustive()
    }
}

/// Calls a function of the pool; see [`pool::Runtime::run`].
pub(crate) async fn on_runtime<T: Send + 'static>(
    shared: &Shared,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    pool::Runtime::run(shared.runtime.handle().clone(), work).await
}
