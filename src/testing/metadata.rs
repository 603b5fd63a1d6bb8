//! What commits hold beside events, and what they are refused for: cursors, hidden streams,
//! boundaries.
//!
//! Owns the choices, what they mean in the state they meet, and the comparison of what a store
//! shows of them. The model says what has to come of it.

use std::time::Duration;

use super::compare::{self, Checked, Mismatch, ensure, must};
use super::harness::Harness;
use super::model::{
    Model, ModelBoundary, ModelChange, ModelCommit, ModelQuery, ModelRequest, ModelState, Point,
};
use super::operations::{OperationChoice, STREAMS, Source, operation, query_item, to_query};
use super::snapshots::mark;
use crate::error::Result as StoreResult;
use crate::event::{Position, StreamMetadata, category_of};
use crate::query::Query;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::transaction::Transaction;

/// Names of cursors that actions use; one is also a stream's, the last is too long.
pub const CURSORS: [&str; 5] = ["emailer", "account-1", "é", "b", LONG];
const LONG: &str = match std::str::from_utf8(&[b'n'; 256]) {
    Ok(long) => long,
    Err(_) => "",
};
/// In µs. The clock of a life goes about a second at a time.
const AGES: [u64; 6] = [0, 0, 1, 300_000, 2_000_000, 1 << 62];

/// Where a cursor is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceChoice {
    /// So many behind where it is.
    Forward(u8),
    /// So many before the head.
    Back(u8),
    /// So many behind the head.
    Ahead(u8),
    /// So many events into the history, taken round.
    At(u16),
}

/// Where a cursor is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromChoice {
    /// Anywhere.
    Any,
    /// Where it is.
    There,
    /// Never set.
    Unset,
    /// So many behind where it is.
    Off(u8),
}

/// A change that a commit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChoice {
    /// Moves a cursor forward.
    Advance {
        /// An index into [`CURSORS`].
        cursor: usize,
        /// Where it has to be.
        from: FromChoice,
        /// Where to.
        to: PlaceChoice,
    },
    /// Puts a cursor anywhere.
    Reset {
        /// An index into [`CURSORS`].
        cursor: usize,
        /// Where to.
        to: PlaceChoice,
    },
    /// Forgets a cursor.
    Delete {
        /// An index into [`CURSORS`].
        cursor: usize,
    },
    /// Hides a stream's events before the version that is so many before its next but one.
    Truncate {
        /// An index into [`STREAMS`].
        stream: usize,
        /// So many before.
        back: u8,
    },
    /// Hides a stream, or shows it again.
    Archive {
        /// An index into [`STREAMS`].
        stream: usize,
        /// Hides it.
        archived: bool,
    },
    /// Limits what is shown of a stream; 0: no limit.
    Limit {
        /// An index into [`STREAMS`].
        stream: usize,
        /// In µs.
        max_age: u64,
        /// In events.
        max_count: u64,
    },
}

/// A query that must match nothing.
#[derive(Debug, Clone)]
pub struct BoundaryChoice {
    /// Its alternatives.
    pub items: Vec<ModelQuery>,
    /// Only what lies behind so many events before the head.
    pub after: Option<u8>,
    /// A match anywhere counts.
    pub anywhere: bool,
}

/// Everything one commit asks for.
#[derive(Debug, Clone)]
pub struct CommitChoice {
    /// Checks and events.
    pub operations: Vec<OperationChoice>,
    /// Queries that must match nothing.
    pub boundaries: Vec<BoundaryChoice>,
    /// What is to change beside events.
    pub requests: Vec<RequestChoice>,
    /// What is saved with it.
    pub snapshots: Vec<SnapshotChoice>,
}

/// A snapshot that is saved with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotChoice {
    /// Its key, an index into [`STREAMS`].
    pub key: usize,
    /// By position; else by version.
    pub by_position: bool,
    /// So many before the next one behind where the stream, or the store, was before the commit.
    pub back: u8,
    /// The size of its state.
    pub size: u16,
}

impl CommitChoice {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        // What goes into a commit, as numbers of each.
        let (operations, boundaries, requests) = source.pick(&[
            (1, 0, 1),
            (1, 0, 1),
            (1, 1, 0),
            (1, 1, 0),
            (1, 1, 1),
            (0, 0, 1),
            (0, 0, 3),
            (2, 1, 2),
            (2, 2, 0),
            (0, 2, 0),
            (0, 1, 1),
            (3, 0, 2),
        ]);
        Self {
            operations: (0..operations).map(|_| operation(source, true)).collect(),
            boundaries: (0..boundaries).map(|_| BoundaryChoice::decode(source)).collect(),
            requests: (0..requests).map(|_| RequestChoice::decode(source)).collect(),
            snapshots: match source.below(4) {
                0 => vec![SnapshotChoice::decode(source)],
                _ => Vec::new(),
            },
        }
    }
}

