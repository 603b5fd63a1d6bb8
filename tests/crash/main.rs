//! Power losses, failing disks and damaged files, all on the simulated disk.
//!
//! What is held here: nothing that was acknowledged is lost or changed, nothing that was refused
//! comes back, no commit is half there, and damage is refused or reported and never cut away.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::print_stderr, reason = "tests that count say what they have counted")]
#![allow(clippy::cast_possible_truncation, reason = "patterns in test data")]

mod beside;
mod chained;
mod closes;
mod compaction;
mod copies;
mod damage;
mod filling;
mod flips;
mod full;
mod headers;
mod helped;
mod known;
mod leftovers;
mod lives;
mod losers;
mod loss;
mod meanwhile;
mod mend;
mod metadata;
mod pinned;
mod reads;
mod repair;
mod revive;
mod segments;
mod states;
mod steps;
mod support;
mod syncs;
mod tails;
mod undone;
mod waiters;
