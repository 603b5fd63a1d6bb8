//! What can be done beside the log: snapshots, a read-only follower, a look at every byte.
//!
//! Owns the choices, what the model has to know of each, and the comparison. None of it may change
//! what the log holds.

use std::time::Duration;

use super::compare::{self, Checked, Mismatch, ensure, must};
use super::harness::Harness;
use super::metadata;
use super::model::Point;
use super::operations::{ReadChoice, STREAMS, Source, read};
use crate::error::{Error, Result as StoreResult};
use crate::event::Position;
use crate::recovery::Opened;
use crate::snapshot::{Mark, Snapshot};
use crate::store::Store;

/// Something beside the log.
#[derive(Debug, Clone)]
pub enum Aside {
    /// Saves a snapshot.
    Save {
        /// Its key, an index into [`STREAMS`].
        key: usize,
        /// By position; else by version.
        by_position: bool,
        /// So many before where the stream, or the store, is; in front of that if negative.
        back: i8,
        /// The size of its state.
        size: u16,
    },
    /// Loads one, the newest at or below a mark.
    Load {
        /// Its key, an index into [`STREAMS`].
        key: usize,
        /// By position; else by version.
        by_position: bool,
        /// The highest mark; `None` for the newest of any kind.
        at_most: Option<u8>,
    },
    /// Deletes all of a key.
    Delete(usize),
    /// Opens a reader beside the writer, as another process would, or closes it.
    Follower,
    /// Reads through the follower.
    Follow(ReadChoice),
    /// Asks for single events and heads through the follower.
    FollowLook(u16),
    /// Asks whether a position around the head is visible.
    WaitFor(u8),
    /// Reads every byte of the store, beside the writer.
    Verify,
}

impl Aside {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        let key = usize::from(source.below(4));
        match source.below(16) {
            0..=3 => Self::Save {
                key,
                by_position: source.below(3) == 0,
                back: i8::try_from(source.below(6)).unwrap_or(0) - 1,
                size: source.word() % 3000,
            },
            4..=6 => Self::Load {
                key,
                by_position: source.below(2) == 0,
                at_most: (source.below(2) == 0).then(|| source.below(12)),
            },
            7 => Self::Delete(key),
            8 | 9 => Self::Follower,
            10..=12 => Self::Follow(ReadChoice { unsynced: false, ..read(source) }),
            13 => Self::FollowLook(source.word()),
            14 => Self::WaitFor(source.byte()),
            _ => Self::Verify,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Save { .. } => "save snapshot",
            Self::Load { .. } => "load snapshot",
            Self::Delete(_) => "delete snapshots",
            Self::Follower => "follower comes or goes",
            Self::Follow(_) => "follower reads",
            Self::FollowLook(_) => "follower looks",
            Self::WaitFor(_) => "wait for",
            Self::Verify => "verify",
        }
    }
}

/// What there is beside a store's log.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) follower: Option<Store>,
    /// What the follower has shown.
    shown: Point,
    pub(super) snapshots: SnapshotModel,
}

/// A snapshot that was saved, or may have been.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Saved {
    key: &'static str,
    mark: Mark,
    state: Vec<u8>,
}

/// What snapshots there may be, and which there must be. They are not durable when they are saved,
/// nor gone when they are deleted: after a power loss any of them may be there, if it is whole.
#[derive(Debug, Default)]
pub(super) struct SnapshotModel {
    ever: Vec<Saved>,
    /// Of `ever`, those that may be there by what happened since the last power loss.
    from: [usize; STREAMS.len()],
    certain: Vec<Saved>,
    states: u64,
}

impl SnapshotModel {
    pub(super) fn power_lost(&mut self) {
        self.from = [0; STREAMS.len()];
        self.certain.clear();
    }

    fn next_state(&mut self, size: u16) -> Vec<u8> {
        self.states += 1;
        let number = self.states.to_le_bytes();
        number.into_iter().cycle().take(usize::from(size)).collect()
    }

    fn saved(&mut self, saved: Saved, certain: bool) {
        self.certain.retain(|it| (it.key, it.mark) != (saved.key, saved.mark));
        self.ever.push(saved.clone());
        if !certain {
            return;
        }
        self.certain.push(saved);
        // Two of a key and a kind are kept: whatever two others may be newer than may be gone.
        let Self { ever, certain, .. } = self;
        certain.retain(|it| {
            let mut newer: Vec<Mark> = ever
                .iter()
                .filter(|other| other.key == it.key && is_newer(other.mark, it.mark))
                .map(|other| other.mark)
                .collect();
            newer.sort_unstable();
            newer.dedup();
            newer.len() < 2
        });
    }

    fn deleted(&mut self, key: usize, certain: bool) {
        self.certain.retain(|it| it.key != STREAMS[key]);
        if certain {
            self.from[key] = self.ever.len();
        }
    }

