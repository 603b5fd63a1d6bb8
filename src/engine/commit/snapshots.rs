//! The snapshots of commits: kept until their group is durable, then handed out to be saved.
//!
//! Also the tasks that wait for a snapshot to be saved: their commit counts as done only then. Must
//! never do I/O: it lives under the writer's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use super::GroupNumber;
use crate::event::snapshot::Snapshot;

/// Names the snapshots of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Batch(u64);

impl Batch {
    /// Of a commit without snapshots.
    pub(crate) const NONE: Self = Self(0);
}

/// With more bytes of states kept, the next group is synced, whatever its commits asked for.
const MOST_BYTES: usize = 32 << 20;

#[derive(Debug, Default)]
pub(crate) struct PendingSnapshots {
    /// By group: a buffered store keeps many between two syncs.
    kept: BTreeMap<GroupNumber, Vec<PendingSnapshot>>,
    /// The sizes of their states.
    kept_bytes: usize,
    /// The groups with a snapshot that no thread saves after waiting for its commit.
    unattended: BTreeSet<GroupNumber>,
    last: Batch,
    /// Handed out and not saved yet.
    saving: BTreeSet<Batch>,
    /// The store is closed: nothing is saved any more.
    ended: bool,
    /// The maintaining thread, which saves them, is at work, and that may take long.
    pub(crate) saver_is_busy: bool,
    wakers: Vec<(Batch, Waker)>,
}

#[derive(Debug)]
struct PendingSnapshot {
    batch: Batch,
    snapshot: Snapshot,
}

impl PendingSnapshot {
    fn len(&self) -> usize {
        self.snapshot.state().len()
    }
}

/// Snapshots to save, and the numbers by which they are reported as saved.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) snapshots: Vec<Snapshot>,
    /// Sorted.
    pub(crate) batches: Vec<Batch>,
}

impl PendingSnapshots {
    /// Keeps the snapshots of one commit until group `group` is durable. `attended`: a thread waits for that, and
    /// then saves them.
    pub(super) fn keep(
        &mut self,
        group: GroupNumber,
        snapshots: Vec<Snapshot>,
        attended: bool,
    ) -> Batch {
        if snapshots.is_empty() {
            return Batch::NONE;
        }
        let batch = Batch(self.last.0 + 1);
        self.last = batch;
        if !attended {
            self.unattended.insert(group);
        }
        self.kept_bytes += snapshots.iter().map(|snapshot| snapshot.state().len()).sum::<usize>();
        let of_group = self.kept.entry(group).or_default();
        of_group.extend(snapshots.into_iter().map(|snapshot| PendingSnapshot { batch, snapshot }));
        batch
    }

    /// Whether the states that wait for a sync take more than [`MOST_BYTES`].
    pub(super) fn want_sync(&self) -> bool {
        self.kept_bytes > MOST_BYTES
    }

    /// Whether a snapshot of a durable group waits to be handed out, and no thread attends to it.
    pub(super) fn any_due(&self, synced: GroupNumber) -> bool {
        self.unattended.first().is_some_and(|group| *group <= synced)
    }

    /// Hands out the snapshots of durable groups. Those of refused groups are forgotten, and count as
    /// handed out too.
    pub(super) fn take_due(&mut self, synced: GroupNumber, refused: &[GroupNumber]) -> Due {
        let mut due = Due::default();
        if self.ended {
            return due;
        }
        for group in refused {
            self.unattended.remove(group);
            let lost = self.kept.remove(group).unwrap_or_default();
            due.batches.extend(lost.iter().map(|lost| lost.batch));
            self.kept_bytes -= lost.iter().map(PendingSnapshot::len).sum::<usize>();
        }
        while let Some(first) = self.kept.first_entry()
            && *first.key() <= synced
        {
            self.unattended.remove(first.key());
            for pending in first.remove() {
                self.kept_bytes -= pending.len();
                let PendingSnapshot { batch, snapshot } = pending;
                due.batches.push(batch);
                due.snapshots.push(snapshot);
            }
        }
        due.batches.sort_unstable();
        due.batches.dedup();
        self.saving.extend(&due.batches);
        due
    }

    /// Reports that snapshots that were handed out are saved, or failed; `batches` is sorted. Returns the tasks to
    /// wake, once no lock is held.
    #[must_use]
    pub(crate) fn saved(&mut self, batches: &[Batch]) -> Vec<Waker> {
        for batch in batches {
            self.saving.remove(batch);
        }
        let waits = |(batch, _): &mut (Batch, Waker)| batches.binary_search(batch).is_ok();
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
        let mut due = self.kept.range(..=synced).flat_map(|(_, of_group)| of_group);
        let unsaved = self.saving.contains(&batch) || due.any(|kept| kept.batch == batch);
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
        let first = pending.keep(one, vec![snapshot(1), snapshot(2)], false);
        let second = pending.keep(two, vec![snapshot(3)], false);
        assert_eq!(pending.keep(two, Vec::new(), false), Batch::NONE);
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
        let third = pending.keep(three, vec![snapshot(4)], true);
        assert!(!pending.any_due(three), "the thread that waits for it saves it");
        assert!(pending.poll(third, three, waker));
        assert_eq!(pending.end().len(), 1);
        assert!(!pending.poll(third, three, waker), "nothing is saved in a closed store");
        assert!(pending.take_due(three, &[]).snapshots.is_empty());
    }

    #[test]
    fn sync_is_wanted_while_more_bytes_than_the_most_are_kept() {
        let mut pending = PendingSnapshots::default();
        let [one, two, three] = group_numbers();
        let large = || vec![Snapshot::new("s", 1, vec![0; MOST_BYTES / 2])];
        for group in [one, two, three] {
            assert!(!pending.want_sync());
            pending.keep(group, large(), false);
        }
        assert!(pending.want_sync());
        assert_eq!(pending.take_due(two, &[two]).snapshots.len(), 1);
        assert_eq!((pending.want_sync(), pending.kept_bytes), (false, MOST_BYTES / 2));
    }
}
