//! The settings of the page.
//!
//! Owns limits and their defaults. Must never make the page reachable for more than this machine by default.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use annals::consumer_group::Replayed;
use tokio::sync::Semaphore;

/// The call that a service gives for replaying the parked events of a consumer group.
pub(crate) type Replay = Arc<dyn Fn() -> annals::Result<Replayed> + Send + Sync>;

/// The settings of the page; see [`router`](crate::router()).
///
/// ```
/// use annals_ui::Options;
///
/// // In a service that is reached as https://shop.example.org/admin/events.
/// let options = Options::new().host("shop.example.org").token("a long random text").max_tails(16);
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) token: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) any_host: bool,
    pub(crate) base_path: Option<String>,
    pub(crate) max_tails: usize,
    pub(crate) max_exports: usize,
    pub(crate) max_reads: usize,
    pub(crate) manage_parked: bool,
    pub(crate) replays: BTreeMap<String, Replay>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            hosts: Vec::new(),
            any_host: false,
            base_path: None,
            max_tails: 64,
            max_exports: 4,
            max_reads: 8,
            manage_parked: false,
            replays: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("has_token", &self.token.is_some())
            .field("hosts", &self.hosts)
            .field("any_host", &self.any_host)
            .field("base_path", &self.base_path)
            .field("max_tails", &self.max_tails)
            .field("max_exports", &self.max_exports)
            .field("max_reads", &self.max_reads)
            .field("manage_parked", &self.manage_parked)
            .field("replays", &self.replays.keys())
            .finish()
    }
}

impl Options {
    /// The defaults: no token, and requests to the names of this machine alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests must carry this token: in the header `Authorization: Bearer …`, or once as the parameter `token` of
    /// any page, which stores it in a cookie. An empty token is refused by every request.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Also accepts requests to this host name, given without a port. By default, only `localhost` and the loopback
    /// addresses are accepted, so that a foreign web page cannot reach this one under a name of its own (DNS rebinding).
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Accepts requests to every host name: for a service that checks the name itself, or together with a token.
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// The path under which a browser sees the page, such as `/admin/events`. It is needed only where a proxy in between
    /// changes the path; the prefix of [`Router::nest`](axum::Router::nest) is found without it.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = Some(path.into());
        self
    }

    /// The number of live tails that may be open at once; further ones are refused with status 503. Default: 64.
    pub fn max_tails(mut self, tails: usize) -> Self {
        self.max_tails = tails.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The number of exports that may run at once; further ones are refused with status 503. Default: 4.
    pub fn max_exports(mut self, exports: usize) -> Self {
        self.max_exports = exports.min(Semaphore::MAX_PERMITS);
        self
    }

    /// The number of threads that may read from the store at once, at least 1; other requests wait, and are refused with
    /// status 503 after ten seconds. Default: 8.
    pub fn max_reads(mut self, reads: usize) -> Self {
        self.max_reads = reads.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Offers to discard parked events of consumer groups. It needs a store that is open for writing; for other stores it
    /// has no effect. Default: off.
    pub fn manage_parked(mut self) -> Self {
        self.manage_parked = true;
        self
    }

    /// Offers to replay the parked events of a running consumer group, given as a call of
    /// [`RunningGroup::replay_parked`](annals::consumer_group::RunningGroup::replay_parked). It is called on a thread for
    /// blocking work, and only with [`Options::manage_parked`].
    pub fn replay(
        mut self,
        group: impl Into<String>,
        replay: impl Fn() -> annals::Result<Replayed> + Send + Sync + 'static,
    ) -> Self {
        self.replays.insert(group.into(), Arc::new(replay));
        self
    }
}