    /// Compares what was loaded, as the newest at or below `most`.
    fn loaded(&self, key: usize, most: Mark, found: Option<&Snapshot>) -> Checked {
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
        let same = |it: &Saved| (it.key, it.mark, &it.state[..]) == (name, mark, found.state());
        let mut known = self.ever[self.from[key]..].iter();
        ensure!(known.any(same), "nobody saved this for {name:?} at {mark:?}: {found:?}");
        let Some(least) = least else { return Ok(()) };
        ensure!(!is_newer(least.mark, mark), "{mark:?} of {name:?}, {:?} was saved", least.mark);
        ensure!(least.mark != mark || same(least), "{name:?} at {mark:?} is not as it was saved");
        Ok(())
    }
}

fn same_kind(one: Mark, other: Mark) -> bool {
    matches!(one, Mark::Version(_)) == matches!(other, Mark::Version(_))
}

fn is_newer(one: Mark, other: Mark) -> bool {
    same_kind(one, other) && one > other
}

fn mark(by_position: bool, number: u64) -> Mark {
    if by_position { Mark::Position(Position::new(number)) } else { Mark::Version(number) }
}

impl Harness {
    pub(super) fn aside(&mut self, aside: &Aside) -> Checked {
        let Some(store) = self.store.clone() else { return Err(Mismatch::new("not open")) };
        match aside {
            Aside::Save { key, by_position, back, size } => {
                let most = self.reached(*key, *by_position, u64::MAX);
                let number = most.saturating_add_signed(-i64::from(*back));
                let state = self.beside.snapshots.next_state(*size);
                self.save(&store, *key, mark(*by_position, number), state)
            }
            Aside::Load { key, by_position, at_most } => {
                self.load(&store, *key, *by_position, *at_most)
            }
            Aside::Delete(key) => {
                let deleted = self.allow(store.snapshots().delete(STREAMS[*key]))?;
                self.beside.snapshots.deleted(*key, deleted.is_some());
                Ok(())
            }
            Aside::Follower => self.follower(),
            Aside::Follow(choice) => self.follow(&store, |follower, harness| {
                compare::read(follower, &mut harness.model, choice)
            }),
            Aside::FollowLook(back) => self.follow(&store, |follower, harness| {
                let looked = compare::look(follower, &mut harness.model, *back);
                Ok(match looked {
                    Ok(checked) => {
                        checked?;
                        Ok(follower.head().get())
                    }
                    Err(error) => Err(error),
                })
            }),
            Aside::WaitFor(off) => {
                let head = store.head().get();
                let position = (head + 4).saturating_sub(u64::from(*off) % 12);
                let waited = store.wait_for(position.into(), Duration::ZERO);
                let Some(reached) = self.allow(waited)? else { return Ok(()) };
                let after = store.head().get();
                let right = (position <= head) <= reached && reached <= (position <= after);
                ensure!(right, "position {position} is reached: {reached}, the head is {after}");
                Ok(())
            }
            Aside::Verify => self.verify(),
        }
    }

    /// How far a stream, or the store, has come at `head`.
    fn reached(&self, key: usize, by_position: bool, head: u64) -> u64 {
        if by_position {
            self.model.head().min(head)
        } else {
            self.model.stream_head(STREAMS[key], head).0
        }
    }

    fn save(&mut self, store: &Store, key: usize, mark: Mark, state: Vec<u8>) -> Checked {
        let (number, by_position) = match mark {
            Mark::Version(version) => (version, false),
            Mark::Position(position) => (position.get(), true),
        };
        let most = self.reached(key, by_position, u64::MAX);
        let saved = Saved { key: STREAMS[key], mark, state };
        let answer = store.snapshots().save(&Snapshot::new(saved.key, mark, saved.state.clone()));
        match answer {
            Ok(()) => {
                ensure!(number <= most, "a snapshot at {mark:?} was saved, {most} is reached");
                self.beside.snapshots.saved(saved, true);
                self.note_seen(store.head().get(), false)
            }
            Err(Error::SnapshotAhead { .. }) if number > most => Ok(()),
            // Commits whose outcome is unknown are not reached, and do not have to be.
            Err(Error::SnapshotAhead { .. }) if self.settings.faults => {
                let least = self.reached(key, by_position, self.acknowledged.events);
                ensure!(number > least, "refused at {mark:?}, {least} is acknowledged");
                Ok(())
            }
            Err(error) => {
                let full = matches!(error, Error::DiskFull);
                self.allow::<()>(Err(error))?;
                self.beside.snapshots.saved(saved, false);
                // It may have been the log that was full.
                if full { self.taken_back(store) } else { Ok(()) }
            }
        }
    }

