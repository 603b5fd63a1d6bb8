//! The past of a read model in memory.
//!
//! Owns the application of events up to a point. Must never change the running read model, nor save a snapshot.

use super::adapter::Synchronous;
use super::apply::apply;
use super::error::FailureCause;
use super::{AsyncProjection, Memory, Projection, ProjectionId};
use crate::event::Schemas;
use crate::store::{OrderedStore, ReadAll, next};
use crate::timeline::{Past, Point, TimelineError, position_of};

impl<T: Send + Sync + 'static> Memory<T> {
    /// The read model at a point of the past: the newest snapshot at or before the point, if there is one, and the events
    /// after it. A read model that runs, its views and its snapshots are not changed.
    ///
    /// Events that were parked when the snapshot was taken are left out, as they are in it.
    ///
    /// # Errors
    ///
    /// [`TimelineError`]: an event that cannot be read or handled is one.
    pub async fn load_at<P, S>(
        &self,
        store: &S,
        projection: P,
        point: impl Point<S>,
    ) -> Result<Past<T>, TimelineError>
    where
        P: Projection<Model = T>,
        S: OrderedStore,
    {
        self.load_at_async(store, Synchronous(projection), point).await
    }

    /// Like [`load_at`](Self::load_at), for an asynchronous projection.
    ///
    /// # Errors
    ///
    /// Those of [`load_at`](Self::load_at).
    pub async fn load_at_async<P, S>(
        &self,
        store: &S,
        projection: P,
        point: impl Point<S>,
    ) -> Result<Past<T>, TimelineError>
    where
        P: AsyncProjection<Model = T>,
        S: OrderedStore,
    {
        let (schemas, query) = (Schemas::<P::Event>::new()?, projection.query());
        // The same query as that of a runner.
        let query = schemas.with_earlier_names(&query).unwrap_or(query);
        let to = position_of(store, &query, point).await?;
        let id = ProjectionId::new(projection.name(), projection.version());
        let (mut state, position, parked) = self.saved(store, &id, to).await?;
        let failed = |position, cause| TimelineError::Projection { position, cause };
        if position == crate::store::Position::START {
            let prepared = projection.prepare(&mut state).await;
            prepared.map_err(|error| failed(position, FailureCause::Handler(error.into())))?;
        }
        let mut past = Past { state, position, events: 0 };
        if to <= position {
            return Ok(past);
        }
        let mut events = store.read_all(ReadAll::matching(query).after(position).up_to(to));
        while let Some(event) = next(&mut events).await.transpose()? {
            let at = event.position();
            if !parked.iter().any(|it| it.position == at) {
                let done = apply(&projection, &schemas, &mut past.state, &event, None).await;
                done.map_err(|cause| failed(at, cause))?;
                past.events += 1;
            }
            past.position = at;
        }
        Ok(past)
    }
}
