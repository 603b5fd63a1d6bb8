//! Work that may keep its thread waiting, done for tasks by a thread of the store.
//!
//! Owns the thread and the queue; feature `async`. The thread is started with the first errand and
//! Must never run a task's waker under a lock: wakers run foreign code.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex, Rank};

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What tasks have asked for.
#[derive(Debug)]
pub(crate) struct Errands {
    state: Mutex<Queue>,
    wanted: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    thread: Option<JoinHandle<()>>,
    ended: bool,
}

/// The answer to an errand, once it is there.
#[derive(Debug)]
#[must_use = "the work is done even if the future is dropped, but its result is lost"]
pub(crate) struct Errand<T> {
    answer: Arc<Mutex<ErrandState<T>>>,
}

#[derive(Debug)]
struct ErrandState<T> {
    value: Option<T>,
    task: Option<Waker>,
}

impl<T> Errand<T> {
    /// Queued work, and the slot that receives its answer.
    pub(crate) fn new() -> (Self, impl FnOnce(T) + Send + use<T>)
    where
        T: Send,
    {
        let answer = Arc::new(Mutex::new(Rank::Errand, ErrandState { value: None, task: None }));
        let given = Arc::clone(&answer);
        let give = move |value: T| {
            let mut answer = given.lock();
            answer.value = Some(value);
            let task = answer.task.take();
            drop(answer);
            if let Some(task) = task {
                task.wake();
            }
        };
        (Self { answer }, give)
    }
}

impl<T> Future for Errand<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut answer = self.answer.lock();
        if let Some(value) = answer.value.take() {
            return Poll::Ready(value);
        }
        let former = answer.task.replace(context.waker().clone());
        drop(answer);
        // Dropping the last reference may run foreign code.
        drop(former);
        Poll::Pending
    }
}

impl Default for Errands {
    fn default() -> Self {
        let state = Mutex::new(Rank::Errands, Queue::default());
        Self { state, wanted: Condvar::new() }
    }
}

impl Errands {
    /// Finishes the queued work, which is little once the store is closed, and ends the thread. Must
    /// not be called under a lock.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let thread = state.thread.take();
        drop(state);
        self.wanted.notify_all();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // The panic of a thread is not passed on.
            let _ = thread.join();
        }
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                work();
                state = self.state.lock();
            } else if state.ended {
                return;
            } else {
                self.wanted.wait(&mut state);
            }
        }
    }
}

impl Errands {
    /// Has `work` done by the thread for errands. Gives it back if there is no thread for it.
    pub(super) fn enqueue(self: &Arc<Self>, work: Job) -> Option<Job> {
        let mut state = self.state.lock();
        if state.ended {
            return Some(work);
        }
        if state.thread.is_none() {
            let errands = Arc::clone(self);
            let thread = thread::Builder::new().name("annals-errands".into());
            match thread.spawn(move || errands.run()) {
                Ok(thread) => state.thread = Some(thread),
                Err(_) => return Some(work),
            }
        }
        state.waiting.push_back(work);
        drop(state);
        self.wanted.notify_one();
        None
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