    fn load(
        &mut self,
        store: &Store,
        key: usize,
        by_position: bool,
        at_most: Option<u8>,
    ) -> Checked {
        let (name, snapshots) = (STREAMS[key], store.snapshots());
        let (most, answer) = match at_most {
            Some(number) => {
                let most = mark(by_position, number.into());
                (most, snapshots.load_at_most(name, most))
            }
            None => (mark(false, u64::MAX), snapshots.load(name)),
        };
        let Some(found) = self.allow(answer)? else { return Ok(()) };
        let model = &self.beside.snapshots;
        match &found {
            // There was none by version.
            Some(found) if at_most.is_none() && !same_kind(found.mark(), most) => {
                model.loaded(key, most, None)?;
                model.loaded(key, mark(true, u64::MAX), Some(found))
            }
            None if at_most.is_none() => {
                model.loaded(key, most, None)?;
                model.loaded(key, mark(true, u64::MAX), None)
            }
            found => model.loaded(key, most, found.as_ref()),
        }
    }

    fn follower(&mut self) -> Checked {
        if self.beside.follower.take().is_some() {
            return Ok(());
        }
        let opened = self.options().read_only(true).open(&self.root);
        let Some(follower) = self.allow(opened)? else { return Ok(()) };
        let damaged = matches!(follower.opened(), Opened::Damaged { .. });
        ensure!(!damaged, "a follower finds damage: {:?}", follower.opened());
        self.beside.shown = Point::default();
        self.beside.follower = Some(follower);
        Ok(())
    }

    /// Asks the follower, which sees no more than the writer's own readers, and no less than before.
    pub(super) fn follow(
        &mut self,
        store: &Store,
        ask: impl FnOnce(&Store, &mut Self) -> Checked<StoreResult<u64>>,
    ) -> Checked {
        let Some(follower) = self.beside.follower.clone() else { return Ok(()) };
        let before = store.head().get();
        let asked = ask(&follower, self)?;
        let Some(head) = self.allow(asked)? else { return Ok(()) };
        let after = store.head().get();
        ensure!(head <= after, "a follower sees {head} events, the writer's readers {after}");
        let least = if self.settings.faults { self.beside.shown.events } else { before };
        ensure!(head >= least, "a follower sees {head} events, not {least}");
        ensure!(self.model.is_boundary(head), "a follower sees half a commit, up to {head}");
        let shown = metadata::visible(&follower);
        ensure!(shown.covers(self.model.end_of(head)), "a follower's changes end at {shown:?}");
        ensure!(shown.covers(self.beside.shown), "a follower went back to {shown:?}");
        ensure!(self.model.is_end(shown), "a follower sees half a commit, up to {shown:?}");
        self.beside.shown = shown;
        self.seen = self.seen.max(shown);
        Ok(())
    }

    /// Reads every byte. Beside a writer, what is on its way to disk is no fault.
    ///
    /// # Errors
    ///
    /// Any fault that is found, and a number of events that was not promised.
    pub fn verify(&mut self) -> Checked {
        let verified = super::verify_on(&*self.storage, &self.root, |_| {});
        if self.settings.faults {
            // A disk that fails is full of faults; that it comes to an end is all there is to ask.
            return Ok(());
        }
        let report = must("verify", verified)?;
        ensure!(report.faults.is_empty(), "verify: {:?}", report.faults);
        let (least, most) = (self.seen.max(self.acknowledged).events, self.model.head());
        let right =
            (least..=most).contains(&report.events) && self.model.is_boundary(report.events);
        ensure!(right, "verify reads {} events, not {least}..={most}", report.events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(version: u64, state: u8) -> Saved {
        Saved { key: STREAMS[0], mark: Mark::Version(version), state: vec![state] }
    }

    fn loaded(model: &SnapshotModel, most: u64, found: Option<(u64, u8)>) -> bool {
        let found = found.map(|(version, state)| Snapshot::new(STREAMS[0], version, vec![state]));
        model.loaded(0, Mark::Version(most), found.as_ref()).is_ok()
    }

    #[test]
    fn a_snapshot_that_was_saved_is_the_one_that_is_there() {
        let mut model = SnapshotModel::default();
        assert!(loaded(&model, 9, None) && !loaded(&model, 9, Some((1, 1))));
        model.saved(saved(1, 1), true);
        model.saved(saved(3, 3), true);
        assert!(loaded(&model, 9, Some((3, 3))) && loaded(&model, 2, Some((1, 1))));
        for wrong in [None, Some((1, 1)), Some((3, 1)), Some((2, 3))] {
            assert!(!loaded(&model, 9, wrong), "{wrong:?}");
        }
        assert!(!loaded(&model, 2, Some((3, 3))), "newer than was asked for");
        // With a third, the first may be gone.
        model.saved(saved(5, 5), true);
        assert!(loaded(&model, 2, None) && !loaded(&model, 4, None));
    }

    #[test]
    fn a_power_loss_takes_snapshots_or_brings_them_back() {
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
}
