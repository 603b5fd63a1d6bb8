//! The contents of commits other than events, and the reasons for refusing them: cursors, hidden
//! streams, boundaries.
//!
//! Owns the requests to a store, and the comparison of its answers. Must never define the expected
//! result: the model does.

use std::time::Duration;

use super::choices::{
    BoundaryChoice, CURSORS, CommitChoice, RECORDS, RequestChoice, SnapshotChoice,
};
use super::commits::is_failure;
use super::compare::{self, Checked, Mismatch, ensure, must};
use super::harness::Harness;
use super::model::{
    Model, ModelBoundary, ModelChange, ModelCommit, ModelMatch, ModelRecordOperation, ModelRequest,
    Point,
};
use super::operations::{STREAMS, Source, to_query};
use super::snapshots::mark;
use crate::error::Result as StoreResult;
use crate::event::snapshot::Snapshot;
use crate::event::{ExpectedRecord, Position, StreamMetadata, category_of};
use crate::query::Query;
use crate::store::Store;
use crate::store::transaction::Transaction;

/// A limit on the visible part of a stream, as the API takes it.
pub(super) fn limits(max_age: u64, max_count: u64) -> StreamMetadata {
    StreamMetadata {
        max_age: (max_age != 0).then(|| Duration::from_micros(max_age)),
        max_count: (max_count != 0).then_some(max_count),
    }
}

/// The query that a boundary is made of.
fn boundary_query(boundary: &ModelBoundary) -> Query {
    to_query(&boundary.items)
}

/// Builds a commit as a caller would.
pub(super) fn transaction<'a>(store: &'a Store, commit: &ModelCommit) -> Transaction<'a> {
    let mut transaction = store.transaction();
    for o in &commit.operations {
        transaction = if o.events.is_empty() {
            transaction.check(&o.stream, o.expected)
        } else {
            transaction.append(&o.stream, o.expected, o.events.clone())
        };
    }
    for boundary in &commit.boundaries {
        let query = boundary_query(boundary);
        transaction = match boundary.expected {
            ModelMatch::NothingNew => transaction.fail_if(query),
            ModelMatch::Nothing => transaction.fail_if_exists(query),
            ModelMatch::At(position) => transaction.expect_newest(query, position),
        };
    }
    for request in &commit.requests {
        transaction = match request {
            ModelRequest::Advance { name, from: None, to } => transaction.cursor(name, *to),
            ModelRequest::Advance { name, from: Some(from), to } => {
                transaction.cursor_from(name, from.map(Position::new), *to)
            }
            ModelRequest::Reset { name, to } => transaction.reset_cursor(name, *to),
            ModelRequest::Delete { name } => transaction.delete_cursor(name),
            ModelRequest::Record { key, operation, expected } => match operation {
                ModelRecordOperation::Put(value) => transaction.put(key, value.clone(), *expected),
                ModelRecordOperation::Delete => transaction.delete_record(key, *expected),
                ModelRecordOperation::Check => transaction.check_record(key, *expected),
            },
            ModelRequest::Hide(change) => match change {
                // No request leads to these changes.
                ModelChange::Cursor(name, _) => transaction.delete_cursor(name),
                ModelChange::Record(key, _) => transaction.delete_record(key, ExpectedRecord::Any),
                ModelChange::Truncated(stream, before) => {
                    transaction.truncate_before(stream, *before)
                }
                ModelChange::Archived(stream, true) => transaction.archive(stream),
                ModelChange::Archived(stream, false) => transaction.unarchive(stream),
                ModelChange::Limited(stream, age, count) => {
                    transaction.stream_metadata(stream, limits(*age, *count))
                }
            },
        };
    }
    if let Some(time) = commit.recorded_at {
        transaction = transaction.recorded_at(time);
    }
    for snapshot in &commit.snapshots {
        transaction = transaction.snapshot(snapshot.clone());
    }
    transaction
}

