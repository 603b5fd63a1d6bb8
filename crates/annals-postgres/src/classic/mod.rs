//! The classic table of event-sourced programs, opened as it is, to be read.
//!
//! Owns the order of its rows. Must never change the table.

mod columns;
mod rows;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annals_es::{Query, ReadAll, ReadStream, RecordedEvent, StoreError, StreamName, Version};
use deadpool_postgres::Object;
use futures_core::Stream;
use tokio_postgres::error::SqlState;

use self::columns::Columns;
use crate::pool::{BoxFuture, Connections, Runtime, give_back, once};
use crate::rows::number;
use crate::{Error, PostgresOptions};

/// Number of rows that are fetched at once.
const PAGE: usize = 512;

/// A table with the columns `id`, `aggregate_id`, `aggregate_type`, `event_type`, `data`, `metadata`, `version` and
/// `created_at`, and if it has one `event_version`: the store of many programs and crates. It is read as it is, and never
/// changed; `annals copy` takes it over into a store. Clones share its connections.
///
/// - The stream is the type, a hyphen and the id of the aggregate, as
///   [`StreamName::new`](annals_es::StreamName::new) writes it. A row is a commit of its own.
/// - An `id` that is an integer is the position, with gaps. Rows with other ids are numbered by `created_at` and
///   `version`: such a table is read while nothing writes to it.
/// - An `id` that is a UUID is the event's id. Any other becomes the tag `row:ID`, and the event's id is a UUID v5 over
///   type, aggregate and version: those that `annals import` gives.
#[derive(Clone)]
pub struct ClassicTable {
    shared: Arc<Shared>,
}

struct Shared {
    /// The name that the caller has given.
    name: String,
    columns: Columns,
    connections: Connections,
    // Dropped last: it drives the connections.
    runtime: Runtime,
}

impl PostgresOptions {
    /// Opens a classic table or a view of one, by its name, such as `events` or `public.events`. The schema of these
    /// options is not used, nothing is created, and a server that may lose commits is accepted.
    ///
    /// # Errors
    ///
    /// [`Error::NoTable`]; [`Error::Column`], which names the column that is missing, has another type, or would be lost;
    /// those of a connection.
    pub async fn open_classic(self, table: &str) -> Result<ClassicTable, Error> {
        let runtime = Runtime::current_or_own()?;
        let mut config = self.config;
        config.connect_timeout(crate::pool::CONNECT);
        let pool = self.connector.pool(config, self.connections)?;
        let connections = Connections { pool, limit: self.time_limit };
        let (connecting, name) = (connections.clone(), table.to_owned());
        let opening =
            async move { once!(&connecting, client => columns::check(client, &name).await) };
        let columns = Runtime::run(runtime.handle().clone(), opening).await?;
        let name = table.to_owned();
        Ok(ClassicTable { shared: Arc::new(Shared { name, columns, connections, runtime }) })
    }
}

impl ClassicTable {
    /// The last event, with nothing in flight before it: programs that write to the table are waited for, and wait
    /// meanwhile. An id from a sequence is taken before its row is visible, so a reader that does not wait can miss rows.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`]; [`Error::NotPermitted`] for a user who may not lock the table.
    pub async fn last(&self) -> Result<Option<RecordedEvent>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let (columns, name) = (&self.shared.columns, self.shared.name.clone());
        let lock = format!("BEGIN; LOCK TABLE {} IN SHARE MODE", columns.table);
        let select =
            format!("SELECT * FROM ({}) rows ORDER BY position DESC LIMIT 1", columns.select);
        let work = async move {
            let row: Result<_, Error> = once!(&shared.connections, client => {
                client.batch_execute(&lock).await?;
                let row = client.query_opt(&select, &[]).await?;
                client.batch_execute("COMMIT").await?;
                Ok(row)
            });
            row?.map(|row| rows::event(&row, &name)).transpose()
        };
        Ok(self.shared.run(work).await?)
    }

    /// Reads all rows, in the order of positions. What a query selects is chosen here, and not by the server.
    pub fn read_all(&self, read: ReadAll) -> ClassicEvents {
        let order = if read.backwards { "DESC" } else { "ASC" };
        let (after, up_to) = (number(read.after.get()), number(read.up_to.get()));
        let select = format!(
            "SELECT * FROM ({}) rows WHERE position > {after} AND position <= {up_to}
             ORDER BY position {order}",
            self.shared.columns.select
        );
        self.shared.events(select, read.query, read.limit)
    }

    /// Reads a stream, in the order of versions.
    #[allow(clippy::needless_pass_by_value, reason = "as `EventStore::read_stream`")]
    pub fn read_stream(&self, read: ReadStream) -> ClassicEvents {
        let order = if read.backwards { "DESC" } else { "ASC" };
        let (from, up_to) = (number(read.from.get()), number(read.up_to.get()));
        let position = number(read.up_to_position.get());
        // Where rows are numbered, the number of one is known from all rows.
        let of = format!("aggregate = {} AND", literal(read.stream.id().unwrap_or_default()));
        let select = format!(
            "SELECT * FROM ({}) rows WHERE {of} version >= {from} AND version <= {up_to}
             AND position <= {position} ORDER BY version {order}",
            if self.shared.columns.has_numbers {
                format!(
                    "{} WHERE {}",
                    self.shared.columns.select,
                    self.shared.condition(&read.stream)
                )
            } else {
                self.shared.columns.select.clone()
            }
        );
        // A text on the server has no NUL.
        let limit = if read.stream.as_str().contains('\0') { 0 } else { read.limit };
        self.shared.events(select, Query::stream(read.stream.as_str()), limit)
    }

    /// The version of a stream: that of its last row.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        let mut read = self.read_stream(ReadStream::of(stream.as_str()).backwards().limit(1));
        let last = annals_es::next(&mut read).await.transpose()?;
        Ok(last.map_or(Version::NONE, |event| event.version()))
    }

    /// The event of a stream that has a version.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn find_event(
        &self,
        stream: &StreamName,
        version: Version,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let read = ReadStream::of(stream.as_str()).from(version).up_to(version);
        annals_es::next(&mut self.read_stream(read)).await.transpose()
    }
}

