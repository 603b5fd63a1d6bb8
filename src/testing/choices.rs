//! The contents of a random commit: events, cursors, hidden streams, boundaries and snapshots.
//!
//! Owns the choices, which are drawn from bytes, and their meaning in the current state. Must never
//! look at a store: that state is the model's.

use super::model::{
    Model, ModelBoundary, ModelChange, ModelMatch, ModelQuery, ModelRecordOperation, ModelRequest,
    ModelState,
};
use super::operations::{OperationChoice, STREAMS, Source, operation, query_item};
use crate::event::ExpectedRecord;

/// Names of cursors that actions use; one is also a stream's, the last is too long.
pub const CURSORS: [&str; 5] = ["emailer", "account-1", "é", "b", LONG];
const LONG: &str = match std::str::from_utf8(&[b'n'; 256]) {
    Ok(long) => long,
    Err(_) => "",
};
/// In µs. The clock of a life advances about a second at a time.
const AGES: [u64; 6] = [0, 0, 1, 300_000, 2_000_000, 1 << 62];

/// Keys of records that actions use: prefixes of each other, one also a stream's.
pub const RECORDS: [&str; 7] = ["view/1", "view/10", "view/2", "account-1", "é", "v", "sum"];

/// What an action does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordChoice {
    /// An index into [`RECORDS`].
    pub key: usize,
    /// 0 to 5: put, 6 and 7: delete, 8: check.
    pub kind: u8,
    /// The expectation, relative to the present version.
    pub expected: u8,
    /// The size of the value.
    pub size: u16,
}

/// The target of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceChoice {
    /// The distance after the current position.
    Forward(u8),
    /// The distance before the head.
    Back(u8),
    /// The distance after the head.
    Ahead(u8),
    /// The number of events from the beginning, modulo the length of the history.
    At(u16),
}

/// The expected position of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromChoice {
    /// Anywhere.
    Any,
    /// The present position.
    There,
    /// Never set.
    Unset,
    /// The distance after the current position.
    Off(u8),
}

/// A change that a commit requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChoice {
    /// Puts, deletes or checks a record.
    Record(RecordChoice),
    /// Moves a cursor forward.
    Advance {
        /// An index into [`CURSORS`].
        cursor: usize,
        /// The expected position.
        from: FromChoice,
        /// Where to.
        to: PlaceChoice,
    },
    /// Sets a cursor to any position.
    Reset {
        /// An index into [`CURSORS`].
        cursor: usize,
        /// Where to.
        to: PlaceChoice,
    },
    /// Deletes a cursor.
    Delete {
        /// An index into [`CURSORS`].
        cursor: usize,
    },
    /// Hides a stream's events before the version with this distance before its next but one.
    Truncate {
        /// An index into [`STREAMS`].
        stream: usize,
        /// The distance.
        back: u8,
    },
    /// Hides a stream, or shows it again.
    Archive {
        /// An index into [`STREAMS`].
        stream: usize,
        /// Hides it.
        archived: bool,
    },
    /// Limits the visible part of a stream; 0: no limit.
    Limit {
        /// An index into [`STREAMS`].
        stream: usize,
        /// In µs.
        max_age: u64,
        /// In events.
        max_count: u64,
    },
}

/// A condition on the newest event that a query matches.
#[derive(Debug, Clone)]
pub struct BoundaryChoice {
    /// Its alternatives.
    pub items: Vec<ModelQuery>,
    /// Only events after the position with this distance before the head.
    pub after: Option<u8>,
    /// What the newest match must be.
    pub expected: ExpectedChoice,
}

/// What the newest match of a boundary must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedChoice {
    /// None after the query's positions.
    NothingNew,
    /// None at any position.
    Nothing,
    /// The one there is.
    Newest,
    /// The event with this distance before the head.
    Back(u8),
}

/// All contents of one commit.
#[derive(Debug, Clone)]
pub struct CommitChoice {
    /// Checks and events.
    pub operations: Vec<OperationChoice>,
    /// Queries that must match nothing.
    pub boundaries: Vec<BoundaryChoice>,
    /// Changes other than events.
    pub requests: Vec<RequestChoice>,
    /// Snapshots that are saved with the commit.
    pub snapshots: Vec<SnapshotChoice>,
}

