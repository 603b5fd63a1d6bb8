//! The path of a read: index → segment → record.
//!
//! A read pins the head when it starts: it sees everything up to there and nothing behind, however
//! long it takes. Owns the builders; [`all`] walks the log, [`stream`] follows one stream.

pub(crate) mod event;

mod all;
mod changes;
mod hidden;
pub(crate) mod point;
mod stream;
pub(crate) mod streams;

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

pub(crate) use all::Scan;
pub(crate) use changes::{ChangeScan, Visible, Walked};
pub use changes::{StreamChange, StreamChangeKind};
pub use streams::{StreamInfo, StreamNames, Streams};

/// What both kinds of read have in common.
#[derive(Debug, Clone)]
struct Settings {
    limit: u64,
    backwards: bool,
    query: Option<Query>,
    as_of: Option<AsOf>,
    include_unsynced: bool,
    include_hidden: bool,
}

impl Settings {
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
    /// To be proven first.
    token: Option<CheckpointToken>,
    settings: Settings,
}

/// A read of one stream, in the order of versions.
#[derive(Debug, Clone)]
pub struct ReadStream {
    engine: Arc<Engine>,
    stream: String,
    from_version: u64,
    settings: Settings,
}

macro_rules! shared_settings {
    ($read:ty) => {
        impl $read {
            /// At most this many events. Default: all.
            pub fn limit(mut self, events: u64) -> Self {
                self.settings.limit = events;
                self
            }

            /// Newest first.
            pub fn backwards(mut self) -> Self {
                self.settings.backwards = true;
                self
            }

            /// Only events that the query matches.
            pub fn matching(mut self, query: Query) -> Self {
                self.settings.query = Some(query);
                self
            }

            /// The past: only what was there at a time, a position or a version.
            pub fn as_of(mut self, as_of: impl Into<AsOf>) -> Self {
                self.settings.as_of = Some(as_of.into());
                self
            }

            /// Also events that are written and not durable yet: they may be gone after a crash.
            pub fn include_unsynced(mut self) -> Self {
                self.settings.include_unsynced = true;
                self
            }

            /// Also events that truncation, archiving or a stream's metadata hides: the log keeps
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

/// Owned events, one by one. After an error the iterator ends: an end without an error is the end
/// of what was asked for.
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
    /// The head that the read is pinned to: it sees what is at or before this position.
    pub fn head(&self) -> Position {
        self.head
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

/// The head a read is pinned to, taken back to the past if asked for.
fn pin(engine: &Engine, settings: &Settings) -> Result<u64> {
    engine.check_open()?;
    engine.refresh()?;
    let visible = engine.visible(settings.include_unsynced);
    match settings.as_of {
        None | Some(AsOf::Version(_)) => Ok(visible),
        Some(AsOf::Position(position)) => Ok(visible.min(position.get())),
        Some(AsOf::Time(time)) => position_at(engine, time.as_micros(), visible),
    }
}

impl ReadAll {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, after: 0, token: None, settings: Settings::new() }
    }

    /// Only events after this position. Default: [`Position::START`]. A position after the head
    /// reads nothing: a read is of what there is, and a caller that pages through a store asks for
    /// the page after the last. [`ReadAll::after_token`] proves that the position belongs to this
    /// history.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = position.into().get();
        self.token = None;
        self
    }

    /// Only events after the position of a token, which is proven when the read starts: it fails
    /// with the errors of [`Store::verify_token`](crate::Store::verify_token).
    pub fn after_token(mut self, token: CheckpointToken) -> Self {
        self.after = token.position().get();
        self.token = Some(token);
        self
    }
}

impl ReadStream {
    pub(crate) fn new(engine: Arc<Engine>, stream: String) -> Self {
        Self { engine, stream, from_version: 1, settings: Settings::new() }
    }

    /// Only events from this version on. Default: 1.
    pub fn from_version(mut self, version: u64) -> Self {
        self.from_version = version;
        self
    }
}
