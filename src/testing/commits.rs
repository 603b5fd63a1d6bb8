//! The harness's commits: what was predicted, what the store answered, what that promises.

use super::compare::{Checked, Mismatch, ensure, same_error};
use super::harness::{Harness, Pending};
use super::model::{ModelOperation, Predicted};
use super::operations::Via;
use super::tally::name_of;
use crate::error::{Error, Result as StoreResult};
use crate::event::Committed;
use crate::format::record::encoded_len;
use crate::options::Durability;
use crate::store::Store;

/// What the store said to a commit.
enum Answer {
    Done(Committed),
    Later(crate::transaction::Ticket),
}

impl Harness {
    pub(super) fn commit(
        &mut self,
        store: &Store,
        operations: &[ModelOperation],
        via: Via,
    ) -> Checked {
        let via = if via == Via::Append && operations.len() != 1 { Via::Commit } else { via };
        let size: u64 = operations
            .iter()
            .flat_map(|o| o.events.iter().map(|event| encoded_len(&o.stream, event) as u64))
            .sum();
        let fits = size <= self.settings.segment_size / 4;
        let predicted = self.model.predict(operations, via != Via::Append, fits);
        let head_before = store.head();
        let answer = ask(store, operations, via);
        self.answered(count_as(&answer));
        match (predicted, answer) {
            (Ok(predicted), Ok(Answer::Done(done))) => {
                self.compare_done(&predicted, &done)?;
                if !predicted.already_recorded {
                    self.model.accept(operations, Some(done.recorded_at));
                }
                let durable = via != Via::Buffered && self.settings.durability.is_sync();
                let wrote = operations.iter().any(|operation| !operation.events.is_empty());
                self.acknowledge(if wrote { predicted.last } else { 0 }, durable);
                self.note_seen(store.head().get(), false)
            }
            (Ok(predicted), Ok(Answer::Later(ticket))) => {
                self.compare_done(&predicted, ticket.committed())?;
                let recorded_at = Some(ticket.committed().recorded_at);
                let nothing_shown = self.settings.background || store.head() == head_before;
                ensure!(nothing_shown, "a commit that is not durable was shown to readers");
                if !predicted.already_recorded {
                    self.model.accept(operations, recorded_at);
                }
                let wrote = operations.iter().any(|operation| !operation.events.is_empty());
                let last = if wrote { predicted.last } else { 0 };
                self.tickets.push_back(Pending { ticket, last, refused: false });
                Ok(())
            }
            (Err(predicted), Err(actual)) => {
                let explained = self.settings.faults && is_failure(&actual);
                self.poisoned |= is_poison(&actual);
                let same = same_error(&predicted, &actual);
                ensure!(same || explained, "refused with {actual:?}, not {predicted:?}");
                Ok(())
            }
            (Ok(predicted), Err(actual)) => {
                let explained = self.settings.faults && is_failure(&actual);
                ensure!(explained, "refused with {actual:?}: {operations:?}");
                self.poisoned |= is_poison(&actual);
                match actual {
                    Error::OutcomeUnknown { .. } if !predicted.already_recorded => {
                        self.model.accept(operations, None);
                        Ok(())
                    }
                    Error::DiskFull => self.taken_back(store),
                    _ => Ok(()),
                }
            }
            (Err(predicted), Ok(_)) => {
                Err(Mismatch::new(format!("accepted instead of {predicted:?}: {operations:?}")))
            }
        }
    }

    fn compare_done(&self, predicted: &Predicted, done: &Committed) -> Checked {
        let found = Predicted {
            first: done.first_position.get(),
            last: done.last_position.get(),
            versions: done.versions.clone(),
            already_recorded: done.already_recorded,
        };
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

    /// The disk was full: commits that were not written may have been taken back with this one.
    pub(super) fn taken_back(&mut self, store: &Store) -> Checked {
        let kept = store.stats().events;
        let least = self.acknowledged.max(self.written).max(self.seen);
        ensure!(kept >= least, "{kept} events are left, {least} were promised");
        ensure!(kept <= self.model.head(), "{kept} events, {} were accepted", self.model.head());
        ensure!(self.model.is_boundary(kept), "half a commit was taken back, at {kept}");
        for pending in self.tickets.iter_mut().filter(|pending| pending.last > kept) {
            pending.refused = true;
        }
        self.model.truncate(kept);
        Ok(())
    }

    /// Waits for the oldest ticket, or drops it.
    pub(super) fn ticket(&mut self, wait: bool) -> Checked {
        let Some(Pending { ticket, last, refused }) = self.tickets.pop_front() else {
            return Ok(());
        };
        if !wait {
            return Ok(());
        }
        match ticket.wait() {
            Ok(done) => {
                ensure!(!refused, "a commit that was taken back is acknowledged: {done:?}");
                self.acknowledge(last, self.settings.durability.is_sync());
                Ok(())
            }
            Err(error) => {
                ensure!(self.settings.faults && is_failure(&error), "a ticket failed: {error:?}");
                self.poisoned |= is_poison(&error);
                match error {
                    Error::DiskFull if !refused => match self.store.clone() {
                        Some(store) => self.taken_back(&store),
                        None => Ok(()),
                    },
                    // Not written, so neither was anything behind it.
                    Error::WriterPoisoned { .. } if last > 0 && !refused => {
                        let first = self.model.at(last).map_or(last + 1, |event| event.commit);
                        self.model.truncate(first - 1);
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

fn count_as(answer: &StoreResult<Answer>) -> &'static str {
    match answer {
        Ok(Answer::Done(done)) if done.already_recorded => "already recorded",
        Ok(Answer::Done(_)) => "done",
        Ok(Answer::Later(_)) => "accepted",
        Err(error) => name_of(error),
    }
}

fn ask(store: &Store, operations: &[ModelOperation], via: Via) -> StoreResult<Answer> {
    if let ([operation], Via::Append) = (operations, via) {
        let done = store.append(&operation.stream, operation.expected, operation.events.clone())?;
        return Ok(Answer::Done(Committed {
            first_position: done.first_position,
            last_position: done.last_position,
            versions: vec![done.version],
            recorded_at: done.recorded_at,
            already_recorded: done.already_recorded,
        }));
    }
    let transaction = operations.iter().fold(store.transaction(), |transaction, o| {
        if o.events.is_empty() {
            transaction.check(&o.stream, o.expected)
        } else {
            transaction.append(&o.stream, o.expected, o.events.clone())
        }
    });
    match via {
        Via::Submit => transaction.submit().map(Answer::Later),
        Via::Buffered => transaction.durability(Durability::BUFFERED).commit().map(Answer::Done),
        Via::Append | Via::Commit => transaction.commit().map(Answer::Done),
    }
}

/// What a failing disk may make of a call.
pub(super) fn is_failure(error: &Error) -> bool {
    // A block of a derived file that cannot be read is reported as damage to that file.
    let unreadable =
        matches!(error, Error::Corrupt { what, .. } if what.contains("cannot be read"));
    matches!(error, Error::Io { .. } | Error::DiskFull) || unreadable || is_poison(error)
}

pub(super) fn is_poison(error: &Error) -> bool {
    matches!(error, Error::WriterPoisoned { .. } | Error::OutcomeUnknown { .. })
}