/// A snapshot that is saved with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotChoice {
    /// The key, an index into [`STREAMS`].
    pub key: usize,
    /// By position; else by version.
    pub by_position: bool,
    /// The distance before the version or position that follows the last one before the commit.
    pub back: u8,
    /// The size of its state.
    pub size: u16,
}

impl CommitChoice {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        // The contents of a commit, as numbers of each kind.
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

impl CommitChoice {
    /// A commit with up to three requests for records, alone or beside an event.
    pub(super) fn decode_records(source: &mut Source<'_>) -> Self {
        let (operations, records, requests) =
            source.pick(&[(1, 1, 0), (1, 2, 0), (0, 1, 0), (0, 3, 0), (1, 2, 1), (2, 1, 0)]);
        let record = |source: &mut Source<'_>| RequestChoice::decode_record(source);
        let mut all: Vec<_> = (0..records).map(|_| record(source)).collect();
        all.extend((0..requests).map(|_| RequestChoice::decode(source)));
        let operations = (0..operations).map(|_| operation(source, true)).collect();
        let (boundaries, snapshots) = (Vec::new(), Vec::new());
        Self { operations, boundaries, requests: all, snapshots }
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
        let expected = match source.below(15) {
            0 | 5 | 10 => ExpectedChoice::Nothing,
            1 | 2 => ExpectedChoice::Newest,
            3 => ExpectedChoice::Back(after.unwrap_or(0)),
            _ => ExpectedChoice::NothingNew,
        };
        Self { items, after, expected }
    }

    pub(super) fn resolve(&self, model: &Model) -> ModelBoundary {
        let mut items = self.items.clone();
        let after = self.after.map(|back| model.head().saturating_sub(back.into()));
        for item in &mut items {
            item.after = item.after.max(after);
        }
        let mut boundary = ModelBoundary { items, expected: ModelMatch::NothingNew };
        boundary.expected = match self.expected {
            ExpectedChoice::NothingNew => ModelMatch::NothingNew,
            ExpectedChoice::Nothing => ModelMatch::Nothing,
            ExpectedChoice::Newest => ModelMatch::At(model.newest_match(&boundary).unwrap_or(0)),
            ExpectedChoice::Back(back) => ModelMatch::At(model.head().saturating_sub(back.into())),
        };
        boundary
    }
}

impl RequestChoice {
    pub(super) fn decode_record(source: &mut Source<'_>) -> Self {
        Self::Record(RecordChoice {
            key: usize::from(source.byte()) % RECORDS.len(),
            kind: source.below(9),
            expected: source.below(12),
            size: source.word(),
        })
    }

    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        let names = u8::try_from(CURSORS.len()).unwrap_or(1);
        let (kind, which) = (source.below(16), source.byte());
        // One in 64 is the name that is too long.
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

    /// The choice in the model's current state, after a commit's own operations.
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
            Self::Record(choice) => choice.resolve(state),
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

impl RecordChoice {
    fn resolve(self, state: &ModelState) -> ModelRequest {
        let key = RECORDS[self.key % RECORDS.len()].to_owned();
        let record = state.record(&key);
        let operation = match self.kind {
            0..=5 => {
                // Mostly small; one in 16 as large as a store of small segments takes.
                let size =
                    if self.size.is_multiple_of(16) { 9000 } else { usize::from(self.size) % 300 };
                let mark = self.size.to_le_bytes()[0];
                ModelRecordOperation::Put(vec![mark; size])
            }
            6 | 7 => ModelRecordOperation::Delete,
            _ => ModelRecordOperation::Check,
        };
        let expected = match self.expected {
            0..=4 => ExpectedRecord::Any,
            5..=7 => ExpectedRecord::Exact(record.current()),
            8 => ExpectedRecord::NoRecord,
            9 => ExpectedRecord::Exists,
            10 => ExpectedRecord::Exact(record.version),
            _ => ExpectedRecord::Exact(record.version + 1),
        };
        ModelRequest::Record { key, operation, expected }
    }
}
