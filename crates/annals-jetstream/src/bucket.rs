//! The bucket: a key-value stream beside the stream of events, and the snapshots in it.
//!
//! Owns how a value is replaced: only if it is the one that was read; an unanswered writing is looked for by its id. The
//! snapshots of a name are a list under one key, with the state of each under a key of its own: a list without a state is a
//! snapshot that is missing.

use annals_es::{AppendError, Mark, Snapshot, StoreError, StreamName, Timestamp};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Stored;
use crate::runtime::Pause;
use crate::server::{Outgoing, Sent};
use crate::shared::Shared;
use crate::{Error, check};

const WRITING: &str = "Annals-Writing";
/// Number of snapshots that are kept of a name and a kind of mark.
const SNAPSHOTS: usize = 16;

/// A snapshot in the list of its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Listed {
    kind: char,
    mark: u64,
    schema_version: u32,
    saved_at: u64,
    /// The id of the writing of its state.
    state: Uuid,
}

fn kind_of(mark: Mark) -> (char, u64) {
    match mark {
        Mark::Version(version) => ('v', version.get()),
        Mark::Position(position) => ('p', position.get()),
    }
}

/// The id of the writing of a value.
fn writing_of(value: &Stored) -> Option<Uuid> {
    value.headers.get(WRITING)?.as_str().parse().ok()
}

impl Shared {
    /// The value of a key, from the leader.
    async fn value(&self, key: &str) -> Result<Option<Stored>, Error> {
        let value = self.servers.last(&self.bucket, key).await?;
        // A value that was deleted.
        Ok(value.filter(|value| value.headers.get("KV-Operation").is_none()))
    }

    /// Replaces the value of a key, if its last message has a sequence. `None`: it has another one.
    pub(crate) async fn replace(
        &self,
        key: &str,
        sequence: u64,
        payload: Bytes,
    ) -> Result<Option<Uuid>, AppendError> {
        let writing = Uuid::now_v7();
        let mut headers = HeaderMap::new();
        headers.insert(WRITING, writing.simple().to_string());
        let mut message = Outgoing { subject: key.to_owned(), headers, payload };
        message.expect(sequence);
        let mut pause = Pause::new(self.servers.limit);
        let mut is_unknown = false;
        loop {
            let mut fence = None;
            let met = match self.servers.send(std::slice::from_ref(&message)).await? {
                Sent::Stored(_) => return Ok(Some(writing)),
                Sent::Lost | Sent::Busy => "another value was being stored".to_owned(),
                Sent::NotNow(met) => {
                    fence = self.fenced().await;
                    met
                }
                Sent::Unknown(met) => {
                    is_unknown = true;
                    met
                }
            };
            let unknown = |error: Error| {
                if is_unknown { AppendError::OutcomeUnknown(Box::new(error)) } else { error.into() }
            };
            let following = self.servers.next(&self.bucket, key, sequence + 1).await;
            match following.map_err(unknown)? {
                Some(value) if writing_of(&value) == Some(writing) => return Ok(Some(writing)),
                // The value after the expected one is another one, so this one cannot be stored any more.
                Some(value) if value.previous() == Some(sequence) || !is_unknown => {
                    return Ok(None);
                }
                // Older values are gone, and this one may have been among them.
                Some(_) => return Err(unknown(Error::Overwritten)),
                None => match fence {
                    Some(to) => return Err(unknown(Error::Fenced { to })),
                    None => pause.wait(met).await.map_err(unknown)?,
                },
            }
        }
    }

    /// The list of a name's snapshots, and the sequence of its message. A list that is damaged counts as empty.
    async fn list(&self, key: &str) -> Result<(Vec<Listed>, u64), Error> {
        let value = self.servers.last(&self.bucket, &self.subjects.snapshots(key)).await?;
        let list = value.as_ref().and_then(|value| serde_json::from_slice(&value.payload).ok());
        Ok((list.unwrap_or_default(), value.map_or(0, |value| value.sequence)))
    }

    async fn state(&self, key: &str, listed: &Listed) -> Result<Option<Bytes>, Error> {
        let subject = self.subjects.state(key, listed.kind, listed.mark);
        let value = self.value(&subject).await?;
        Ok(value.filter(|it| writing_of(it) == Some(listed.state)).map(|value| value.payload))
    }

