//! Projections: read models that follow the events of a store.
//!
//! A [`Projection`] states which events it needs and how a read model changes by each. A [`Target`] is where the
//! read model is kept, together with the position up to which it is complete: [`Memory`] here, tables of a
//! database in crates of their own. A [`Runner`] reads the events, first those that are recorded and then those
//! that are appended, and a [`Handle`] shows and controls what one projection does.
//!
//! ```
//! use std::collections::HashMap;
//! use std::convert::Infallible;
//!
//! use annals_es::blocking::block_on;
//! use annals_es::projection::{Memory, Projection, Runner};
//! use annals_es::{Commit, Event, EventStore, Expected, MemoryStore, RecordedEvent, encode};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! enum AccountEvent {
//!     #[event(name = "MoneyDeposited")]
//!     Deposited { amount: u64 },
//! }
//!
//! /// The balance of each account.
//! struct Balances;
//!
//! impl Projection for Balances {
//!     type Event = AccountEvent;
//!     type Model = HashMap<String, u64>;
//!     type Error = Infallible;
//!
//!     fn name(&self) -> &str {
//!         "balances"
//!     }
//!
//!     fn handle(
//!         &self,
//!         balances: &mut HashMap<String, u64>,
//!         event: AccountEvent,
//!         recorded: &RecordedEvent,
//!     ) -> Result<(), Infallible> {
//!         let AccountEvent::Deposited { amount } = event;
//!         *balances.entry(recorded.stream().to_owned()).or_default() += amount;
//!         Ok(())
//!     }
//! }
//!
//! let store = MemoryStore::new();
//! let memory = Memory::new(HashMap::new());
//! let view = memory.view();
//! let mut runner = Runner::new(store.clone());
//! let balances = runner.add(Balances, memory)?;
//! let running = runner.spawn_thread()?; // or, with an executor: spawn(runner.run())
//!
//! let deposited = encode(&AccountEvent::Deposited { amount: 5 })?;
//! let committed = block_on(store.append(Commit::to("account-1", Expected::Any, [deposited])))?;
//! block_on(balances.wait_for(&committed))?; // reads from here on show the deposit
//! assert_eq!(view.read_blocking()["account-1"], 5);
//! running.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Each event once
//!
//! A target commits the changes of the read model and the new position in one transaction. After a crash the
//! projection goes on from the committed position, so that each event has effect once. A handler's effects
//! elsewhere, such as an e-mail, are not part of the transaction and may be repeated.
//!
//! # Errors
//!
//! A handler fails if it returns an error or panics, if an event cannot be read, or if an asynchronous handler
//! exceeds its [`timeout`](Options::timeout). What it had changed is rolled back, and the [`ErrorPolicy`] decides:
//! retry with growing delays, then pause, or park the event and go on. Parked events are listed by the handle,
//! which replays or discards them. Other projections of the runner go on meanwhile.
//!
//! A synchronous handler that never returns cannot be interrupted: it stops the runner, and
//! [`Status::handling`] shows the event. A program that is built with `panic = "abort"` ends at a panic.
//!
//! # A new version of a read model
//!
//! Increase [`Projection::version`] when the read model has to be computed anew, and run the new version in a
//! [`Runner`] of its own beside the former one, with [`Options::replaces`]. It begins with the first event, and takes
//! over when it has caught up: [`Projection::activate`] is called in the transaction that records that, and the former
//! version is stopped. [`Handle::wait_until_active`] ends then.
//!
//! # Timers
//!
//! Delays and timeouts come from `futures-timer`, which keeps one thread for all timers of the program and needs
//! no particular executor.

mod adapter;
mod apply;
mod control;
mod error;
mod handle;
mod member;
mod memory;
mod open;
mod options;
mod parking;
mod past;
mod runner;
mod status;
mod target;
mod thread;

use std::fmt;
use std::future::Future;

use crate::event::{Event, default_query};
use crate::store::{Cause, Query, RecordedEvent};

pub use crate::policy::ErrorPolicy;
pub(crate) use adapter::Synchronous;
pub(crate) use apply::apply;
pub use error::{FailureCause, ProjectionError, ReplayError, TargetError, WaitError};
pub use handle::Handle;
pub use memory::{Memory, MemoryGuard, View};
pub use options::Options;
pub use runner::{Runner, RunnerHandle};
pub use status::{State, Status};
pub use target::{Opened, Parked, Progress, Target};
pub use thread::RunnerThread;

