//! The settings of a projection in a runner.

use std::time::Duration;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub(super) on_error: ErrorPolicy,
    pub(super) timeout: Option<Duration>,
    pub(super) rebuild_if_restored: bool,
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

    /// Computes the read model anew if it has events that the store does not have, which is so after the store was
    /// restored to an older state. Without this, the projection fails with
    /// [`TargetError::OtherHistory`](super::TargetError::OtherHistory).
    #[must_use]
    pub fn rebuild_if_restored(mut self) -> Self {
        self.rebuild_if_restored = true;
        self
    }
}
