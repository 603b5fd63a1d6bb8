//! The checks of a commit that need no lock: limits, names, ids given twice.

use std::collections::HashSet;

use bytes::Bytes;
use smol_str::SmolStr;

use super::limits;
use crate::engine::snapshots::check as check_snapshot;
use crate::error::{Error, Result};
use crate::event::snapshot::{Mark, Snapshot};
use crate::event::{ExpectedRecord, ExpectedVersion, NewEvent, Timestamp};
use crate::format::metadata::{
    self, Change, MAX_CURSOR_NAME_LEN, MAX_PLAIN_RECORD_VALUE_LEN, MAX_RECORD_KEY_LEN,
    MAX_RECORD_VALUE_LEN,
};
use crate::format::record::{self, MAX_STREAM_LEN, MAX_TYPE_LEN};
use crate::format::segment_header::{
    FEATURE_EXTENDED_EVENTS, FEATURE_LARGE_RECORDS, FEATURE_METADATA, FEATURE_RECORDS,
};
use crate::format::tags::{self, MAX_TAGS_LEN};
use crate::options::Options;
use crate::query::Query;

/// One operation of a commit: a check, and the events to append if it holds.
#[derive(Debug)]
pub(crate) struct StreamOperation<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: ExpectedVersion,
    pub(crate) events: &'a [NewEvent],
}

/// A change that a commit asks for beside its events.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Moves a cursor forward.
    Advance {
        name: SmolStr,
        from: CursorFrom,
        to: u64,
    },
    /// Puts a cursor anywhere.
    Reset {
        name: SmolStr,
        to: u64,
    },
    /// Forgets a cursor.
    Delete {
        name: SmolStr,
    },
    /// Changes the hidden part of a stream.
    Hide(Change),
    /// Gives a record a value.
    PutRecord {
        key: SmolStr,
        value: Bytes,
        expected: ExpectedRecord,
    },
    DeleteRecord {
        key: SmolStr,
        expected: ExpectedRecord,
    },
    /// Checks a record, and changes nothing.
    CheckRecord {
        key: SmolStr,
        expected: ExpectedRecord,
    },
}

impl Request {
    /// Whether it makes a change if its check holds.
    pub(super) fn writes(&self) -> bool {
        !matches!(self, Self::CheckRecord { .. })
    }

    /// Whether it changes or checks anything.
    fn asks(&self) -> bool {
        !matches!(self, Self::CheckRecord { expected: ExpectedRecord::Any, .. })
    }
}

/// The required position of a cursor before a move forward.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CursorFrom {
    Anywhere,
    /// There; `None`: never set.
    At(Option<u64>),
}

/// A condition on the newest event that a query matches.
#[derive(Debug, Clone)]
pub(crate) struct Boundary {
    pub(crate) query: Query,
    pub(crate) expected: ExpectedMatch,
}

/// What the newest match of a boundary's query must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedMatch {
    /// None after the positions that the query names.
    NothingNew,
    /// None at all.
    Nothing,
    /// The event at this position; 0: none.
    At(u64),
}

/// A commit, within its limits once [`prepare`] has checked it.
#[derive(Debug, Default)]
pub(crate) struct Prepared<'a> {
    pub(super) operations: &'a [StreamOperation<'a>],
    pub(super) boundaries: &'a [Boundary],
    pub(super) requests: &'a [Request],
    pub(super) snapshots: &'a [Snapshot],
    /// The bytes of the metadata after the records; 0: no requests.
    pub(super) metadata_len: usize,
    pub(super) body_len: usize,
    pub(super) event_count: u32,
    pub(super) has_ids: bool,
    /// Whether an event needs the incompatible feature bit 2.
    pub(super) has_extended_events: bool,
    /// The time to record it at; `None`: now.
    pub(crate) recorded_at: Option<Timestamp>,
}

/// Checks everything about a commit that needs no lock, and measures it.
pub(crate) fn prepare(commit: &mut Prepared<'_>, options: &Options) -> Result<()> {
    let Prepared { operations, boundaries, requests, snapshots, .. } = *commit;
    let mut body_len = 0_usize;
    let mut event_count = 0_usize;
    let mut given_ids = 0_usize;
    let mut has_extended_events = false;
    for operation in operations {
        limits::STREAM_NAME.check(operation.stream.len(), MAX_STREAM_LEN)?;
        if operation.stream.is_empty() {
            return Err(empty("stream"));
        }
        for event in operation.events {
            let tags = tags::measure(&event.tags);
            check_event(event, tags.len, options)?;
            let len = record::encoded_len(operation.stream, event, tags.len);
            body_len = body_len.saturating_add(len);
            given_ids += usize::from(event.id.is_some());
            has_extended_events |= tags.extended || event.event_type.is_empty();
        }
        event_count += operation.events.len();
    }
    snapshots.iter().try_for_each(check_snapshot)?;
    let asks = |o: &StreamOperation<'_>| o.expected != ExpectedVersion::Any;
    if event_count == 0
        && !requests.iter().any(Request::asks)
        && boundaries.is_empty()
        && !operations.iter().any(asks)
    {
        return Err(Error::EmptyCommit);
    }
    let metadata_len = metadata_len(requests)?;
    let max = usize::try_from(options.capacity() / 4).unwrap_or(usize::MAX);
    limits::COMMIT.check(body_len.saturating_add(metadata_len), max)?;
    if given_ids > 1 {
        let mut seen = HashSet::with_capacity(given_ids);
        let ids = operations.iter().flat_map(|o| o.events).filter_map(|event| event.id);
        if let Some(id) = ids.into_iter().find(|id| !seen.insert(*id)) {
            return Err(Error::DuplicateId { id });
        }
    }
    commit.metadata_len = metadata_len;
    commit.body_len = body_len;
    // Bounded by the commit's size.
    commit.event_count = u32::try_from(event_count).unwrap_or(u32::MAX);
    commit.has_ids = given_ids > 0;
    commit.has_extended_events = has_extended_events;
    Ok(())
}