/// A read model: which events it needs, and how it changes by each.
///
/// The methods change the read model and nothing else, because a failed transaction is rolled back and repeated.
/// For handlers that wait, see [`AsyncProjection`].
pub trait Projection: Send + Sync + 'static {
    /// The events that the read model is computed from.
    type Event: Event;
    /// What the handler changes: a state in memory, or a connection with an open transaction.
    type Model: ?Sized + Send;
    /// Why an event could not be handled.
    type Error: Into<Cause>;

    /// The name of the projection. With the version, it is stored beside the read model and must not change.
    fn name(&self) -> &str;

    /// The version of the read model. A new version is computed from the first event on.
    fn version(&self) -> u32 {
        1
    }

    /// The events to handle. Only these are read. Earlier names of the types that the query has are added. Default: all
    /// events of the types that [`Event`](Self::Event) has, or had in earlier versions.
    fn query(&self) -> Query {
        default_query::<Self::Event>()
    }

    /// Prepares the read model before the first event, for example creates its tables.
    fn prepare(&self, model: &mut Self::Model) -> Result<(), Self::Error> {
        let _ = model;
        Ok(())
    }

    /// Changes the read model by an event. `recorded` has the event's position, stream, version, time and metadata.
    /// An event that upcasters have split is several calls.
    fn handle(
        &self,
        model: &mut Self::Model,
        event: Self::Event,
        recorded: &RecordedEvent,
    ) -> Result<(), Self::Error>;

    /// Makes this version the one that is read, after it has caught up with another version. For example, it
    /// replaces the views through which a program reads the tables of a version.
    fn activate(&self, model: &mut Self::Model) -> Result<(), Self::Error> {
        let _ = model;
        Ok(())
    }

    /// Removes everything from the read model before it is computed anew, and returns true. The default returns
    /// false, which suffices for [`Memory`]; other targets refuse to compute a read model anew that was not cleared.
    fn clear(&self, model: &mut Self::Model) -> Result<bool, Self::Error> {
        let _ = model;
        Ok(false)
    }
}

/// A [`Projection`] whose handlers wait, for example for a database server. The methods have the meaning of those of
/// [`Projection`].
///
/// ```
/// use annals_es::projection::{AsyncProjection, Memory, Runner};
/// use annals_es::{Cause, Event, MemoryStore, RecordedEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// struct Placed {
///     address: String,
/// }
///
/// struct Places;
///
/// async fn look_up(address: &str) -> Result<(i32, i32), Cause> {
///     Ok((0, i32::try_from(address.len())?))
/// }
///
/// impl AsyncProjection for Places {
///     type Event = Placed;
///     type Model = Vec<(i32, i32)>;
///     type Error = Cause;
///
///     fn name(&self) -> &str {
///         "places"
///     }
///
///     async fn handle(
///         &self,
///         places: &mut Self::Model,
///         event: Placed,
///         _: &RecordedEvent,
///     ) -> Result<(), Cause> {
///         places.push(look_up(&event.address).await?);
///         Ok(())
///     }
/// }
///
/// let mut runner = Runner::new(MemoryStore::new());
/// let places = runner.add_async(Places, Memory::new(Vec::new()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AsyncProjection: Send + Sync + 'static {
    /// See [`Projection::Event`].
    type Event: Event;
    /// See [`Projection::Model`].
    type Model: ?Sized + Send;
    /// See [`Projection::Error`].
    type Error: Into<Cause>;

    /// See [`Projection::name`].
    fn name(&self) -> &str;

    /// See [`Projection::version`].
    fn version(&self) -> u32 {
        1
    }

    /// See [`Projection::query`].
    fn query(&self) -> Query {
        default_query::<Self::Event>()
    }

    /// See [`Projection::prepare`].
    fn prepare(
        &self,
        model: &mut Self::Model,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = model;
        async { Ok(()) }
    }

    /// See [`Projection::handle`]. At a timeout the future is dropped.
    fn handle(
        &self,
        model: &mut Self::Model,
        event: Self::Event,
        recorded: &RecordedEvent,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// See [`Projection::activate`].
    fn activate(
        &self,
        model: &mut Self::Model,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = model;
        async { Ok(()) }
    }

    /// See [`Projection::clear`].
    fn clear(
        &self,
        model: &mut Self::Model,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        let _ = model;
        async { Ok(false) }
    }
}

/// The name and version of a projection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ProjectionId {
    /// The name.
    pub name: String,
    /// The version of the read model.
    pub version: u32,
}

impl ProjectionId {
    /// The id of a version of a projection.
    pub fn new(name: impl Into<String>, version: u32) -> Self {
        Self { name: name.into(), version }
    }
}

impl fmt::Display for ProjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}
