//! A runner in a thread of its own, for programs without an executor.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::runner::{Runner, RunnerHandle};
use crate::blocking::block_on;
use crate::store::{OrderedStore, StoreError};

/// A thread that runs projections.
///
/// Dropping it asks the projections to stop, and does not wait for them.
pub struct RunnerThread {
    handle: RunnerHandle,
    thread: Option<JoinHandle<Result<(), Arc<StoreError>>>>,
}

impl<S: OrderedStore> Runner<S> {
    /// Runs the projections in a thread of its own.
    ///
    /// # Errors
    ///
    /// The operating system could not start the thread.
    pub fn spawn_thread(self) -> io::Result<RunnerThread> {
        let handle = self.handle();
        let thread = thread::Builder::new()
            .name("projections".into())
            .spawn(move || block_on(self.run()))?;
        Ok(RunnerThread { handle, thread: Some(thread) })
    }
}

impl RunnerThread {
    /// Stops the projections after the batch in flight, and waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::run`].
    pub fn stop(mut self) -> Result<(), Arc<StoreError>> {
        self.handle.stop();
        self.join()
    }

    /// Waits until the thread has ended: all projections were stopped or have failed, or the store cannot be read.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::run`].
    pub fn join(&mut self) -> Result<(), Arc<StoreError>> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            // A panic of the store or of a target, outside of a handler, is none that this crate can report.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for RunnerThread {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

impl fmt::Debug for RunnerThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerThread").finish_non_exhaustive()
    }
}
