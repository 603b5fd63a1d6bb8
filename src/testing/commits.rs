//! The harness's commits: the prediction, the store's answer, and the resulting promises.

use std::ops::RangeInclusive;

use super::compare::{Checked, Mismatch, ensure, must, same_error};
use super::harness::{Harness, Pending};
use super::metadata;
use super::model::{ModelChange, ModelCommit, ModelRequest, ModelState, Point, Predicted};
use super::operations::Via;
use super::snapshots::Saved;
use super::tally::name_of;
use crate::error::{Error, FailedCheck, Result as StoreResult};
use crate::event::snapshot::Mark;
use crate::event::{Applied, Committed, Position, Timestamp};
use crate::format::metadata::{CHANGE_HEADER_LEN, MAX_CURSOR_NAME_LEN, SECTION_HEADER_LEN};
use crate::format::record::encoded_len;
use crate::format::tags::measure;
use crate::options::Durability;
use crate::store::Store;

/// The answer of the store to a commit.
enum CommitAnswer {
    Done(Committed),
    /// The result of a call that returns nothing else.
    Changed,
    Later(crate::store::transaction::Ticket),
}

impl Harness {
    pub(super) fn commit(&mut self, store: &Store, commit: &ModelCommit, via: Via) -> Checked {
        let via = match via {
            Via::Append if commit.operations.len() != 1 => Via::Commit,
            Via::Call if commit.requests.len() != 1 => Via::Commit,
            // Only a transaction can set the time.
            Via::Append | Via::Call if commit.recorded_at.is_some() => Via::Commit,
            via => via,
        };
        let alone = matches!(via, Via::Append | Via::Call);
        let times = acceptable_times(store);
        let predicted = self.model.predict(commit, alone, self.fits(commit), &times);
        let before = metadata::visible(store);
        let failures = store.stats().snapshot_failures;
        let answer = ask(store, commit, via);
        self.answered(count_as(&answer));
        let predicted = self.decided_again(store, commit, alone, predicted, &answer, &times)?;
        match (predicted, answer) {
            (Ok(predicted), Ok(CommitAnswer::Done(done))) => {
                self.compare_done(&predicted, &done)?;
                compare_time(commit, &predicted, done.recorded_at)?;
                let end = self.accept(commit, &predicted, Some(done.recorded_at));
                let durable = via != Via::Buffered && self.settings.durability.is_sync();
                self.acknowledge(end, durable);
                let failed = store.stats().snapshot_failures > failures;
                // Without new events there may be nothing to wait for except earlier commits.
                let new = commit.events().next().is_some() && !predicted.already_recorded;
                self.saves(commit, end, durable && !failed && new);
                self.note_seen(store.head().get(), false)
            }
            (Ok(predicted), Ok(CommitAnswer::Changed)) => {
                let end = self.accept(commit, &predicted, None);
                self.acknowledge(end, self.settings.durability.is_sync());
                self.note_shown(metadata::visible(store))
            }
            (Ok(predicted), Ok(CommitAnswer::Later(ticket))) => {
                self.compare_done(&predicted, ticket.committed())?;
                compare_time(commit, &predicted, ticket.committed().recorded_at)?;
                let recorded_at = Some(ticket.committed().recorded_at);
                // A buffered commit may be written, and so be visible, before the call returns.
                let may_show = self.settings.background || !self.settings.durability.is_sync();
                let nothing_shown = may_show || metadata::visible(store) == before;
                ensure!(nothing_shown, "a commit that is not durable was shown to readers");
                let end = self.accept(commit, &predicted, recorded_at);
                self.saves(commit, end, false);
                self.tickets.push_back(Pending { ticket, end, refused: false });
                Ok(())
            }
            (Err(predicted), Err(actual)) => {
                let explained = self.settings.faults && is_failure(&actual);
                self.poisoned |= is_poison(&actual);
                let same = same_error(&predicted, &actual);
                ensure!(same || explained, "refused with {actual:?}, not {predicted:?}");
                if via != Via::Submit {
                    self.check_winner_visible(store, &actual)?;
                }
                if matches!(actual, Error::DiskFull { .. }) {
                    self.taken_back(store)
                } else {
                    Ok(())
                }
            }
            (Ok(predicted), Err(actual)) => {
                let explained = self.settings.faults && is_failure(&actual);
                ensure!(explained, "refused with {actual:?}: {commit:?}");
                self.poisoned |= is_poison(&actual);
                match actual {
                    Error::OutcomeUnknown { .. } => {
                        let end = self.accept(commit, &predicted, None);
                        self.saves(commit, end, false);
                        Ok(())
                    }
                    Error::DiskFull { .. } => self.taken_back(store),
                    _ => Ok(()),
                }
            }
            (Err(predicted), Ok(_)) => {
                Err(Mismatch::new(format!("accepted instead of {predicted:?}: {commit:?}")))
            }
        }
    }