/// Checks the names in requests, and adds up their sizes.
fn metadata_len(requests: &[Request]) -> Result<usize> {
    let writes = requests.iter().any(Request::writes);
    let mut len = if writes { metadata::SECTION_HEADER_LEN } else { 0 };
    for request in requests {
        let (limit, name, max) = match request {
            Request::Advance { name, .. }
            | Request::Reset { name, .. }
            | Request::Delete { name } => (limits::CURSOR_NAME, name.as_str(), MAX_CURSOR_NAME_LEN),
            Request::Hide(change) => (limits::STREAM_NAME, change.name(), MAX_STREAM_LEN),
            Request::PutRecord { key, .. }
            | Request::DeleteRecord { key, .. }
            | Request::CheckRecord { key, .. } => {
                check_record_key(key)?;
                (limits::RECORD_KEY, key.as_str(), MAX_RECORD_KEY_LEN)
            }
        };
        limit.check(name.len(), max)?;
        if name.is_empty() {
            return Err(empty("name"));
        }
        if request.writes() {
            len = len.saturating_add(metadata::CHANGE_HEADER_LEN + name.len());
        }
        if let Request::PutRecord { value, .. } = request {
            limits::RECORD_VALUE.check(value.len(), MAX_RECORD_VALUE_LEN)?;
            len = len.saturating_add(value.len());
        }
    }
    Ok(len)
}

impl<'a> Prepared<'a> {
    /// A commit that is not checked yet.
    #[inline]
    pub(crate) fn of(
        operations: &'a [StreamOperation<'a>],
        boundaries: &'a [Boundary],
        requests: &'a [Request],
        snapshots: &'a [Snapshot],
    ) -> Self {
        Self { operations, boundaries, requests, snapshots, ..Self::default() }
    }

    /// The streams whose heads the checks use.
    pub(super) fn streams(&self) -> impl Iterator<Item = &'a str> {
        let appended = self.operations.iter().map(|operation| operation.stream);
        let hidden = self.requests.iter().filter_map(|request| match request {
            Request::Hide(change) => Some(change.name()),
            _ => None,
        });
        let saved = self.snapshots.iter().filter(|s| matches!(s.mark(), Mark::Version(_)));
        appended.chain(hidden).chain(saved.map(Snapshot::key))
    }

    /// Whether it checks, puts or deletes records.
    pub(super) fn has_records(&self) -> bool {
        self.requests.iter().any(|request| request.record().is_some())
    }

    /// Whether there is something to write if every check holds.
    pub(super) fn writes(&self) -> bool {
        self.event_count > 0 || self.requests.iter().any(Request::writes)
    }

    /// The features that a segment must have to hold the commit's events and changes.
    pub(super) fn features(&self) -> u64 {
        let of_changes = match self.requests {
            [] => 0,
            _ if self.has_records() => FEATURE_METADATA | FEATURE_RECORDS,
            _ => FEATURE_METADATA,
        };
        let is_large = |request: &Request| match request {
            Request::PutRecord { value, .. } => value.len() > MAX_PLAIN_RECORD_VALUE_LEN,
            _ => false,
        };
        let has_large_record = self.requests.iter().any(is_large);
        let of_large = if has_large_record { FEATURE_LARGE_RECORDS } else { 0 };
        of_large | of_changes | if self.has_extended_events { FEATURE_EXTENDED_EVENTS } else { 0 }
    }
}

fn check_event(event: &NewEvent, tags_len: usize, options: &Options) -> Result<()> {
    if event.id.is_some_and(|id| id.is_nil()) {
        let why = "the nil UUID is not a valid id; without an id, the store generates one".into();
        return Err(Error::InvalidArgument { what: "event id", why });
    }
    limits::EVENT_TYPE.check(event.event_type.len(), MAX_TYPE_LEN)?;
    limits::TAGS.check(tags_len, MAX_TAGS_LEN)?;
    let size = event.data.len().saturating_add(event.metadata.len());
    let max = usize::try_from(options.max_event_size).unwrap_or(usize::MAX);
    let limit = if options.max_event_size < Options::MAX_EVENT_SIZE {
        limits::EVENT
    } else {
        limits::LARGEST_EVENT
    };
    limit.check(size, max)
}

/// Checks the key of a record.
pub(crate) fn check_record_key(key: &str) -> Result<()> {
    limits::RECORD_KEY.check(key.len(), MAX_RECORD_KEY_LEN)?;
    if key.is_empty() { Err(empty("key")) } else { Ok(()) }
}

fn empty(what: &'static str) -> Error {
    Error::InvalidArgument { what, why: "must not be empty".into() }
}
