//! Changes to streams that are not events, in the order of the log, for subscriptions that ask for them.
//!
//! Owns the choice of what is shown. Must never show changes of cursors or records.

use std::sync::Arc;

use super::frames::{FrameWalk, Visible};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Position, RetentionLimits, StreamMetadata, Timestamp};
use crate::format::frame::FrameHeader;
use crate::format::metadata::{Change, ChangeNumber};
use crate::query::Query;

/// A change to what reads show of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamChange {
    /// The stream that was changed.
    pub stream: String,
    /// The change.
    pub change: StreamChangeKind,
    /// Its place among the events: after the event at this position and before the next one.
    pub after: Position,
    /// When the change was committed.
    pub recorded_at: Timestamp,
}

/// The kinds of [`StreamChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StreamChangeKind {
    /// Events below this version are hidden; `TruncatedBefore(1)` hides none.
    TruncatedBefore(u64),
    /// The stream is archived: all of its events are hidden.
    Archived,
    /// The stream is no longer archived.
    Unarchived,
    /// The stream has new limits on the age and count of its events.
    Metadata(StreamMetadata),
}

/// The result of one step of a walk.
#[derive(Debug)]
pub(crate) enum Walked {
    /// A commit's changes, and the position of the event before them.
    Changes(u64, Vec<StreamChange>),
    /// There are no changes before the event that follows this position, and that event is visible.
    Through(u64),
    /// There are no more visible changes.
    All,
}

/// A walk over the changes after a position.
#[derive(Debug)]
pub(crate) struct ChangeScan {
    engine: Arc<Engine>,
    query: Option<Query>,
    /// Changes are skipped if the event before them is before `after`, or their number is at most
    /// `passed`.
    after: u64,
    passed: ChangeNumber,
    /// Begins with the first call.
    frames: Option<FrameWalk>,
}

impl ChangeScan {
    /// A walk over the changes that follow the event at `after` or a later one and have a number greater
    /// than `passed`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        after: u64,
        passed: ChangeNumber,
        query: Option<Query>,
    ) -> Self {
        Self { engine, query, after, passed, frames: None }
    }

    /// Walks to the next commit with changes, and no further than `limit` or the `visible` part.
    pub(crate) fn next(&mut self, visible: Visible, limit: u64) -> Result<Walked> {
        let Self { engine, query, after, passed, frames } = self;
        if visible.position < *after {
            return Ok(Walked::All);
        }
        let frames = match frames {
            Some(frames) => frames,
            None => frames.insert(FrameWalk::from_position(engine, *after)?),
        };
        loop {
            let mut found = Vec::new();
            let frame = frames.next(visible, |header, number, change| {
                if number > *passed
                    && header.next_position() > *after
                    && let Some(change) = shown(change, header)
                    && query.as_ref().is_none_or(|query| query.may_match_in(&change.stream))
                {
                    found.push(change);
                }
            })?;
            let Some(header) = frame else { return Ok(Walked::All) };
            let before = header.next_position() - 1;
            if !found.is_empty() {
                return Ok(Walked::Changes(before, found));
            }
            if before >= limit && before < visible.position {
                return Ok(Walked::Through(before));
            }
        }
    }
}

/// A change of the frame with this header; `None` for a change of a cursor.
fn shown(change: Change, header: &FrameHeader) -> Option<StreamChange> {
    let (stream, change) = match change {
        Change::CursorSet { .. } | Change::CursorDeleted { .. } | Change::Record(_) => return None,
        Change::Truncated { stream, before } => (stream, StreamChangeKind::TruncatedBefore(before)),
        Change::Archived { stream } => (stream, StreamChangeKind::Archived),
        Change::Unarchived { stream } => (stream, StreamChangeKind::Unarchived),
        Change::Retention { stream, max_age, max_count } => {
            let metadata = RetentionLimits { max_age, max_count }.to_metadata();
            (stream, StreamChangeKind::Metadata(metadata))
        }
    };
    let (stream, after) = (stream.into(), Position::new(header.next_position() - 1));
    let recorded_at = Timestamp::from_micros(header.recorded_at);
    Some(StreamChange { stream, change, after, recorded_at })
}
