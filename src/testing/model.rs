//! A naive model of a store: a list of events, a list of changes, and the ends of commits in both.
//!
//! It has no files, groups or indexes, looks everything up by walking the lists, and is compared
//! with the engine's answers. It must stay too simple to be wrong.
//!
//! - `changes`: the result of changes: cursors, and the hidden part of streams.
//! - `predict`: the effect of a commit, or the reason why it is refused.

mod changes;
mod predict;

use std::collections::HashMap;

use uuid::Uuid;

use crate::event::{ContentType, ExpectedVersion, NewEvent, Timestamp, category_of};

pub use changes::{ModelChange, ModelRecord, ModelRules, ModelState};
pub use predict::{ModelBoundary, ModelCommit, ModelMatch, ModelRecordOperation, ModelRequest};

/// One operation of a commit.
#[derive(Debug, Clone)]
pub struct ModelOperation {
    /// The stream of the operation.
    pub stream: String,
    /// The expected state of the stream.
    pub expected: ExpectedVersion,
    /// The events to append; empty for a check.
    pub events: Vec<NewEvent>,
}

/// An event of the model.
#[derive(Debug, Clone)]
pub struct ModelEvent {
    /// Its stream.
    pub stream: String,
    /// Its version, from 1.
    pub version: u64,
    /// Its position, from 1.
    pub position: u64,
    /// Its id; unknown before the first read if it was generated.
    pub id: Option<Uuid>,
    /// The appended contents.
    pub contents: NewEvent,
    /// The position of the first event of its commit.
    pub commit: u64,
    /// Whether it is the last of its commit.
    pub is_last: bool,
    /// Its recorded time, if it is known.
    pub recorded_at: Option<Timestamp>,
}

/// The predicted effect of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicted {
    /// The position of the first event; the head if there are only checks.
    pub first: u64,
    /// The position of the last event; the head if there are only checks.
    pub last: u64,
    /// The version of each operation's stream after it.
    pub versions: Vec<u64>,
    /// The events are stored already.
    pub already_recorded: bool,
    /// If they are: the changes that are still made.
    pub changes: Vec<ModelChange>,
    /// The version of each record after its request.
    pub record_versions: Vec<u64>,
}

/// Alternatives of types, all tags, a stream or a category, after a position.
#[derive(Debug, Clone, Default)]
pub struct ModelQuery {
    /// Any of these types; without types, every type.
    pub types: Vec<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// Only this stream.
    pub stream: Option<String>,
    /// Only streams of this category.
    pub category: Option<String>,
    /// Only events after this position.
    pub after: Option<u64>,
}

impl ModelQuery {
    /// Whether the query matches an event.
    pub fn matches(&self, event: &ModelEvent) -> bool {
        let has = |tag: &String| event.contents.tags.contains(tag);
        (self.types.is_empty() || self.types.iter().any(|t| *t == event.contents.event_type))
            && self.tags.iter().all(has)
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && self.category.as_deref().is_none_or(|it| it == category_of(&event.stream))
            && self.after.is_none_or(|after| event.position > after)
    }
}

/// A place in the order of commits: the number of events and the number of changes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point {
    /// The position of the last event.
    pub events: u64,
    /// The number of the last change.
    pub changes: u64,
}

impl Point {
    /// Whether everything at or before `other` is at or before this one.
    pub fn covers(self, other: Self) -> bool {
        self.events >= other.events && self.changes >= other.changes
    }

    /// The later one, of each kind.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let (events, changes) = (self.events.max(other.events), self.changes.max(other.changes));
        Self { events, changes }
    }
}

/// The events and changes of a store, in order.
#[derive(Debug, Clone, Default)]
pub struct Model {
    events: Vec<ModelEvent>,
    ids: HashMap<Uuid, u64>,
    changes: Vec<ModelChange>,
    /// The end of each commit.
    ends: Vec<Point>,
}

impl Model {
    /// All events.
    pub fn events(&self) -> &[ModelEvent] {
        &self.events
    }

    /// The position of the last event.
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The number of commits.
    pub fn commits(&self) -> u64 {
        self.events.iter().filter(|event| event.is_last).count() as u64
    }

