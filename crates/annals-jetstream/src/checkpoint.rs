//! Checkpoints: the positions of consumers by name.
//!
//! Owns the rule by which a checkpoint has one place. A checkpoint that is only moved alone is a key of the bucket, which
//! keeps its last few values. Servers store messages together in one stream only, so the first commit that moves a
//! checkpoint takes it over into the stream of events:
//!
//! 1. The value of its key is replaced by one that begins with `stream` and has its position. A client that would move it in
//!    the bucket compares revisions, and so loses.
//! 2. From then on the last message on its subject of the stream has its position; without a message, that value has it.
//!
//! A checkpoint never goes back to the bucket. Its superseded messages stay in the stream: a server drops messages only
//! where the settings permit to purge, which those of a stream with events must not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use annals_es::{AppendError, Commit, Conflict, FailedCheck, Position, StoreError};
use bytes::Bytes;

use crate::message::Stored;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::{Error, JetStreamStore, check};

/// The first word of the value of a key whose checkpoint is in the stream.
const IN_STREAM: &str = "stream";
/// Number of checkpoints in the stream after which the cache is emptied.
const KNOWN: usize = 1 << 12;

/// A checkpoint in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The sequence of its last message; 0: there is none.
    pub(crate) sequence: u64,
    /// `None`: it was never saved.
    pub(crate) position: Option<Position>,
}

/// What this handle has seen of checkpoints in the stream: a bounded cache. A commit that is based on an entry loses if the
/// checkpoint has moved since.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(Mutex<HashMap<String, At>>);

impl Checkpoints {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, At>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<At> {
        self.lock().get(name).copied()
    }

    /// Notes a state of a checkpoint, unless a later one is known. Returns the later of both.
    pub(crate) fn note(&self, name: &str, at: At) -> At {
        let mut known = self.lock();
        match known.get(name) {
            Some(later) if later.sequence >= at.sequence => *later,
            _ => {
                if known.len() >= KNOWN {
                    known.clear();
                }
                known.insert(name.to_owned(), at);
                at
            }
        }
    }
}

/// Where a checkpoint is.
enum Place {
    Stream(At),
    /// The sequence of the last message of its key, and its position.
    Bucket(u64, Option<Position>),
}

/// What the value of a key says.
enum Value {
    Position(Position),
    InStream(Option<Position>),
}

impl Value {
    fn of(value: &Stored) -> Result<Self, Error> {
        let parse = || {
            let text = std::str::from_utf8(&value.payload).ok()?;
            let mut words = text.split(' ');
            let first = words.next()?;
            let found = match (first == IN_STREAM, words.next()) {
                (true, None) => Self::InStream(None),
                (true, Some(position)) => {
                    Self::InStream(Some(position.parse::<u64>().ok()?.into()))
                }
                (false, None) => Self::Position(first.parse::<u64>().ok()?.into()),
                (false, Some(_)) => return None,
            };
            words.next().is_none().then_some(found)
        };
        parse().ok_or_else(|| value.foreign("it is no position"))
    }
}

/// Whether a value was deleted.
fn is_deleted(value: &Stored) -> bool {
    value.headers.get("KV-Operation").is_some()
}

/// What a move of a checkpoint fails for. A reset may move it backwards.
pub(crate) fn failed(
    name: &str,
    at: Option<Position>,
    to: Position,
    head: Position,
    is_reset: bool,
) -> Option<FailedCheck> {
    let at = at.unwrap_or_default();
    if to <= at && !is_reset {
        return Some(FailedCheck::CheckpointNotForward { name: name.to_owned(), at, to });
    }
    (to > head).then(|| {
        let what = format!("checkpoint {name:?} cannot be set to {to}: that is after the head");
        FailedCheck::Other { what }
    })
}

impl Shared {
    /// The state of a checkpoint in the stream, from the leader, or a later one that is known.
    async fn in_stream(&self, name: &str) -> Result<Option<At>, Error> {
        let last = self.servers.last(&self.name, &self.subjects.checkpoint(name)).await?;
        let Some(last) = last else { return Ok(self.checkpoints.get(name)) };
        let position = Some(last.checkpoint()?.position);
        Ok(Some(self.checkpoints.note(name, At { sequence: last.sequence, position })))
    }

