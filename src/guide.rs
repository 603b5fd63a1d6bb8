//! The guide: how to use annals, one chapter per module. This module contains documentation only.
//!
//! Start with [`getting_started`] and [`concepts`], then read the chapter of the feature you need:
//!
//! | chapter | content |
//! |---|---|
//! | [`appending`] | expected versions, event ids, retries, durability |
//! | [`transactions`] | one commit over several streams, tickets |
//! | [`reading`] | by stream, over all streams, as of the past |
//! | [`queries`] | selecting events by type, tag, stream, category |
//! | [`boundaries`] | commits that depend on a query |
//! | [`subscriptions`] | stored events, then new ones |
//! | [`cursors`] | progress of consumers, exactly-once effects |
//! | [`records`] | small values by key, written with events |
//! | [`consumer_groups`] | worker threads, retries, parked events |
//! | [`snapshots`] | saved states |
//! | [`streams`] | truncation, archiving, retention |
//! | [`asynchronous`] | futures and streams without a runtime |
//! | [`testing`] | testing code that uses annals |
//! | [`operations`] | files, backup, errors, damage, platforms |
//! | [`moving`] | to another place: another directory, a server |
//! | [`command_line`] | the program `annals` |
//! | [`comparison`] | which store for which task |

/// A chapter: a file of `docs/guide` as the documentation of a module. Link definitions that precede
/// the text take precedence over those at its end, so that links between chapters lead to files in the
/// repository and to modules here.
macro_rules! chapters {
    ($($name:ident $file:literal)*) => {$(
        #[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
        #[doc = include_str!(concat!("../docs/guide/", $file))]
        pub mod $name {}
    )*};
}

chapters! {
    getting_started "getting-started.md"
    concepts "concepts.md"
    appending "appending.md"
    transactions "transactions.md"
    reading "reading.md"
    queries "queries.md"
    boundaries "boundaries.md"
    subscriptions "subscriptions.md"
    cursors "cursors.md"
    records "records.md"
    consumer_groups "consumer-groups.md"
    snapshots "snapshots.md"
    streams "streams.md"
    asynchronous "async.md"
    testing "testing.md"
    operations "operations.md"
    moving "moving.md"
    command_line "command-line.md"
    comparison "comparison.md"
}
