//! The streams that one reaction reads and appends to.
//!
//! Owns the states after what the reaction adds, so that its commands see each other. Must never append.

use std::any::Any;
use std::future::Future;

use super::error::ReactionError;
use crate::store::{Commit, Expected, NewEvent, SeveralStreams, StreamName, Version};

/// A stream, its state, and the events that a reaction adds to it.
pub(super) struct Working {
    pub(super) stream: StreamName,
    /// The version that was read.
    version: Version,
    /// The state after `events`.
    state: Box<dyn Any + Send>,
    pub(super) events: Vec<NewEvent>,
}

impl Working {
    pub(super) fn new(stream: StreamName, version: Version, state: impl Send + 'static) -> Self {
        Self { stream, version, state: Box::new(state), events: Vec::new() }
    }

    /// The state, if it is of this type.
    pub(super) fn state<T: 'static>(&mut self) -> Result<&mut T, ReactionError> {
        let stream = &self.stream;
        self.state.downcast_mut().ok_or_else(|| ReactionError::TwoTypes { stream: stream.clone() })
    }
}

/// The streams of a reaction, in the order in which they were first used.
#[derive(Default)]
pub(super) struct Plan {
    streams: Vec<Working>,
}

impl Plan {
    /// The place of a stream, which `load` reads if the reaction has not used it yet.
    pub(super) async fn place(
        &mut self,
        stream: &StreamName,
        load: impl Future<Output = Result<Working, ReactionError>>,
    ) -> Result<usize, ReactionError> {
        if let Some(place) = self.streams.iter().position(|working| working.stream == *stream) {
            return Ok(place);
        }
        self.streams.push(load.await?);
        Ok(self.streams.len() - 1)
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Working {
        &mut self.streams[place]
    }

    /// Adds the streams to a commit: those that were read and get no event are checked, because the reaction was
    /// decided on them.
    pub(super) fn add_to<S: SeveralStreams>(self, commit: Commit<S>) -> Commit<S> {
        let add = |commit: Commit<S>, working: Working| {
            commit.and(working.stream, Expected::Exact(working.version), working.events)
        };
        self.streams.into_iter().fold(commit, add)
    }

    /// The commit of the streams; `None` if it would add no event.
    pub(super) fn into_commit<S: SeveralStreams>(mut self) -> Option<Commit<S>> {
        if self.streams.iter().all(|working| working.events.is_empty()) {
            return None;
        }
        let first = self.streams.remove(0);
        let commit = Commit::to(first.stream, Expected::Exact(first.version), first.events);
        Some(self.add_to(commit))
    }
}