/// Makes one change by its own call.
pub(super) fn call(store: &Store, request: &ModelRequest) -> StoreResult<()> {
    let cursors = store.cursors();
    match request {
        ModelRequest::Advance { name, from: None, to } => cursors.advance(name, *to),
        ModelRequest::Advance { name, from: Some(from), to } => {
            cursors.compare_and_set(name, from.map(Position::new), *to)
        }
        ModelRequest::Reset { name, to } => cursors.reset(name, *to),
        ModelRequest::Delete { name } => cursors.delete(name),
        ModelRequest::Record { key, operation, expected } => match operation {
            ModelRecordOperation::Put(value) => {
                store.records().put(key, value.clone(), *expected).map(drop)
            }
            ModelRecordOperation::Delete => store.records().delete(key, *expected),
            ModelRecordOperation::Check => {
                store.transaction().check_record(key, *expected).commit().map(drop)
            }
        },
        ModelRequest::Hide(change) => match change {
            ModelChange::Cursor(name, _) => cursors.delete(name),
            ModelChange::Record(key, _) => store.records().delete(key, ExpectedRecord::Any),
            ModelChange::Truncated(stream, before) => store.truncate_before(stream, *before),
            ModelChange::Archived(stream, true) => store.archive(stream),
            ModelChange::Archived(stream, false) => store.unarchive(stream),
            ModelChange::Limited(stream, age, count) => {
                store.set_stream_metadata(stream, limits(*age, *count))
            }
        },
    }
}

/// The place of the store's readers in the order of commits.
pub(super) fn visible(store: &Store) -> Point {
    let changes = store.engine().contents().last_change().get();
    Point { events: store.head().get(), changes }
}

/// The same with everything that is accepted.
pub(super) fn accepted(store: &Store) -> Point {
    let events = store.stats().events;
    let following = store.engine().is_follower();
    let changes =
        if following { visible(store).changes } else { store.engine().last_accepted().0.get() };
    Point { events, changes }
}

/// Compares everything that a store shows of cursors and hidden streams with the model as of the
/// visible position, which is returned. A store with threads may change meanwhile: then nothing is
/// compared.
pub(super) fn compare(store: &Store, model: &Model) -> Checked<StoreResult<Point>> {
    // A reader beside a writer follows the writer in this call.
    let listed = match store.cursors().list() {
        Ok(listed) => listed,
        Err(error) => return Ok(Err(error)),
    };
    let point = visible(store);
    let state = model.state(point.changes);
    let found: Vec<_> = listed.iter().map(|it| (it.name.as_str(), it.position.get())).collect();
    let expected: Vec<_> = state.cursors.iter().map(|(name, &at)| (name.as_str(), at)).collect();
    let mut differs = None;
    let mut note = |same: bool, what: String| {
        if !same && differs.is_none() {
            differs = Some(what);
        }
    };
    note(found == expected, format!("cursors at {point:?}: {found:?}, not {expected:?}"));
    let lags = listed.iter().all(|it| it.lag == point.events.saturating_sub(it.position.get()));
    note(lags, format!("lags at {point:?}: {listed:?}"));
    for name in CURSORS {
        let found = match store.cursors().get(name) {
            Ok(found) => found.map(Position::get),
            Err(error) => return Ok(Err(error)),
        };
        let expected = state.cursors.get(name).copied();
        note(found == expected, format!("cursor {name:?}: {found:?}, not {expected:?}"));
        let behind = found.is_none_or(|at| at <= store.head().get());
        note(behind, format!("cursor {name:?} at {found:?} is ahead of {}", store.head()));
        let moves: Result<Vec<_>, _> = store.cursors().history(name).collect();
        let moves = match moves {
            Ok(moves) => moves,
            Err(error) => return Ok(Err(error)),
        };
        let found: Vec<_> =
            moves.iter().map(|it| (it.position.map(Position::get), it.head.get())).collect();
        let expected = model.cursor_history(name, point.changes);
        note(found == expected, format!("history of {name:?}: {found:?}, not {expected:?}"));
        let moved_at = listed.iter().find(|it| it.name == name).and_then(|it| it.moved_at);
        let last = moves.first().map(|it| it.recorded_at);
        let agree = moved_at.is_none_or(|at| Some(at) == last);
        note(agree, format!("cursor {name:?} moved at {moved_at:?} or {last:?}"));
    }
    let mut records = Vec::new();
    for record in store.records().list() {
        match record {
            Ok(record) => records.push((record.key, record.version, Some(record.value.to_vec()))),
            Err(error) => return Ok(Err(error)),
        }
    }
    let there = state.records.iter().filter(|(_, record)| record.value.is_some());
    let expected: Vec<_> =
        there.map(|(key, it)| (key.clone(), it.version, it.value.clone())).collect();
    note(records == expected, format!("records at {point:?}: {records:?}, not {expected:?}"));
    for key in RECORDS {
        let found = match store.records().get(key) {
            Ok(found) => found.map(|record| (record.version, Some(record.value.to_vec()))),
            Err(error) => return Ok(Err(error)),
        };
        let record = state.record(key);
        let expected = record.value.is_some().then_some((record.version, record.value));
        note(found == expected, format!("record {key:?}: {found:?}, not {expected:?}"));
    }
    for name in STREAMS {
        let found = match store.stream_info(name) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let expected = compare::expected_info(model, &state, name, point.events);
        note(found == expected, format!("stream {name:?}: {found:?}, not {expected:?}"));
    }
    if let Some(what) = differs {
        ensure!(visible(store) != point, "{what}");
    }
    Ok(Ok(point))
}

