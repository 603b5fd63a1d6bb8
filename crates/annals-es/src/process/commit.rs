//! The commits of reactions: effects and progress together, parking, replay.
//!
//! Owns the judgement of a conflict: another commit changed what the reaction was decided on, or another runner has
//! reacted. Must never record effects without their progress.

use super::ProcessManager;
use super::deadlines::DeadlineEvent;
use super::error::{ReactionError, RunError};
use super::runner::Runner;
use crate::event::encode;
use crate::parking::{ListError, ParkedEvent, Parking};
use crate::store::{
    AppendError, AtomicCheckpoints, Commit, Conflict, Expected, FailedCheck, Position, ReadAll,
    RecordedEvent, SeveralStreams, Version, next,
};

/// How often a reaction that lost to another commit is computed again, before that counts as a failure.
const ATTEMPTS: u32 = 10;

/// What is reacted to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trigger<'a> {
    Event(&'a RecordedEvent),
    /// The event that set the deadline.
    Deadline(&'a RecordedEvent),
}

impl<'a> Trigger<'a> {
    pub(super) fn recorded(self) -> &'a RecordedEvent {
        match self {
            Self::Event(event) | Self::Deadline(event) => event,
        }
    }
}

/// What came of a reaction.
pub(super) enum Attempt {
    /// The effects are recorded, by this runner or another one.
    Recorded,
    /// Nothing follows.
    Nothing,
}

impl<M: ProcessManager<S>, S: AtomicCheckpoints + SeveralStreams> Runner<M, S> {
    /// Reacts once; again if another commit comes first.
    pub(super) async fn attempt(&self, trigger: Trigger<'_>) -> Result<Attempt, ReactionError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let commit = match trigger {
                Trigger::Event(event) => {
                    let commit = self.reactor.react_to(event).await?.into_commit();
                    commit.map(|commit| commit.checkpoint(M::NAME, event.position()))
                }
                Trigger::Deadline(set) => {
                    let plan = self.reactor.react_to_deadline(set, false).await?;
                    plan.and_then(super::plan::Plan::into_commit)
                }
            };
            let Some(commit) = commit else { return Ok(Attempt::Nothing) };
            match self.reactor.store.append(commit).await {
                Ok(_) => return Ok(Attempt::Recorded),
                Err(AppendError::Conflict(conflict)) if is_passed(&conflict) => {
                    return Ok(Attempt::Recorded);
                }
                // The store returns a conflict once reads show what it lost to.
                Err(AppendError::Conflict(_)) if attempts < ATTEMPTS => {}
                Err(error) => {
                    // Another runner may have recorded the same effects on other states.
                    if let Trigger::Event(event) = trigger
                        && self.reactor.store.checkpoint(M::NAME).await? >= Some(event.position())
                    {
                        return Ok(Attempt::Recorded);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// Passes an event without its effects, and notes that.
    pub(super) async fn park(
        &self,
        trigger: Trigger<'_>,
        cause: &ReactionError,
        attempts: u32,
    ) -> Result<(), RunError> {
        let position = trigger.recorded().position();
        let parked = Parking::Parked { position, error: cause.to_string(), attempts };
        let commit = Commit::to(&self.parking.stream, Expected::Any, [parked.to_new_event()?]);
        let commit = match trigger {
            Trigger::Event(_) => commit.checkpoint(M::NAME, position),
            Trigger::Deadline(set) => {
                let mut passed = Vec::new();
                self.reactor.own.deadlines.decode(set, |deadline| {
                    if let DeadlineEvent::Set { name, .. } = deadline {
                        passed.push(DeadlineEvent::Passed { name });
                    }
                })?;
                let passed = passed.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
                commit.and(set.stream(), Expected::StreamExists, passed)
            }
        };
        match self.reactor.store.append(commit).await {
            Ok(_) => Ok(()),
            Err(AppendError::Conflict(conflict)) if is_passed(&conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The events that could not be handled and were passed, by position.
    ///
    /// # Errors
    ///
    /// [`RunError`] if the store cannot be read.
    pub async fn parked(&self) -> Result<Vec<ParkedEvent>, RunError> {
        let list = self.parking.list(&self.reactor.store).await.map_err(RunError::from)?;
        Ok(list.events.into_values().collect())
    }

    /// Reacts to a parked event, and takes it out in the same commit. If that fails, it stays parked.
    ///
    /// # Errors
    ///
    /// [`ReactionError`]: that of the reaction; [`ReactionError::NotParked`] if the event is not parked.
    pub async fn replay(&self, position: Position) -> Result<(), ReactionError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let version = self.parked_at(position).await?;
            let event = self.event_at(position).await?;
            let plan = if super::runner::is_own_deadline(M::NAME, &event) {
                self.reactor.react_to_deadline(&event, true).await?.unwrap_or_default()
            } else {
                self.reactor.react_to(&event).await?
            };
            let taken = Parking::Replayed { position }.to_new_event()?;
            let commit = Commit::to(&self.parking.stream, Expected::Exact(version), [taken]);
            match self.reactor.store.append(plan.add_to(commit)).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Conflict(_)) if attempts < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a parked event out without a reaction.
    ///
    /// # Errors
    ///
    /// [`ReactionError::NotParked`] if the event is not parked, and those of the store.
    pub async fn discard(&self, position: Position) -> Result<(), ReactionError> {
        let version = self.parked_at(position).await?;
        let taken = Parking::Discarded { position }.to_new_event()?;
        let commit = Commit::to(&self.parking.stream, Expected::Exact(version), [taken]);
        self.reactor.store.append(commit).await?;
        Ok(())
    }

    /// The version of the stream of parked events, if the event is among them.
    async fn parked_at(&self, position: Position) -> Result<Version, ReactionError> {
        let list = self.parking.list(&self.reactor.store).await.map_err(|error| match error {
            ListError::Store(error) => ReactionError::Store(error),
            ListError::Event(error) => ReactionError::Event(error),
        })?;
        if list.events.contains_key(&position) {
            Ok(list.version)
        } else {
            Err(ReactionError::NotParked)
        }
    }

    async fn event_at(&self, position: Position) -> Result<RecordedEvent, ReactionError> {
        let before = Position::new(position.get().saturating_sub(1));
        let read = ReadAll::new().after(before).up_to(position).limit(1);
        let event = next(&mut self.reactor.store.read_all(read)).await.transpose()?;
        event.ok_or(ReactionError::NoEvent)
    }
}

/// Whether the conflict shows that another runner has handled the event.
fn is_passed(conflict: &Conflict) -> bool {
    let passed = |check: &FailedCheck| matches!(check, FailedCheck::CheckpointNotForward { .. });
    conflict.failed.iter().any(passed)
}
