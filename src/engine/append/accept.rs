//! The calls of appends and transactions: accept a commit, wait for its group, save its snapshots.
//!
//! Owns what follows the decision on a commit. Must never read files with the writer locked.

#[cfg(feature = "async")]
use std::task::Waker;

use super::{Answer, Appends, Prepared, Sequenced};
use crate::engine::commit::{Batch, GroupNumber, Guard};
use crate::error::Result;
use crate::event::snapshot::Snapshot;
use crate::event::{Committed, Position};
use crate::options::Durability;
use crate::trace::AppendTimer;

/// An accepted commit, and what to wait for.
#[derive(Debug)]
pub(crate) struct Accepted {
    group: GroupNumber,
    sync: bool,
    /// The snapshots that are saved with it.
    snapshots: Batch,
    committed: Committed,
}

impl Accepted {
    /// The result of the commit once it is durable.
    pub(crate) fn committed(&self) -> &Committed {
        &self.committed
    }
}

impl Appends {
    /// Commits one operation without snapshots, with the store's durability.
    pub(crate) fn append(&self, commit: &Prepared<'_>, answer: &mut Answer<'_>) -> Result<()> {
        let began = self.shared.counters().begin_append();
        let timer = AppendTimer::start();
        let sync = self.shared.options().durability.is_sync();
        let writer = self.sequence(commit, sync, answer, false)?;
        let done = &answer.sequenced;
        let (writer, outcome) = self.commits.wait_for_group(writer, done.group, sync);
        drop(writer);
        outcome?;
        self.shared.counters().end_append(began);
        self.report_if_slow(timer, done.first_position, done.last_position);
        self.after_commit();
        Ok(())
    }

    /// Commits, and returns once the commit has the requested durability. A conflict is returned once
    /// reads show its cause.
    pub(crate) fn commit(
        &self,
        commit: &Prepared<'_>,
        durability: Durability,
    ) -> Result<Committed> {
        let began = self.shared.counters().begin_append();
        let timer = AppendTimer::start();
        let mut versions = vec![0; commit.operations.len()];
        let mut answer = Answer::new(&mut versions);
        let writer = self.sequence(commit, durability.is_sync(), &mut answer, false)?;
        let sequenced = answer.sequenced;
        // The waiting thread writes the group: the flusher is not woken, and the lock is taken once.
        let (writer, accepted) = self.accept(writer, commit, durability, sequenced, versions, true);
        let committed = self.wait_with(writer, accepted)?;
        self.shared.counters().end_append(began);
        self.report_if_slow(timer, committed.first_position, committed.last_position);
        Ok(committed)
    }

    /// Called without locks.
    #[inline]
    fn report_if_slow(&self, timer: AppendTimer, first: Position, last: Position) {
        let events = last.get().saturating_sub(first.get()) + 1;
        timer.stop(self.shared.root(), self.shared.options().slow_from(), events, last.get());
    }

    /// Accepts a commit, and returns it on its way to disk. A conflict is returned at once, or, if not
    /// `conflict_at_once`, once reads show its cause.
    pub(crate) fn submit(
        &self,
        commit: &Prepared<'_>,
        durability: Durability,
        conflict_at_once: bool,
    ) -> Result<Accepted> {
        let mut versions = vec![0; commit.operations.len()];
        let sync = durability.is_sync();
        let mut answer = Answer::new(&mut versions);
        let writer = self.sequence(commit, sync, &mut answer, conflict_at_once)?;
        let sequenced = answer.sequenced;
        Ok(self.leave(self.accept(writer, commit, durability, sequenced, versions, false)))
    }

    /// [`Appends::submit`] without a wait; `None` if it would take long.
    #[cfg(feature = "async")]
    pub(crate) fn try_submit(
        &self,
        commit: &Prepared<'_>,
        durability: Durability,
        conflict_at_once: bool,
    ) -> Result<Option<Accepted>> {
        let mut versions = vec![0; commit.operations.len()];
        let sync = durability.is_sync();
        let mut answer = Answer::new(&mut versions);
        let writer = self.sequence_in_a_hurry(commit, sync, &mut answer, conflict_at_once)?;
        let Some(writer) = writer else { return Ok(None) };
        let sequenced = answer.sequenced;
        Ok(Some(self.leave(self.accept(writer, commit, durability, sequenced, versions, false))))
    }

    /// Waits until a commit has the requested durability.
    pub(crate) fn wait(&self, accepted: Accepted) -> Result<Committed> {
        self.wait_with(self.commits.lock(), accepted)
    }

    /// The outcome of a commit, for a task: `None` if it has to wait; `waker` is then kept.
    #[cfg(feature = "async")]
    pub(crate) fn poll(&self, accepted: &Accepted, waker: &Waker) -> Option<Result<Committed>> {
        let Accepted { group, sync, snapshots, committed } = accepted;
        let outcome = self.commits.poll_group(*group, *sync, *snapshots, waker)?;
        if outcome.is_ok() && !self.shared.options().background && *snapshots != Batch::NONE {
            self.snapshots.save_due();
        }
        Some(outcome.map(|()| committed.clone()))
    }

    /// Stores the interval and the snapshots of a commit that was decided on. `waits`: this thread waits for it.
    fn accept<'a>(
        &'a self,
        mut writer: Guard<'a>,
        commit: &Prepared<'_>,
        durability: Durability,
        sequenced: Sequenced,
        versions: Vec<u64>,
        waits: bool,
    ) -> (Guard<'a>, Accepted) {
        if let Durability::Buffered { interval } = durability {
            writer.buffered_interval = writer.buffered_interval.min(interval);
        }
        let Sequenced {
            group,
            first_position,
            last_position,
            recorded_at,
            already_recorded,
            mut applied,
            record_versions,
        } = sequenced;
        let mut snapshots = commit.snapshots.to_vec();
        if already_recorded && !snapshots.is_empty() {
            // Files are not read under the lock.
            drop(writer);
            snapshots.retain(|snapshot| !self.snapshots.has(snapshot));
            applied.extend(snapshots.iter().map(Snapshot::to_applied));
            writer = self.commits.lock();
        }
        let snapshots = writer.keep_snapshots(group, snapshots, waits && durability.is_sync());
        let committed = Committed {
            first_position,
            last_position,
            versions,
            recorded_at,
            already_recorded,
            applied,
            record_versions,
        };
        (writer, Accepted { group, sync: durability.is_sync(), snapshots, committed })
    }

    /// Leaves the group to the flushing thread if no other thread waits for it and it is not written at once.
    fn leave(&self, (writer, accepted): (Guard<'_>, Accepted)) -> Accepted {
        self.commits.leave(writer);
        accepted
    }

    fn wait_with(&self, writer: Guard<'_>, accepted: Accepted) -> Result<Committed> {
        let Accepted { group, sync, snapshots, committed } = accepted;
        let (writer, outcome) = self.commits.wait_for_group(writer, group, sync);
        drop(writer);
        outcome?;
        if snapshots != Batch::NONE {
            self.snapshots.save_due();
        }
        self.after_commit();
        Ok(committed)
    }

    /// Without threads, the work beside appends is done by the appends.
    fn after_commit(&self) {
        if !self.shared.options().background {
            self.maintenance.try_maintain();
        }
    }
}