    /// A conflict is returned when reads show the commit that caused it.
    fn check_winner_visible(&mut self, store: &Store, conflict: &Error) -> Checked {
        let Error::Conflict { failed, visible_at } = conflict else { return Ok(()) };
        let head = store.head();
        ensure!(head >= *visible_at, "lost to {visible_at}, and reads see up to {head}");
        let state = self.model.state(u64::MAX);
        for check in failed {
            let (FailedCheck::CursorNotForward { name, .. }
            | FailedCheck::WrongCursor { name, .. }) = check
            else {
                continue;
            };
            let shown = must("a cursor", store.cursors().get(name))?.map(Position::get);
            let expected = state.cursors.get(name).copied();
            ensure!(
                shown == expected,
                "lost to cursor {name} at {expected:?}, reads show {shown:?}"
            );
        }
        self.note_seen(head.get(), false)
    }

    /// The commit that caused a conflict may have been undone, because the disk was full: then the
    /// store has decided again, without it. Returns the prediction for that case.
    fn decided_again(
        &mut self,
        store: &Store,
        commit: &ModelCommit,
        alone: bool,
        predicted: Result<Predicted, Error>,
        answer: &StoreResult<CommitAnswer>,
        times: &RangeInclusive<Timestamp>,
    ) -> Checked<Result<Predicted, Error>> {
        let accepted = matches!(answer, Ok(_) | Err(Error::OutcomeUnknown { .. }));
        let refused_otherwise = matches!((&predicted, answer),
            (Err(predicted), Err(actual)) if actual.is_conflict() && !same_error(predicted, actual));
        let of_a_conflict = predicted.as_ref().is_err_and(Error::is_conflict);
        if !self.settings.faults || !of_a_conflict || !(accepted || refused_otherwise) {
            return Ok(predicted);
        }
        let mut kept = metadata::accepted(store);
        if accepted {
            let done = match answer {
                Ok(CommitAnswer::Done(done)) => Some(done),
                Ok(CommitAnswer::Later(ticket)) => Some(ticket.committed()),
                _ => None,
            };
            // No repeated event was added.
            let (events, changes) = match done {
                Some(done) if done.already_recorded => (0, done.applied.len()),
                _ => {
                    let changes = commit.requests.iter().filter(|request| request.writes());
                    (commit.events().count(), changes.count())
                }
            };
            kept.events = kept.events.saturating_sub(events as u64);
            kept.changes = kept.changes.saturating_sub(changes as u64);
        }
        self.taken_back_to(kept)?;
        Ok(self.model.predict(commit, alone, self.fits(commit), times))
    }

    /// Whether the commit is within the limits of size.
    pub(super) fn fits(&self, commit: &ModelCommit) -> bool {
        let mut size = 0;
        for operation in &commit.operations {
            for event in &operation.events {
                size += encoded_len(&operation.stream, event, measure(&event.tags).len);
            }
        }
        for request in &commit.requests {
            if request.writes() {
                size += CHANGE_HEADER_LEN + request.name().len();
            }
            if let Some(ModelChange::Record(_, Some(value))) = request.to_change() {
                size += value.len();
            }
        }
        let writes = commit.requests.iter().any(ModelRequest::writes);
        size += if writes { SECTION_HEADER_LEN } else { 0 };
        let too_long = |request: &ModelRequest| {
            !matches!(request, ModelRequest::Hide(_) | ModelRequest::Record { .. })
                && request.name().len() > MAX_CURSOR_NAME_LEN
        };
        size as u64 <= self.settings.segment_size / 4 && !commit.requests.iter().any(too_long)
    }