    pub(crate) async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, Error> {
        let (kind, limit) = kind_of(at_most);
        let (mut list, _) = self.list(key).await?;
        list.retain(|it| it.kind == kind && it.mark <= limit);
        list.sort_by_key(|it| it.mark);
        while let Some(listed) = list.pop() {
            let Some(state) = self.state(key, &listed).await? else { continue };
            let mark = match at_most {
                Mark::Version(_) => Mark::Version(listed.mark.into()),
                Mark::Position(_) => Mark::Position(listed.mark.into()),
            };
            let mut snapshot =
                Snapshot::new(key, mark, state).schema_version(listed.schema_version);
            snapshot.saved_at = Timestamp::from_micros(listed.saved_at);
            return Ok(Some(snapshot));
        }
        Ok(None)
    }

    pub(crate) async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let refused = |error: AppendError| check::invalid("snapshot", error.to_string());
        check::name("snapshot", &snapshot.key).map_err(refused)?;
        let size = snapshot.state.len() as u64;
        check::message(size, self.servers.max_payload()).map_err(refused)?;
        let is_ahead = match snapshot.mark {
            Mark::Version(version) => {
                let subject = self.subjects.stream(&StreamName::from(snapshot.key.as_str()));
                version > self.version(&subject).await?
            }
            Mark::Position(position) => {
                position > self.signal.known() && position > self.head().await?
            }
        };
        if is_ahead {
            return Err(check::invalid("snapshot", "it is ahead of what it covers"));
        }
        self.save(snapshot).await
    }

    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let written = |done: Result<Option<Uuid>, AppendError>| match done {
            Ok(writing) => Ok(writing),
            Err(AppendError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Backend(Box::new(error))),
        };
        let (kind, mark) = kind_of(snapshot.mark);
        let (key, subject) = (&snapshot.key, self.subjects.state(&snapshot.key, kind, mark));
        loop {
            let (mut list, sequence) = self.list(key).await?;
            let known = list.iter().position(|it| it.kind == kind && it.mark == mark);
            if let Some(known) = known {
                let listed = &list[known];
                if listed.schema_version > snapshot.schema_version {
                    return Err(check::invalid(
                        "snapshot",
                        "one of a newer schema is saved at its mark",
                    ));
                }
                if listed.schema_version == snapshot.schema_version
                    && let Some(state) = self.state(key, listed).await?
                {
                    return if state == snapshot.state {
                        Ok(())
                    } else {
                        Err(check::invalid("snapshot", "another state is saved at its mark"))
                    };
                }
                list.remove(known);
            }
            let former = self.servers.last(&self.bucket, &subject).await?;
            let place = former.map_or(0, |value| value.sequence);
            let Some(state) = written(self.replace(&subject, place, snapshot.state.clone()).await)?
            else {
                continue;
            };
            let saved_at = self.clock.now().as_micros();
            let schema_version = snapshot.schema_version;
            list.push(Listed { kind, mark, schema_version, saved_at, state });
            let dropped = drop_oldest(&mut list, kind);
            let text = serde_json::to_vec(&list)
                .map_err(|error| check::invalid("snapshot", error.to_string()))?;
            if written(self.replace(&self.subjects.snapshots(key), sequence, text.into()).await)?
                .is_some()
            {
                for listed in dropped {
                    self.forget(&self.subjects.state(key, listed.kind, listed.mark)).await;
                }
                return Ok(());
            }
        }
    }

    /// Deletes a value that nothing refers to any more. If it fails, the value stays.
    async fn forget(&self, key: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        let message = Outgoing { subject: key.to_owned(), headers, payload: Bytes::new() };
        let _ = self.servers.send(&[message]).await;
    }
}

/// Takes the snapshots of a kind with the lowest marks off a list, down to the number that is kept.
fn drop_oldest(list: &mut Vec<Listed>, kind: char) -> Vec<Listed> {
    let mut dropped = Vec::new();
    while list.iter().filter(|it| it.kind == kind).count() > SNAPSHOTS {
        let of_kind = list.iter().enumerate().filter(|(_, it)| it.kind == kind);
        let Some((oldest, _)) = of_kind.min_by_key(|(_, it)| it.mark) else { break };
        dropped.push(list.remove(oldest));
    }
    dropped
}
