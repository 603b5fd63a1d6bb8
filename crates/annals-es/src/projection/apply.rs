//! One event to one handler.
//!
//! Owns the isolation of panics and the timeout. Must never change a target itself.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

use super::AsyncProjection;
use super::error::FailureCause;
use crate::event::{Events, Schemas};
use crate::panics::text;
use crate::store::{Cause, RecordedEvent};

/// Passes what a recorded event is now to the handler.
pub(crate) async fn apply<P: AsyncProjection>(
    projection: &P,
    schemas: &Schemas<P::Event>,
    model: &mut P::Model,
    recorded: &RecordedEvent,
    timeout: Option<Duration>,
) -> Result<(), FailureCause> {
    let mut events = Events::none();
    // Upcasters are code of the application, and may panic like a handler.
    let decode = || schemas.decode(recorded, |event| events.push(event));
    catch_unwind(AssertUnwindSafe(decode)).map_err(panic_cause)?.map_err(FailureCause::Decode)?;
    for event in events {
        isolated(projection.handle(&mut *model, event, recorded), timeout).await?;
    }
    Ok(())
}

/// Runs a part of a projection: a panic becomes an error, and so does an excess of the time.
pub(super) async fn isolated<T, E: Into<Cause>>(
    future: impl Future<Output = Result<T, E>>,
    timeout: Option<Duration>,
) -> Result<T, FailureCause> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|context| {
        // After a panic the future is not polled again, and its changes are rolled back.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Err(panic) => return Poll::Ready(Err(panic_cause(panic))),
            Ok(Poll::Ready(done)) => {
                return Poll::Ready(done.map_err(|error| FailureCause::Handler(error.into())));
            }
            Ok(Poll::Pending) => {}
        }
        let Some(limit) = timeout else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| Delay::new(limit));
        Pin::new(timer).poll(context).map(|()| Err(FailureCause::Timeout { limit }))
    })
    .await
}

#[allow(clippy::needless_pass_by_value, reason = "used in `map_err`")]
fn panic_cause(panic: Box<dyn Any + Send>) -> FailureCause {
    FailureCause::Panic { message: text(&*panic) }
}
