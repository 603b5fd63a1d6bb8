//! The changes of one cursor, newest first, from the changes in the log.
//!
//! Owns the walk from segment to segment. Segments without a change of the cursor are skipped where their
//! trailers or indexes prove it. Must never hold all changes of a segment at once: there may be a million.

use std::iter::FusedIterator;
use std::sync::Arc;

use super::frames::{FrameWalk, Spot, Visible};
use crate::catalog::{Part, PartIndex};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Position, Timestamp};
use crate::format::Defect;
use crate::format::frame::FrameHeader;
use crate::format::metadata::Change;
use crate::index::sealed::SealedIndex;
use crate::log::segment::Segment;

/// The number of changes that are held at once, as far as they are not of one commit.
const PORTION: usize = 1_024;

/// A move of a cursor, or its deletion, in [`Cursors::history`](crate::Cursors::history).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CursorMove {
    /// The position that the cursor was set to; `None`: it was deleted.
    pub position: Option<Position>,
    /// The store's last event at that time, those of the same commit included.
    pub head: Position,
    /// When the change was committed.
    pub recorded_at: Timestamp,
}

impl CursorMove {
    /// The number of events after the cursor at that time; `None` if it was deleted.
    pub fn lag(&self) -> Option<u64> {
        self.position.map(|position| self.head.get().saturating_sub(position.get()))
    }
}

/// The changes of a cursor, newest first; see [`Cursors::history`](crate::Cursors::history).
///
/// After an error it ends.
#[derive(Debug)]
#[must_use = "it reads nothing before it is iterated"]
pub struct CursorHistory {
    engine: Arc<Engine>,
    name: String,
    /// Determined when the first change is taken.
    visible: Option<Visible>,
    /// Segments from this number on are done; `None`: all are.
    done_from: Option<u64>,
    /// Where in a segment portions begin that were passed and are still to be read again.
    portions: Vec<Spot>,
    /// The current portion, oldest first.
    moves: Vec<CursorMove>,
    /// The index that was looked at last, and its segments with changes of the cursor; `None` if it is damaged or gone.
    indexed: Option<(Arc<SealedIndex>, Option<Vec<u64>>)>,
}

impl CursorHistory {
    pub(crate) fn new(engine: Arc<Engine>, name: &str) -> Self {
        let (name, portions, moves) = (name.to_owned(), Vec::new(), Vec::new());
        let (visible, done_from) = (None, Some(u64::MAX));
        Self { engine, name, visible, done_from, portions, moves, indexed: None }
    }

    fn visible(&mut self) -> Result<Visible> {
        self.engine.check_open()?;
        if let Some(visible) = self.visible {
            return Ok(visible);
        }
        self.engine.refresh()?;
        // In this order: the events before a visible change are visible.
        let change = self.engine.contents().last_change();
        Ok(*self.visible.insert(Visible { position: self.engine.visible(false), change }))
    }