impl SnapshotChoice {
    fn decode(source: &mut Source<'_>) -> Self {
        Self {
            key: usize::from(source.below(4)),
            by_position: source.below(3) == 0,
            back: source.below(4),
            size: source.word() % 3000,
        }
    }
}

impl BoundaryChoice {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        let items = match source.below(8) {
            0 => 0,
            1..=5 => 1,
            _ => 2,
        };
        let items = (0..items).map(|_| query_item(source)).collect();
        let after = (source.below(4) > 0).then(|| source.below(6));
        Self { items, after, anywhere: source.below(5) == 0 }
    }

    pub(super) fn resolve(&self, model: &Model) -> ModelBoundary {
        let mut items = self.items.clone();
        let after = self.after.map(|back| model.head().saturating_sub(back.into()));
        for item in &mut items {
            item.after = item.after.max(after);
        }
        ModelBoundary { items, anywhere: self.anywhere }
    }
}

impl RequestChoice {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        let names = u8::try_from(CURSORS.len()).unwrap_or(1);
        let (kind, which) = (source.below(16), source.byte());
        // The one that is too long is for one in 64.
        let cursor =
            if which >= 252 { CURSORS.len() - 1 } else { usize::from(which % (names - 1)) };
        let stream = usize::from(which % 8);
        match kind {
            0..=5 => Self::Advance { cursor, from: from(source), to: place(source) },
            6 | 7 => Self::Reset { cursor, to: place(source) },
            8 => Self::Delete { cursor },
            9 | 10 => Self::Truncate { stream, back: source.below(6) },
            11 => Self::Archive { stream, archived: true },
            12 | 13 => Self::Archive { stream, archived: false },
            _ => Self::Limit {
                stream,
                max_age: source.pick(&AGES),
                max_count: source.pick(&[0, 0, 1, 3, 1 << 62]),
            },
        }
    }

    /// What it means for the store as the model has it, behind a commit's own operations.
    pub(super) fn resolve(self, model: &Model, state: &ModelState) -> ModelRequest {
        let head = model.head();
        let stream_of = |stream: usize| STREAMS[stream % STREAMS.len()].to_owned();
        let name_of = |cursor: usize| CURSORS[cursor % CURSORS.len()].to_owned();
        let at_of = |name: &str| state.cursors.get(name).copied();
        let place = |name: &str, place: PlaceChoice| match place {
            PlaceChoice::Forward(by) => at_of(name).unwrap_or(0) + u64::from(by),
            PlaceChoice::Back(by) => head.saturating_sub(by.into()),
            PlaceChoice::Ahead(by) => head + u64::from(by),
            PlaceChoice::At(events) => u64::from(events) % (head + 1),
        };
        match self {
            Self::Advance { cursor, from, to } => {
                let name = name_of(cursor);
                let from = match from {
                    FromChoice::Any => None,
                    FromChoice::There => Some(at_of(&name)),
                    FromChoice::Unset => Some(None),
                    FromChoice::Off(by) => Some(Some(at_of(&name).unwrap_or(0) + u64::from(by))),
                };
                let to = place(&name, to);
                ModelRequest::Advance { name, from, to }
            }
            Self::Reset { cursor, to } => {
                let name = name_of(cursor);
                let to = place(&name, to);
                ModelRequest::Reset { name, to }
            }
            Self::Delete { cursor } => ModelRequest::Delete { name: name_of(cursor) },
            Self::Truncate { stream, back } => {
                let stream = stream_of(stream);
                let (version, _) = model.stream_head(&stream, u64::MAX);
                let before = (version + 2).saturating_sub(back.into());
                ModelRequest::Hide(ModelChange::Truncated(stream, before))
            }
            Self::Archive { stream, archived } => {
                ModelRequest::Hide(ModelChange::Archived(stream_of(stream), archived))
            }
            Self::Limit { stream, max_age, max_count } => {
                ModelRequest::Hide(ModelChange::Limited(stream_of(stream), max_age, max_count))
            }
        }
    }
}

fn from(source: &mut Source<'_>) -> FromChoice {
    match source.below(8) {
        0..=3 => FromChoice::Any,
        4 | 5 => FromChoice::There,
        6 => FromChoice::Unset,
        _ => FromChoice::Off(1 + source.below(2)),
    }
}

fn place(source: &mut Source<'_>) -> PlaceChoice {
    match source.below(8) {
        0..=2 => PlaceChoice::Forward(source.below(4)),
        3..=5 => PlaceChoice::Back(source.below(4)),
        6 => PlaceChoice::At(source.word()),
        _ => PlaceChoice::Ahead(source.below(3)),
    }
}

