//! Fences: nothing is appended to a store any more, because its history goes on elsewhere.
//!
//! Owns the settings by which the servers refuse, and so programs with any version of this crate:
//!
//! - One change takes the subjects of events, ids, checks and checkpoints from the stream, and puts the place where the
//!   history goes on into its metadata. What is published to those subjects has no receiver any more.
//! - The leader puts what it receives for a stream into one queue. The change was acknowledged before the raiser publishes a
//!   message to the only subject that is left. So when that message is stored, what was received earlier is stored before
//!   it or refused, and no batch can be completed later.
//! - The bucket is treated in the same way, for the checkpoints in it.
//!
//! A fence is lifted by the reverse changes, that of the stream at the end. Both are repeated as a whole if they were
//! interrupted.

use std::sync::Arc;

use annals_es::StoreError;
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

use crate::reads::on_runtime;
use crate::runtime::Pause;
use crate::server::{Outgoing, Sent};
use crate::settings::FENCE_KEY;
use crate::shared::Shared;
use crate::{Error, JetStreamStore, streams};

impl JetStreamStore {
    /// Fences the store: commits of every program are refused from now on, with [`StoreError::Fenced`], which names `to`, the
    /// place where the history goes on. When this returns, nothing can be recorded any more, and reads show everything that
    /// was. A store that is fenced already gets the new place. A fenced store is opened with
    /// [`JetStreamOptions::fenced`](crate::JetStreamOptions::fenced). Each partition has a fence of its own.
    ///
    /// Programs with a version of this crate that knows no fences get an error of time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`]; the store may or may not be fenced, and the same call completes the fence.
    pub async fn raise_fence(&self, to: impl Into<String>) -> Result<(), StoreError> {
        let (shared, to) = (Arc::clone(&self.shared), to.into());
        let work = async move { shared.raise_fence(&to).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    /// Removes the fence of the store. Returns the place that it named, or `None` if there was no fence.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`]; the same call completes what was begun.
    pub async fn lift_fence(&self) -> Result<Option<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.lift_fence().await }).await?)
    }

    /// The place that the fence of the store names; `None`: it has no fence. Where there is one, reads show everything that
    /// was recorded before it once this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn fence(&self) -> Result<Option<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let settings = streams::find(&shared.servers, &shared.name).await?;
            let fence = settings.metadata.get(FENCE_KEY).cloned();
            if fence.is_some() {
                shared.barrier(&shared.subjects.fence()).await?;
            }
            Ok(fence)
        };
        Ok(on_runtime(&self.shared, work).await?)
    }
}

impl Shared {
    async fn raise_fence(&self, to: &str) -> Result<(), Error> {
        let subject = self.subjects.fence();
        let raise = |config: &mut Value| {
            config["subjects"] = vec![subject.as_str()].into();
            config["metadata"][FENCE_KEY] = to.into();
        };
        streams::change(&self.servers, &self.name, raise).await?;
        self.barrier(&subject).await?;
        let subject = self.subjects.bucket_fence();
        let raise = |config: &mut Value| config["subjects"] = vec![subject.as_str()].into();
        streams::change(&self.servers, &self.bucket, raise).await?;
        self.barrier(&subject).await
    }

    async fn lift_fence(&self) -> Result<Option<String>, Error> {
        let mut settings = streams::find(&self.servers, &self.name).await?;
        let Some(place) = settings.metadata.remove(FENCE_KEY) else { return Ok(None) };
        let lift = |config: &mut Value| config["subjects"] = vec![self.subjects.bucket()].into();
        streams::change(&self.servers, &self.bucket, lift).await?;
        let lift = |config: &mut Value| {
            config["subjects"] = self.subjects.kept().into();
            if let Some(metadata) = config["metadata"].as_object_mut() {
                metadata.remove(FENCE_KEY);
            }
        };
        streams::change(&self.servers, &self.name, lift).await?;
        Ok(Some(place))
    }

    /// Stores a message on the subject that is left to a fenced stream: what was received before it is stored by then, or
    /// will never be.
    pub(crate) async fn barrier(&self, subject: &str) -> Result<(), Error> {
        let mut pause = Pause::new(self.servers.limit);
        let (subject, headers) = (subject.to_owned(), HeaderMap::new());
        let message = [Outgoing { subject, headers, payload: Bytes::new() }];
        loop {
            // Stored twice, it means the same.
            let met = match self.servers.send(&message).await? {
                Sent::Stored(_) => return Ok(()),
                Sent::Lost | Sent::Busy => "another message was being stored".to_owned(),
                Sent::NotNow(met) | Sent::Unknown(met) => met,
            };
            pause.wait(met).await?;
        }
    }

    /// The place that the fence names, if the stream is known to be fenced. Asked for after a sending had no receiver.
    pub(crate) async fn fenced(&self) -> Option<String> {
        streams::find_once(&self.servers, &self.name).await?.metadata.remove(FENCE_KEY)
    }
}
