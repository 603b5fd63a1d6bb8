//! Projections in memory, against each store of the crate.

#![allow(missing_docs)]

mod failures;
mod following;
mod parking;
mod snapshots;
mod support;
mod versions;

/// Makes a test of a function for each store of the crate.
macro_rules! for_each_store {
    ($($test:ident),* $(,)?) => {
        mod with_memory_store {
            $(#[test]
            fn $test() {
                super::$test(&annals_es::MemoryStore::new());
            })*
        }

        mod with_annals_store {
            $(#[test]
            fn $test() {
                let (store, _dir) = crate::support::annals_store();
                super::$test(&store);
            })*
        }
    };
}

pub(crate) use for_each_store;
