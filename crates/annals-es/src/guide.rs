//! The guide, one chapter per module. It contains documentation only.
//!
//! | chapter | content |
//! |---|---|
//! | [`production`] | from the first event to production: the way, start and stop, releases, what to watch |
//! | [`modelling`] | events, streams, tags and their names |
//! | [`versions`] | events that change |
//! | [`testing`] | given, when, then, and tests of a whole program |
//! | [`projections`] | read models: each event once, targets, rebuild, failures |
//! | [`processes`] | sagas: state, causation, deadlines, compensation, outboxes |
//! | [`snapshots`] | when, and when not |
//! | [`privacy`] | data about persons in a log that does not forget |
//! | [`coming_from`] | PostgreSQL, KurrentDB, Marten, cqrs-es, concept by concept |

#![allow(clippy::doc_markdown, reason = "names of products are no code")]

/// A chapter: a file of `docs` as the documentation of a module. Link definitions that precede the text take precedence
/// over those at its end, so that links between chapters lead to files in the repository and to modules here.
macro_rules! chapters {
    ($($name:ident $file:literal)*) => {$(
        #[cfg_attr(not(doctest), doc = include_str!("guide_links.md"))]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    )*};
}

chapters! {
    production "production.md"
    modelling "modelling.md"
    versions "versions.md"
    testing "testing.md"
    projections "projections.md"
    processes "processes.md"
    snapshots "snapshots.md"
    privacy "privacy.md"
    coming_from "coming-from.md"
}