/// Whether a text is no value of a type.
fn is_no_value(code: &SqlState) -> bool {
    [SqlState::INVALID_TEXT_REPRESENTATION, SqlState::NUMERIC_VALUE_OUT_OF_RANGE].contains(code)
}

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\"))
    } else {
        format!("'{text}'")
    }
}

impl Shared {
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        Runtime::run(self.runtime.handle().clone(), work).await
    }

    /// A condition that selects the rows of an aggregate by the index over it.
    fn condition(&self, stream: &StreamName) -> String {
        let id = literal(stream.id().unwrap_or_default());
        format!("aggregate_id = CAST({id} AS {})", self.columns.aggregate_id)
    }

    fn events(self: &Arc<Self>, select: String, query: Query, limit: u64) -> ClassicEvents {
        ClassicEvents {
            shared: Arc::clone(self),
            query,
            limit,
            page: VecDeque::new(),
            state: State::Unread(select),
        }
    }

    /// Begins a read: the rows are those that are visible now.
    async fn begin(&self, select: &str) -> Result<Option<Object>, Error> {
        let client = self.connections.get().await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; DECLARE events NO SCROLL CURSOR FOR {select}"
        );
        let done =
            self.connections.limited(async { Ok(client.batch_execute(&begin).await?) }).await;
        match done {
            Ok(()) => Ok(Some(client)),
            Err(error) => {
                drop(Object::take(client));
                // The name of the stream has no id of the column's type: it has no rows.
                match error {
                    Error::Server(error) if error.code().is_some_and(is_no_value) => Ok(None),
                    error => Err(error),
                }
            }
        }
    }

    async fn page(&self, client: Object) -> Fetched {
        let fetch = format!("FETCH {PAGE} FROM events");
        let fetched =
            self.connections.limited(async { Ok(client.query(&fetch, &[]).await?) }).await;
        let (client, fetched) = match fetched {
            Ok(rows) if rows.len() < PAGE => {
                let ended = client.batch_execute("COMMIT").await.map_err(Error::from);
                give_back(client, ended)?;
                (None, rows)
            }
            Ok(rows) => (Some(client), rows),
            Err(error) => return give_back(client, Err(error)),
        };
        let events = fetched.iter().map(|row| rows::event(row, &self.name));
        match events.collect() {
            Ok(events) => Ok((events, client)),
            Err(error) => {
                if let Some(client) = client {
                    drop(Object::take(client));
                }
                Err(error)
            }
        }
    }
}

type Fetched = Result<(VecDeque<RecordedEvent>, Option<Object>), Error>;

/// The events of a read of a [`ClassicTable`].
pub struct ClassicEvents {
    shared: Arc<Shared>,
    query: Query,
    limit: u64,
    page: VecDeque<RecordedEvent>,
    state: State,
}

enum State {
    /// The statement, before the first poll.
    Unread(String),
    Fetching(BoxFuture<'static, Fetched>),
    /// The connection has the cursor.
    Between(Box<Object>),
    Ended,
}

impl Drop for ClassicEvents {
    fn drop(&mut self) {
        self.end();
    }
}

impl ClassicEvents {
    /// A connection inside a transaction is given up.
    fn end(&mut self) {
        if let State::Between(client) = std::mem::replace(&mut self.state, State::Ended) {
            let _runtime = self.shared.runtime.handle().enter();
            drop(Object::take(*client));
        }
    }

    fn fetch(&self, begin: Result<String, Object>) -> State {
        let shared = Arc::clone(&self.shared);
        let work = self.shared.runtime.handle().spawn(async move {
            let client = match begin {
                Ok(select) => shared.begin(&select).await?,
                Err(client) => Some(client),
            };
            match client {
                Some(client) => shared.page(client).await,
                None => Ok((VecDeque::new(), None)),
            }
        });
        State::Fetching(Box::pin(async move { work.await.unwrap_or(Err(Error::Ended)) }))
    }
}

impl Stream for ClassicEvents {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.limit == 0 {
                this.end();
                return Poll::Ready(None);
            }
            while let Some(event) = this.page.pop_front() {
                if this.query.matches(&event) {
                    this.limit -= 1;
                    return Poll::Ready(Some(Ok(event)));
                }
            }
            this.state = match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Unread(select) => this.fetch(Ok(select)),
                State::Between(client) => this.fetch(Err(*client)),
                State::Fetching(mut fetching) => match fetching.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Fetching(fetching);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Poll::Ready(Ok((events, client))) => {
                        this.page = events;
                        client.map_or(State::Ended, |client| State::Between(Box::new(client)))
                    }
                },
            };
        }
    }
}

impl fmt::Debug for ClassicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicTable").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClassicEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicEvents").field("ready", &self.page.len()).finish_non_exhaustive()
    }
}
