//! A naive model of a store: a list of events, and the rules of what may be added to it.
//!
//! It knows nothing of files, groups or indexes, looks everything up by walking the list, and is
//! what the engine's answers are compared with. It must stay too simple to be wrong.

use std::collections::HashMap;

use uuid::Uuid;

use crate::error::{Error, FailedCheck};
use crate::event::{ContentType, ExpectedVersion, NewEvent, Position, Timestamp, category_of};

/// One operation of a commit.
#[derive(Debug, Clone)]
pub struct ModelOperation {
    /// The stream it is about.
    pub stream: String,
    /// What it expects of the stream.
    pub expected: ExpectedVersion,
    /// What it appends; nothing, if it is only a check.
    pub events: Vec<NewEvent>,
}

/// An event the model holds.
#[derive(Debug, Clone)]
pub struct ModelEvent {
    /// Its stream.
    pub stream: String,
    /// Its place there, from 1.
    pub version: u64,
    /// Its place in the store, from 1.
    pub position: u64,
    /// Its id; not known before it was read if it was generated.
    pub id: Option<Uuid>,
    /// What was appended.
    pub contents: NewEvent,
    /// The position of the first event of its commit.
    pub commit: u64,
    /// Whether it is the last of its commit.
    pub is_last: bool,
    /// When it was recorded, once that is known.
    pub recorded_at: Option<Timestamp>,
}

/// What the model says a commit does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicted {
    /// The position of the first event; the head, if there are only checks.
    pub first: u64,
    /// The position of the last event; the head, if there are only checks.
    pub last: u64,
    /// Of each operation: its stream's version after it.
    pub versions: Vec<u64>,
    /// The events are there already.
    pub already_recorded: bool,
}

/// Alternatives of types, all tags, a stream or a category, behind a position.
#[derive(Debug, Clone, Default)]
pub struct ModelQuery {
    /// Any of these types; none given: any type.
    pub types: Vec<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// Only this stream.
    pub stream: Option<String>,
    /// Only streams of this category.
    pub category: Option<String>,
    /// Only behind this position.
    pub after: Option<u64>,
}

impl ModelQuery {
    /// Whether an event is asked for.
    pub fn matches(&self, event: &ModelEvent) -> bool {
        let has = |tag: &String| event.contents.tags.contains(tag);
        (self.types.is_empty() || self.types.iter().any(|t| *t == event.contents.event_type))
            && self.tags.iter().all(has)
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && self.category.as_deref().is_none_or(|it| it == category_of(&event.stream))
            && self.after.is_none_or(|after| event.position > after)
    }
}

/// The events of a store, in order.
#[derive(Debug, Clone, Default)]
pub struct Model {
    events: Vec<ModelEvent>,
    ids: HashMap<Uuid, u64>,
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

    /// Whether a commit ends at this position, or nothing has begun.
    pub fn is_boundary(&self, position: u64) -> bool {
        position == 0 || self.at(position).is_some_and(|event| event.is_last)
    }

    /// The event at a position.
    pub fn at(&self, position: u64) -> Option<&ModelEvent> {
        self.events.get(usize::try_from(position).ok()?.checked_sub(1)?)
    }

    /// The position so many events before the last, taken round; from 0 to the head.
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

    /// What a commit of these operations does. `transaction`: failed checks are reported as one
    /// conflict with all of them. `fits`: it is within the limit of size, which depends on how
    /// records are encoded and is not the model's business. Nothing is changed.
    ///
    /// # Errors
    ///
    /// Those the store has to answer with.
    pub fn predict(
        &self,
        operations: &[ModelOperation],
        transaction: bool,
        fits: bool,
    ) -> Result<Predicted, Error> {
        let events = || operations.iter().flat_map(|operation| &operation.events);
        let checks_something = |o: &ModelOperation| o.expected != ExpectedVersion::Any;
        let is_append = !transaction;
        if events().next().is_none() && (is_append || !operations.iter().any(checks_something)) {
            return Err(Error::EmptyCommit);
        }
        if !fits {
            let what = "a commit in bytes";
            return Err(Error::LimitExceeded { what, size: 0, max: 0 });
        }
        let given: Vec<Uuid> = events().filter_map(|event| event.id).collect();
        let twice = |i: &usize| given[..*i].contains(&given[*i]);
        if let Some(at) = (0..given.len()).find(twice) {
            return Err(Error::DuplicateId { id: given[at] });
        }
        if let Some(known) = self.recorded_before(operations)? {
            return Ok(known);
        }
        self.check(operations, transaction)
    }

