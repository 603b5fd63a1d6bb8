//! The outbox: hands events to something outside of the store, at least once and in order per stream.
//!
//! A [`Sink`] sends an event: to a message broker, by mail, to another service. An [`Outbox`] reads the events and
//! keeps the order of each stream, while events of different streams are sent at the same time. The place up to
//! which everything was sent is a checkpoint of the store. After a crash, events after it are sent again: let the
//! receiver recognize them by their id, which never changes.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Mutex;
//!
//! use annals_es::blocking::block_on;
//! use annals_es::outbox::{Outbox, Sink};
//! use annals_es::{Commit, EventStore, Expected, MemoryStore, NewEvent, Query, RecordedEvent};
//!
//! #[derive(Default)]
//! struct Letters(Mutex<Vec<String>>);
//!
//! impl Sink for Letters {
//!     type Error = Infallible;
//!
//!     async fn send(&self, event: &RecordedEvent) -> Result<(), Infallible> {
//!         self.0.lock().unwrap().push(format!("{} to {}", event.event_type(), event.stream()));
//!         Ok(())
//!     }
//! }
//!
//! let store = MemoryStore::new();
//! let invoice = Commit::to("customer-1", Expected::Any, [NewEvent::new("InvoiceIssued", "{}")]);
//! block_on(store.append(invoice))?;
//! let mut outbox = Outbox::new(store, "letters", Letters::default())?.matching(Query::types(["InvoiceIssued"]));
//! block_on(outbox.send_all())?; // or, in a task or thread of its own: outbox.run()
//! assert_eq!(*outbox.sink().0.lock().unwrap(), ["InvoiceIssued to customer-1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! The [`ErrorPolicy`] decides about an event that cannot be sent: retries with growing delays, during which later
//! events of its stream wait and other streams go on, as far as [`Outbox::most_unsent`] allows; and then the run ends
//! with the error, or the event is **parked** and its stream goes on without it. Parked events are events of the
//! stream `parked-NAME`; [`Outbox::replay`] and [`Outbox::discard`] take them out.
//!
//! # One runner
//!
//! Two runners of one outbox would both send. The one with the earlier place finds out when it saves it, and ends with
//! [`OutboxError::OtherRunner`].

mod error;
mod lanes;
mod runner;
mod send;

use std::future::Future;

use crate::store::{Cause, RecordedEvent};

pub use crate::parking::ParkedEvent;
pub use crate::policy::ErrorPolicy;
pub use crate::run_handle::RunnerHandle;
pub use error::{OutboxError, SendError};
pub use runner::Outbox;

/// Sends events to something outside of the store.
pub trait Sink: Send + Sync + 'static {
    /// Why an event could not be sent.
    type Error: Into<Cause> + Send;

    /// Sends an event. It is sent when the future ends without an error; an event may be sent again after that.
    fn send(&self, event: &RecordedEvent) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
