//! The snapshots of commits: kept until their group is durable, then handed out to be saved.
//!
//! Also the tasks that wait for a snapshot to be saved: their commit counts as done only then. Must
//! never do I/O: it lives under the writer's lock.

use std::task::Waker;

use super::GroupNumber;
use crate::event::snapshot::Snapshot;

/// Names the snapshots of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Batch(u64);

impl Batch {
    /// Of a commit without snapshots.
    pub(crate) const NONE: Self = Self(0);
}

#[derive(Debug, Default)]
pub(crate) struct PendingSnapshots {
    kept: Vec<PendingSnapshot>,
    last: Batch,
    /// Handed out and not saved yet.
    saving: Vec<Batch>,
    /// The store is closed: nothing is saved any more.
    ended: bool,
    /// The maintaining thread, which saves them, is at work, and that may take long.
    pub(crate) saver_is_busy: bool,
    wakers: Vec<(Batch, Waker)>,
}

#[derive(Debug)]
struct PendingSnapshot {
    group: GroupNumber,
    batch: Batch,
    snapshot: Snapshot,
}

/// Snapshots to save, and the numbers by which they are reported as saved.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) batches: Vec<Batch>,
}

impl PendingSnapshots {
    /// Keeps the snapshots of one commit until group `group` is durable.
    pub(super) fn keep(&mut self, group: GroupNumber, snapshots: Vec<Snapshot>) -> Batch {
        if snapshots.is_empty() {
            return Batch::NONE;
        }
        let batch = Batch(self.last.0 + 1);
        self.last = batch;
        self.kept.extend(snapshots.into_iter().map(|snapshot| PendingSnapshot {
            group,
            batch,
            snapshot,
        }));
        batch
    }

    /// Whether a snapshot of a durable group waits to be handed out.
    pub(super) fn any_due(&self, synced: GroupNumber) -> bool {
        self.kept.iter().any(|kept| kept.group <= synced)
    }

    /// Hands out the snapshots of durable groups. Those of refused groups are forgotten, and count as
    /// handed out too.
    pub(super) fn take_due(&mut self, synced: GroupNumber, refused: &[GroupNumber]) -> Due {
        let mut due = Due::default();
        for kept in std::mem::take(&mut self.kept) {
            let is_refused = refused.binary_search(&kept.group).is_ok();
            if !is_refused && kept.group > synced {
                self.kept.push(kept);
                continue;
            }
            if due.batches.last() != Some(&kept.batch) {
                due.batches.push(kept.batch);
            }
            if !is_refused {
                due.snapshots.push(kept.snapshot);
            }
        }
        self.saving.extend(&due.batches);
        due
    }

    /// Reports that snapshots that were handed out are saved, or failed. Returns the tasks to wake,
    /// once no lock is held.
    #[must_use]
    pub(crate) fn saved(&mut self, batches: &[Batch]) -> Vec<Waker> {
        self.saving.retain(|batch| !batches.contains(batch));
        let waits = |(batch, _): &mut (Batch, Waker)| batches.contains(batch);
        self.wakers.extract_if(.., waits).map(|(_, waker)| waker).collect()
    }

    /// Nothing is saved from now on. Returns the tasks to wake, once no lock is held.
    #[must_use]
    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.ended = true;
        self.wakers.drain(..).map(|(_, waker)| waker).collect()
    }

    /// Whether a commit's snapshots can be saved and are not saved yet; `waker` is kept if so. Those
    /// that cannot be saved yet are not waited for: in a buffered store that is up to the next sync.
    #[cfg(any(feature = "async", test))]
    pub(super) fn poll(&mut self, batch: Batch, synced: GroupNumber, waker: &Waker) -> bool {
        let is_due = |kept: &PendingSnapshot| kept.batch == batch && kept.group <= synced;
        let unsaved = self.saving.contains(&batch) || self.kept.iter().any(is_due);
        if batch == Batch::NONE || self.ended || !unsaved {
            return false;
        }
        self.wakers.retain(|(n, known)| *n != batch || !known.will_wake(waker));
        self.wakers.push((batch, waker.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_numbers() -> [GroupNumber; 3] {
        let first = GroupNumber::FIRST;
        [first, first.next(), first.next().next()]
    }

    fn snapshot(version: u64) -> Snapshot {
        Snapshot::new("s", version, "state")
    }

    #[test]
    fn task_waits_until_its_snapshot_is_saved() {
        let mut pending = PendingSnapshots::default();
        let waker = Waker::noop();
        let [one, two, three] = group_numbers();
        let first = pending.keep(one, vec![snapshot(1), snapshot(2)]);
        let second = pending.keep(two, vec![snapshot(3)]);
        assert_eq!(pending.keep(two, Vec::new()), Batch::NONE);
        assert!(!pending.poll(first, GroupNumber::NONE, waker), "its group is not durable");
        assert!(pending.any_due(one) && pending.poll(first, one, waker));
        let due = pending.take_due(one, &[]);
        assert_eq!((due.snapshots.len(), &due.batches[..]), (2, &[first][..]));
        assert!(pending.poll(first, one, waker), "handed out is not saved");
        assert!(!pending.any_due(one));
        assert_eq!(pending.saved(&due.batches).len(), 1);
        assert!(!pending.poll(first, one, waker));
        // A refused group takes its snapshots with it.
        let due = pending.take_due(two, &[two]);
        assert_eq!((due.snapshots.len(), &due.batches[..]), (0, &[second][..]));
        assert_eq!(pending.saved(&due.batches).len(), 0);
        let third = pending.keep(three, vec![snapshot(4)]);
        assert!(pending.poll(third, three, waker));
        assert_eq!(pending.end().len(), 1);
        assert!(!pending.poll(third, three, waker), "nothing is saved in a closed store");
    }
}
