//! Consumer groups in a random life: what they hand out, handle, park and store, compared with the model.
//!
//! A group is driven step by step, so that a life needs no threads: a step of the thread that follows the
//! store, or an attempt of a worker. Owns the choices, the expected commit of each step, and the comparison; what
//! a group must have handled is in `model`.

mod model;

use std::sync::mpsc;

pub(super) use self::model::Groups;
use self::model::{Answer, Call, GroupRun, PARKED, WORK, name_of_group, next_work};
use super::commits::{acceptable_times, is_failure, is_poison};
use super::compare::{self, Checked, Mismatch, ensure};
use super::harness::Harness;
use super::metadata;
use super::model::{ModelCommit, ModelOperation, ModelRequest};
use super::operations::{Source, Via};
use crate::consumer_group::{ConsumerGroup, Followed, Retry, SteppedGroup, Worked};
use crate::error::Error;
use crate::event::{ExpectedVersion, NewEvent};
use crate::query::Query;
use crate::store::Store;

/// The attempts after which an event is parked.
const ATTEMPTS: u32 = 2;

/// Steps of a consumer group.
#[derive(Debug, Clone)]
pub struct GroupChoice {
    /// Its handler writes in the commit that moves its cursor.
    pub transactional: bool,
    /// The number of workers, if it is not running.
    pub workers: u8,
    /// The number of events in flight, if it is not running.
    pub window: u8,
    /// Events for it, each by its stream, that are appended before.
    pub appends: Vec<u8>,
    /// What it does.
    pub steps: Vec<GroupStep>,
}

/// A step of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStep {
    /// Receives a message, or hands out an event.
    Follow,
    /// A worker makes an attempt.
    Work(u8),
    /// Progress is stored, as after an interval.
    Store,
    /// It stops.
    Stop,
    /// It ends like a process.
    Abort,
}

/// The effect of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stepped {
    Moved,
    Still,
    /// The group has ended.
    Ended,
}

impl GroupChoice {
    pub(super) fn decode(source: &mut Source<'_>) -> Self {
        let transactional = source.flag();
        let (workers, window) = (1 + source.below(3), 1 + source.below(6));
        let appends = (0..source.below(5)).map(|_| source.below(4)).collect();
        let mut step = |_| match source.below(32) {
            0..=11 => GroupStep::Follow,
            12..=26 => GroupStep::Work(source.below(3)),
            27..=29 => GroupStep::Store,
            30 => GroupStep::Stop,
            _ => GroupStep::Abort,
        };
        let steps = (0..24).map(&mut step).collect();
        Self { transactional, workers, window, appends, steps }
    }
}

impl Harness {
    pub(super) fn group(&mut self, store: &Store, choice: &GroupChoice) -> Checked {
        for stream in &choice.appends {
            let stream = WORK[usize::from(*stream) % WORK.len()].to_owned();
            let events = vec![NewEvent::new("Ordered", "")];
            let operation = ModelOperation { stream, expected: ExpectedVersion::Any, events };
            self.commit(store, &vec![operation].into(), Via::Append)?;
        }
        let index = usize::from(choice.transactional);
        for step in &choice.steps {
            self.begin_group(store, index, choice.workers, choice.window)?;
            self.group_step(store, index, *step)?;
        }
        Ok(())
    }

    /// Lets the groups handle everything that is there, and checks that they have.
    pub(super) fn finish_groups(&mut self, store: &Store) -> Checked {
        for index in 0..2 {
            if !self.beside.groups.is_used(index) || self.settings.faults {
                continue;
            }
            for round in 0.. {
                ensure!(round < 10_000, "a group does not come to an end");
                self.begin_group(store, index, 2, 4)?;
                let mut moved = self.group_step(store, index, GroupStep::Follow)?;
                for worker in 0..3 {
                    if self.group_step(store, index, GroupStep::Work(worker))? == Stepped::Moved {
                        moved = Stepped::Moved;
                    }
                }
                if moved != Stepped::Moved {
                    break;
                }
            }
            self.group_step(store, index, GroupStep::Stop)?;
            self.beside.groups.has_finished(index, &self.model)?;
        }
        Ok(())
    }

