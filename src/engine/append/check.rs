//! Checks what a commit requires of the store, under the writer's lock and against everything accepted
//! before it. Every check is made, so that a refusal names all that failed.

use hashbrown::HashMap;

use super::Appends;
use super::prepare::{CursorFrom, Prepared, Request, StreamOperation};
use super::records::{KnownRecords, RecordsNow};
use crate::catalog::{Catalog, OlderHeads};
use crate::engine::commit::Writer;
use crate::error::{Error, FailedCheck, Result};
use crate::event::snapshot::{Mark, Snapshot};
use crate::event::{Position, Timestamp};
use crate::format::Defect;
use crate::format::metadata::Change;
use crate::index::Head;
use crate::index::heads::Slot;
use crate::index::metadata::Metadata;
use crate::log::writer::CommitPoint;

/// Results of the checks that the encoding needs.
#[derive(Debug)]
pub(super) struct CheckResults {
    /// The head of each operation's stream.
    pub(super) slots: Vec<Slot>,
    /// The results of the requests.
    pub(super) changes: Vec<Change>,
    /// The version of each record after its request.
    pub(super) record_versions: Vec<u64>,
}

impl CheckResults {
    /// None yet. `slots` is a list to reuse.
    pub(super) fn with_slots(mut slots: Vec<Slot>) -> Self {
        slots.clear();
        Self { slots, changes: Vec::new(), record_versions: Vec::new() }
    }
}

/// A commit to check, and what was looked up of its records with no lock held.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) commit: &'a Prepared<'a>,
    pub(super) records: &'a KnownRecords,
}

/// What a check needs and does not have.
#[derive(Debug)]
pub(super) enum Missing {
    /// What a checkpoint holds: it is damaged, or not read so far.
    Checkpoint(Defect),
    /// The head of a stream that has no event in the active segment.
    OlderHeads,
    /// The newest change of a record, which may be in an index file.
    Records,
}

impl From<Defect> for Missing {
    fn from(defect: Defect) -> Self {
        Self::Checkpoint(defect)
    }
}

/// The heads that the checks of a commit can use.
#[derive(Clone, Copy)]
pub(super) struct KnownHeads<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) older: &'a OlderHeads,
}

impl KnownHeads<'_> {
    #[inline]
    fn slot(self, stream: &str) -> Result<Slot, Missing> {
        self.catalog.slot(stream, self.older)?.ok_or(Missing::OlderHeads)
    }

    fn get(self, stream: &str) -> Result<Head, Missing> {
        self.slot(stream).map(Slot::head)
    }
}

/// The reason for refusing a commit.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) failed: Vec<FailedCheck>,
    /// The newest event and the newest cursor change that caused the refusal; they may be on their way
    /// to disk.
    pub(crate) lost: CommitPoint,
}

impl Refusal {
    /// A check failed independently of commits on their way to disk.
    pub(super) fn add(&mut self, check: FailedCheck) {
        self.failed.push(check);
    }

    /// A request is refused; for a cursor or record, a pending change may be the cause.
    pub(super) fn add_request(&mut self, writer: &Writer, request: &Request, check: FailedCheck) {
        self.failed.push(check);
        if let Request::Advance { name, .. }
        | Request::Reset { name, .. }
        | Request::Delete { name } = request
        {
            self.lost.change = self.lost.change.max(writer.changes.pending_cursor(name));
        }
        if let Some((key, _)) = request.record() {
            self.lost.change = self.lost.change.max(writer.changes.pending_record(key));
        }
    }

    /// A check failed because of the event at `position`.
    pub(super) fn lost_to_event(&mut self, position: u64, check: FailedCheck) {
        self.failed.push(check);
        self.lost.position = self.lost.position.max(position);
    }
}

/// The streams after a commit's operations; not there for a commit of one operation and nothing else about a
/// stream.
#[derive(Default)]
struct Earlier<'a>(Option<HashMap<&'a str, u64, foldhash::fast::RandomState>>);

impl<'a> Earlier<'a> {
    fn get(&self, stream: &str) -> Option<u64> {
        self.0.as_ref()?.get(stream).copied()
    }

    fn insert(&mut self, stream: &'a str, version: u64) {
        self.0.get_or_insert_default().insert(stream, version);
    }
}

