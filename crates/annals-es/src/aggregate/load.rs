//! The computation of a state from a snapshot and events.
//!
//! Owns the check that no event is missing. Must never change the store.

use std::ops::ControlFlow;

use super::Aggregate;
use super::error::LoadError;
use super::repository::Repository;
use super::snapshots::Since;
use crate::store::{EventRef, EventStore, Mark, ReadStream, StreamName, Version};

/// An aggregate's state and version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The version; [`Version::NONE`] if the aggregate has no events.
    pub version: Version,
}

/// An aggregate's state, and what has happened since its last snapshot.
pub(super) struct Hot<A> {
    pub(super) state: A,
    pub(super) version: Version,
    pub(super) since: Since,
}

impl<A> Hot<A> {
    fn new(state: A, version: Version) -> Self {
        Self { state, version, since: Since::default() }
    }
}

impl<A: Aggregate, S: EventStore> Repository<A, S> {
    /// The present state of an aggregate: its newest snapshot, if there is one, and the events after it.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: an event that cannot be read is one, because the state without it may be wrong.
    pub async fn load(&self, id: impl std::fmt::Display) -> Result<Loaded<A>, LoadError> {
        self.loaded(&self.stream(id), Version::MAX).await
    }

    /// The state at a version, or the present one if the aggregate has not reached it.
    pub(super) async fn loaded(
        &self,
        stream: &StreamName,
        up_to: Version,
    ) -> Result<Loaded<A>, LoadError> {
        let mut hot = self.begin(stream, up_to).await?;
        self.complete(stream, &mut hot, up_to).await?;
        Ok(Loaded { state: hot.state, version: hot.version })
    }

    /// The present state for a slot: what the slot has, if it is not older or newer than the store.
    pub(super) async fn refreshed(
        &self,
        stream: &StreamName,
        kept: Option<Hot<A>>,
    ) -> Result<Hot<A>, LoadError> {
        let mut hot = match kept {
            Some(hot) => {
                let present = self.store().stream_version(stream).await?;
                if present == hot.version {
                    return Ok(hot);
                }
                // A store that was restored to an older state has another history.
                if present > hot.version { hot } else { self.begin(stream, Version::MAX).await? }
            }
            None => self.begin(stream, Version::MAX).await?,
        };
        self.complete(stream, &mut hot, Version::MAX).await?;
        Ok(hot)
    }

    /// The newest usable snapshot up to a version, or the initial state.
    async fn begin(&self, stream: &StreamName, up_to: Version) -> Result<Hot<A>, LoadError> {
        let Some(snapshots) = self.snapshot_rules() else {
            return Ok(Hot::new(A::initial(), Version::NONE));
        };
        let newest = self.store().load_snapshot(stream.as_str(), Mark::Version(up_to)).await?;
        let usable = newest.and_then(|snapshot| match snapshot.mark {
            Mark::Version(version) => snapshots.state(&snapshot).map(|state| (state, version)),
            Mark::Position(_) => None,
        });
        let (state, version) = usable.unwrap_or_else(|| (A::initial(), Version::NONE));
        Ok(Hot::new(state, version))
    }

    /// Changes a state by the events after it. If there are none, the version of the stream has to confirm that.
    async fn complete(
        &self,
        stream: &StreamName,
        hot: &mut Hot<A>,
        up_to: Version,
    ) -> Result<(), LoadError> {
        let before = hot.version;
        self.read_on(stream, hot, up_to).await?;
        if hot.version > before || up_to <= before {
            return Ok(());
        }
        let present = self.store().stream_version(stream).await?;
        if present.min(up_to) > before {
            // Appended after the read, or hidden.
            self.read_on(stream, hot, up_to).await?;
            if hot.version == before {
                return Err(LoadError::Hidden { stream: stream.clone(), missing: before.next() });
            }
        }
        Ok(())
    }

    /// Changes a state by the events after it that reads show.
    async fn read_on(
        &self,
        stream: &StreamName,
        hot: &mut Hot<A>,
        up_to: Version,
    ) -> Result<(), LoadError> {
        if up_to <= hot.version {
            return Ok(());
        }
        let read = ReadStream::of(stream).from(hot.version.next()).up_to(up_to);
        let visited =
            self.store().visit_stream(read, |event| match self.apply(stream, hot, event) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            });
        match visited.await? {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn apply(
        &self,
        stream: &StreamName,
        hot: &mut Hot<A>,
        event: EventRef<'_>,
    ) -> Result<(), LoadError> {
        let expected = hot.version.next();
        if event.version() != expected {
            return Err(LoadError::Hidden { stream: stream.clone(), missing: expected });
        }
        self.schemas().decode(event, |event| hot.state.evolve(&event))?;
        hot.version = expected;
        hot.since.add(1, event.data().len() as u64, event.recorded_at());
        Ok(())
    }
}