    fn begin_group(&mut self, store: &Store, index: usize, workers: u8, window: u8) -> Checked {
        let groups = &mut self.beside.groups;
        if groups.runs[index].is_some() {
            return Ok(());
        }
        let name = groups.begins(index);
        let retry = Retry::new().attempts(ATTEMPTS).first_delay(std::time::Duration::ZERO);
        let group = ConsumerGroup::new(store, name)
            .workers(usize::from(workers))
            .window(usize::from(window))
            .matching(Query::category("work"))
            .retry(retry.max_delay(std::time::Duration::ZERO));
        let (calls, receiver) = mpsc::channel();
        let started = if index == 1 {
            SteppedGroup::start_transactional(group, move |delivery, transaction| {
                let call = Call::of(delivery, true);
                let written = [NewEvent::new("Billed", call.position.to_string())];
                let transaction = transaction.append("billed", ExpectedVersion::Any, written);
                let _ = calls.send(call);
                match call.answer {
                    Answer::Done => Ok(transaction),
                    Answer::Refused => {
                        Ok(transaction.check("nothing", ExpectedVersion::StreamExists))
                    }
                    Answer::Fails => Err("no".to_owned()),
                }
            })
        } else {
            SteppedGroup::start(group, move |delivery| {
                let call = Call::of(delivery, false);
                let _ = calls.send(call);
                if call.answer == Answer::Done { Ok(()) } else { Err("no".to_owned()) }
            })
        };
        let Some(group) = self.allow(started)? else { return Ok(()) };
        // Commits with an unknown outcome are not visible.
        let visible = metadata::visible(store).changes;
        let cursor = self.model.state(visible).cursors.get(name).copied();
        let run = GroupRun::new(group, receiver, cursor, usize::from(window));
        self.beside.groups.runs[index] = Some(run);
        Ok(())
    }

    fn group_step(&mut self, store: &Store, index: usize, step: GroupStep) -> Checked<Stepped> {
        let Some(mut run) = self.beside.groups.runs[index].take() else {
            return Ok(Stepped::Ended);
        };
        let stepped = match step {
            GroupStep::Follow => self.group_follows(store, &mut run)?,
            GroupStep::Work(worker) => self.group_works(store, index, &mut run, worker)?,
            GroupStep::Store => self.group_stores(store, index, &mut run)?,
            GroupStep::Stop => {
                self.group_stores(store, index, &mut run)?;
                Stepped::Ended
            }
            GroupStep::Abort => Stepped::Ended,
        };
        if stepped == Stepped::Ended {
            return Ok(stepped);
        }
        run.agrees()?;
        self.beside.groups.runs[index] = Some(run);
        Ok(stepped)
    }

    fn group_follows(&mut self, store: &Store, run: &mut GroupRun) -> Checked<Stepped> {
        let head = store.head().get();
        let followed = run.group.follow();
        let Some(followed) = self.allow(followed)? else { return Ok(Stepped::Ended) };
        let next = next_work(&self.model, run.handed_out);
        match followed {
            Followed::HandedOut(event) => {
                let position = compare::event(&mut self.model, &event.as_ref())?;
                ensure!(next == Some(position), "{position} is handed out, and {next:?} is next");
                run.hand_out(position)?;
                self.note_seen(store.head().get(), false)?;
            }
            Followed::Full => {
                ensure!(run.is_full(), "no room for an event, with {run:?}");
                return Ok(Stepped::Still);
            }
            Followed::Scanned(through) => {
                let through = through.get();
                let right = next.is_none_or(|next| next > through)
                    && (run.handed_out..=store.head().get()).contains(&through);
                ensure!(right, "a group has passed {through}, and {next:?} is next: {run:?}");
                run.handed_out = through;
            }
            Followed::Idle => {
                let missed = next.filter(|next| *next <= head);
                ensure!(missed.is_none(), "{missed:?} is not handed out: {run:?}");
                return Ok(Stepped::Still);
            }
        }
        Ok(Stepped::Moved)
    }

    fn group_works(
        &mut self,
        store: &Store,
        index: usize,
        run: &mut GroupRun,
        number: u8,
    ) -> Checked<Stepped> {
        let before = run.group.stats();
        let worked = run.group.work(number.into());
        let after = run.group.stats();
        let Some(call) = run.call()? else {
            ensure!(
                matches!(worked, Ok(Worked::Idle | Worked::NotItsTurn)),
                "{worked:?} and no handler was called: {run:?}"
            );
            return Ok(Stepped::Still);
        };
        let has_failed = after.failed_attempts > before.failed_attempts;
        let right = match call.answer {
            Answer::Done => !has_failed,
            Answer::Fails => has_failed,
            Answer::Refused => has_failed || self.settings.faults,
        };
        ensure!(right, "failed: {has_failed}, after {call:?}");
        let parks = has_failed && call.attempt >= ATTEMPTS;
        let commit = self.commit_of_call(index, run, &call, has_failed);
        run.called(&self.model, &call, has_failed, index == 1)?;
        match worked {
            Ok(Worked::Done) => {
                let counted = (after.handled - before.handled, after.parked - before.parked);
                let expected = if parks { (0, 1) } else { (1, 0) };
                ensure!(counted == expected, "handled and parked {counted:?} after {call:?}");
                if let Some(commit) = &commit {
                    self.group_committed(store, run, commit)?;
                }
                run.done(call.position);
                if !parks {
                    self.beside.groups.handled(index, call.position);
                }
                self.answered(if parks { "parked by a group" } else { "handled by a group" });
            }
            Ok(Worked::Again) if has_failed && !parks => self.answered("retried by a group"),
            Ok(Worked::Again) => {
                ensure!(self.settings.faults && commit.is_some(), "repeated without a reason");
                self.answered("no room for a group");
                self.taken_back(store)?;
            }
            Ok(worked) => return Err(Mismatch::new(format!("{worked:?} after {call:?}"))),
            Err(error) => {
                self.group_failed(store, &error, commit.as_ref())?;
                return Ok(Stepped::Ended);
            }
        }
        Ok(Stepped::Moved)
    }

