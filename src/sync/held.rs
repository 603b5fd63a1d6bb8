//! The ranks of the locks that this thread holds, recorded in builds with debug assertions.
//!
//! Owns the check of the order that [`Rank`] defines. Must cost nothing in a build without debug
//! assertions: there the record has size zero and does nothing.

use super::rank::Rank;

/// The record that this thread holds a lock of a rank; dropped with the lock's guard.
#[derive(Debug)]
pub(super) struct HeldRank {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(not(debug_assertions))]
impl HeldRank {
    /// Records that a lock of this rank is taken.
    #[inline]
    pub(super) fn take(_: Rank) -> Self {
        Self {}
    }

    /// Records that a lock was taken without waiting for it.
    #[inline]
    pub(super) fn took(_: Rank) -> Self {
        Self {}
    }

    /// Checks that this thread may use storage.
    #[inline]
    #[allow(dead_code, reason = "only the simulated disk asks")]
    pub(super) fn check_storage() {}

    /// Checks that the code of a subscriber may run.
    #[inline]
    #[cfg(feature = "tracing")]
    pub(super) fn check_report() {}

    /// Checks a lock that is about to be released and taken again.
    #[inline]
    #[expect(clippy::unused_self, reason = "the other form uses it")]
    pub(super) fn retake(&self) {}
}

#[cfg(debug_assertions)]
mod checked {
    use std::cell::RefCell;

    use super::{HeldRank, Rank};

    #[cfg(annals_shuttle)]
    use shuttle::thread_local;
    #[cfg(not(annals_shuttle))]
    use std::thread_local;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    /// Runs `look` on the held ranks; not at the end of a thread, when they are destroyed.
    fn with_ranks(look: impl FnOnce(&mut Vec<Rank>)) {
        let _ = HELD.try_with(|held| look(&mut held.borrow_mut()));
    }

    /// The lock of this rank or a higher one that the thread holds. `None` while the thread
    /// unwinds: a second panic would end the process without the message of the first.
    fn above(held: &[Rank], rank: Rank) -> Option<Rank> {
        held.iter().copied().find(|&other| other >= rank && !std::thread::panicking())
    }

    impl HeldRank {
        /// Checks and records that a lock of this rank is about to be taken.
        ///
        /// # Panics
        ///
        /// If the thread holds a lock of this rank or a higher one.
        #[track_caller]
        pub(in crate::sync) fn take(rank: Rank) -> Self {
            let mut against = None;
            with_ranks(|held| {
                against = above(held, rank);
                if against.is_none() {
                    held.push(rank);
                }
            });
            if let Some(other) = against {
                panic!("the lock {rank:?} is taken while {other:?} is held: see src/sync/rank.rs");
            }
            Self { rank }
        }

        /// Records that a lock was taken without waiting for it, which is allowed in any order.
        pub(in crate::sync) fn took(rank: Rank) -> Self {
            with_ranks(|held| held.push(rank));
            Self { rank }
        }

        /// Checks that this thread may use storage.
        ///
        /// # Panics
        ///
        /// If the thread holds a lock that is for memory only.
        #[track_caller]
        #[allow(dead_code, reason = "only the simulated disk asks")]
        pub(in crate::sync) fn check_storage() {
            let mut against = None;
            with_ranks(|held| {
                let memory = |rank: &&Rank| rank.is_for_memory() && !std::thread::panicking();
                against = held.iter().find(memory).copied();
            });
            if let Some(rank) = against {
                panic!("storage is used while {rank:?} is held: see src/sync/rank.rs");
            }
        }

        /// Checks that the code of a subscriber may run.
        ///
        /// # Panics
        ///
        /// If the thread holds the writer's lock or one that is taken after it.
        #[track_caller]
        #[cfg(feature = "tracing")]
        pub(in crate::sync) fn check_report() {
            let mut against = None;
            with_ranks(|held| against = above(held, Rank::Writer));
            if let Some(rank) = against {
                panic!("a subscriber runs while {rank:?} is held: see src/trace.rs");
            }
        }

        /// Checks that the lock may be released and taken again, as a condition variable does.
        ///
        /// # Panics
        ///
        /// If the thread holds another lock of this rank or a higher one.
        #[track_caller]
        pub(in crate::sync) fn retake(&self) {
            let mut against = None;
            with_ranks(|held| {
                let own = held.iter().rposition(|&rank| rank == self.rank);
                let own = own.map(|at| held.remove(at));
                against = above(held, self.rank);
                held.extend(own);
            });
            if let Some(other) = against {
                let rank = self.rank;
                panic!("{rank:?} is waited with while {other:?} is held: see src/sync/rank.rs");
            }
        }
    }

    impl Drop for HeldRank {
        fn drop(&mut self) {
            with_ranks(|held| {
                if let Some(at) = held.iter().rposition(|&rank| rank == self.rank) {
                    held.remove(at);
                }
            });
        }
    }
}
