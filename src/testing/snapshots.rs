//! The snapshots that may exist, and those that must exist.
//!
//! They are not durable when they are saved, nor gone when they are deleted: after a power loss any
//! of them may exist, if it is intact, and if the history that it covers exists.

use super::compare::{Checked, ensure};
use super::model::{Model, Point};
use super::operations::STREAMS;
use crate::event::Position;
use crate::event::snapshot::{Mark, Snapshot};

/// A snapshot that was saved, or may have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    key: String,
    mark: Mark,
    state: Vec<u8>,
    /// It may exist only if everything up to here is durable.
    end: Point,
}

impl Saved {
    pub(super) fn of(snapshot: &Snapshot, end: Point) -> Self {
        let (key, state) = (snapshot.key().to_owned(), snapshot.state().to_vec());
        Self { key, mark: snapshot.mark(), state, end }
    }
}

/// One of all snapshots that were ever saved.
#[derive(Debug)]
struct SnapshotRecord {
    saved: Saved,
    /// The call that saves it has returned; a snapshot of a commit may be saved later.
    settled: bool,
    deleted: bool,
    /// The history that it covers is lost, and was never durable.
    lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct SnapshotModel {
    ever: Vec<SnapshotRecord>,
    certain: Vec<Saved>,
    states: u64,
}

impl SnapshotModel {
    pub(super) fn power_lost(&mut self) {
        self.ever.iter_mut().for_each(|entry| entry.deleted = false);
        self.certain.clear();
    }

    /// The log ends here, and later contents are lost.
    pub(super) fn truncated(&mut self, end: Point) {
        for entry in &mut self.ever {
            entry.lost |= !end.covers(entry.saved.end);
        }
        self.certain.retain(|it| end.covers(it.end));
    }

    pub(super) fn next_state(&mut self, size: u16) -> Vec<u8> {
        self.states += 1;
        let number = self.states.to_le_bytes();
        number.into_iter().cycle().take(usize::from(size)).collect()
    }

    /// A call that saves it has returned; `certain`: with success.
    pub(super) fn saved(&mut self, saved: Saved, certain: bool) {
        self.add(saved, true, certain);
    }

    /// A commit that saves it was accepted; `certain`: it is done, and the snapshot was saved.
    pub(super) fn saved_with_commit(&mut self, saved: Saved, certain: bool) {
        self.add(saved, certain, certain);
    }

    fn add(&mut self, saved: Saved, settled: bool, certain: bool) {
        if certain {
            self.certain.retain(|it| (&it.key, it.mark) != (&saved.key, saved.mark));
        }
        let entry = SnapshotRecord { saved: saved.clone(), settled, deleted: false, lost: false };
        self.ever.push(entry);
        if certain {
            self.certain.push(saved);
        }
        // Two snapshots per key and kind are kept: any that is older than two others may be gone.
        let Self { ever, certain, .. } = self;
        certain.retain(|it| {
            let newer = ever.iter().map(|entry| &entry.saved);
            let mut newer: Vec<Mark> = newer
                .filter(|other| other.key == it.key && is_newer(other.mark, it.mark))
                .map(|other| other.mark)
                .collect();
            newer.sort_unstable();
            newer.dedup();
            newer.len() < 2
        });
    }

    pub(super) fn deleted(&mut self, key: usize, certain: bool) {
        self.certain.retain(|it| it.key != STREAMS[key]);
        for entry in self.ever.iter_mut().filter(|entry| entry.saved.key == STREAMS[key]) {
            entry.deleted |= certain && entry.settled;
        }
    }

    /// Compares the loaded snapshot, as the newest at or below `most`.
    pub(super) fn loaded(&self, key: usize, most: Mark, found: Option<&Snapshot>) -> Checked {
        let name = STREAMS[key];
        let least = self
            .certain
            .iter()
            .filter(|it| it.key == name && !is_newer(it.mark, most) && same_kind(it.mark, most))
            .max_by_key(|it| it.mark);
        let Some(found) = found else {
            let least = least.map(|least| least.mark);
            ensure!(least.is_none(), "no snapshot of {name:?}, one was saved at {least:?}");
            return Ok(());
        };
        let mark = found.mark();
        ensure!(found.key() == name && same_kind(mark, most), "asked for {name:?}: {found:?}");
        ensure!(!is_newer(mark, most), "asked for {name:?} at most at {most:?}: {mark:?}");
        let same = |it: &Saved| (&*it.key, it.mark, &it.state[..]) == (name, mark, found.state());
        let possible = |entry: &&SnapshotRecord| !entry.deleted && !entry.lost;
        let known = self.ever.iter().filter(possible).any(|entry| same(&entry.saved));
        ensure!(known, "nobody saved this for {name:?} at {mark:?}: {found:?}");
        let Some(least) = least else { return Ok(()) };
        ensure!(!is_newer(least.mark, mark), "{mark:?} of {name:?}, {:?} was saved", least.mark);
        ensure!(least.mark != mark || same(least), "{name:?} at {mark:?} is not as it was saved");
        Ok(())
    }

    /// A call has saved it, so no other state existed.
    pub(super) fn may_be_saved(&self, saved: &Saved) -> Checked {
        let other = |it: &&Saved| (&it.key, it.mark) == (&saved.key, saved.mark) && *it != saved;
        let there = self.certain.iter().find(other);
        ensure!(there.is_none(), "two states of one mark were saved: {there:?} and {saved:?}");
        Ok(())
    }