    /// The commit that a call leads to: the effect or the parking of its event, with the progress that
    /// it makes.
    fn commit_of_call(
        &self,
        index: usize,
        run: &GroupRun,
        call: &Call,
        has_failed: bool,
    ) -> Option<ModelCommit> {
        let name = name_of_group(index);
        let (stream, event) = if !has_failed {
            if index == 0 {
                return None;
            }
            ("billed".to_owned(), NewEvent::new("Billed", call.position.to_string()))
        } else if call.attempt >= ATTEMPTS {
            let id = self.model.at(call.position).and_then(|event| event.id).unwrap_or_default();
            let note = NewEvent::new(PARKED, call.error())
                .tag(format!("position:{}", call.position))
                .tag(format!("attempts:{}", call.attempt))
                .tag(format!("event:{id}"));
            (format!("$parked-{name}"), note)
        } else {
            return None;
        };
        let expected = ExpectedVersion::Any;
        let operation = ModelOperation { stream, expected, events: vec![event] };
        let requests = run.advance(name, run.progress(Some(call.position)));
        Some(ModelCommit { operations: vec![operation], requests, ..ModelCommit::default() })
    }

    fn group_stores(
        &mut self,
        store: &Store,
        index: usize,
        run: &mut GroupRun,
    ) -> Checked<Stepped> {
        let requests = run.advance(name_of_group(index), run.progress(None));
        let commit = ModelCommit { requests, ..ModelCommit::default() };
        let stored = run.group.store_progress();
        match stored {
            Ok(()) if commit.requests.is_empty() => return Ok(Stepped::Still),
            Ok(()) if run.has_stored(&commit) => self.group_committed(store, run, &commit)?,
            Ok(()) => {
                ensure!(self.settings.faults, "progress is not stored: {run:?}");
                self.taken_back(store)?;
            }
            Err(error) => {
                self.group_failed(store, &error, Some(&commit))?;
                return Ok(Stepped::Ended);
            }
        }
        Ok(Stepped::Moved)
    }

    /// A group's commit is done: exactly this one, and nothing else.
    fn group_committed(
        &mut self,
        store: &Store,
        run: &mut GroupRun,
        commit: &ModelCommit,
    ) -> Checked {
        self.group_accepts(store, commit)?;
        let (end, accepted) = (self.model.end(), metadata::accepted(store));
        ensure!(accepted == end, "a group's commit ends at {accepted:?}, not {end:?}: {commit:?}");
        if let Some(ModelRequest::Advance { to, .. }) = commit.requests.first() {
            run.cursor = Some(*to);
        }
        self.acknowledge(end, self.settings.durability.is_sync());
        self.note_shown(metadata::visible(store))
    }

    fn group_accepts(&mut self, store: &Store, commit: &ModelCommit) -> Checked {
        let times = acceptable_times(store);
        let predicted = self.model.predict(commit, false, self.fits(commit), &times);
        ensure!(predicted.is_ok(), "a group's commit was accepted, not {predicted:?}: {commit:?}");
        // No commit follows it: it has the last time.
        self.model.accept(commit, Some(*acceptable_times(store).start()));
        Ok(())
    }

    /// A group has ended with an error.
    fn group_failed(
        &mut self,
        store: &Store,
        error: &Error,
        commit: Option<&ModelCommit>,
    ) -> Checked {
        ensure!(self.settings.faults && is_failure(error), "a group has ended: {error:?}");
        self.poisoned |= is_poison(error);
        self.answered("a group has ended");
        match (error, commit) {
            (Error::OutcomeUnknown { .. }, Some(commit)) => self.group_accepts(store, commit),
            (Error::DiskFull { .. }, _) => self.taken_back(store),
            _ => Ok(()),
        }
    }
}