impl Appends {
    /// Checks the requested time of a commit, if any: not before the last recorded time, and not ahead
    /// of the clock.
    pub(super) fn check_time(&self, writer: &Writer, commit: &Prepared<'_>) -> Result<()> {
        let Some(given) = commit.recorded_at.filter(|_| commit.writes()) else { return Ok(()) };
        let (earliest, latest) = self.acceptable_times(writer);
        if (earliest..=latest).contains(&given) {
            Ok(())
        } else {
            Err(Error::RecordedTime { given, earliest, latest })
        }
    }

    /// The permitted time nearest to the given one, for the remaining changes of a commit whose events
    /// were recorded before. The clock's time would prevent the rest of an imported history from being
    /// recorded at its own times.
    pub(super) fn nearest_time(&self, writer: &Writer, commit: &Prepared<'_>) -> Option<Timestamp> {
        let (earliest, latest) = self.acceptable_times(writer);
        commit.recorded_at.map(|given| given.clamp(earliest, latest))
    }

    fn acceptable_times(&self, writer: &Writer) -> (Timestamp, Timestamp) {
        let earliest = Timestamp::from_micros(writer.log.tip.recorded_at);
        (earliest, earliest.max(Timestamp::from_micros(self.shared.now_micros())))
    }

    /// Checks every operation and request of a commit in order, each against the state after those
    /// before it.
    pub(super) fn check(
        &self,
        writer: &Writer,
        heads: KnownHeads<'_>,
        Asked { commit, records }: Asked<'_>,
        versions: &mut [u64],
        results: &mut CheckResults,
        refusal: &mut Refusal,
    ) -> Result<(), Missing> {
        let CheckResults { slots, changes, record_versions } = results;
        let several = commit.operations.len() > 1
            || commit.requests.iter().any(|request| matches!(request, Request::Hide(_)))
            || !commit.snapshots.is_empty();
        let mut earlier = several.then(Earlier::default);
        check_streams(heads, commit.operations, &mut earlier, versions, slots, refusal)?;
        let earlier = earlier.unwrap_or_default();
        if !commit.requests.is_empty() {
            self.contents.with_metadata(|visible| {
                let (requests, files) = (commit.requests, heads.catalog.record_files());
                let records = RecordsNow::new(writer, visible, files, records, requests);
                let mut present = Present { writer, visible, records };
                check_requests(heads, requests, &mut present, &earlier, changes, refusal)?;
                if present.records.missing {
                    return Err(Missing::Records);
                }
                *record_versions = present.records.versions;
                Ok(())
            })?;
        }
        let last_position = writer.log.tip.next_position - 1 + u64::from(commit.event_count);
        check_snapshots(heads, commit.snapshots, last_position, &earlier, refusal)
    }
}

fn check_snapshots(
    heads: KnownHeads<'_>,
    snapshots: &[Snapshot],
    last_position: u64,
    earlier: &Earlier<'_>,
    refusal: &mut Refusal,
) -> Result<(), Missing> {
    for snapshot in snapshots {
        let reached = match snapshot.mark() {
            Mark::Position(_) => last_position,
            Mark::Version(_) => match earlier.get(snapshot.key()) {
                Some(version) => version,
                None => heads.get(snapshot.key())?.version,
            },
        };
        let mark = snapshot.mark().number();
        if mark > reached {
            let key = snapshot.key().to_owned();
            refusal.add(FailedCheck::SnapshotAhead { key, mark, reached });
        }
    }
    Ok(())
}

fn check_streams<'a>(
    heads: KnownHeads<'_>,
    operations: &'a [StreamOperation<'_>],
    earlier: &mut Option<Earlier<'a>>,
    versions: &mut [u64],
    slots: &mut Vec<Slot>,
    refusal: &mut Refusal,
) -> Result<(), Missing> {
    for (index, operation) in operations.iter().enumerate() {
        let slot = heads.slot(operation.stream)?;
        slots.push(slot);
        let mut actual = slot.head().version;
        if let Some(earlier) = earlier {
            actual = earlier.get(operation.stream).unwrap_or(actual);
        }
        if !operation.expected.holds_for(actual) {
            let (stream, expected) = (operation.stream.to_owned(), operation.expected);
            let check = FailedCheck::WrongExpectedVersion { index, stream, expected, actual };
            refusal.lost_to_event(slot.head().last_position, check);
        }
        versions[index] = actual + operation.events.len() as u64;
        if let Some(earlier) = earlier {
            earlier.insert(operation.stream, versions[index]);
        }
    }
    Ok(())
}