    /// Adds a commit to the model, unless it was there before. Returns its end; the beginning, if
    /// it added nothing.
    fn accept(
        &mut self,
        commit: &ModelCommit,
        predicted: &Predicted,
        recorded_at: Option<Timestamp>,
    ) -> Point {
        if predicted.already_recorded {
            if predicted.changes.is_empty() {
                return self.model.end_of(predicted.last);
            }
            self.model.change(predicted.changes.iter().cloned());
            return self.model.end();
        }
        self.model.accept(commit, recorded_at);
        if commit.writes() { self.model.end() } else { Point::default() }
    }

    /// Its snapshots are saved when the commit, and everything that they cover, is durable.
    fn saves(&mut self, commit: &ModelCommit, end: Point, certain: bool) {
        for snapshot in &commit.snapshots {
            let (mark, key) = (snapshot.mark(), snapshot.key());
            let reached = self.model.reached(key, matches!(mark, Mark::Position(_)), u64::MAX);
            // With repeated events, a mark that is ahead is not refused, and the snapshot is not
            // saved.
            if mark.number() <= reached {
                let end = end.max(self.model.end_of_mark(snapshot));
                self.beside.snapshots.saved_with_commit(Saved::of(snapshot, end), certain);
            }
        }
    }

    fn compare_done(&self, predicted: &Predicted, done: &Committed) -> Checked {
        let found = Predicted {
            first: done.first_position.get(),
            last: done.last_position.get(),
            versions: done.versions.clone(),
            already_recorded: done.already_recorded,
            changes: predicted.changes.clone(),
            record_versions: done.record_versions.clone(),
        };
        let mut state = self.model.state(u64::MAX);
        let to_applied = |change| to_applied(change, &mut state);
        let applied: Vec<_> = predicted.changes.iter().map(to_applied).collect();
        let found_applied = done.applied.iter().filter(|it| !is_snapshot(it));
        ensure!(found_applied.eq(&applied), "applied {:?}, not {applied:?}", done.applied);
        ensure!(found == *predicted, "the commit did {found:?}, not {predicted:?}");
        let last = self.model.at(if predicted.already_recorded {
            predicted.last
        } else {
            self.model.head()
        });
        let Some(known) = last.and_then(|event| event.recorded_at) else { return Ok(()) };
        let in_order = if predicted.already_recorded {
            done.recorded_at == known
        } else {
            done.recorded_at >= known
        };
        ensure!(in_order, "recorded at {:?}, the one before at {known:?}", done.recorded_at);
        Ok(())
    }

    /// The disk was full: unwritten commits may have been undone with this one.
    pub(super) fn taken_back(&mut self, store: &Store) -> Checked {
        self.taken_back_to(metadata::accepted(store))
    }

    fn taken_back_to(&mut self, kept: Point) -> Checked {
        let (least, most) = (self.acknowledged.max(self.written).max(self.seen), self.model.end());
        ensure!(kept.covers(least), "{kept:?} is left, {least:?} was promised");
        ensure!(most.covers(kept), "{kept:?} is left, {most:?} was accepted");
        ensure!(self.model.is_end(kept), "half a commit was taken back, at {kept:?}");
        for pending in self.tickets.iter_mut().filter(|pending| !kept.covers(pending.end)) {
            pending.refused = true;
        }
        self.truncate(kept);
        Ok(())
    }

