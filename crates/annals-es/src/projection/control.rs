//! The requests of handles to a runner.

use futures_channel::{mpsc, oneshot};

use super::{ProjectionError, ReplayError, WaitError};
use crate::store::Position;

/// A request, with the index of the projection where it concerns one.
pub(super) enum Command {
    /// Stops everything after the batch in flight.
    StopAll,
    Of(usize, Request),
}

/// A request to one projection.
pub(super) enum Request {
    Stop,
    Pause(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    /// Parks the event at which the projection is paused, and resumes it.
    Park(oneshot::Sender<Result<(), WaitError>>),
    Replay(Position, oneshot::Sender<Result<(), ReplayError>>),
    Discard(Position, oneshot::Sender<Result<(), ReplayError>>),
}

pub(super) type Commands = mpsc::UnboundedReceiver<Command>;
pub(super) type Sender = mpsc::UnboundedSender<Command>;

/// An error that several places show.
pub(super) type SharedError = std::sync::Arc<ProjectionError>;