/// Cursors and records, including changes that are not visible yet.
struct Present<'a> {
    writer: &'a Writer,
    visible: &'a Metadata,
    records: RecordsNow<'a>,
}

fn check_requests<'a>(
    heads: KnownHeads<'_>,
    requests: &'a [Request],
    present: &mut Present<'a>,
    earlier: &Earlier<'_>,
    changes: &mut Vec<Change>,
    refusal: &mut Refusal,
) -> Result<(), Missing> {
    let (writer, visible) = (present.writer, present.visible);
    let head = writer.log.tip.next_position - 1;
    let pending = &writer.changes;
    // The positions of cursors after this commit's own requests.
    let mut moved: HashMap<&str, Option<u64>, foldhash::fast::RandomState> = HashMap::default();
    for (index, request) in requests.iter().enumerate() {
        if request.record().is_some() {
            match present.records.pass(index, request) {
                Ok(change) => changes.extend(change),
                Err(check) => refusal.add_request(writer, request, check),
            }
            continue;
        }
        let at = |name: &str| {
            let moved = moved.get(name).copied();
            moved.unwrap_or_else(|| pending.cursor(visible, name))
        };
        let failed = match request {
            Request::Advance { name, from, to } => check_advance(name, at(name), *from, *to, head),
            Request::Reset { name, to } => ahead(name, *to, head),
            Request::Delete { name } => {
                at(name).is_none().then(|| FailedCheck::UnknownCursor { name: name.to_string() })
            }
            Request::Hide(change) => {
                let stream = change.name();
                let version = match earlier.get(stream) {
                    Some(version) => version,
                    None => heads.get(stream)?.version,
                };
                check_hide(change, version)
            }
            // Passed above.
            Request::PutRecord { .. }
            | Request::DeleteRecord { .. }
            | Request::CheckRecord { .. } => continue,
        };
        if let Some(check) = failed {
            refusal.add_request(writer, request, check);
            continue;
        }
        changes.push(match request {
            Request::Advance { name, to, .. } | Request::Reset { name, to } => {
                moved.insert(name, Some(*to));
                Change::CursorSet { name: name.clone(), position: *to }
            }
            Request::Delete { name } => {
                moved.insert(name, None);
                Change::CursorDeleted { name: name.clone() }
            }
            Request::Hide(change) => change.clone(),
            Request::PutRecord { .. }
            | Request::DeleteRecord { .. }
            | Request::CheckRecord { .. } => continue,
        });
    }
    Ok(())
}

fn check_advance(
    name: &str,
    at: Option<u64>,
    from: CursorFrom,
    to: u64,
    head: u64,
) -> Option<FailedCheck> {
    if let CursorFrom::At(expected) = from
        && expected != at
    {
        return Some(wrong_cursor(name, expected, at));
    }
    let at = at.unwrap_or(0);
    if to <= at {
        let (at, to) = (Position::new(at), Position::new(to));
        return Some(FailedCheck::CursorNotForward { name: name.into(), at, to });
    }
    ahead(name, to, head)
}

pub(super) fn wrong_cursor(name: &str, expected: Option<u64>, at: Option<u64>) -> FailedCheck {
    let (expected, actual) = (expected.map(Position::new), at.map(Position::new));
    FailedCheck::WrongCursor { name: name.into(), expected, actual }
}

/// A cursor must not be set after the last event: it must never be ahead of what is durable.
pub(super) fn ahead(name: &str, to: u64, head: u64) -> Option<FailedCheck> {
    (to > head).then(|| FailedCheck::CursorAhead {
        name: name.into(),
        to: Position::new(to),
        head: Position::new(head),
    })
}

pub(super) fn check_hide(change: &Change, version: u64) -> Option<FailedCheck> {
    let stream = || change.name().to_owned();
    match change {
        _ if version == 0 => Some(FailedCheck::UnknownStream { stream: stream() }),
        Change::Truncated { before, .. } if *before > version + 1 => {
            Some(FailedCheck::TruncateAhead { stream: stream(), before: *before, version })
        }
        _ => None,
    }
}