    /// The end of the last commit.
    pub fn end(&self) -> Point {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Whether a commit ends here, or this is the beginning.
    pub fn is_end(&self, point: Point) -> bool {
        point == Point::default() || self.ends.contains(&point)
    }

    /// The end of the commit of an event; the beginning for position 0.
    pub fn end_of(&self, position: u64) -> Point {
        let holds = |end: &&Point| position > 0 && end.events >= position;
        self.ends.iter().find(holds).copied().unwrap_or_default()
    }

    /// The end of the commit before the one that ends at `end`.
    pub fn end_before(&self, end: Point) -> Point {
        let before = self.ends.iter().rfind(|it| **it != end && end.covers(**it));
        before.copied().unwrap_or_default()
    }

    /// Cursors and hidden streams after this number of changes.
    pub fn state(&self, changes: u64) -> ModelState {
        let count = usize::try_from(changes).unwrap_or(usize::MAX).min(self.changes.len());
        ModelState::of(&self.changes[..count])
    }

    /// What the first changes up to a number did to a cursor, newest first: where it was set to, and the last
    /// event at that time.
    pub fn cursor_history(&self, cursor: &str, changes: u64) -> Vec<(Option<u64>, u64)> {
        let numbered = (1..=changes).zip(&self.changes);
        let moves = numbered.filter_map(|(number, change)| match change {
            ModelChange::Cursor(name, position) if name == cursor => {
                let end = self.ends.iter().find(|end| end.changes >= number);
                Some((*position, end.map_or(0, |end| end.events)))
            }
            _ => None,
        });
        let mut moves: Vec<_> = moves.collect();
        moves.reverse();
        moves
    }

    /// Whether a commit ends at this position, or this is the beginning.
    pub fn is_boundary(&self, position: u64) -> bool {
        position == 0 || self.at(position).is_some_and(|event| event.is_last)
    }

    /// The event at a position.
    pub fn at(&self, position: u64) -> Option<&ModelEvent> {
        self.events.get(usize::try_from(position).ok()?.checked_sub(1)?)
    }

    /// The position with this distance before the last, modulo the length; from 0 to the head.
    pub fn back(&self, events: u16) -> u64 {
        self.head() - u64::from(events) % (self.head() + 1)
    }

    /// The position of the event with an id.
    pub fn find(&self, id: Uuid) -> Option<u64> {
        self.ids.get(&id).copied()
    }

    /// The events of a stream at or before `head`.
    pub fn stream<'a>(
        &'a self,
        stream: &'a str,
        head: u64,
    ) -> impl DoubleEndedIterator<Item = &'a ModelEvent> {
        self.events.iter().filter(move |e| e.position <= head && e.stream == stream)
    }

    /// A stream's version and last position at `head`; zeros if there is no such stream.
    pub fn stream_head(&self, stream: &str, head: u64) -> (u64, u64) {
        self.stream(stream, head).last().map_or((0, 0), |event| (event.version, event.position))
    }

    /// The last position at or before `head` that was recorded at or before `time`.
    pub fn position_at(&self, time: Timestamp, head: u64) -> u64 {
        let recorded = |event: &&ModelEvent| event.recorded_at.is_some_and(|at| at <= time);
        let found = self.events.iter().rfind(|e| e.position <= head && recorded(e));
        found.map_or(0, |event| event.position)
    }

    /// The streams whose names begin with `prefix`, by name: version and last position.
    pub fn streams(&self, prefix: &str, head: u64) -> Vec<(String, u64, u64)> {
        let mut found = std::collections::BTreeMap::new();
        for event in self.events.iter().filter(|event| event.position <= head) {
            if event.stream.starts_with(prefix) {
                found.insert(event.stream.clone(), (event.version, event.position));
            }
        }
        found.into_iter().map(|(name, (version, last))| (name, version, last)).collect()
    }

    /// Adds a commit that was predicted to succeed. `recorded_at` is the store's answer, if it gave
    /// one.
    pub fn accept(&mut self, commit: &ModelCommit, recorded_at: Option<Timestamp>) {
        let first = self.head() + 1;
        for operation in &commit.operations {
            for event in &operation.events {
                let position = self.head() + 1;
                let version = self.stream_head(&operation.stream, u64::MAX).0 + 1;
                if let Some(id) = event.id {
                    self.ids.insert(id, position);
                }
                self.events.push(ModelEvent {
                    stream: operation.stream.clone(),
                    version,
                    position,
                    id: event.id,
                    contents: event.clone(),
                    commit: first,
                    is_last: false,
                    recorded_at,
                });
            }
        }
        if self.head() >= first
            && let Some(last) = self.events.last_mut()
        {
            last.is_last = true;
        }
        self.change(commit.requests.iter().filter_map(ModelRequest::to_change));
    }

    /// Adds a commit that has only changes; with the events accepted just before, it is one commit.
    pub fn change(&mut self, changes: impl IntoIterator<Item = ModelChange>) {
        self.changes.extend(changes);
        let (events, changes) = (self.head(), self.changes.len() as u64);
        let end = Point { events, changes };
        if end != self.end() {
            self.ends.push(end);
        }
    }

    /// Removes every commit after the one that ends at `end`.
    pub fn truncate(&mut self, end: Point) {
        self.events.truncate(usize::try_from(end.events).unwrap_or(usize::MAX));
        self.ids.retain(|_, position| *position <= end.events);
        self.changes.truncate(usize::try_from(end.changes).unwrap_or(usize::MAX));
        self.ends.retain(|it| end.covers(*it));
    }

    /// Records facts from a read that only the store can decide. `false`: they contradict earlier
    /// ones.
    pub fn learn(&mut self, position: u64, id: Uuid, recorded_at: Timestamp) -> bool {
        let Some(index) = usize::try_from(position).ok().and_then(|p| p.checked_sub(1)) else {
            return false;
        };
        let before = index.checked_sub(1).and_then(|i| self.events.get(i)?.recorded_at);
        let Some(event) = self.events.get_mut(index) else { return false };
        let known = *self.ids.entry(id).or_insert(position);
        let same_id = *event.id.get_or_insert(id) == id && known == position;
        let same_time = *event.recorded_at.get_or_insert(recorded_at) == recorded_at;
        same_id && same_time && before.is_none_or(|before| before <= recorded_at)
    }
}

/// Whether two events to append are equal, ids aside.
pub fn same_contents(event: &NewEvent, other: &NewEvent) -> bool {
    NewEvent { id: None, ..event.clone() } == NewEvent { id: None, ..other.clone() }
}

/// The content type of a flag.
pub(super) fn content_type(json: bool) -> ContentType {
    if json { ContentType::Json } else { ContentType::Binary }
}
