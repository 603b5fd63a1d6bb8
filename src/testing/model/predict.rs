//! The effect of a commit, or every reason why it is refused, in the engine's order: boundaries,
//! streams, other changes, snapshots.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use uuid::Uuid;

use super::{Model, ModelChange, ModelOperation, ModelQuery, ModelState, Predicted};
use crate::error::{Error, FailedCheck};
use crate::event::snapshot::{Mark, Snapshot};
use crate::event::{ExpectedRecord, ExpectedVersion, NewEvent, Position, Timestamp};

/// All contents of one commit.
#[derive(Debug, Clone, Default)]
pub struct ModelCommit {
    /// Checks and events.
    pub operations: Vec<ModelOperation>,
    /// Queries that must match nothing.
    pub boundaries: Vec<ModelBoundary>,
    /// Changes other than events.
    pub requests: Vec<ModelRequest>,
    /// Snapshots that are saved with the commit.
    pub snapshots: Vec<Snapshot>,
    /// The time to record; `None`: now.
    pub recorded_at: Option<Timestamp>,
}

/// A condition on the newest event that a query matches.
#[derive(Debug, Clone)]
pub struct ModelBoundary {
    /// Its alternatives.
    pub items: Vec<ModelQuery>,
    /// What the newest match must be.
    pub expected: ModelMatch,
}

/// What the newest match of a boundary must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelMatch {
    /// None after the positions that the query names.
    NothingNew,
    /// None, whatever positions the query names.
    Nothing,
    /// The event at this position; 0: none.
    At(u64),
}

/// A change that a commit requests, and its condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRequest {
    /// Moves a cursor forward.
    Advance {
        /// Its name.
        name: String,
        /// The expected position, if there is an expectation; `None` inside: never set.
        from: Option<Option<u64>>,
        /// Where to.
        to: u64,
    },
    /// Sets a cursor to any position up to the head.
    Reset {
        /// Its name.
        name: String,
        /// Where to.
        to: u64,
    },
    /// Deletes a cursor.
    Delete {
        /// Its name.
        name: String,
    },
    /// Changes the hidden part of a stream.
    Hide(ModelChange),
    /// Puts or deletes a record, or only checks it.
    Record {
        /// Its key.
        key: String,
        /// What is done with it.
        operation: ModelRecordOperation,
        /// Its expected state.
        expected: ExpectedRecord,
    },
}

/// What a request does with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRecordOperation {
    /// Gives it this value.
    Put(Vec<u8>),
    /// Deletes it.
    Delete,
    /// Nothing.
    Check,
}

impl ModelRequest {
    /// The cursor, stream or record of the change.
    pub fn name(&self) -> &str {
        match self {
            Self::Advance { name, .. } | Self::Reset { name, .. } | Self::Delete { name } => name,
            Self::Hide(change) => match change {
                ModelChange::Cursor(name, _)
                | ModelChange::Truncated(name, _)
                | ModelChange::Archived(name, _)
                | ModelChange::Record(name, _)
                | ModelChange::Limited(name, ..) => name,
            },
            Self::Record { key, .. } => key,
        }
    }

    /// The change that is made if the condition holds.
    pub fn to_change(&self) -> Option<ModelChange> {
        Some(match self {
            Self::Record { key, operation, .. } => match operation {
                ModelRecordOperation::Put(value) => {
                    ModelChange::Record(key.clone(), Some(value.clone()))
                }
                ModelRecordOperation::Delete => ModelChange::Record(key.clone(), None),
                ModelRecordOperation::Check => return None,
            },
            Self::Advance { name, to, .. } | Self::Reset { name, to } => {
                ModelChange::Cursor(name.clone(), Some(*to))
            }
            Self::Delete { name } => ModelChange::Cursor(name.clone(), None),
            Self::Hide(change) => change.clone(),
        })
    }

    /// Whether it makes a change.
    pub fn writes(&self) -> bool {
        self.to_change().is_some()
    }

    /// Whether a repetition changes nothing: the cursor is at its target or after it, the events are
    /// hidden already.
    fn is_in_effect(&self, state: &ModelState) -> bool {
        let at = state.cursors.get(self.name()).copied();
        match self {
            Self::Advance { to, .. } => at.unwrap_or(0) >= *to,
            Self::Reset { to, .. } => at.is_some_and(|at| at >= *to),
            Self::Delete { .. } => at.is_none(),
            // Refused nevertheless for a stream that does not exist.
            Self::Hide(_) => false,
            Self::Record { key, operation, .. } => match operation {
                ModelRecordOperation::Put(_) => false,
                ModelRecordOperation::Delete => state.record(key).value.is_none(),
                ModelRecordOperation::Check => true,
            },
        }
    }

