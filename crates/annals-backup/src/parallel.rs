//! Work on several objects at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Calls `work` for each item, on up to `threads` threads, and returns the results in order. After an error nothing new
/// is begun; the first error is returned.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Vec<_> = items.iter().map(|_| Mutex::new(None)).collect();
    let error = Mutex::new(None::<Error>);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    match work(item) {
                        Ok(result) => *results[at].lock() = Some(result),
                        Err(e) => {
                            failed.store(true, Ordering::Relaxed);
                            error.lock().get_or_insert(e);
                        }
                    }
                }
            });
        }
    });
    match error.into_inner() {
        Some(error) => Err(error),
        None => Ok(results.into_iter().filter_map(Mutex::into_inner).collect()),
    }
}
