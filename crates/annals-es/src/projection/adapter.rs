//! A synchronous projection as one whose futures are ready at the first poll.

use super::{AsyncProjection, Projection};
use crate::store::{Query, RecordedEvent};

pub(crate) struct Synchronous<P>(pub(crate) P);

impl<P: Projection> AsyncProjection for Synchronous<P> {
    type Event = P::Event;
    type Model = P::Model;
    type Error = P::Error;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn version(&self) -> u32 {
        self.0.version()
    }

    fn query(&self) -> Query {
        self.0.query()
    }

    async fn prepare(&self, model: &mut P::Model) -> Result<(), P::Error> {
        self.0.prepare(model)
    }

    async fn handle(
        &self,
        model: &mut P::Model,
        event: P::Event,
        recorded: &RecordedEvent,
    ) -> Result<(), P::Error> {
        self.0.handle(model, event, recorded)
    }

    async fn activate(&self, model: &mut P::Model) -> Result<(), P::Error> {
        self.0.activate(model)
    }

    async fn clear(&self, model: &mut P::Model) -> Result<bool, P::Error> {
        self.0.clear(model)
    }
}