    /// A call has refused it, so another state may exist.
    pub(super) fn may_be_refused(&self, saved: &Saved) -> Checked {
        let possible = |entry: &SnapshotRecord| {
            let it = &entry.saved;
            let same_place = (&it.key, it.mark) == (&saved.key, saved.mark);
            same_place && it.state != saved.state && !entry.deleted && !entry.lost
        };
        ensure!(self.ever.iter().any(possible), "refused, and nothing is there: {saved:?}");
        Ok(())
    }

    /// The place that the log must have reached for the loaded snapshot to exist; of equal ones, the
    /// first.
    pub(super) fn needs(&self, found: &Snapshot) -> Point {
        let same = |it: &Saved| {
            (&*it.key, it.mark, &it.state[..]) == (found.key(), found.mark(), found.state())
        };
        let entry = self.ever.iter().find(|entry| same(&entry.saved));
        entry.map_or(Point::default(), |entry| entry.saved.end)
    }
}

impl Model {
    /// The last version or position of a key at `head`, in the unit of its mark.
    pub(super) fn reached(&self, key: &str, by_position: bool, head: u64) -> u64 {
        if by_position { self.head().min(head) } else { self.stream_head(key, head).0 }
    }

    /// The end of the commit with the event that a snapshot's mark names.
    pub(super) fn end_of_mark(&self, snapshot: &Snapshot) -> Point {
        match snapshot.mark() {
            Mark::Position(position) => self.end_of(position.get()),
            Mark::Version(version) => {
                let mut events = self.stream(snapshot.key(), u64::MAX);
                events
                    .find(|e| e.version == version)
                    .map_or(Point::default(), |e| self.end_of(e.position))
            }
        }
    }
}

pub(super) fn same_kind(one: Mark, other: Mark) -> bool {
    matches!(one, Mark::Version(_)) == matches!(other, Mark::Version(_))
}

fn is_newer(one: Mark, other: Mark) -> bool {
    same_kind(one, other) && one > other
}

pub(super) fn mark(by_position: bool, number: u64) -> Mark {
    if by_position { Mark::Position(Position::new(number)) } else { Mark::Version(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(version: u64, state: u8) -> Saved {
        let end = Point { events: version, changes: 0 };
        Saved::of(&Snapshot::new(STREAMS[0], version, vec![state]), end)
    }

    fn loaded(model: &SnapshotModel, most: u64, found: Option<(u64, u8)>) -> bool {
        let found = found.map(|(version, state)| Snapshot::new(STREAMS[0], version, vec![state]));
        model.loaded(0, Mark::Version(most), found.as_ref()).is_ok()
    }

    #[test]
    fn saved_snapshot_is_expected_to_be_loaded() {
        let mut model = SnapshotModel::default();
        assert!(loaded(&model, 9, None) && !loaded(&model, 9, Some((1, 1))));
        model.saved(saved(1, 1), true);
        model.saved(saved(3, 3), true);
        assert!(loaded(&model, 9, Some((3, 3))) && loaded(&model, 2, Some((1, 1))));
        for wrong in [None, Some((1, 1)), Some((3, 1)), Some((2, 3))] {
            assert!(!loaded(&model, 9, wrong), "{wrong:?}");
        }
        assert!(!loaded(&model, 2, Some((3, 3))), "newer than was asked for");
        // After a third one, the first may be removed.
        model.saved(saved(5, 5), true);
        assert!(loaded(&model, 2, None) && !loaded(&model, 4, None));
    }

    #[test]
    fn power_loss_may_lose_or_restore_unsynced_snapshots() {
        let mut model = SnapshotModel::default();
        model.saved(saved(1, 1), true);
        model.deleted(0, true);
        assert!(loaded(&model, 9, None) && !loaded(&model, 9, Some((1, 1))));
        model.saved(saved(2, 2), true);
        model.power_lost();
        for possible in [None, Some((1, 1)), Some((2, 2))] {
            assert!(loaded(&model, 9, possible), "{possible:?}");
        }
        assert!(!loaded(&model, 9, Some((2, 1))), "never in parts");
        model.saved(saved(2, 3), false);
        assert!(loaded(&model, 9, Some((2, 2))) && loaded(&model, 9, Some((2, 3))));
    }

    #[test]
    fn first_of_two_states_of_one_mark_stays() {
        let mut model = SnapshotModel::default();
        model.saved_with_commit(saved(2, 1), false);
        assert!(model.may_be_refused(&saved(2, 2)).is_ok(), "that of the commit may be there");
        assert!(
            model.may_be_refused(&saved(2, 1)).is_err() && model.may_be_saved(&saved(2, 2)).is_ok()
        );
        model.saved(saved(2, 2), true);
        assert!(loaded(&model, 9, Some((2, 2))) && !loaded(&model, 9, Some((2, 1))));
        assert!(!loaded(&model, 9, Some((2, 3))) && !loaded(&model, 9, None));
        assert!(
            model.may_be_saved(&saved(2, 2)).is_ok() && model.may_be_saved(&saved(2, 3)).is_err()
        );
        model.saved_with_commit(saved(2, 3), false);
        assert!(loaded(&model, 9, Some((2, 2))) && !loaded(&model, 9, Some((2, 3))));
    }

    #[test]
    fn snapshot_of_a_lost_commit_is_lost() {
        let mut model = SnapshotModel::default();
        model.saved_with_commit(saved(2, 2), false);
        model.deleted(0, true);
        assert!(loaded(&model, 9, Some((2, 2))), "it may be saved later");
        assert_eq!(model.needs(&Snapshot::new(STREAMS[0], 2, vec![2])).events, 2);
        model.truncated(Point { events: 1, changes: 0 });
        assert!(!loaded(&model, 9, Some((2, 2))) && loaded(&model, 9, None));
    }
}
