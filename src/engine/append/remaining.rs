//! The remaining changes of a repeated commit: the operations beside its events.
//!
//! All events of the commit are in the store already. Its cursors, hidden streams and stream
//! metadata are compared with the present, commits on their way to disk included, and only what
//! differs is applied, in a commit of its own. Must never write an event, and must never move a
//! cursor or the beginning of a stream back.

use std::collections::HashMap;

use super::Appends;
use super::check::{CheckResults, Missing, Refusal, ahead, check_hide, wrong_cursor};
use super::prepare::{CursorFrom, Prepared, Request, StreamOperation};
use super::records::{EventsPlace, KnownRecords, RecordsNow};
use crate::engine::commit::Writer;
use crate::error::{FailedCheck, Result};
use crate::event::snapshot::Mark;
use crate::event::{Applied, Position};
use crate::format::metadata::{Change, RecordChange};
use crate::index::metadata::{Metadata, StreamRules};

/// Why the remaining changes of a commit are not made.
#[derive(Debug)]
pub(super) enum Unapplied {
    Refused(Refusal),
    /// A check lacks something.
    Missing(Missing),
}

/// The current state of what the requests name: before them, and after those already applied.
struct Present<'a> {
    writer: &'a Writer,
    visible: &'a Metadata,
    head: u64,
    cursors: HashMap<&'a str, (Option<u64>, Option<u64>)>,
    rules: HashMap<&'a str, (StreamRules, StreamRules)>,
    records: RecordsNow<'a>,
    events: EventsPlace,
}

impl Appends {
    /// The changes that a repeated commit still makes, in the order they were asked for, and the versions
    /// of its records after them; or every operation that cannot be applied. `last_event` is the position
    /// of the commit's last event.
    pub(super) fn remaining_changes(
        &self,
        writer: &Writer,
        commit: &Prepared<'_>,
        records: &KnownRecords,
        last_event: u64,
    ) -> Result<std::result::Result<CheckResults, Unapplied>> {
        let mut refused = Refusal::default();
        let (mut changes, mut record_versions) = (Vec::new(), Vec::new());
        if !commit.requests.is_empty() {
            // The catalog is asked first: its lock comes before that of the metadata.
            let mut versions = Vec::with_capacity(commit.requests.len());
            for request in commit.requests {
                versions.push(match request {
                    Request::Hide(change) => self.stream_version(change.name())?,
                    _ => 0,
                });
            }
            let (segment, offset) = self.contents.locate(last_event)?;
            let events = EventsPlace { segment: segment.number(), offset };
            let missing = self.contents.with_records(|files, visible| {
                let known = RecordsNow::new(writer, visible, files, records, commit.requests);
                let mut present = Present::new(writer, visible, known, events);
                let requests = commit.requests.iter().zip(versions).enumerate();
                for (index, (request, version)) in requests {
                    match present.pass(index, request, version) {
                        Ok(change) => changes.extend(change),
                        Err(check) => refused.add_request(writer, request, check),
                    }
                }
                changes.retain(|change| present.has_changed(change));
                record_versions = present.records.versions;
                present.records.missing
            });
            if missing {
                return Ok(Err(Unapplied::Missing(Missing::Records)));
            }
        }
        self.check_reached(writer, commit, &mut refused)?;
        let results = CheckResults { slots: Vec::new(), changes, record_versions };
        Ok(if refused.failed.is_empty() { Ok(results) } else { Err(Unapplied::Refused(refused)) })
    }

    /// The commits on their way to disk included.
    fn stream_version(&self, stream: &str) -> Result<u64> {
        Ok(self.contents.head(stream)?.version)
    }

    /// A snapshot of a repeated commit must not be ahead either.
    fn check_reached(
        &self,
        writer: &Writer,
        commit: &Prepared<'_>,
        refused: &mut Refusal,
    ) -> Result<()> {
        for snapshot in commit.snapshots {
            let mark = snapshot.mark().number();
            let reached = match snapshot.mark() {
                Mark::Position(_) => writer.log.tip.next_position - 1,
                Mark::Version(_) => self.stream_version(snapshot.key())?,
            };
            if mark > reached {
                let key = snapshot.key().to_owned();
                refused.add(FailedCheck::SnapshotAhead { key, mark, reached });
            }
        }
        Ok(())
    }
}