    /// The reason why it is refused, if it is: with the cursors of `state`, the last event at
    /// `head` and its stream at `version`.
    fn refusal(&self, state: &ModelState, head: u64, version: u64) -> Option<FailedCheck> {
        let name = self.name().to_owned();
        let at = state.cursors.get(&name).copied();
        let ahead = |to: u64| FailedCheck::CursorAhead {
            name: name.clone(),
            to: Position::new(to),
            head: Position::new(head),
        };
        match self {
            Self::Advance { from: Some(expected), .. } if *expected != at => {
                let (expected, actual) = (expected.map(Position::new), at.map(Position::new));
                Some(FailedCheck::WrongCursor { name, expected, actual })
            }
            Self::Advance { to, .. } if *to <= at.unwrap_or(0) => {
                let (at, to) = (Position::new(at.unwrap_or(0)), Position::new(*to));
                Some(FailedCheck::CursorNotForward { name, at, to })
            }
            Self::Advance { to, .. } | Self::Reset { to, .. } if *to > head => Some(ahead(*to)),
            Self::Delete { .. } => at.is_none().then_some(FailedCheck::UnknownCursor { name }),
            Self::Hide(_) if version == 0 => Some(FailedCheck::UnknownStream { stream: name }),
            Self::Hide(ModelChange::Truncated(_, before)) if *before > version + 1 => {
                Some(FailedCheck::TruncateAhead { stream: name, before: *before, version })
            }
            Self::Record { key, operation, expected } => {
                let actual = state.record(key).current();
                if !expected.holds_for(actual) {
                    let (key, expected) = (key.clone(), *expected);
                    return Some(FailedCheck::WrongRecordVersion { key, expected, actual });
                }
                let deletes = *operation == ModelRecordOperation::Delete;
                (deletes && actual == 0).then(|| FailedCheck::UnknownRecord { key: key.clone() })
            }
            Self::Advance { .. } | Self::Reset { .. } | Self::Hide(_) => None,
        }
    }
}

impl From<Vec<ModelOperation>> for ModelCommit {
    fn from(operations: Vec<ModelOperation>) -> Self {
        Self { operations, ..Self::default() }
    }
}

impl ModelCommit {
    pub(crate) fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.operations.iter().flat_map(|operation| &operation.events)
    }

    /// Whether it adds a frame to the log.
    pub fn writes(&self) -> bool {
        self.events().next().is_some() || self.requests.iter().any(ModelRequest::writes)
    }
}

/// A refusal, and the newest event that caused it.
fn conflict(failed: Vec<FailedCheck>, lost_to: u64) -> Error {
    Error::Conflict { failed, visible_at: Position::new(lost_to) }
}

impl Model {
    /// The effect of a commit. `alone`: the call makes one check only. `fits`: the commit is within
    /// the limit of size, which depends on the encoding and is not modelled. `times`: the range of
    /// times that the commit may set. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The refusals that the store must return.
    pub fn predict(
        &self,
        commit: &ModelCommit,
        alone: bool,
        fits: bool,
        times: &RangeInclusive<Timestamp>,
    ) -> Result<Predicted, Error> {
        let asks = |o: &ModelOperation| o.expected != ExpectedVersion::Any;
        let of_record = |request: &ModelRequest| match request {
            ModelRequest::Record { expected, .. } => *expected != ExpectedRecord::Any,
            _ => true,
        };
        let questions = !commit.boundaries.is_empty()
            || commit.operations.iter().any(asks)
            || commit.requests.iter().any(of_record);
        if !commit.writes() && (alone && commit.requests.is_empty() || !questions) {
            return Err(Error::EmptyCommit);
        }
        if commit.events().any(|event| event.id == Some(Uuid::nil())) {
            return Err(Error::InvalidArgument { what: "event id", why: String::new() });
        }
        if !fits {
            let what = "a commit in bytes";
            return Err(Error::LimitExceeded { what, size: 0, max: 0, hint: "" });
        }
        let given: Vec<Uuid> = commit.events().filter_map(|event| event.id).collect();
        let twice = |i: &usize| given[..*i].contains(&given[*i]);
        if let Some(at) = (0..given.len()).find(twice) {
            return Err(Error::DuplicateId { id: given[at] });
        }
        if let Some(mut known) = self.recorded_before(&commit.operations)? {
            // Checks and events are not repeated; other operations only if they are not in effect.
            let mut failed = Vec::new();
            self.remaining(commit, &mut known, &mut failed);
            self.check_snapshots(commit, &HashMap::new(), 0, &mut failed);
            return if failed.is_empty() { Ok(known) } else { Err(conflict(failed, 0)) };
        }
        if let Some(given) = commit.recorded_at
            && commit.writes()
            && !times.contains(&given)
        {
            let (earliest, latest) = (*times.start(), *times.end());
            return Err(Error::RecordedTime { given, earliest, latest });
        }
        self.check(commit)
    }