    /// Reads the portion before those that were returned; `false`: there is none.
    fn read_portion(&mut self) -> Result<bool> {
        if self.done_from.is_none() && self.portions.is_empty() {
            return Ok(false);
        }
        // Before a segment is chosen: what is visible then is in the segments there are.
        let visible = self.visible()?;
        loop {
            if let Some(begin) = self.portions.pop() {
                let mut frames = FrameWalk::in_segment(&self.engine, begin);
                self.walk(visible, &mut frames, |_| true)?;
            } else if let Some(segment) = self.next_segment() {
                self.read_segment(visible, segment)?;
            } else {
                return Ok(false);
            }
            if !self.moves.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Walks through a segment: keeps its last portion, and where the others begin.
    fn read_segment(&mut self, visible: Visible, segment: Arc<Segment>) -> Result<()> {
        let begin = Spot::beginning(segment);
        let mut portions = vec![begin.clone()];
        let mut frames = FrameWalk::in_segment(&self.engine, begin);
        self.walk(visible, &mut frames, |next| {
            portions.push(next.clone());
            false
        })?;
        // The last one is in memory.
        portions.pop();
        self.portions = portions;
        Ok(())
    }

    /// Collects changes to the end of the segment. At the end of a portion, asks whether to end there, and
    /// begins the next one otherwise.
    fn walk(
        &mut self,
        visible: Visible,
        frames: &mut FrameWalk,
        mut ends: impl FnMut(&Spot) -> bool,
    ) -> Result<()> {
        let Self { name, moves, .. } = self;
        moves.clear();
        loop {
            let frame = frames.next(visible, |header, number, change| {
                if number <= visible.change {
                    moves.extend(as_move(header, &change, name));
                }
            })?;
            if frame.is_none() {
                // The changes of a frame that is not visible have higher numbers.
                return Ok(());
            }
            if moves.len() >= PORTION {
                if ends(frames.place()) {
                    return Ok(());
                }
                moves.clear();
            }
        }
    }

    /// The next older segment that may hold changes of the cursor.
    fn next_segment(&mut self) -> Option<Arc<Segment>> {
        let done_from = self.done_from?;
        let (parts, active) = self.engine.contents().with_catalog(|catalog| {
            (Arc::clone(&catalog.parts), Arc::clone(&catalog.active.segment))
        });
        if active.number() < done_from {
            self.done_from = Some(active.number());
            return Some(active);
        }
        let end = parts.partition_point(|part| part.segment.number() < done_from);
        let found = parts[..end].iter().rfind(|part| self.may_hold(&parts, part));
        self.done_from = found.map(|part| part.segment.number());
        found.map(|part| Arc::clone(&part.segment))
    }

    /// Whether a segment may hold changes of the cursor.
    fn may_hold(&mut self, parts: &[Part], part: &Part) -> bool {
        let (PartIndex::Sealed(index), Some(trailer)) = (&part.index, &part.segment.trailer) else {
            return true;
        };
        if trailer.change_count == 0 {
            return false;
        }
        let number = part.segment.number();
        let is_known = self.indexed.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, index));
        if !is_known {
            let found = segments_with(parts, index, &self.name).ok();
            self.indexed = Some((Arc::clone(index), found));
        }
        let found = self.indexed.as_ref().and_then(|(_, found)| found.as_ref());
        // Without one, the log is read.
        found.is_none_or(|found| found.binary_search(&number).is_ok())
    }
}

/// The segments of an index that hold changes of a cursor.
fn segments_with(parts: &[Part], index: &SealedIndex, name: &str) -> Result<Vec<u64>, Defect> {
    let first = index.first_change()?;
    let (mut ends, mut end) = (Vec::new(), first);
    for number in index.segments() {
        let at = parts.binary_search_by_key(&number, |part| part.segment.number());
        let trailer = at.ok().and_then(|at| parts[at].segment.trailer.as_ref());
        let count = trailer.ok_or(Defect::Invalid("a segment is missing"))?.change_count;
        end =
            end.checked_add(count.into()).ok_or(Defect::Invalid("change numbers out of range"))?;
        ends.push((end, number));
    }
    let mut found = Vec::new();
    let mut ends = ends.into_iter().peekable();
    let count = index.for_each_change(|at, change| {
        while ends.next_if(|(end, _)| at.get() >= *end).is_some() {}
        if change.is_some_and(|change| changes_cursor(&change, name))
            && let Some((_, number)) = ends.peek()
            && found.last() != Some(number)
        {
            found.push(*number);
        }
    })?;
    if first + count != end {
        return Err(Defect::Invalid("changes are missing"));
    }
    Ok(found)
}

fn changes_cursor(change: &Change, cursor: &str) -> bool {
    let is_of_cursor = matches!(change, Change::CursorSet { .. } | Change::CursorDeleted { .. });
    is_of_cursor && change.name() == cursor
}

fn as_move(header: &FrameHeader, change: &Change, cursor: &str) -> Option<CursorMove> {
    if !changes_cursor(change, cursor) {
        return None;
    }
    let position = match change {
        Change::CursorSet { position, .. } => Some(Position::new(*position)),
        _ => None,
    };
    let head = Position::new(header.next_position() - 1);
    Some(CursorMove { position, head, recorded_at: Timestamp::from_micros(header.recorded_at) })
}

impl Iterator for CursorHistory {
    type Item = Result<CursorMove>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.moves.is_empty() {
            match self.read_portion() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    (self.done_from, self.portions) = (None, Vec::new());
                    self.moves.clear();
                    return Some(Err(error));
                }
            }
        }
        self.moves.pop().map(Ok)
    }
}

impl FusedIterator for CursorHistory {}
