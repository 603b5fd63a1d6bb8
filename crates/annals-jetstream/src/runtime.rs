//! The tokio runtime that drives the connections, and the delays between attempts.
//!
//! Owns the thread of a store that is opened outside of tokio. Must never send a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::Error;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The runtime in which the store was opened, or else one in a thread of its own.
#[derive(Debug)]
pub(crate) struct Runtime {
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: Option<Mutex<oneshot::Sender<()>>>,
}

impl Runtime {
    pub(crate) fn current_or_own() -> Result<Self, Error> {
        if let Ok(handle) = Handle::try_current() {
            return Ok(Self { handle, _stop: None });
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Driver)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("annals-jetstream".into());
        let run = move || {
            // It ends when the sender is dropped.
            let _ = runtime.block_on(stopped);
        };
        thread.spawn(run).map_err(Error::Driver)?;
        Ok(Self { handle, _stop: Some(Mutex::new(stop)) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs work to its end on the runtime, also if the returned future is dropped after it was polled.
    pub(crate) async fn run<T: Send + 'static>(
        handle: Handle,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        handle.spawn(work).await.unwrap_or(Err(Error::Ended))
    }
}

/// Ends a task when it is dropped.
pub(crate) struct Aborts(pub(crate) AbortHandle);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The delays between attempts.
pub(crate) struct Pause {
    limit: Duration,
    deadline: Instant,
    next: Duration,
}

impl Pause {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit, next: Duration::from_millis(1) }
    }

    /// Waits before the next attempt. After the time limit, it is an error that names what the last attempt has met.
    pub(crate) async fn wait(&mut self, last: impl Into<String>) -> Result<(), Error> {
        if Instant::now() + self.next >= self.deadline {
            return Err(Error::TimedOut { limit: self.limit, last: last.into() });
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Duration::from_millis(250));
        Ok(())
    }
}