    /// The changes that a commit with recorded events still makes.
    fn remaining(
        &self,
        commit: &ModelCommit,
        known: &mut Predicted,
        failed: &mut Vec<FailedCheck>,
    ) {
        // A record that was changed in that commit or later stays.
        let changes_before = self.end_before(self.end_of(known.last)).changes;
        let before = self.state(u64::MAX);
        let mut after = before.clone();
        let mut changes = Vec::new();
        for request in &commit.requests {
            let is_record = matches!(request, ModelRequest::Record { .. });
            let name = request.name();
            let changed_since = is_record && before.record(name).change > changes_before;
            if changed_since || request.is_in_effect(&after) {
                if is_record {
                    known.record_versions.push(after.record(name).version);
                }
                continue;
            }
            let (version, _) = self.stream_head(request.name(), self.head());
            if let Some(refusal) = request.refusal(&after, self.head(), version) {
                failed.push(refusal);
                continue;
            }
            let Some(change) = request.to_change() else { continue };
            let change = change.not_back(&after);
            let mut then = after.clone();
            then.apply(&change);
            if change.differs(&after, &then) {
                changes.push(change);
            }
            after = then;
            if is_record {
                known.record_versions.push(after.record(name).version);
            }
        }
        changes.retain(|change| change.differs(&before, &after));
        known.changes = changes;
    }

    /// The newest event that a boundary's query matches.
    pub fn newest_match(&self, boundary: &ModelBoundary) -> Option<u64> {
        let matches = |item: &ModelQuery, event| {
            let anywhere = boundary.expected == ModelMatch::Nothing;
            let after = if anywhere { None } else { item.after };
            ModelQuery { after, ..item.clone() }.matches(event)
        };
        let newest = self.events.iter().rfind(|e| boundary.items.iter().any(|it| matches(it, e)));
        newest.map(|event| event.position)
    }

    fn check(&self, commit: &ModelCommit) -> Result<Predicted, Error> {
        let (mut failed, mut lost_to) = (Vec::new(), 0);
        for (query, boundary) in commit.boundaries.iter().enumerate() {
            let newest = self.newest_match(boundary);
            let position = Position::new(newest.unwrap_or(0));
            failed.push(match boundary.expected {
                ModelMatch::At(expected) if newest.unwrap_or(0) == expected => continue,
                ModelMatch::At(expected) => FailedCheck::NewestMatchMoved {
                    query,
                    expected: (expected > 0).then(|| Position::new(expected)),
                    actual: newest.map(Position::new),
                },
                _ if newest.is_none() => continue,
                ModelMatch::Nothing => FailedCheck::AlreadyExists { query, position },
                ModelMatch::NothingNew => FailedCheck::AppendConditionFailed { query, position },
            });
            lost_to = lost_to.max(position.get());
        }
        let mut current: HashMap<&str, u64> = HashMap::new();
        let (mut versions, mut count) = (Vec::new(), 0);
        for (index, operation) in commit.operations.iter().enumerate() {
            let stream = operation.stream.as_str();
            let (before, last) = self.stream_head(stream, self.head());
            let version = current.entry(stream).or_insert(before);
            if !operation.expected.holds_for(*version) {
                let (stream, expected) = (operation.stream.clone(), operation.expected);
                let actual = *version;
                lost_to = lost_to.max(last);
                failed.push(FailedCheck::WrongExpectedVersion { index, stream, expected, actual });
            }
            *version += operation.events.len() as u64;
            count += operation.events.len() as u64;
            versions.push(*version);
        }
        let (mut state, mut record_versions) = (self.state(u64::MAX), Vec::new());
        for request in &commit.requests {
            let before = || self.stream_head(request.name(), self.head()).0;
            let version = current.get(request.name()).copied().unwrap_or_else(before);
            match request.refusal(&state, self.head(), version) {
                Some(refusal) => failed.push(refusal),
                None => request.to_change().iter().for_each(|change| state.apply(change)),
            }
            if let ModelRequest::Record { key, .. } = request {
                let record = state.record(key);
                record_versions.push(if request.writes() {
                    record.version
                } else {
                    record.current()
                });
            }
        }
        self.check_snapshots(commit, &current, count, &mut failed);
        if !failed.is_empty() {
            return Err(conflict(failed, lost_to));
        }
        let (head, last) = (self.head(), self.head() + count);
        let first = if count == 0 { head } else { head + 1 };
        let (already_recorded, changes) = (false, Vec::new());
        Ok(Predicted { first, last, versions, already_recorded, changes, record_versions })
    }

    /// A snapshot's mark must be reached when its commit is done.
    fn check_snapshots(
        &self,
        commit: &ModelCommit,
        current: &HashMap<&str, u64>,
        count: u64,
        failed: &mut Vec<FailedCheck>,
    ) {
        for snapshot in &commit.snapshots {
            let mark = snapshot.mark();
            let reached = match current.get(snapshot.key()) {
                _ if matches!(mark, Mark::Position(_)) => self.head() + count,
                Some(version) => *version,
                None => self.stream_head(snapshot.key(), self.head()).0,
            };
            if mark.number() > reached {
                let (key, mark) = (snapshot.key().to_owned(), mark.number());
                failed.push(FailedCheck::SnapshotAhead { key, mark, reached });
            }
        }
    }

    /// All ids known, with the same contents, in ascending order: the first result again. No id
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
            (Some(_), Some(&first), Some(&last)) if same => Ok(Some(Predicted {
                first,
                last,
                versions,
                already_recorded: true,
                changes: Vec::new(),
                record_versions: Vec::new(),
            })),
            (Some((id, position)), ..) => {
                Err(Error::IdReused { id, position: Position::new(position) })
            }
            _ => Ok(None),
        }
    }
}