impl Harness {
    /// The commit that a choice stands for in the current state.
    pub(super) fn resolve_commit(&mut self, choice: &CommitChoice) -> ModelCommit {
        let operations = choice.operations.iter().map(|o| self.resolve(o)).collect();
        let boundaries = choice.boundaries.iter().map(|b| b.resolve(&self.model)).collect();
        let requests = self.resolve_requests(&choice.requests);
        let mut save = |choice: &SnapshotChoice| {
            let reached = self.model.reached(STREAMS[choice.key], choice.by_position, u64::MAX);
            let number = (reached + 1).saturating_sub(choice.back.into());
            let state = self.beside.snapshots.next_state(choice.size);
            Snapshot::new(STREAMS[choice.key], mark(choice.by_position, number), state)
        };
        let snapshots = choice.snapshots.iter().map(&mut save).collect();
        ModelCommit { operations, boundaries, requests, snapshots, recorded_at: None }
    }

    /// Each with the cursors as its predecessors leave them.
    pub(super) fn resolve_requests(&self, choices: &[RequestChoice]) -> Vec<ModelRequest> {
        let mut state = self.model.state(u64::MAX);
        let resolve = |choice: &RequestChoice| {
            let request = choice.resolve(&self.model, &state);
            request.to_change().iter().for_each(|change| state.apply(change));
            request
        };
        choices.iter().map(resolve).collect()
    }

    /// Compares the visible metadata of the store, or of a reader beside it.
    pub(super) fn metadata(&mut self, store: &Store, follower: bool) -> Checked {
        if follower {
            return self.follow(store, |follower, harness| {
                let compared = compare(follower, &harness.model)?;
                Ok(compared.map(|point| point.events))
            });
        }
        let compared = compare(store, &self.model)?;
        if let Some(point) = self.allow(compared)? {
            self.note_shown(point)?;
        }
        for stream in STREAMS {
            let category = Some(category_of(stream));
            let listed = compare::list_all(store, &self.model, "", category)?;
            self.allow(listed)?;
        }
        Ok(())
    }

    /// Readers were shown everything up to here.
    pub(super) fn note_shown(&mut self, point: Point) -> Checked {
        let (least, most) = (self.least_visible(false), self.model.end());
        ensure!(point.covers(least), "readers are at {point:?}, {least:?} was promised");
        ensure!(most.covers(point), "readers are at {point:?}, {most:?} is accepted");
        // Threads may publish the events of a commit before its changes.
        let whole = self.settings.background || self.model.is_end(point);
        ensure!(whole, "readers see half a commit, up to {point:?}");
        self.seen = self.seen.max(point);
        Ok(())
    }

    /// Makes transactions that only check boundaries, and write nothing.
    pub(super) fn questions(&mut self, store: &Store) -> Checked {
        let head = self.model.head();
        for number in 0..6_u8 {
            // Any bytes decode to a boundary.
            let mut bytes = [0; 24];
            for (byte, at) in bytes.iter_mut().zip(1_u8..) {
                *byte = at.wrapping_mul(31).wrapping_mul(number + 1) ^ head.to_le_bytes()[0];
            }
            let choice = BoundaryChoice::decode(&mut Source::new(&bytes));
            let boundaries = vec![choice.resolve(&self.model)];
            let commit = ModelCommit { boundaries, ..ModelCommit::default() };
            let predicted = self
                .model
                .predict(&commit, false, true, &super::commits::acceptable_times(store))
                .map(|_| ());
            let answer = transaction(store, &commit).commit().map(|_| ());
            match (predicted, answer) {
                // A boundary reads matching events, and the disk may fail that read.
                (_, Err(error)) if is_failure(&error) => must("a question", Err(error))?,
                (Ok(()), answer) => must("a question", answer)?,
                (Err(predicted), Err(actual)) if compare::same_error(&predicted, &actual) => {}
                (Err(predicted), answer) => {
                    let what = format!("answered {answer:?}, not {predicted:?}: {commit:?}");
                    return Err(Mismatch::new(what));
                }
            }
        }
        Ok(())
    }
}
