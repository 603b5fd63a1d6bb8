//! The path of a read: index → segment → record.
//!
//! A read pins the head when it starts: it sees events up to the head at that time, and none appended
//! later. Owns the builders; [`all`] walks the log, [`stream`] follows one stream.

pub(crate) mod event;

mod all;
mod by_name;
mod changes;
mod count;
mod cursor_history;
mod frames;
mod hidden;
pub(crate) mod point;
mod stream;
pub(crate) mod streams;
#[cfg(feature = "async")]
mod tasks;
pub(crate) mod terms;

use std::iter::FusedIterator;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::point::position_at;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::token::CheckpointToken;
use crate::event::{AsOf, Position};
use crate::query::Query;
use crate::read::event::{Event, EventRef};

pub(crate) use crate::format::metadata::ChangeNumber;
pub(crate) use all::Scan;
pub(crate) use changes::{ChangeScan, Walked};
pub use changes::{StreamChange, StreamChangeKind};
pub use cursor_history::{CursorHistory, CursorMove};
pub(crate) use frames::Visible;
pub use streams::{StreamInfo, StreamNames, Streams};
#[cfg(feature = "async")]
pub use tasks::EventStream;
pub use terms::{TermCount, TermCounts, TermCountsIter};

/// The settings that both kinds of read have.
#[derive(Debug, Clone)]
struct ReadSettings {
    limit: u64,
    backwards: bool,
    query: Option<Query>,
    as_of: Option<AsOf>,
    include_unsynced: bool,
    include_hidden: bool,
}

impl ReadSettings {
    fn new() -> Self {
        Self {
            limit: u64::MAX,
            backwards: false,
            query: None,
            as_of: None,
            include_unsynced: false,
            include_hidden: false,
        }
    }

    fn wants(&self, event: &EventRef<'_>) -> bool {
        self.query.as_ref().is_none_or(|query| query.matches(event))
    }
}

/// A read over all streams, in the order of positions.
///
/// Iterate over it for owned events, or use [`ReadAll::for_each`] for the fastest scan.
#[derive(Debug, Clone)]
pub struct ReadAll {
    engine: Arc<Engine>,
    after: u64,
    up_to: u64,
    /// A token that is verified before the read starts.
    token: Option<CheckpointToken>,
    settings: ReadSettings,
}

/// A read of one stream, in the order of versions.
#[derive(Debug, Clone)]
pub struct ReadStream {
    engine: Arc<Engine>,
    stream: String,
    from_version: u64,
    up_to_version: u64,
    settings: ReadSettings,
}

