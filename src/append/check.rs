//! What a commit requires of the store, checked under the writer's lock against everything
//! accepted before it. Every check is made, so that a refusal names all that failed.

use std::collections::HashMap;

use super::prepare::{From, Operation, Prepared, Request};
use crate::engine::Engine;
use crate::error::{FailedCheck, Result};
use crate::event::Position;
use crate::format::Defect;
use crate::format::metadata::Change;
use crate::group_commit::Writer;
use crate::index::heads::{Heads, Slot};
use crate::snapshot::{Mark, Snapshot};

/// What the checks have found on the way, for the encoding.
#[derive(Debug)]
pub(super) struct Checked {
    /// Of each operation, where its stream's head is.
    pub(super) slots: Vec<Slot>,
    /// What the requests come to.
    pub(super) changes: Vec<Change>,
}

/// Streams as a commit's operations leave them; empty for a commit of one operation.
type Earlier<'a> = HashMap<&'a str, u64>;

impl Engine {
    /// Checks every operation and request of a commit, in order, each against what those before
    /// leave. `slots` is an empty list to use again.
    pub(super) fn check(
        &self,
        writer: &Writer,
        heads: &Heads,
        commit: &Prepared<'_>,
        versions: &mut [u64],
        mut slots: Vec<Slot>,
        failed: &mut Vec<FailedCheck>,
    ) -> Result<Checked, Defect> {
        slots.clear();
        let several = commit.operations.len() > 1
            || !commit.requests.is_empty()
            || !commit.snapshots.is_empty();
        let earlier =
            check_streams(heads, commit.operations, several, versions, &mut slots, failed)?;
        let mut changes = Vec::new();
        if !commit.requests.is_empty() {
            let metadata = self.metadata.read();
            let cursors = |name: &str| writer.changes.cursor(&metadata, name);
            let head = writer.tip.next_position - 1;
            check_requests(heads, commit.requests, head, &earlier, cursors, &mut changes, failed)?;
        }
        let last_position = writer.tip.next_position - 1 + u64::from(commit.event_count);
        check_snapshots(heads, commit.snapshots, last_position, &earlier, failed)?;
        Ok(Checked { slots, changes })
    }
}

fn check_snapshots(
    heads: &Heads,
    snapshots: &[Snapshot],
    last_position: u64,
    earlier: &Earlier<'_>,
    failed: &mut Vec<FailedCheck>,
) -> Result<(), Defect> {
    for snapshot in snapshots {
        let reached = match snapshot.mark() {
            Mark::Position(_) => last_position,
            Mark::Version(_) => match earlier.get(snapshot.key()) {
                Some(&version) => version,
                None => heads.get(snapshot.key())?.version,
            },
        };
        let mark = snapshot.mark().number();
        if mark > reached {
            let key = snapshot.key().to_owned();
            failed.push(FailedCheck::SnapshotAhead { key, mark, reached });
        }
    }
    Ok(())
}

fn check_streams<'a>(
    heads: &Heads,
    operations: &'a [Operation<'_>],
    several: bool,
    versions: &mut [u64],
    slots: &mut Vec<Slot>,
    failed: &mut Vec<FailedCheck>,
) -> Result<Earlier<'a>, Defect> {
    let mut earlier = Earlier::new();
    for (index, operation) in operations.iter().enumerate() {
        let slot = heads.find(operation.stream)?;
        slots.push(slot);
        let mut actual = slot.head().version;
        if several {
            actual = earlier.get(operation.stream).copied().unwrap_or(actual);
        }
        if !operation.expected.holds_for(actual) {
            let (stream, expected) = (operation.stream.to_owned(), operation.expected);
            failed.push(FailedCheck::WrongExpectedVersion { index, stream, expected, actual });
        }
        versions[index] = actual + operation.events.len() as u64;
        if several {
            earlier.insert(operation.stream, versions[index]);
        }
    }
    Ok(earlier)
}

fn check_requests(
    heads: &Heads,
    requests: &[Request],
    head: u64,
    earlier: &Earlier<'_>,
    cursor: impl Fn(&str) -> Option<u64>,
    changes: &mut Vec<Change>,
    failed: &mut Vec<FailedCheck>,
) -> Result<(), Defect> {
    // Where this commit's own requests leave cursors.
    let mut moved: HashMap<&str, Option<u64>> = HashMap::new();
    for request in requests {
        let at = |name: &str| moved.get(name).copied().unwrap_or_else(|| cursor(name));
        let refusal = match request {
            Request::Advance { name, from, to } => check_advance(name, at(name), *from, *to, head),
            Request::Reset { name, to } => ahead(name, *to, head),
            Request::Delete { name } => {
                at(name).is_none().then(|| FailedCheck::UnknownCursor { name: name.to_string() })
            }
            Request::Hide(change) => {
                let stream = change.name();
                let version = match earlier.get(stream) {
                    Some(&version) => version,
                    None => heads.get(stream)?.version,
                };
                check_hide(change, version)
            }
        };
        if let Some(refusal) = refusal {
            failed.push(refusal);
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
        });
    }
    Ok(())
}

fn check_advance(
    name: &str,
    at: Option<u64>,
    from: From,
    to: u64,
    head: u64,
) -> Option<FailedCheck> {
    if let From::At(expected) = from
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

/// A cursor cannot be where no event is: it would never be ahead of what is durable.
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
