//! The records that a commit checks, puts and deletes.
//!
//! Under the writer's lock, changes on their way to disk and those in no index file are asked. A record that
//! may be in an index file is looked up there with no lock held, and then all checks are made again; what was
//! found is valid until a segment is sealed. Must never read a file with the writer locked.

use hashbrown::HashMap;

use super::Appends;
use super::prepare::{Prepared, Request};
use crate::catalog::RecordFiles;
use crate::engine::commit::Writer;
use crate::error::{FailedCheck, Result};
use crate::event::ExpectedRecord;
use crate::format::metadata::{Change, RecordChange, RecordEntry, RecordValue};
use crate::index::metadata::Metadata;

/// What index files have of a commit's records, looked up with no lock held.
#[derive(Debug, Default)]
pub(super) struct KnownRecords {
    /// For each request of the commit; empty: nothing was looked up.
    entries: Vec<Option<RecordEntry>>,
    /// The state that they are valid for.
    drops: u64,
}

/// The records as a commit's requests find and leave them, changes that are not visible included.
pub(super) struct RecordsNow<'a> {
    writer: &'a Writer,
    visible: &'a Metadata,
    files: RecordFiles,
    known: &'a KnownRecords,
    /// After the requests before; empty for a commit of one request.
    changed: HashMap<&'a str, RecordState, foldhash::fast::RandomState>,
    several: bool,
    /// The version of each record after its request.
    pub(super) versions: Vec<u64>,
    /// Whether a record has to be looked up in files: then all results are without meaning.
    pub(super) missing: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct RecordState {
    /// The number of the record's changes.
    version: u64,
    exists: bool,
}

impl RecordState {
    /// The version that checks compare with.
    fn current(self) -> u64 {
        if self.exists { self.version } else { 0 }
    }
}

/// Where the events of a repeated commit are: the segment and the offset of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventsPlace {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Appends {
    /// Looks up the records of a commit, in files where needed.
    pub(super) fn known_records(&self, commit: &Prepared<'_>) -> Result<KnownRecords> {
        if !commit.has_records() {
            return Ok(KnownRecords::default());
        }
        let drops = self.contents.with_metadata(|metadata| metadata.records().drops());
        let look = |request: &Request| match request.record() {
            Some((key, _)) => self.contents.record(key),
            None => Ok(None),
        };
        Ok(KnownRecords {
            entries: commit.requests.iter().map(look).collect::<Result<_>>()?,
            drops,
        })
    }
}

impl<'a> RecordsNow<'a> {
    /// The catalog that `files` was taken from is locked until the last request has passed, so that no
    /// segment is sealed meanwhile.
    pub(super) fn new(
        writer: &'a Writer,
        visible: &'a Metadata,
        files: RecordFiles,
        known: &'a KnownRecords,
        requests: &[Request],
    ) -> Self {
        Self {
            writer,
            visible,
            files,
            known,
            changed: HashMap::default(),
            several: requests.len() > 1,
            versions: Vec::new(),
            missing: false,
        }
    }

    /// The newest change of the record of the request at `index`, before this commit.
    fn entry(&mut self, index: usize, key: &str) -> Option<RecordEntry> {
        if let Some((_, pending)) = self.writer.changes.record(key) {
            return Some(pending);
        }
        let records = self.visible.records();
        let recent = records.get(key);
        if self.files.are_older(recent.as_ref()) {
            return recent;
        }
        match self.known.entries.get(index) {
            Some(known) if self.known.drops == records.drops() => {
                recent.into_iter().chain(*known).max_by_key(|entry| entry.version)
            }
            _ => {
                self.missing = true;
                None
            }
        }
    }

    fn state(&mut self, index: usize, key: &str) -> RecordState {
        if let Some(changed) = self.changed.get(key) {
            return *changed;
        }
        let entry = self.entry(index, key);
        entry.map_or_else(RecordState::default, |entry| RecordState {
            version: entry.version,
            exists: !entry.deleted,
        })
    }

    /// Checks the request at `index`; returns the change that it makes, if it makes one.
    pub(super) fn pass(
        &mut self,
        index: usize,
        request: &'a Request,
    ) -> Result<Option<Change>, FailedCheck> {
        let Some((key, expected)) = request.record() else { return Ok(None) };
        let mut state = self.state(index, key);
        if !expected.holds_for(state.current()) {
            let (key, actual) = (key.to_owned(), state.current());
            return Err(FailedCheck::WrongRecordVersion { key, expected, actual });
        }
        let value = match request {
            Request::PutRecord { value, .. } => Some(RecordValue::Given(value.clone())),
            Request::DeleteRecord { .. } if state.exists => None,
            Request::DeleteRecord { .. } => {
                return Err(FailedCheck::UnknownRecord { key: key.to_owned() });
            }
            _ => {
                self.versions.push(state.current());
                return Ok(None);
            }
        };
        state = RecordState { version: state.version + 1, exists: value.is_some() };
        if self.several {
            self.changed.insert(key, state);
        }
        self.versions.push(state.version);
        let version = state.version;
        Ok(Some(Change::Record(RecordChange { key: key.into(), version, value, offset: 0 })))
    }

    /// [`RecordsNow::pass`] for a repeated commit whose events are at `events`. A record that was changed
    /// in that commit or after it stays as it is: either that is what the request did, or it is newer.
    /// Checks alone are not made again.
    pub(super) fn pass_again(
        &mut self,
        index: usize,
        request: &'a Request,
        events: EventsPlace,
    ) -> Result<Option<Change>, FailedCheck> {
        let Some((key, _)) = request.record() else { return Ok(None) };
        let place = |entry: RecordEntry| EventsPlace {
            segment: entry.segment,
            offset: entry.offset.into(),
        };
        let entry = self.entry(index, key);
        let in_effect = entry.is_some_and(|entry| place(entry) > events)
            || !request.writes()
            || matches!(request, Request::DeleteRecord { .. }) && !self.state(index, key).exists;
        if in_effect {
            let version = self.state(index, key).version;
            self.versions.push(version);
            return Ok(None);
        }
        self.pass(index, request)
    }
}

impl Request {
    /// The record that is checked, put or deleted, and its expected state.
    pub(super) fn record(&self) -> Option<(&str, ExpectedRecord)> {
        match self {
            Self::PutRecord { key, expected, .. }
            | Self::DeleteRecord { key, expected }
            | Self::CheckRecord { key, expected } => Some((key, *expected)),
            Self::Advance { .. } | Self::Reset { .. } | Self::Delete { .. } | Self::Hide(_) => None,
        }
    }
}
