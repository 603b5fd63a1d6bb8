//! Recording a commit.
//!
//! Owns the rule by which a commit is stored once:
//!
//! - Each attempt states the last sequence of every subject that it writes to or depends on: its streams, its checkpoints,
//!   and the subjects of given ids, which have none. The server stores all messages of an attempt, or none.
//! - Sequences of a subject only grow. As soon as one such subject has a message after the stated sequence, no sending of
//!   the attempt can be stored any more. Where the attempt writes to that subject, the message is either one of this
//!   commit, which has its id: the commit is stored. Or it is another one's: the attempt is dead, because a stored attempt
//!   would have put its own message there. Where the attempt only checks the subject, the message shows neither, and the
//!   first subject that it writes to is looked at once more.
//! - While every subject is as stated, the attempt is sent again just as it is. At most one of its sendings can be
//!   stored: the first one moves the subjects.
//!
//! So nothing depends on which sendings arrive, how late, and in which order, nor on the server's memory of message ids,
//! which ends with a window of time and is not used. A read that a former leader answers shows an older state, in which
//! the subjects are as stated: it delays and does not deceive.

use std::time::Duration;

use annals_es::{AppendError, CommitParts, Committed, Conflict, Timestamp, Version};
use futures_util::future::{join, try_join_all};

use crate::Error;
use crate::checkpoint::At;
use crate::message::Stored;
use crate::plan::{Attempt, Expectation, Plan, PlanPart, States};
use crate::runtime::Pause;
use crate::server::Sent;
use crate::shared::Shared;
use crate::tails::Tail;

/// Number of times that an attempt is sent again before it is looked for, while the server is busy with its subjects.
const TRIES: u32 = 3;

/// What the subjects of an attempt show.
enum Found {
    /// The commit is stored; one of its messages with events, or that of a checkpoint if it has no events.
    Stored(Box<Stored>),
    /// Another commit was stored at a place that the attempt needs.
    Dead,
    /// Every subject is as stated.
    Open,
}

/// The states of a commit, and whether each was read during this call.
struct Seen {
    states: States,
    is_fresh: bool,
}

impl Shared {
    /// Records a commit, at a given time or now.
    pub(crate) async fn append(
        &self,
        commit: CommitParts,
        time: Option<Timestamp>,
    ) -> Result<Committed, AppendError> {
        let max_payload = self.servers.max_payload();
        crate::check::commit(&commit, max_payload)?;
        self.servers.check_version()?;
        if let Some(partition) = self.partition
            && let Some(part) = commit.streams.iter().find(|it| !partition.has(&it.stream))
        {
            return Err(Error::ElsewhereStored { stream: part.stream.clone() }.into());
        }
        let mut plan = Plan::new(commit, &self.subjects);
        plan.recorded_at = time;
        plan.check_sizes(max_payload)?;
        let done = self.record_in_turn(&plan).await?;
        if done.already_recorded {
            self.move_on(&plan).await?;
        }
        for snapshot in plan.snapshots {
            // Snapshots are disposable.
            let _ = self.save_snapshot(snapshot).await;
        }
        Ok(done)
    }

    /// Records a commit while no other one of this handle to its streams and checkpoints is on its way.
    pub(crate) async fn record_in_turn(&self, plan: &Plan) -> Result<Committed, AppendError> {
        let _turn = self.tails.turn(plan.subjects()).await;
        self.record(plan).await
    }

