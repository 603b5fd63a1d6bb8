//! The peers, in the order of the table.

mod annals;
mod eventsdb;
mod fjall;
mod lmdb;
mod okaywal;
mod raft_engine;
mod raw;
mod raw_grouped;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sierradb;
pub mod sqlite;
mod tephra;
mod umadb;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::peer::About;

/// All of them.
pub fn all() -> Vec<&'static About> {
    vec![
        &annals::ABOUT,
        &annals::CALLS,
        &raw::ABOUT,
        &raw_grouped::ABOUT,
        &tephra::ABOUT,
        &umadb::ABOUT,
        &sierradb::ABOUT,
        &sqlite::ABOUT,
        &eventsdb::ABOUT,
        &lmdb::ABOUT,
        &redb::ABOUT,
        &fjall::ABOUT,
        #[cfg(feature = "rocksdb")]
        &rocksdb::ABOUT,
        &raft_engine::ABOUT,
        &okaywal::ABOUT,
    ]
}

/// The one of this name.
pub fn find(name: &str) -> Option<&'static About> {
    all().into_iter().find(|about| about.name == name)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
