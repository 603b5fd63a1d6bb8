//! Helpers of these tests: a minimal executor, and copies of directories.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::shared::LONG;

struct Unpark {
    thread: Thread,
    wakes: AtomicU64,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A minimal executor for one task: `poll` polls it once, and is called again only after the task
/// was woken. Panics if the task is not woken in time. Calls `meanwhile` after the first poll that is
/// pending.
pub(crate) fn run<T>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    meanwhile: impl FnOnce(),
) -> T {
    let unpark = Arc::new(Unpark { thread: std::thread::current(), wakes: AtomicU64::new(0) });
    let waker = Waker::from(Arc::clone(&unpark));
    let (mut seen, mut meanwhile) = (0, Some(meanwhile));
    loop {
        if let Poll::Ready(output) = poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        if let Some(meanwhile) = meanwhile.take() {
            meanwhile();
        }
        let began = Instant::now();
        while unpark.wakes.load(Ordering::SeqCst) == seen {
            assert!(began.elapsed() < LONG, "the task is never woken");
            std::thread::park_timeout(Duration::from_secs(1));
        }
        seen = unpark.wakes.load(Ordering::SeqCst);
    }
}

/// Runs a future to its end in this thread. Panics if it is not woken in time.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    run(|context| future.as_mut().poll(context), || {})
}

/// Copies a directory and everything below it, over what is there. A file that `may_change` accepts
/// may be gone by the time it is copied.
pub(crate) fn copy_tree(from: &Path, to: &Path, may_change: &impl Fn(&Path) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target, may_change);
        } else {
            let copied = std::fs::copy(entry.path(), &target);
            assert!(
                copied.is_ok() || may_change(&entry.path()),
                "{}: {copied:?}",
                target.display()
            );
        }
    }
}
