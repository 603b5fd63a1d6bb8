//! Runs a store and the model side by side, and compares every answer.
//!
//! Works on any storage, with or without the store's own threads, with or without faults. Under
//! faults the promises of the API are bounds: the acknowledged commits, the commits that a reader
//! was shown, the accepted commits. After a recovery the store must hold a whole number of commits
//! between the first two and the last, unchanged.

mod resolve;
mod settings;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::resolve::resolve_time;
pub use self::settings::Settings;
use super::cold::{CACHE, ColdState};
use super::commits::{is_failure, is_poison};
pub use super::compare::Mismatch;
use super::compare::{self, Checked, ensure, must};
use super::metadata;
use super::model::{Model, ModelCommit, Point};
use super::operations::{Action, STREAMS, Via};
use super::side_operations::Beside;
use super::tally::{Tally, name_of};
use crate::error::{Error, Result as StoreResult};
use crate::event::{ExpectedVersion, NewEvent};
use crate::options::{Checksums, MappedWrites, Options};
use crate::storage::{SimStorage, Storage};
use crate::store::Store;
use crate::store::transaction::Ticket;

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    /// Where the commit ends; the beginning, if it added nothing.
    pub(super) end: Point,
    /// Without effect, because the disk was full.
    pub(super) refused: bool,
}

/// A store and its model.
#[derive(Debug)]
pub struct Harness {
    pub(super) storage: Arc<dyn Storage>,
    clock: Option<SimStorage>,
    pub(super) root: PathBuf,
    checksums: Checksums,
    pub(super) settings: Settings,
    pub(super) store: Option<Store>,
    pub(super) model: Model,
    pub(super) tickets: VecDeque<Pending>,
    /// Survives a power loss.
    pub(super) acknowledged: Point,
    /// Survives the end of the process.
    pub(super) written: Point,
    /// A reader was shown it.
    pub(super) seen: Point,
    fresh_ids: u128,
    pub(super) poisoned: bool,
    openings: u64,
    /// The snapshots and the follower.
    pub(super) beside: Beside,
    pub(super) cold: ColdState,
    pub(super) tally: Tally,
    /// The answer to the last action; empty if there is none.
    answer: &'static str,
}

impl Harness {
    /// Nothing is opened yet: call [`Harness::open`].
    pub fn new(storage: Arc<dyn Storage>, root: impl AsRef<Path>, settings: Settings) -> Self {
        Self {
            storage,
            clock: None,
            root: root.as_ref().into(),
            checksums: Checksums::default(),
            settings,
            store: None,
            model: Model::default(),
            tickets: VecDeque::new(),
            acknowledged: Point::default(),
            written: Point::default(),
            seen: Point::default(),
            fresh_ids: 0,
            poisoned: false,
            openings: 0,
            beside: Beside::default(),
            cold: ColdState::default(),
            tally: Tally::default(),
            answer: "",
        }
    }

    /// A harness on a simulated disk, whose clock actions may set.
    pub fn on_sim(sim: &SimStorage, settings: Settings) -> Self {
        let mut harness = Self::new(Arc::new(sim.process()), "/store", settings);
        harness.clock = Some(sim.clone());
        harness
    }

    pub(super) fn is_simulated(&self) -> bool {
        self.clock.is_some()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How the store verifies reads, from the next opening on.
    pub fn set_checksums(&mut self, checksums: Checksums) {
        self.checksums = checksums;
    }

    /// Whether full segments move into cold storage and back, from now on.
    pub fn set_cold(&mut self, moves: bool) {
        self.cold.set_moves(moves);
    }

    /// The performed actions, and their results.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The result of the last action, in a word or two; empty if there is none.
    pub fn answer(&self) -> &'static str {
        self.answer
    }

    pub(super) fn answered(&mut self, answer: &'static str) {
        self.tally.add("answers", answer, 1);
        self.answer = answer;
    }

