//! Locks of aggregates.
//!
//! Owns the table of locks. Must never keep a lock that no task holds or waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use esrs::store::{EventStoreLockGuard, UnlockOnDrop};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The locks that tasks hold or wait for.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<Uuid, Lock>>);

/// A lock that is held, or waited for.
struct Held {
    locks: Arc<Locks>,
    id: Uuid,
    lock: Lock,
    /// `None` while it is waited for.
    guard: Option<OwnedMutexGuard<()>>,
}

impl UnlockOnDrop for Held {}

impl Locks {
    pub(crate) async fn lock(self: &Arc<Self>, id: Uuid) -> EventStoreLockGuard {
        let lock = Arc::clone(self.table().entry(id).or_default());
        let mut held = Held { locks: Arc::clone(self), id, lock, guard: None };
        held.guard = Some(Arc::clone(&held.lock).lock_owned().await);
        EventStoreLockGuard::new(held)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.locks.table();
        self.guard = None;
        // The table has one reference, and this has one. Others are made only under the table's lock.
        if Arc::strong_count(&self.lock) == 2 {
            table.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lock_that_nobody_has_is_forgotten() {
        let locks = Arc::<Locks>::default();
        let one = locks.lock(Uuid::nil()).await;
        let other = locks.lock(Uuid::max()).await;
        let mut waiting = Box::pin(locks.lock(Uuid::nil()));
        let now = std::time::Duration::ZERO;
        assert!(tokio::time::timeout(now, &mut waiting).await.is_err());
        drop(one);
        drop(waiting.await);
        assert_eq!(locks.table().len(), 1);
        let waiting = locks.lock(Uuid::max());
        assert!(tokio::time::timeout(now, waiting).await.is_err());
        drop(other);
        assert!(locks.table().is_empty());
    }
}
