//! Power losses, failing disks and damaged files, all on the simulated disk.
//!
//! What is held here: nothing that was acknowledged is lost or changed, nothing that was refused
//! comes back, no commit is half there, and damage is refused or reported and never cut away.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::print_stderr, reason = "tests that count say what they have counted")]
#![allow(clippy::cast_possible_truncation, reason = "patterns in test data")]

mod accepted_loss;
mod backup;
mod bit_flips;
mod chained_crashes;
mod closes_without_checkpoint;
mod cold;
mod compaction;
mod conflicts_in_flight;
mod copied_stores;
mod cut_frames;
mod damage;
mod damaged_derived_files;
mod damaged_segments;
mod extended_events;
mod failed_maintenance;
mod failed_reads;
mod fences;
mod full_disk;
mod gathering;
mod hostile_headers;
mod leftovers;
mod mapped_files;
mod metadata;
mod older_heads;
mod power_loss;
mod reader_beside_writer;
mod reads_during_sealing;
mod repair;
mod repair_from_backup;
mod repaired;
mod salvage;
#[path = "../support/mod.rs"]
mod shared;
mod shipping;
mod simulated_lives;
mod state_count;
mod support;
mod syncs;
mod threaded_opening;
mod torn_tails;
mod unopened_segments;
mod waiting_commits;
mod zero_fill;