    async fn checkpoint_place(&self, name: &str) -> Result<Place, Error> {
        let mut sequence = 0;
        if self.checkpoints.get(name).is_none() {
            let last = self.servers.last(&self.bucket, &self.subjects.checkpoint_key(name)).await?;
            sequence = last.as_ref().map_or(0, |value| value.sequence);
            match last
                .filter(|value| !is_deleted(value))
                .map(|value| Value::of(&value))
                .transpose()?
            {
                Some(Value::Position(position)) => {
                    return Ok(Place::Bucket(sequence, Some(position)));
                }
                Some(Value::InStream(position)) => {
                    self.checkpoints.note(name, At { sequence: 0, position });
                }
                // Without a value, it may be in the stream of a store whose bucket was removed.
                None => {}
            }
        }
        Ok(match self.in_stream(name).await? {
            Some(at) => Place::Stream(at),
            None => Place::Bucket(sequence, None),
        })
    }

    pub(crate) async fn checkpoint(&self, name: &str) -> Result<Option<Position>, Error> {
        Ok(match self.checkpoint_place(name).await? {
            Place::Stream(at) => at.position,
            Place::Bucket(_, position) => position,
        })
    }

    /// The state of a checkpoint in the stream, into which it is taken over if it is in the bucket.
    pub(crate) async fn take_over(&self, name: &str) -> Result<At, AppendError> {
        loop {
            let (sequence, position) = match self.checkpoint_place(name).await? {
                Place::Stream(at) => return Ok(at),
                Place::Bucket(sequence, position) => (sequence, position),
            };
            let value = position.map_or_else(String::new, |position| format!(" {position}"));
            let value = Bytes::from(format!("{IN_STREAM}{value}"));
            let key = self.subjects.checkpoint_key(name);
            let replaced =
                self.replace(&key, sequence, value).await.map_err(|error| match error {
                    // No commit depends on it.
                    AppendError::OutcomeUnknown(cause) => StoreError::Backend(cause).into(),
                    error => error,
                })?;
            if replaced.is_some() {
                self.checkpoints.note(name, At { sequence: 0, position });
            }
        }
    }

    /// The checkpoints, by name.
    pub(crate) async fn checkpoints(&self) -> Result<BTreeMap<String, Position>, Error> {
        let (keys, mut values, mut from) = (self.subjects.checkpoint_keys(), BTreeMap::new(), 1);
        // Later values of a key follow earlier ones.
        while let Some(value) = self.servers.next(&self.bucket, &keys, from).await? {
            from = value.sequence + 1;
            let Some(name) = crate::subject::checkpoint_of(&value.subject) else {
                return Err(value.foreign("its key is not that of a checkpoint"));
            };
            values.insert(name, value);
        }
        let mut found = BTreeMap::new();
        for (name, value) in values {
            if is_deleted(&value) {
                continue;
            }
            let position = match Value::of(&value)? {
                Value::Position(position) => Some(position),
                Value::InStream(_) => self.checkpoint(&name).await?,
            };
            if let Some(position) = position {
                found.insert(name, position);
            }
        }
        Ok(found)
    }

    /// Moves a checkpoint: only forward, or to any position.
    pub(crate) async fn move_checkpoint(
        &self,
        name: &str,
        to: Position,
        is_reset: bool,
    ) -> Result<(), AppendError> {
        check::name("checkpoint", name)?;
        let mut head = self.signal.known();
        if to > head {
            head = self.head().await?;
        }
        loop {
            let Place::Bucket(sequence, at) = self.checkpoint_place(name).await? else { break };
            if let Some(failed) = failed(name, at, to, head, is_reset) {
                return Err(Conflict { failed: vec![failed] }.into());
            }
            let key = self.subjects.checkpoint_key(name);
            if self.replace(&key, sequence, to.to_string().into()).await?.is_some() {
                return Ok(());
            }
        }
        let moved = Commit::<JetStreamStore>::progress(name, to).into_parts();
        let mut plan = Plan::new(moved, &self.subjects);
        plan.is_reset = is_reset;
        self.record_in_turn(&plan).await?;
        Ok(())
    }

    /// Moves the checkpoints of a commit that was recorded earlier, unless they are moved already.
    pub(crate) async fn move_on(&self, plan: &Plan) -> Result<(), AppendError> {
        for checkpoint in &plan.checkpoints {
            match self.move_checkpoint(&checkpoint.name, checkpoint.to(), false).await {
                Err(AppendError::Conflict(conflict))
                    if matches!(
                        conflict.failed[..],
                        [FailedCheck::CheckpointNotForward { .. }]
                    ) => {}
                done => done?,
            }
        }
        Ok(())
    }
}
