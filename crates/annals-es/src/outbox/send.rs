//! The sending of one event: attempts, delays, the time limit.
//!
//! Owns the isolation of a sink that fails. Must never send another event.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

use super::{SendError, Sink};
use crate::panics::text;
use crate::policy::ErrorPolicy;
use crate::run_handle::RunnerHandle;
use crate::store::RecordedEvent;

/// What came of an event.
pub(super) enum Sent {
    Done,
    Failed {
        cause: SendError,
        attempts: u32,
    },
    /// The run is to end, and the event waits for another attempt.
    Stopped,
}

/// How events are sent.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) policy: ErrorPolicy,
    pub(super) limit: Option<Duration>,
    pub(super) handle: RunnerHandle,
}

impl Sending {
    /// Sends an event, with as many attempts as the policy allows.
    pub(super) async fn send<K: Sink>(
        self,
        sink: Arc<K>,
        event: RecordedEvent,
    ) -> (RecordedEvent, Sent) {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let Err(cause) = self.attempt(&*sink, &event).await else { return (event, Sent::Done) };
            let Some(delay) = self.policy.delay(attempts) else {
                return (event, Sent::Failed { cause, attempts });
            };
            if self.handle.stops_within(delay).await {
                return (event, Sent::Stopped);
            }
        }
    }

    pub(super) async fn attempt<K: Sink>(
        &self,
        sink: &K,
        event: &RecordedEvent,
    ) -> Result<(), SendError> {
        let mut sending = match catch_unwind(AssertUnwindSafe(|| Box::pin(sink.send(event)))) {
            Ok(sending) => sending,
            Err(panic) => return Err(SendError::Panic(text(&*panic))),
        };
        let mut timer = self.limit.map(|limit| (limit, Delay::new(limit)));
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| sending.as_mut().poll(context)));
            match polled {
                Ok(Poll::Ready(sent)) => {
                    return Poll::Ready(sent.map_err(|error| SendError::Sink(error.into())));
                }
                Ok(Poll::Pending) => {}
                Err(panic) => return Poll::Ready(Err(SendError::Panic(text(&*panic)))),
            }
            if let Some((limit, timer)) = &mut timer
                && Pin::new(timer).poll(context).is_ready()
            {
                return Poll::Ready(Err(SendError::Timeout { limit: *limit }));
            }
            Poll::Pending
        })
        .await
    }
}
