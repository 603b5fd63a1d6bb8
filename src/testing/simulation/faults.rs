//! The faults of a life: armed faults, and power losses.

use crate::storage::{Crash, Fault, Keep, Operation, SimStorage};
use crate::testing::random::Random;

const CHANGING: [Operation; 8] = [
    Operation::Write,
    Operation::Sync,
    Operation::SyncDir,
    Operation::Rename,
    Operation::Open,
    Operation::Allocate,
    Operation::SetLen,
    Operation::Remove,
];
const LOOKING: [Operation; 5] =
    [Operation::Read, Operation::Map, Operation::ReadDir, Operation::Open, Operation::Stat];
const ALL: [Operation; 13] = [
    Operation::Open,
    Operation::ReadDir,
    Operation::Read,
    Operation::Map,
    Operation::Write,
    Operation::SetLen,
    Operation::Allocate,
    Operation::Sync,
    Operation::SyncDir,
    Operation::CreateDir,
    Operation::Rename,
    Operation::Remove,
    Operation::Stat,
];
/// The part of a store that a fault is aimed at; mostly all of it.
const PLACES: [&str; 10] =
    ["", "", "", "", "log", "index", "checkpoints", "snapshots", "STATUS", "quarantine"];

/// A power loss.
pub(super) fn crash(random: &mut Random) -> Crash {
    let keeps =
        [Keep::Random, Keep::Random, Keep::Random, Keep::InOrder, Keep::Everything, Keep::Nothing];
    let keep = *random.pick(&keeps);
    let crash = Crash::new(random.number()).keep(keep);
    let crash = if random.percent(30) { crash.sector_size(4096) } else { crash };
    if random.percent(30) { crash.tear_bytes() } else { crash }
}

/// The name of a crash in the counters.
pub(super) fn name_of(crash: &Crash) -> &'static str {
    match crash.keep {
        Keep::Random => "power loss, any part kept",
        Keep::InOrder => "power loss, a prefix kept",
        Keep::Everything => "power loss, all kept",
        Keep::Nothing => "power loss, only what was synced kept",
    }
}

/// Arms a random fault in a life of the first kind; after a power loss, every operation fails until
/// the restart. Returns its name.
pub(super) fn arm(sim: &SimStorage, random: &mut Random) -> &'static str {
    let nth = 1 + random.below(12);
    let armed = match random.below(12) {
        0..=4 => {
            sim.fail_after_ops(random.below(120));
            "power off in the middle"
        }
        5 => inject(sim, "", Fault::SyncDropsPages { nth }),
        6 => inject(sim, "", Fault::Fail { operation: Operation::Sync, nth }),
        7 => inject(sim, "", Fault::Fail { operation: *random.pick(&CHANGING), nth }),
        8 => inject(sim, "", Fault::FailFrom { operation: *random.pick(&CHANGING), nth }),
        9 => {
            sim.set_free_space(Some(random.below(300_000)));
            "little space"
        }
        10 => {
            let operation = *random.pick(&LOOKING[..3]);
            inject(sim, "", Fault::Fail { operation, nth: nth * 8 })
        }
        _ => "none",
    };
    harmless(sim, random, nth);
    armed
}

/// Any fault.
pub(super) fn arm_any(sim: &SimStorage, random: &mut Random) -> &'static str {
    let place = *random.pick(&PLACES);
    let nth = 1 + random.below(if place.is_empty() { 40 } else { 8 });
    match random.below(16) {
        0..=2 => {
            sim.fail_after_ops(random.below(150));
            "power off in the middle"
        }
        3 => inject(sim, place, Fault::SyncDropsPages { nth }),
        4 => inject(sim, place, Fault::Fail { operation: Operation::Sync, nth }),
        5 => inject(sim, place, Fault::Fail { operation: *random.pick(&CHANGING), nth }),
        6 => inject(sim, place, Fault::FailFrom { operation: *random.pick(&CHANGING), nth }),
        7 | 8 => {
            sim.set_free_space(Some(random.below(300_000)));
            "little space"
        }
        9 => inject(sim, place, Fault::Fail { operation: *random.pick(&LOOKING), nth: nth * 4 }),
        10 => {
            inject(sim, place, Fault::FailFrom { operation: *random.pick(&LOOKING), nth: nth * 4 })
        }
        11 | 12 => inject(sim, place, Fault::Full { operation: *random.pick(&ALL), nth }),
        13 => inject(sim, place, Fault::Interrupt { operation: *random.pick(&ALL), nth }),
        _ => "none",
    }
}

/// Faults that may happen at any time without an effect.
pub(super) fn harmless(sim: &SimStorage, random: &mut Random, nth: u64) {
    let len = usize::try_from(1 + random.below(100)).unwrap_or(1);
    sim.inject(Fault::Short { operation: Operation::Write, nth: nth * 3, len });
    sim.inject(Fault::Short { operation: Operation::Read, nth: nth * 5, len });
    sim.inject(Fault::Interrupt { operation: Operation::Write, nth: nth * 2 });
}

/// From some sync on, syncs do nothing.
pub(super) fn lie(sim: &SimStorage, random: &mut Random) -> &'static str {
    let operation = *random.pick(&[Operation::Sync, Operation::Sync, Operation::SyncDir]);
    inject(sim, "", Fault::SyncLiesFrom { operation, nth: 1 + random.below(4) })
}

/// A fault during an opening.
pub(super) fn arm_opening(sim: &SimStorage, random: &mut Random) -> &'static str {
    match random.below(3) {
        0 => {
            let nth = 1 + random.below(4);
            inject(sim, "", Fault::Fail { operation: Operation::Sync, nth })
        }
        _ => {
            sim.fail_after_ops(random.below(30));
            "power off in the middle"
        }
    }
}

fn inject(sim: &SimStorage, place: &str, fault: Fault) -> &'static str {
    sim.inject_at(place, fault);
    match fault {
        Fault::Fail { .. } => "an I/O error",
        Fault::FailFrom { .. } => "I/O errors from then on",
        Fault::Full { .. } => "no space, once",
        Fault::Interrupt { .. } => "a signal",
        Fault::Short { .. } => "a short transfer",
        Fault::SyncDropsPages { .. } => "a failed sync that drops pages",
        Fault::SyncLies { .. } | Fault::SyncLiesFrom { .. } => "syncs that lie",
    }
}
