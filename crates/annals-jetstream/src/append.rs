//! Recording a commit.
//!
//! Owns the rule by which a commit is stored once:
//!
//! - Each attempt states the last sequence of every subject that it writes to or depends on: its streams, and the
//!   subjects of given ids, which have none. The server stores all messages of an attempt, or none.
//! - Sequences of a subject only grow. As soon as one such subject has a message after the stated sequence, no sending of
//!   the attempt can be stored any more. That message is either one of this commit, which has its id: the commit is
//!   stored. Or it is another one's: the attempt is dead, because a stored attempt would have put its own message there.
//! - While every subject is as stated, the attempt is sent again just as it is. At most one of its sendings can be
//!   stored: the first one moves the subjects.
//!
//! So nothing depends on which sendings arrive, how late, and in which order, nor on the server's memory of message ids,
//! which ends with a window of time and is not used. A read that a former leader answers shows an older state, in which
//! the subjects are as stated: it delays and does not deceive.

use std::time::Duration;

use annals_es::{AppendError, CommitParts, Committed, Conflict, Timestamp, Version};
use futures_util::future::try_join_all;

use crate::Error;
use crate::message::Stored;
use crate::plan::{Attempt, Expectation, Plan};
use crate::runtime::Pause;
use crate::server::Sent;
use crate::shared::Shared;
use crate::tails::Tail;

/// Number of times that an attempt is sent again before it is looked for, while the server is busy with its subjects.
const TRIES: u32 = 3;

/// What the subjects of an attempt show.
enum Found {
    /// The commit is stored; one of its messages with events.
    Stored(Box<Stored>),
    /// Another commit was stored at a place that the attempt needs.
    Dead,
    /// Every subject is as stated.
    Open,
}

/// The states of the streams of a commit.
struct States {
    tails: Vec<Tail>,
    /// Whether each was read during this call.
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
        let subjects = plan.streams.iter().map(|stream| stream.subject.as_str());
        let turn = self.tails.turn(subjects).await;
        let done = self.record(&plan).await;
        drop(turn);
        let done = done?;
        for snapshot in plan.snapshots {
            // Snapshots are disposable.
            let _ = self.save_snapshot(snapshot).await;
        }
        Ok(done)
    }

    async fn record(&self, plan: &Plan) -> Result<Committed, AppendError> {
        let mut states = self.known_states(plan).await?;
        let mut pause = Pause::new(self.servers.limit);
        // A sending may be stored although no later one showed it.
        let mut is_unknown = false;
        loop {
            let failed = plan.failed_checks(&states.tails);
            if !failed.is_empty() && states.is_fresh {
                return match self.recorded_earlier(plan).await? {
                    Some(done) => Ok(done),
                    None => Err(Conflict { failed }.into()),
                };
            }
            if !failed.is_empty() || !plan.has_events() && !states.is_fresh {
                states = self.fresh_states(plan).await?;
                continue;
            }
            if !plan.has_events() {
                // Versions only grow: what is the same before and after was so at one time between.
                let again = self.fresh_states(plan).await?;
                if again.tails == states.tails {
                    return Ok(self.unchanged(plan, &states).await?);
                }
                states = again;
                continue;
            }
            let time = plan.recorded_at.unwrap_or_else(|| self.clock.now());
            let attempt = plan.attempt(&states.tails, time, &self.subjects);
            match self.try_once(plan, &attempt, &mut states, &mut pause, &mut is_unknown).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) if is_unknown => {
                    return Err(AppendError::OutcomeUnknown(Box::new(error)));
                }
                Err(error) => return Err(error.into()),
            }
            if let Some(done) = self.recorded_earlier(plan).await? {
                return Ok(done);
            }
        }
    }

    /// Sends an attempt until it is stored or dead. `None`: it is dead, and the states are fresh.
    async fn try_once(
        &self,
        plan: &Plan,
        attempt: &Attempt,
        states: &mut States,
        pause: &mut Pause,
        is_unknown: &mut bool,
    ) -> Result<Option<Committed>, Error> {
        let mut tries = 0;
        loop {
            let permit = self.batches.acquire(attempt.messages.len()).await;
            let sent = self.servers.send(&attempt.messages).await?;
            drop(permit);
            let met = match sent {
                Sent::Stored(last) => {
                    let (done, tails) = plan.stored(attempt, &states.tails, last);
                    self.note(plan, &tails);
                    self.signal.committed(done.last_position);
                    return Ok(Some(done));
                }
                Sent::Busy if tries < TRIES && !*is_unknown => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    continue;
                }
                Sent::Lost | Sent::Busy => "another commit was being stored".to_owned(),
                Sent::NotNow(met) if !*is_unknown => {
                    pause.wait(met).await?;
                    continue;
                }
                Sent::NotNow(met) => met,
                Sent::Unknown(met) => {
                    *is_unknown = true;
                    met
                }
            };
            match self.look(plan, attempt, &states.tails).await? {
                Found::Stored(message) => {
                    let done = self.stored_commit(plan, &message).await?;
                    return Ok(Some(done));
                }
                Found::Dead => {
                    *is_unknown = false;
                    *states = self.fresh_states(plan).await?;
                    return Ok(None);
                }
                Found::Open => pause.wait(met).await?,
            }
        }
    }

    /// Looks for what followed the stated sequences.
    async fn look(&self, plan: &Plan, attempt: &Attempt, tails: &[Tail]) -> Result<Found, Error> {
        for expectation in &attempt.expectations {
            let found = match *expectation {
                Expectation::Stream(index) | Expectation::Check(index) => {
                    let (subject, after) = (&plan.streams[index].subject, tails[index].sequence);
                    self.following(subject, after).await?
                }
                Expectation::Id(id) => match self.place(id).await? {
                    Some((sequence, _)) => Some(self.message(sequence).await?),
                    None => None,
                },
            };
            let Some(found) = found else { continue };
            if found.part()?.commit == plan.commit {
                return Ok(Found::Stored(Box::new(found)));
            }
            return Ok(Found::Dead);
        }
        Ok(Found::Open)
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

    /// The states of the streams as far as they are known, and those of the others.
    async fn known_states(&self, plan: &Plan) -> Result<States, Error> {
        let known: Option<Vec<Tail>> =
            plan.streams.iter().map(|stream| self.tails.get(&stream.subject)).collect();
        if let Some(tails) = known {
            return Ok(States { tails, is_fresh: false });
        }
        // A stream that is to be new needs no question.
        let is_new = plan.streams.len() == 1
            && plan.parts[0].expected.holds_for(Version::NONE)
            && !plan.parts[0].expected.holds_for(Version::MAX);
        if is_new && self.tails.get(&plan.streams[0].subject).is_none() {
            return Ok(States { tails: vec![Tail::default()], is_fresh: false });
        }
        self.fresh_states(plan).await
    }

    async fn fresh_states(&self, plan: &Plan) -> Result<States, Error> {
        let reads = plan.streams.iter().map(|stream| self.tail(&stream.subject));
        let tails = try_join_all(reads).await?.into_iter().map(|(tail, _)| tail).collect();
        Ok(States { tails, is_fresh: true })
    }

    fn note(&self, plan: &Plan, tails: &[Tail]) {
        for (stream, tail) in plan.streams.iter().zip(tails) {
            self.tails.note(&stream.subject, *tail);
        }
    }

    /// The result of a commit that only asks.
    async fn unchanged(&self, plan: &Plan, states: &States) -> Result<Committed, Error> {
        let head = self.head().await?;
        let versions = plan.parts.iter().map(|part| states.tails[part.stream].version).collect();
        Ok(Committed::new(head, head, versions, self.clock.now()))
    }
}