    /// The store, while it is open.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The end of the commits that are acknowledged as durable.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.events
    }

    /// Whether the store has stopped writing.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Sets whether faults may strike from now on.
    pub fn expect_faults(&mut self, faults: bool) {
        self.settings.faults = faults;
        self.cold.set_faults(faults);
    }

    /// Drops the store after its process ended. `storage` is used by the next opening.
    pub fn abandon(&mut self, storage: Arc<dyn Storage>) {
        self.tickets.clear();
        self.store = None;
        self.beside.follower = None;
        self.beside.groups.abort();
        self.storage = storage;
    }

    /// Like [`Harness::abandon`], on the same simulated disk.
    pub fn abandon_process(&mut self) {
        if let Some(sim) = self.clock.clone() {
            self.abandon(Arc::new(sim.process()));
        }
    }

    pub(super) fn options(&self) -> Options {
        Options::new()
            .storage(Arc::clone(&self.storage))
            .cold_segments(self.cold.source())
            .cold_cache(CACHE)
            .background(self.settings.background)
            .durability(self.settings.durability)
            .checksums(self.checksums)
            .segment_size(self.settings.segment_size)
            // Alternates between closes that write a checkpoint and closes that leave the tail to
            // the opening.
            .mapped_writes(if self.openings % 3 == 2 {
                MappedWrites::Never
            } else {
                MappedWrites::WhereSafe
            })
            .small_checkpoint(if self.openings.is_multiple_of(2) { 0 } else { 64 << 10 })
    }

    /// Opens the store, and compares nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Options::open`].
    pub fn open(&mut self) -> StoreResult<()> {
        self.openings += 1;
        let store = self.options().open(&self.root)?;
        self.tally.opened(store.opened());
        self.store = Some(store);
        self.poisoned = false;
        Ok(())
    }

    /// Compares a store that was just opened with the promises, and continues from its contents.
    ///
    /// # Errors
    ///
    /// If the store differs from the promises.
    pub fn recovered(&mut self, power_loss: bool) -> Checked {
        if power_loss {
            self.beside.snapshots.power_lost();
        }
        let mut least = self.acknowledged;
        if self.settings.durability.is_sync() {
            least = least.max(self.seen);
        }
        if !power_loss {
            least = least.max(self.written);
        }
        self.tickets.clear();
        let Some(store) = &self.store else { return Err(Mismatch::new("not open")) };
        let store = store.clone();
        let found = metadata::visible(&store);
        ensure!(found.covers(least), "{found:?} after recovery, {least:?} was promised");
        let most = self.model.end();
        ensure!(most.covers(found), "{found:?} after recovery, {most:?} was accepted");
        ensure!(self.model.is_end(found), "recovery ends within a commit, at {found:?}");
        self.truncate(found);
        (self.acknowledged, self.written, self.seen) = (found, found, found);
        compare::contents(&store, &mut self.model)?;
        self.beside.groups.check_all(&self.model)?;
        self.check_backup()?;
        self.move_some(&store)?;
        // Boundaries make the engine index unsealed segments: other stores continue without.
        if found.changes % 2 == 1 { self.questions(&store) } else { Ok(()) }
    }

    /// Removes everything after `end`.
    pub(super) fn truncate(&mut self, end: Point) {
        self.model.truncate(end);
        self.beside.snapshots.truncated(end);
        self.beside.tokens.truncated(end.events);
        self.beside.groups.truncated(end.events);
    }

    /// Waits for commits in flight and compares the whole contents, then again after a reopening
    /// and read-only.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn finish(&mut self) -> Checked {
        while !self.tickets.is_empty() {
            self.ticket(true)?;
        }
        let Some(store) = self.store.clone() else { return Err(Mismatch::new("not open")) };
        self.finish_groups(&store)?;
        must("sync", store.sync())?;
        compare::contents(&store, &mut self.model)?;
        drop(store);
        self.reopen(self.settings.segment_size, false, true)?;
        let verified = crate::verify::verify_in(&self.dir(), |_| {});
        let report = must("verify", verified)?;
        ensure!(report.faults.is_empty(), "verify: {:?}", report.faults);
        ensure!(report.events == self.model.head(), "verify has read {} events", report.events);
        Ok(())
    }

    /// Performs one action on the store and on the model.
    ///
    /// # Errors
    ///
    /// If the two differ.
    pub fn run(&mut self, action: &Action) -> Checked {
        let Some(store) = self.store.clone() else { return Err(Mismatch::new("not open")) };
        self.tally.add("actions", action.name(), 1);
        self.answer = "";
        match action {
            Action::Commit(operations, via) => {
                let operations: Vec<_> = operations.iter().map(|o| self.resolve(o)).collect();
                self.commit(&store, &operations.into(), *via)
            }
            Action::Repeat(back, change, via) => match self.repeated(*back, *change) {
                Some(operations) => self.commit(&store, &operations.into(), *via),
                None => Ok(()),
            },
            Action::Ticket { wait } => self.ticket(*wait),
            Action::Read(choice) => {
                let head = compare::read(&store, &mut self.model, choice)?;
                match self.allow(head)? {
                    Some(head) => self.note_seen(head, choice.unsynced),
                    None => Ok(()),
                }
            }
            Action::Look(back) => match compare::look(&store, &mut self.model, *back) {
                Ok(checked) => checked,
                Err(error) => self.allow::<()>(Err(error)).map(drop),
            },
            Action::List(stream, len) => {
                let name = STREAMS[stream % STREAMS.len()];
                let prefix: String = name.chars().take(usize::from(*len)).collect();
                let listed = compare::list(&store, &self.model, &prefix)?;
                self.allow(listed).map(drop)
            }
            Action::Sync => {
                let synced = store.sync();
                let full = matches!(synced, Err(Error::DiskFull { .. }));
                match self.allow(synced)? {
                    Some(()) => {
                        self.acknowledge(self.model.end(), true);
                        self.note_seen(store.head().get(), false)
                    }
                    None if full => self.taken_back(&store),
                    None => Ok(()),
                }
            }
            Action::Reopen { segment_size, by_drop, read_only } => {
                drop(store);
                self.reopen(*segment_size, *by_drop, *read_only)
            }
            Action::Clock(micros) => {
                if let Some(clock) = &self.clock {
                    clock.advance_clock(*micros);
                }
                Ok(())
            }
            Action::ClockFault(kind) => self.clock_fault(&store, *kind),
            Action::Compact => {
                let compacted = store.compact();
                self.allow(compacted).map(drop)
            }
            Action::Aside(aside) => {
                drop(store);
                self.aside(aside)
            }
            Action::Transaction(choice, via) => {
                let commit = self.resolve_commit(choice);
                self.commit(&store, &commit, *via)
            }
            Action::RepeatWith(back, change, choice, via) => match self.repeated(*back, *change) {
                Some(operations) => {
                    let commit = ModelCommit { operations, ..self.resolve_commit(choice) };
                    self.commit(&store, &commit, *via)
                }
                None => Ok(()),
            },
            Action::Change(choice) => {
                let requests = self.resolve_requests(std::slice::from_ref(choice));
                let commit = ModelCommit { requests, ..ModelCommit::default() };
                self.commit(&store, &commit, Via::Call)
            }
            Action::Migrate(operations, time, via) => {
                let operations: Vec<_> = operations.iter().map(|o| self.resolve(o)).collect();
                let recorded_at = Some(resolve_time(&store, *time));
                let commit = ModelCommit { operations, recorded_at, ..ModelCommit::default() };
                self.commit(&store, &commit, *via)
            }
            Action::Group(choice) => self.group(&store, choice),
            Action::Token(back) => self.tokens(&store, *back),
            Action::Metadata { follower } => self.metadata(&store, *follower),
        }
    }

    /// Commits while the clock is far ahead, which must be refused and change nothing.
    fn clock_fault(&mut self, store: &Store, kind: u8) -> Checked {
        /// 2076 and 2099, in µs.
        const AHEAD: [u64; 2] = [3_345_062_400_000_001, 4_070_908_800_000_000];
        let Some(clock) = self.clock.clone() else { return Ok(()) };
        let (before, accepted) = (clock.clock(), metadata::accepted(store));
        clock.set_clock(AHEAD[usize::from(kind % 2)]);
        let event = NewEvent::new("T", "ahead");
        let answer = match kind {
            0 | 1 => store.append("audit", ExpectedVersion::Any, [event]).map(drop),
            2 => store.transaction().reset_cursor("b", 0).commit().map(drop),
            _ => {
                let transaction = store.transaction();
                transaction.append("audit", ExpectedVersion::Any, [event]).submit().map(drop)
            }
        };
        clock.set_clock(before);
        match answer {
            Err(Error::ClockJumped { .. }) => {}
            Err(error) => drop(self.allow::<()>(Err(error))?),
            Ok(()) => return Err(Mismatch::new("a commit under a clock that is far ahead")),
        }
        let after = metadata::accepted(store);
        ensure!(after == accepted || self.settings.faults, "{after:?} after it, not {accepted:?}");
        Ok(())
    }

    /// An answer, or `None` for a failure that a fault explains.
    pub(super) fn allow<T>(&mut self, answer: StoreResult<T>) -> Checked<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if self.settings.faults && is_failure(&error) => {
                self.poisoned |= is_poison(&error);
                self.answered(name_of(&error));
                Ok(None)
            }
            Err(error) => Err(Mismatch::new(format!("failed: {error} ({error:?})"))),
        }
    }

    pub(super) fn note_seen(&mut self, head: u64, unsynced: bool) -> Checked {
        let (least, most) = (self.least_visible(unsynced).events, self.model.head());
        ensure!((least..=most).contains(&head), "the head is {head}, not in {least}..={most}");
        ensure!(self.model.is_boundary(head), "a reader sees half a commit, up to {head}");
        if !unsynced {
            self.seen = self.seen.max(self.model.end_of(head));
        }
        Ok(())
    }

    pub(super) fn least_visible(&self, unsynced: bool) -> Point {
        let all_written = unsynced || !self.settings.durability.is_sync();
        let shown = if unsynced { Point::default() } else { self.seen };
        let written = if all_written { self.written } else { Point::default() };
        shown.max(self.acknowledged).max(written)
    }

    pub(super) fn acknowledge(&mut self, end: Point, durable: bool) {
        self.written = self.written.max(end);
        if durable {
            self.acknowledged = self.acknowledged.max(end);
        }
    }

    /// Closes the store, which stays closed. `false`: a fault interrupted the close, and its extent
    /// is unknown.
    ///
    /// # Errors
    ///
    /// A failure that no fault explains.
    pub fn close(&mut self) -> Checked<bool> {
        self.beside.groups.abort();
        let Some(store) = self.store.take() else { return Ok(false) };
        let closed = self.allow(store.close())?.is_some();
        if closed {
            self.acknowledge(self.model.end(), true);
        }
        while closed && !self.tickets.is_empty() {
            self.ticket(true)?;
        }
        self.tickets.clear();
        Ok(closed)
    }

    fn reopen(&mut self, segment_size: u64, by_drop: bool, read_only: bool) -> Checked {
        self.beside.groups.abort();
        let closed = match self.store.take() {
            Some(store) if by_drop => {
                drop(store);
                !self.settings.faults
            }
            Some(store) => self.allow(store.close())?.is_some(),
            None => false,
        };
        if closed {
            self.acknowledge(self.model.end(), true);
        }
        while closed && !self.tickets.is_empty() {
            self.ticket(true)?;
        }
        self.tickets.clear();
        if read_only && !self.settings.faults {
            let store = must("open read-only", self.options().read_only(true).open(&self.root))?;
            compare::contents(&store, &mut self.model)?;
            let refused = store.append("a", ExpectedVersion::Any, [NewEvent::new("T", "")]);
            ensure!(matches!(refused, Err(Error::ReadOnly)), "read-only: {refused:?}");
        }
        self.settings.segment_size = segment_size;
        let opened = self.open();
        match self.allow(opened)? {
            Some(()) => match self.recovered(false) {
                Err(mismatch) if mismatch.by_failure && self.settings.faults => Ok(()),
                checked => checked,
            },
            None => Ok(()),
        }
    }
}