    async fn record(&self, plan: &Plan) -> Result<Committed, AppendError> {
        let mut seen = self.known_states(plan).await?;
        let mut pause = Pause::new(self.servers.limit);
        // A sending may be stored although no later one showed it.
        let mut is_unknown = false;
        loop {
            let failed = plan.failed_checks(&seen.states);
            if !failed.is_empty() && seen.is_fresh {
                return match self.recorded_earlier(plan).await? {
                    Some(done) => Ok(done),
                    None => Err(Conflict { failed }.into()),
                };
            }
            if !failed.is_empty() || !plan.writes() && !seen.is_fresh {
                seen = self.fresh_states(plan).await?;
                continue;
            }
            if !plan.writes() {
                // Versions only grow: what is the same before and after was so at one time between.
                let again = self.fresh_states(plan).await?;
                if again.states.tails == seen.states.tails {
                    self.head().await?;
                    return Ok(self.without_events(plan, &seen.states));
                }
                seen = again;
                continue;
            }
            let time = plan.recorded_at.unwrap_or_else(|| self.clock.now());
            let attempt = plan.attempt(&seen.states, time, &self.subjects);
            match self.try_once(plan, &attempt, &seen.states, &mut pause, &mut is_unknown).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) if is_unknown => {
                    return Err(AppendError::OutcomeUnknown(Box::new(error)));
                }
                Err(error) => return Err(error.into()),
            }
            seen = self.fresh_states(plan).await?;
            if let Some(done) = self.recorded_earlier(plan).await? {
                return Ok(done);
            }
        }
    }

    /// Sends an attempt until it is stored or dead. `None`: it is dead.
    async fn try_once(
        &self,
        plan: &Plan,
        attempt: &Attempt,
        states: &States,
        pause: &mut Pause,
        is_unknown: &mut bool,
    ) -> Result<Option<Committed>, Error> {
        let mut tries = 0;
        loop {
            let permit = self.batches.acquire(attempt.messages.len()).await;
            let sent = self.servers.send(&attempt.messages).await?;
            drop(permit);
            let mut fence = None;
            let met = match sent {
                Sent::Stored(last) => {
                    let (done, after) = plan.stored(attempt, states, last);
                    self.note(plan, &after);
                    if !plan.has_events() {
                        return Ok(Some(self.without_events(plan, &after)));
                    }
                    self.signal.committed(done.last_position);
                    return Ok(Some(done));
                }
                Sent::Busy if tries < TRIES && !*is_unknown => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    continue;
                }
                Sent::Lost | Sent::Busy => "another commit was being stored".to_owned(),
                Sent::NotNow(met) => {
                    fence = self.fenced().await;
                    match &fence {
                        Some(to) if !*is_unknown => return Err(Error::Fenced { to: to.clone() }),
                        // An earlier sending is stored before this, or never.
                        Some(_) => self.barrier(&self.subjects.fence()).await?,
                        None if !*is_unknown => {
                            pause.wait(met).await?;
                            continue;
                        }
                        None => {}
                    }
                    met
                }
                Sent::Unknown(met) => {
                    *is_unknown = true;
                    met
                }
            };
            match self.look(plan, attempt, states).await? {
                Found::Stored(_) if !plan.has_events() => {
                    return Ok(Some(self.without_events(plan, states)));
                }
                Found::Stored(message) => {
                    let done = self.stored_commit(plan, &message).await?;
                    return Ok(Some(done));
                }
                Found::Dead => {
                    *is_unknown = false;
                    return Ok(None);
                }
                Found::Open => {
                    if let Some(to) = fence {
                        *is_unknown = false;
                        return Err(Error::Fenced { to });
                    }
                    pause.wait(met).await?;
                }
            }
        }
    }

    /// Looks for what followed the stated sequences.
    async fn look(&self, plan: &Plan, attempt: &Attempt, states: &States) -> Result<Found, Error> {
        for expectation in &attempt.expectations {
            let Some(mut found) = self.moved(plan, *expectation, states).await? else { continue };
            if let Expectation::Check(_) = expectation {
                // If the attempt is stored, it was stored before that message.
                let first = self.moved(plan, attempt.expectations[0], states).await?;
                let Some(first) = first else { return Ok(Found::Dead) };
                found = first;
            }
            if found.commit()? == plan.commit {
                return Ok(Found::Stored(Box::new(found)));
            }
            return Ok(Found::Dead);
        }
        Ok(Found::Open)
    }

    /// The message that followed a stated sequence. Where that is one of this commit without events, one with events, if
    /// there is one.
    async fn moved(
        &self,
        plan: &Plan,
        expectation: Expectation,
        states: &States,
    ) -> Result<Option<Stored>, Error> {
        let sequence = match expectation {
            Expectation::Stream(index) | Expectation::Check(index) => {
                let after = states.tails[index].sequence;
                return self.following(&plan.streams[index].subject, after).await;
            }
            Expectation::Checkpoint(index) => {
                let after = states.checkpoints[index].sequence;
                let found = self.following(&plan.checkpoints[index].subject, after).await?;
                let Some(message) = found else { return Ok(None) };
                let moved = message.checkpoint()?;
                if moved.commit != plan.commit || !plan.has_events() {
                    return Ok(Some(message));
                }
                message.sequence.saturating_sub(moved.distance)
            }
            Expectation::Id(id) => match self.place(id).await? {
                Some((sequence, _)) => sequence,
                None => return Ok(None),
            },
        };
        self.message(sequence).await.map(Some)
    }

    /// The message of a stream that follows the message with a sequence.
    async fn following(&self, subject: &str, after: u64) -> Result<Option<Stored>, Error> {
        let Some(last) = self.servers.last(&self.name, subject).await? else { return Ok(None) };
        if last.sequence <= after {
            return Ok(None);
        }
        if last.previous() == Some(after) {
            return Ok(Some(last));
        }
        self.servers.next(&self.name, subject, after + 1).await
    }

    /// The states as far as they are known, or else fresh ones.
    async fn known_states(&self, plan: &Plan) -> Result<Seen, AppendError> {
        let tails: Option<Vec<Tail>> =
            plan.streams.iter().map(|stream| self.tails.get(&stream.subject)).collect();
        // A stream that is to be new needs no question.
        let is_new = plan.streams.len() == 1
            && plan.parts[0].expected.holds_for(Version::NONE)
            && !plan.parts[0].expected.holds_for(Version::MAX);
        let tails = tails.or_else(|| is_new.then(|| vec![Tail::default()]));
        let checkpoints: Option<Vec<At>> =
            plan.checkpoints.iter().map(|it| self.checkpoints.get(&it.name)).collect();
        match (tails, checkpoints) {
            (Some(tails), Some(checkpoints)) => {
                let states = States { tails, checkpoints, head: self.signal.known() };
                Ok(Seen { states, is_fresh: false })
            }
            _ => self.fresh_states(plan).await,
        }
    }

    async fn fresh_states(&self, plan: &Plan) -> Result<Seen, AppendError> {
        let tails = plan.streams.iter().map(|stream| self.tail(&stream.subject));
        let checkpoints = plan.checkpoints.iter().map(|it| self.take_over(&it.name));
        let (tails, checkpoints) = join(try_join_all(tails), try_join_all(checkpoints)).await;
        let tails = tails?.into_iter().map(|(tail, _)| tail).collect();
        let mut head = self.signal.known();
        if plan.last_checkpoint() > head {
            head = self.head().await?;
        }
        Ok(Seen { states: States { tails, checkpoints: checkpoints?, head }, is_fresh: true })
    }

    fn note(&self, plan: &Plan, states: &States) {
        for (stream, tail) in plan.streams.iter().zip(&states.tails) {
            self.tails.note(&stream.subject, *tail);
        }
        for (checkpoint, at) in plan.checkpoints.iter().zip(&states.checkpoints) {
            self.checkpoints.note(&checkpoint.name, *at);
        }
    }

    /// The result of a commit without events.
    fn without_events(&self, plan: &Plan, states: &States) -> Committed {
        // Not asked for: the commit may be stored, and a question may fail.
        let head = self.signal.known();
        let version = |part: &PlanPart| states.tails[part.stream].version;
        let versions = plan.parts.iter().map(version).collect();
        Committed::new(head, head, versions, self.clock.now())
    }
}