macro_rules! shared_settings {
    ($read:ty) => {
        impl $read {
            /// Returns at most this many events. Default: all.
            pub fn limit(mut self, events: u64) -> Self {
                self.settings.limit = events;
                self
            }

            /// Returns the newest event first.
            pub fn backwards(mut self) -> Self {
                self.settings.backwards = true;
                self
            }

            /// Returns only events that the query matches.
            pub fn matching(mut self, query: Query) -> Self {
                self.settings.query = Some(query);
                self
            }

            /// Reads the past: only events recorded up to a time, a position or a version.
            pub fn as_of(mut self, as_of: impl Into<AsOf>) -> Self {
                self.settings.as_of = Some(as_of.into());
                self
            }

            /// Includes events that are written and not durable yet; a crash may lose them.
            pub fn include_unsynced(mut self) -> Self {
                self.settings.include_unsynced = true;
                self
            }

            /// Includes events that truncation, archiving or a stream's metadata hides; the log keeps
            /// them.
            pub fn include_hidden(mut self) -> Self {
                self.settings.include_hidden = true;
                self
            }

            /// Calls `each` with every event, borrowed from the log: no allocation, no copy.
            pub fn for_each(self, mut each: impl FnMut(EventRef<'_>)) -> Result<()> {
                let ended: ControlFlow<()> = self.try_for_each(|event| {
                    each(event);
                    ControlFlow::Continue(())
                })?;
                debug_assert!(ended.is_continue());
                Ok(())
            }
        }

        impl IntoIterator for $read {
            type Item = Result<Event>;
            type IntoIter = Events;

            fn into_iter(self) -> Events {
                match self.start() {
                    Ok(events) => events,
                    Err(error) => {
                        Events { head: Position::START, source: EventSource::Failed(Some(error)) }
                    }
                }
            }
        }
    };
}

shared_settings!(ReadAll);
shared_settings!(ReadStream);

/// An iterator over owned events. It ends after an error; if it ends without an error, every requested
/// event was returned.
#[derive(Debug)]
pub struct Events {
    head: Position,
    source: EventSource,
}

#[derive(Debug)]
enum EventSource {
    All(Box<all::AllEvents>),
    Stream(Box<stream::StreamEvents>),
    Failed(Option<Error>),
}

impl Events {
    /// The head that the read is pinned to: it returns events at or before this position.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Calls `each` with the events that are left, borrowed from the log, until it returns `Break`. That event counts
    /// as returned, and the read can go on after it. A handle for each event costs more than some uses of it.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// # use annals::{ExpectedVersion, NewEvent};
    /// store.append("account-1", ExpectedVersion::Any, (0..5).map(|_| NewEvent::new("T", "five!")))?;
    /// let mut events = store.read_stream("account-1").start()?;
    /// let mut bytes = 0;
    /// let flow = events.visit(|event| {
    ///     bytes += event.data().len();
    ///     if bytes < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(event.version()) }
    /// })?;
    /// assert_eq!(flow, ControlFlow::Break(2));
    /// assert_eq!(events.count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Iterator::next`] would return; then nothing is left.
    pub fn visit<B>(
        &mut self,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        let visited = match &mut self.source {
            EventSource::All(events) => events.visit(&mut each),
            EventSource::Stream(events) => events.visit(&mut each),
            EventSource::Failed(error) => {
                return error.take().map_or(Ok(ControlFlow::Continue(())), Err);
            }
        };
        if visited.is_err() {
            self.source = EventSource::Failed(None);
        }
        visited
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.source {
            EventSource::All(events) => events.next(),
            EventSource::Stream(events) => events.next(),
            EventSource::Failed(error) => return error.take().map(Err),
        };
        match next {
            Ok(event) => event.map(Ok),
            Err(error) => {
                self.source = EventSource::Failed(None);
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Events {}

/// The head a read is pinned to, limited by [`AsOf`] if the read has one.
fn pin(engine: &Engine, settings: &ReadSettings) -> Result<u64> {
    engine.check_open()?;
    engine.refresh()?;
    let visible = engine.visible(settings.include_unsynced);
    match settings.as_of {
        None | Some(AsOf::Version(_)) => Ok(visible),
        Some(AsOf::Position(position)) => Ok(visible.min(position.get())),
        Some(AsOf::Time(time)) => position_at(engine, time, visible),
    }
}

impl ReadAll {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let settings = ReadSettings::new();
        Self { engine, after: 0, up_to: u64::MAX, token: None, settings }
    }

    /// Returns only events after this position. Default: [`Position::START`]. A position after the head
    /// is no error and gives no events, so that a caller can ask for the page after the last one.
    /// [`ReadAll::after_token`] also proves that the position belongs to this history.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = position.into().get();
        self.token = None;
        self
    }

    /// Returns only events at or before this position, as one page of the present: unlike with
    /// [`ReadAll::as_of`], the head of the read stays that of the store. Default: no bound.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// # use annals::{ExpectedVersion, NewEvent};
    /// store.append("s", ExpectedVersion::Any, (0..5).map(|_| NewEvent::new("T", "")))?;
    /// let page = store.read_all().after(1).up_to(3).start()?;
    /// assert_eq!(page.head().get(), 5);
    /// assert_eq!(page.count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn up_to(mut self, position: impl Into<Position>) -> Self {
        self.up_to = position.into().get();
        self
    }

    /// Returns only events after the position of a token, which is verified when the read starts: the
    /// read fails with the errors of [`Store::verify_token`](crate::Store::verify_token).
    pub fn after_token(mut self, token: CheckpointToken) -> Self {
        self.after = token.position().get();
        self.token = Some(token);
        self
    }
}

impl ReadStream {
    pub(crate) fn new(engine: Arc<Engine>, stream: String) -> Self {
        let settings = ReadSettings::new();
        Self { engine, stream, from_version: 1, up_to_version: u64::MAX, settings }
    }

    /// Returns only events from this version on. Default: 1.
    pub fn from_version(mut self, version: u64) -> Self {
        self.from_version = version;
        self
    }

    /// Returns only events up to this version. Unlike with [`ReadStream::as_of`], the head of the read
    /// stays that of the store. Default: no bound.
    pub fn up_to_version(mut self, version: u64) -> Self {
        self.up_to_version = version;
        self
    }
}
