//! Operations that do not append: snapshots, a read-only follower, verification.
//!
//! Owns the choices, the model's state for each, and the comparison. None of them may change the
//! contents of the log.

use super::compare::{self, Checked, Mismatch, ensure, must};
use super::groups::Groups;
use super::harness::Harness;
use super::metadata;
use super::model::Point;
use super::operations::{ReadChoice, STREAMS, Source, read};
use super::snapshots::{Saved, SnapshotModel, mark, same_kind};
use super::tokens::Tokens;
use crate::error::{Error, Result as StoreResult};
use crate::event::Position;
use crate::event::snapshot::{Mark, Snapshot};
use crate::recovery::Opened;
use crate::store::Store;

/// An operation that does not append.
#[derive(Debug, Clone)]
pub enum Aside {
    /// Saves a snapshot.
    Save {
        /// Its key, an index into [`STREAMS`].
        key: usize,
        /// By position; otherwise by version.
        by_position: bool,
        /// The distance before the current version or position; after it if negative.
        back: i8,
        /// The size of its state.
        size: u16,
    },
    /// Loads a snapshot, the newest at or below a mark.
    Load {
        /// Its key, an index into [`STREAMS`].
        key: usize,
        /// By position; otherwise by version.
        by_position: bool,
        /// The highest mark; `None` for the newest of any kind.
        at_most: Option<u8>,
    },
    /// Deletes all snapshots of a key.
    Delete(usize),
    /// Opens a reader beside the writer, as another process would, or closes it.
    Follower,
    /// Reads through the follower.
    Follow(ReadChoice),
    /// Looks up single events and heads through the follower.
    FollowLook(u16),
    /// Asks whether a position around the head, and a version around a stream's last, is visible.
    WaitFor(u8),
    /// Reads every byte of the store, beside the writer.
    Verify,
    /// Brings the backup up to now, by the writer or by the follower.
    BackUp {
        /// By the follower, if there is one.
        follower: bool,
    },
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
            _ => match source.below(4) {
                0 => Self::Verify,
                choice => Self::BackUp { follower: choice == 1 },
            },
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
            Self::BackUp { .. } => "back up",
        }
    }
}

/// The snapshots, the follower, the backup, the tokens and the consumer groups of a store.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) follower: Option<Store>,
    /// The state that the follower has shown.
    shown: Point,
    /// The end of the backup that is whole, if there is one.
    pub(super) backup: Option<Point>,
    /// The same for the copy of the log's bytes.
    pub(super) shipped: Option<Point>,
    pub(super) snapshots: SnapshotModel,
    pub(super) tokens: Tokens,
    pub(super) groups: Groups,
}

impl Harness {
    pub(super) fn aside(&mut self, aside: &Aside) -> Checked {
        let Some(store) = self.store.clone() else { return Err(Mismatch::new("not open")) };
        match aside {
            Aside::Save { key, by_position, back, size } => {
                let most = self.model.reached(STREAMS[*key], *by_position, u64::MAX);
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
            Aside::WaitFor(off) => self.wait_for(&store, *off),
            Aside::Verify => self.verify(),
            Aside::BackUp { follower } => self.back_up(&store, *follower),
        }
    }

    fn save(&mut self, store: &Store, key: usize, mark: Mark, state: Vec<u8>) -> Checked {
        let (number, by_position) = match mark {
            Mark::Version(version) => (version, false),
            Mark::Position(position) => (position.get(), true),
        };
        let most = self.model.reached(STREAMS[key], by_position, u64::MAX);
        let snapshot = Snapshot::new(STREAMS[key], mark, state);
        let answer = store.snapshots().save(&snapshot);
        let saved = Saved::of(&snapshot, self.model.end_of_mark(&snapshot));
        match answer {
            Ok(()) => {
                ensure!(number <= most, "a snapshot at {mark:?} was saved, {most} is reached");
                self.beside.snapshots.may_be_saved(&saved)?;
                self.beside.snapshots.saved(saved, true);
                self.note_seen(store.head().get(), false)
            }
            Err(Error::SnapshotAhead { .. }) if number > most => Ok(()),
            Err(Error::SnapshotExists { .. }) => self.beside.snapshots.may_be_refused(&saved),
            // Commits whose outcome is unknown may be unreachable.
            Err(Error::SnapshotAhead { .. }) if self.settings.faults => {
                let least = self.model.reached(STREAMS[key], by_position, self.acknowledged.events);
                ensure!(number > least, "refused at {mark:?}, {least} is acknowledged");
                Ok(())
            }
            Err(error) => {
                let full = matches!(error, Error::DiskFull { .. });
                self.allow::<()>(Err(error))?;
                self.beside.snapshots.saved(saved, false);
                // The disk of the log may have been full.
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
        if let Some(position) = at_most {
            self.load_as_of(store, key, position.into())?;
        }
        let Some(found) = self.allow(answer)? else { return Ok(()) };
        let model = &self.beside.snapshots;
        if let Some(found) = &found
            && self.settings.durability.is_sync()
        {
            let (needs, visible) = (model.needs(found), metadata::visible(store));
            ensure!(visible.covers(needs), "{found:?} needs {needs:?}, {visible:?} is durable");
        }
        match &found {
            // There was no snapshot by version.
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

    /// Loads the newest snapshot as of a position: by version if there is one, or else by position.
    fn load_as_of(&mut self, store: &Store, key: usize, position: u64) -> Checked {
        let name = STREAMS[key];
        let answer = store.snapshots().load_as_of(name, Position::new(position));
        let Some(found) = self.allow(answer)? else { return Ok(()) };
        let version = mark(false, self.model.reached(name, false, position));
        let model = &self.beside.snapshots;
        match &found {
            Some(found) if same_kind(found.mark(), version) => {
                model.loaded(key, version, Some(found))
            }
            found => {
                model.loaded(key, version, None)?;
                model.loaded(key, mark(true, position), found.as_ref())
            }
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

    /// Checks the follower, which sees no more than the writer's own readers, and no less than
    /// before.
    pub(super) fn follow(
        &mut self,
        store: &Store,
        ask: impl FnOnce(&Store, &mut Self) -> Checked<StoreResult<u64>>,
    ) -> Checked {
        let Some(follower) = self.beside.follower.clone() else { return Ok(()) };
        let before = store.head().get();
        let changed_before = metadata::visible(store);
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
        let writer = metadata::visible(store);
        ensure!(
            writer.covers(shown),
            "a follower shows {shown:?}, the writer's readers {writer:?}"
        );
        let lags = !self.settings.faults && !shown.covers(changed_before);
        ensure!(!lags, "a follower shows {shown:?}, the writer's readers {changed_before:?}");
        ensure!(self.model.is_end(shown), "a follower sees half a commit, up to {shown:?}");
        self.beside.shown = shown;
        self.seen = self.seen.max(shown);
        Ok(())
    }

    /// Reads every byte. Beside a writer, bytes that are being written are not a fault.
    ///
    /// # Errors
    ///
    /// Any reported fault, and a wrong number of events.
    pub fn verify(&mut self) -> Checked {
        let verified = crate::verify::verify_in(&self.dir(), |_| {});
        if self.settings.faults {
            // A failing disk is full of faults; only the end of the verification is checked.
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