    /// All ids known, on the same contents, in ascending order: the first result again. None
    /// known: nothing.
    fn recorded_before(&self, operations: &[ModelOperation]) -> Result<Option<Predicted>, Error> {
        let mut versions: Vec<u64> =
            operations.iter().map(|o| self.stream_head(&o.stream, self.head()).0).collect();
        let mut positions = Vec::new();
        let mut first_known = None;
        let mut same = true;
        for (operation, version) in operations.iter().zip(&mut versions) {
            for event in &operation.events {
                let known = event.id.and_then(|id| Some((id, self.find(id)?)));
                let Some((id, position)) = known else {
                    same = false;
                    continue;
                };
                first_known = first_known.or(Some((id, position)));
                same &= positions.last().is_none_or(|last| *last < position);
                positions.push(position);
                if let Some(recorded) = self.at(position) {
                    *version = recorded.version;
                    let contents = NewEvent { id: event.id, ..recorded.contents.clone() };
                    same &= recorded.stream == operation.stream && contents == *event;
                }
            }
        }
        match (first_known, positions.first(), positions.last()) {
            (Some(_), Some(&first), Some(&last)) if same => {
                Ok(Some(Predicted { first, last, versions, already_recorded: true }))
            }
            (Some((id, position)), ..) => {
                Err(Error::IdReused { id, position: Position::new(position) })
            }
            _ => Ok(None),
        }
    }

    fn check(&self, operations: &[ModelOperation], transaction: bool) -> Result<Predicted, Error> {
        let mut current: HashMap<&str, u64> = HashMap::new();
        let (mut versions, mut failed, mut count) = (Vec::new(), Vec::new(), 0);
        for (index, operation) in operations.iter().enumerate() {
            let stream = operation.stream.as_str();
            let before = self.stream_head(stream, self.head()).0;
            let version = current.entry(stream).or_insert(before);
            if !operation.expected.holds_for(*version) {
                let (stream, expected) = (operation.stream.clone(), operation.expected);
                let actual = *version;
                failed.push(FailedCheck::WrongExpectedVersion { index, stream, expected, actual });
            }
            *version += operation.events.len() as u64;
            count += operation.events.len() as u64;
            versions.push(*version);
        }
        if let Some(FailedCheck::WrongExpectedVersion { stream, expected, actual, .. }) =
            failed.first()
        {
            let (stream, expected, actual) = (stream.clone(), *expected, *actual);
            return Err(if transaction {
                Error::Conflict { failed }
            } else {
                Error::WrongExpectedVersion { stream, expected, actual }
            });
        }
        let (head, last) = (self.head(), self.head() + count);
        let first = if count == 0 { head } else { head + 1 };
        Ok(Predicted { first, last, versions, already_recorded: false })
    }

    /// Adds a commit that was predicted to succeed. `recorded_at` is what the store said, if it
    /// said anything.
    pub fn accept(&mut self, operations: &[ModelOperation], recorded_at: Option<Timestamp>) {
        let commit = self.head() + 1;
        for operation in operations {
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
                    commit,
                    is_last: false,
                    recorded_at,
                });
            }
        }
        if let Some(last) = self.events.last_mut() {
            last.is_last = true;
        }
    }

    /// Forgets every event behind `head`.
    pub fn truncate(&mut self, head: u64) {
        self.events.truncate(usize::try_from(head).unwrap_or(usize::MAX));
        self.ids.retain(|_, position| *position <= head);
    }

    /// Takes in what a read told of an event that only the store could know. `false`: it
    /// contradicts what was known.
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

/// Whether two events to append say the same, ids aside.
pub fn same_contents(event: &NewEvent, other: &NewEvent) -> bool {
    NewEvent { id: None, ..event.clone() } == NewEvent { id: None, ..other.clone() }
}

/// The content type that a flag stands for.
pub(super) fn content_type(json: bool) -> ContentType {
    if json { ContentType::Json } else { ContentType::Binary }
}