/// A limit on what is shown of a stream, as the API takes it.
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

/// Puts a commit together as a caller would.
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
        transaction = if boundary.anywhere {
            transaction.fail_if_exists(query)
        } else {
            transaction.fail_if(query)
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
            ModelRequest::Hide(change) => match change {
                // No request comes to this.
                ModelChange::Cursor(name, _) => transaction.delete_cursor(name),
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
    for snapshot in &commit.snapshots {
        transaction = transaction.snapshot(snapshot.clone());
    }
    transaction
}

/// Asks for one change by the call that is made for it.
pub(super) fn call(store: &Store, request: &ModelRequest) -> StoreResult<()> {
    let cursors = store.cursors();
    match request {
        ModelRequest::Advance { name, from: None, to } => cursors.advance(name, *to),
        ModelRequest::Advance { name, from: Some(from), to } => {
            cursors.compare_and_set(name, from.map(Position::new), *to)
        }
        ModelRequest::Reset { name, to } => cursors.reset(name, *to),
        ModelRequest::Delete { name } => cursors.delete(name),
        ModelRequest::Hide(change) => match change {
            ModelChange::Cursor(name, _) => cursors.delete(name),
            ModelChange::Truncated(stream, before) => store.truncate_before(stream, *before),
            ModelChange::Archived(stream, true) => store.archive(stream),
            ModelChange::Archived(stream, false) => store.unarchive(stream),
            ModelChange::Limited(stream, age, count) => {
                store.set_stream_metadata(stream, limits(*age, *count))
            }
        },
    }
}

/// Where the store's readers are in the order of commits.
pub(super) fn visible(store: &Store) -> Point {
    let changes = store.engine().metadata.read().last_change();
    Point { events: store.head().get(), changes }
}

/// Where it is with everything that is accepted.
pub(super) fn accepted(store: &Store) -> Point {
    let events = store.stats().events;
    let following = store.engine().follower.is_some();
    let changes = if following {
        visible(store).changes
    } else {
        store.engine().writer.lock().tip.next_change - 1
    };
    Point { events, changes }
}

/// Everything that a store shows of cursors and hidden streams, against the model as of what is
/// visible; returns where that is. A store with threads may go on meanwhile: then nothing is said.
pub(super) fn compare(store: &Store, model: &Model) -> Checked<StoreResult<Point>> {
    // A reader beside a writer learns what is new with this.
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
    for name in CURSORS {
        let found = match store.cursors().get(name) {
            Ok(found) => found.map(Position::get),
            Err(error) => return Ok(Err(error)),
        };
        let expected = state.cursors.get(name).copied();
        note(found == expected, format!("cursor {name:?}: {found:?}, not {expected:?}"));
        let behind = found.is_none_or(|at| at <= store.head().get());
        note(behind, format!("cursor {name:?} at {found:?} is ahead of {}", store.head()));
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
    /// The commit that a choice stands for now.
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
        ModelCommit { operations, boundaries, requests, snapshots }
    }

    /// Each as those before it leave the cursors.
    pub(super) fn resolve_requests(&self, choices: &[RequestChoice]) -> Vec<ModelRequest> {
        let mut state = self.model.state(u64::MAX);
        let resolve = |choice: &RequestChoice| {
            let request = choice.resolve(&self.model, &state);
            state.apply(&request.to_change());
            request
        };
        choices.iter().map(resolve).collect()
    }

    /// Compares what the store shows, or what a reader beside it does.
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
        // Threads may publish the events of a commit a moment before its changes.
        let whole = self.settings.background || self.model.is_end(point);
        ensure!(whole, "readers see half a commit, up to {point:?}");
        self.seen = self.seen.max(point);
        Ok(())
    }

    /// Asks questions that are boundaries alone, and writes nothing.
    pub(super) fn questions(&mut self, store: &Store) -> Checked {
        let head = self.model.head();
        for number in 0..6_u8 {
            // Any bytes are a boundary.
            let mut bytes = [0; 24];
            for (byte, at) in bytes.iter_mut().zip(1_u8..) {
                *byte = at.wrapping_mul(31).wrapping_mul(number + 1) ^ head.to_le_bytes()[0];
            }
            let choice = BoundaryChoice::decode(&mut Source::new(&bytes));
            let boundaries = vec![choice.resolve(&self.model)];
            let commit = ModelCommit { boundaries, ..ModelCommit::default() };
            let predicted = self.model.predict(&commit, false, true).map(|_| ());
            let answer = transaction(store, &commit).commit().map(|_| ());
            match (predicted, answer) {
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
