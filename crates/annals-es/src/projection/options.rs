//! The settings of a projection in a runner.

use std::time::Duration;

use super::Handle;
use crate::policy::ErrorPolicy;

/// The settings of a projection.
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::projection::{ErrorPolicy, Options};
///
/// let options = Options::new().on_error(ErrorPolicy::park()).timeout(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(super) on_error: ErrorPolicy,
    pub(super) timeout: Option<Duration>,
    pub(super) rebuild_if_restored: bool,
    pub(super) replaces: Option<Handle>,
    pub(super) retry_outages: bool,
}

impl Options {
    /// The default settings: pause after five retries, no timeout, and an error for a restored store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what happens when an event cannot be handled.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.on_error = policy;
        self
    }

    /// Sets how long an asynchronous handler may wait in one call. It is cancelled then. Without a timeout, a handler
    /// that never answers stops the runner. A synchronous handler cannot be interrupted.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Tries failures of the target, such as a database that cannot be reached, again until they pass, with delays up to
    /// the longest one of the error policy. Without this, the projection pauses after the retries of the policy.
    #[must_use]
    pub fn retry_outages(mut self) -> Self {
        self.retry_outages = true;
        self
    }

    /// Computes the read model anew if it has events that the store does not have, which is so after the store was
    /// restored to an older state. Without this, the projection fails with
    /// [`TargetError::OtherHistory`](super::TargetError::OtherHistory).
    #[must_use]
    pub fn rebuild_if_restored(mut self) -> Self {
        self.rebuild_if_restored = true;
        self
    }

    /// Rebuilds a read model beside the one that runs, and swaps: the projection is a new version of `former`, computed
    /// from the first event, and stops it once it has caught up and is [active](super::Status::active). If it fails or is
    /// paused before that, `former` goes on.
    ///
    /// Add the new version to a [`Runner`](super::Runner) of its own. In the same one, `former` would get no new events
    /// while the old ones are read.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use annals_es::blocking::block_on;
    /// # use annals_es::projection::{Memory, Options, Projection, Runner};
    /// # use annals_es::{Commit, Event, EventStore, Expected, MemoryStore, RecordedEvent, encode};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct Deposited { amount: u64 }
    /// # struct Total { version: u32 }
    /// # impl Projection for Total {
    /// #     type Event = Deposited;
    /// #     type Model = u64;
    /// #     type Error = Infallible;
    /// #     fn name(&self) -> &str { "total" }
    /// #     fn version(&self) -> u32 { self.version }
    /// #     fn handle(&self, total: &mut u64, event: Deposited, _: &RecordedEvent) -> Result<(), Infallible> {
    /// #         *total += event.amount * u64::from(self.version);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let store = MemoryStore::new();
    /// # let deposited = encode(&Deposited { amount: 5 })?;
    /// # block_on(store.append(Commit::to("account-1", Expected::Any, [deposited])))?;
    /// # let memory = Memory::new(0);
    /// # let view = memory.view();
    /// # let mut runner = Runner::new(store.clone());
    /// # let former = runner.add(Total { version: 1 }, memory)?;
    /// # let _running = runner.spawn_thread()?;
    /// # block_on(former.wait_until_live())?;
    /// let mut rebuild = Runner::new(store.clone());
    /// let memory = Memory::new(0).replacing(&view); // the view shows the new version when it is active
    /// let new = rebuild.add_with(Total { version: 2 }, memory, Options::new().replaces(&former))?;
    /// let running = rebuild.spawn_thread()?;
    /// block_on(new.wait_until_active())?;
    /// # assert_eq!(*view.read_blocking(), 10);
    /// # running.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn replaces(mut self, former: &Handle) -> Self {
        self.replaces = Some(former.clone());
        self
    }
}