/// A change as the answer to its commit names it.
pub(super) fn to_applied(change: &Change) -> Applied {
    match change {
        Change::CursorSet { name, position } => {
            let position = Position::new(*position);
            Applied::CursorSet { name: name.to_string(), position }
        }
        Change::CursorDeleted { name } => Applied::CursorDeleted { name: name.to_string() },
        Change::Record(RecordChange { key, version, value, .. }) => {
            let (key, version) = (key.to_string(), *version);
            match value {
                Some(_) => Applied::RecordPut { key, version },
                None => Applied::RecordDeleted { key, version },
            }
        }
        change => Applied::StreamChanged { stream: change.name().to_owned() },
    }
}

impl<'a> Prepared<'a> {
    /// The remaining changes of a commit whose events are recorded. `no_operations` is an empty list.
    pub(super) fn without_events(&self, no_operations: &'a [StreamOperation<'a>]) -> Prepared<'a> {
        Prepared {
            operations: no_operations,
            boundaries: &[],
            requests: self.requests,
            snapshots: self.snapshots,
            metadata_len: self.metadata_len,
            body_len: 0,
            event_count: 0,
            has_ids: false,
            has_extended_events: false,
            recorded_at: self.recorded_at,
        }
    }
}

impl<'a> Present<'a> {
    fn new(
        writer: &'a Writer,
        visible: &'a Metadata,
        records: RecordsNow<'a>,
        events: EventsPlace,
    ) -> Self {
        let head = writer.log.tip.next_position - 1;
        let (cursors, rules) = (HashMap::new(), HashMap::new());
        Self { writer, visible, head, cursors, rules, records, events }
    }

    /// Takes the request at `index`; the change it makes, if it makes one.
    fn pass(
        &mut self,
        index: usize,
        request: &'a Request,
        version: u64,
    ) -> Result<Option<Change>, FailedCheck> {
        match request {
            Request::PutRecord { .. }
            | Request::DeleteRecord { .. }
            | Request::CheckRecord { .. } => self.records.pass_again(index, request, self.events),
            Request::Advance { name, from, to } => {
                let at = *self.cursor(name);
                if at.unwrap_or(0) >= *to {
                    return Ok(None);
                }
                if let CursorFrom::At(expected) = *from
                    && expected != at
                {
                    return Err(wrong_cursor(name, expected, at));
                }
                self.set_cursor(name, *to)
            }
            Request::Reset { name, to } => {
                // A late repetition must not move back a cursor that has advanced since.
                if self.cursor(name).is_some_and(|at| at >= *to) {
                    return Ok(None);
                }
                self.set_cursor(name, *to)
            }
            Request::Delete { name } => {
                let was_set = self.cursor(name).take().is_some();
                Ok(was_set.then(|| Change::CursorDeleted { name: name.clone() }))
            }
            Request::Hide(change) => match check_hide(change, version) {
                Some(refusal) => Err(refusal),
                None => Ok(self.hide(change).then(|| change.clone())),
            },
        }
    }

    fn set_cursor(&mut self, name: &'a str, to: u64) -> Result<Option<Change>, FailedCheck> {
        if let Some(refusal) = ahead(name, to, self.head) {
            return Err(refusal);
        }
        *self.cursor(name) = Some(to);
        Ok(Some(Change::CursorSet { name: name.into(), position: to }))
    }

    fn cursor(&mut self, name: &'a str) -> &mut Option<u64> {
        let (writer, visible) = (self.writer, self.visible);
        let both = self.cursors.entry(name).or_insert_with(|| {
            let at = writer.changes.cursor(visible, name);
            (at, at)
        });
        &mut both.1
    }

    /// Applies a change of the hidden part of a stream; `false` if it has no effect.
    fn hide(&mut self, change: &'a Change) -> bool {
        let (writer, visible) = (self.writer, self.visible);
        let both = self.rules.entry(change.name()).or_insert_with(|| {
            let rules = writer.changes.rules(visible, change.name());
            (rules, rules)
        });
        let rules = &mut both.1;
        let before = *rules;
        match change {
            // Everything below it is hidden already.
            Change::Truncated { before, .. } if *before <= rules.truncated_before.max(1) => {}
            change => rules.apply(change),
        }
        *rules != before
    }

    /// Whether the object of a change ends in a different state than before.
    fn has_changed(&self, change: &Change) -> bool {
        let name = change.name();
        match change {
            Change::Record(_) => true,
            Change::CursorSet { .. } | Change::CursorDeleted { .. } => {
                self.cursors.get(name).is_some_and(|(before, after)| before != after)
            }
            _ => self.rules.get(name).is_some_and(|(before, after)| before != after),
        }
    }
}