    /// Waits for the oldest ticket, or drops it.
    pub(super) fn ticket(&mut self, wait: bool) -> Checked {
        let Some(Pending { ticket, end, refused }) = self.tickets.pop_front() else {
            return Ok(());
        };
        if !wait {
            return Ok(());
        }
        match ticket.wait() {
            Ok(done) => {
                ensure!(!refused, "a commit that was taken back is acknowledged: {done:?}");
                self.acknowledge(end, self.settings.durability.is_sync());
                Ok(())
            }
            Err(error) => {
                ensure!(self.settings.faults && is_failure(&error), "a ticket failed: {error:?}");
                self.poisoned |= is_poison(&error);
                match error {
                    Error::DiskFull { .. } if !refused => match self.store.clone() {
                        Some(store) => self.taken_back(&store),
                        None => Ok(()),
                    },
                    // The frame was not written, so nothing after it was.
                    Error::WriterPoisoned { .. } if end != Point::default() && !refused => {
                        self.truncate(self.model.end_before(end));
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn is_snapshot(applied: &Applied) -> bool {
    matches!(applied, Applied::Snapshot { .. })
}

/// A change as the store names it in an answer.
fn to_applied(change: &ModelChange, state: &mut ModelState) -> Applied {
    state.apply(change);
    match change.clone() {
        ModelChange::Record(key, Some(_)) => {
            let version = state.record(&key).version;
            Applied::RecordPut { key, version }
        }
        ModelChange::Record(key, None) => {
            let version = state.record(&key).version;
            Applied::RecordDeleted { key, version }
        }
        ModelChange::Cursor(name, Some(position)) => {
            Applied::CursorSet { name, position: Position::new(position) }
        }
        ModelChange::Cursor(name, None) => Applied::CursorDeleted { name },
        ModelChange::Truncated(stream, _)
        | ModelChange::Archived(stream, _)
        | ModelChange::Limited(stream, ..) => Applied::StreamChanged { stream },
    }
}

/// The range of times that a commit may set: not before the previous commit, and not ahead of the
/// clock.
pub(super) fn acceptable_times(store: &Store) -> RangeInclusive<Timestamp> {
    let engine = store.engine();
    let last = Timestamp::from_micros(engine.last_accepted().1);
    last..=last.max(Timestamp::from_micros(engine.shared().now_micros()))
}

/// A commit that sets its time is recorded at that time.
fn compare_time(commit: &ModelCommit, predicted: &Predicted, found: Timestamp) -> Checked {
    let given = commit.recorded_at.filter(|_| commit.writes() && !predicted.already_recorded);
    let as_given = given.is_none_or(|given| given == found);
    ensure!(as_given, "recorded at {found:?} instead of {given:?}");
    Ok(())
}

fn count_as(answer: &StoreResult<CommitAnswer>) -> &'static str {
    match answer {
        Ok(CommitAnswer::Done(done)) if !done.applied.is_empty() => "applied again",
        Ok(CommitAnswer::Done(done)) if done.already_recorded => "already recorded",
        Ok(CommitAnswer::Done(_) | CommitAnswer::Changed) => "done",
        Ok(CommitAnswer::Later(_)) => "accepted",
        Err(error) => name_of(error),
    }
}

fn ask(store: &Store, commit: &ModelCommit, via: Via) -> StoreResult<CommitAnswer> {
    if let ([request], Via::Call) = (&commit.requests[..], via) {
        return metadata::call(store, request).map(|()| CommitAnswer::Changed);
    }
    if let ([operation], Via::Append) = (&commit.operations[..], via) {
        let done = store.append(&operation.stream, operation.expected, operation.events.clone())?;
        return Ok(CommitAnswer::Done(Committed {
            first_position: done.first_position,
            last_position: done.last_position,
            versions: vec![done.version],
            recorded_at: done.recorded_at,
            already_recorded: done.already_recorded,
            applied: Vec::new(),
            record_versions: Vec::new(),
        }));
    }
    let transaction = metadata::transaction(store, commit);
    match via {
        Via::Submit => transaction.submit().map(CommitAnswer::Later),
        Via::Buffered => {
            transaction.durability(Durability::BUFFERED).commit().map(CommitAnswer::Done)
        }
        Via::Append | Via::Commit | Via::Call => transaction.commit().map(CommitAnswer::Done),
    }
}

/// Whether the error can be the effect of a failing disk.
pub(super) fn is_failure(error: &Error) -> bool {
    // An unreadable block of a derived file is reported as damage to that file.
    let unreadable =
        matches!(error, Error::Corrupt { what, .. } if what.contains("cannot be read"));
    let failed =
        matches!(error, Error::Io { .. } | Error::DiskFull { .. } | Error::ColdSegment { .. });
    // A close reports background work that failed; all commits are durable.
    let undone = matches!(error, Error::MaintenanceFailed { failed } if failed.iter().all(|it| is_failure(&it.error)));
    failed || undone || unreadable || is_poison(error)
}

pub(super) fn is_poison(error: &Error) -> bool {
    matches!(error, Error::WriterPoisoned { .. } | Error::OutcomeUnknown { .. })
}
