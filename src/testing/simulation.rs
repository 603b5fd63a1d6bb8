//! A whole simulated life from one seed: random operations, random faults, a crash, recovery with
//! crashes inside it, a check against everything that was promised, and on with the next round.

use super::harness::{Harness, Mismatch, Settings};
use super::random::Random;
use crate::options::{Durability, Options};
use crate::storage::{Crash, DirectoryModel, Fault, Keep, Operation, SimStorage};

/// Runs the life that follows from a seed. Returns how many states after a crash were checked.
///
/// # Errors
///
/// The first promise that was not kept.
pub fn run(seed: u64) -> Result<u64, Mismatch> {
    let mut random = Random::new(seed);
    let strict = random.percent(70);
    let model = if strict { DirectoryModel::Strict } else { DirectoryModel::Ext4Like };
    let sim = SimStorage::with_directory_model(seed, model);
    let buffered = random.percent(20);
    let durability = if buffered { Durability::BUFFERED } else { Durability::Sync };
    let segment_size = Options::MIN_SEGMENT_SIZE;
    let settings = Settings { background: false, durability, segment_size, faults: true };
    let mut harness = Harness::on_sim(&sim, settings);
    let mut states = 0;
    for round in 0..=random.below(5) {
        if round == 0 {
            create(&sim, &mut harness, &mut random)?;
        }
        harness.expect_faults(true);
        if harness.store().is_some() {
            arm(&sim, &mut random);
            work(&sim, &mut harness, &mut random)?;
        }
        let power_lost = random.percent(75);
        if power_lost {
            sim.crash(crash(&mut random));
        } else {
            sim.kill();
        }
        let power_lost = recover(&sim, &mut harness, &mut random, power_lost)?;
        harness.expect_faults(false);
        harness.recovered(power_lost)?;
        states += 1;
        for _ in 0..random.below(6) {
            harness.run(&random.action())?;
        }
    }
    harness.finish()?;
    Ok(states)
}

/// Creates the store; every other time the creation itself is cut short.
fn create(sim: &SimStorage, harness: &mut Harness, random: &mut Random) -> Result<(), Mismatch> {
    if random.percent(50) {
        sim.fail_after_ops(random.below(25));
        let _ = harness.open();
        return Ok(());
    }
    harness.open().map_err(|error| Mismatch::new(error.to_string()))
}

fn work(sim: &SimStorage, harness: &mut Harness, random: &mut Random) -> Result<(), Mismatch> {
    for _ in 0..random.below(45) {
        harness.run(&random.action())?;
        let ended = harness.store().is_none()
            || sim.is_stopped() && random.percent(50)
            || harness.is_poisoned() && random.percent(20);
        if ended {
            break;
        }
    }
    Ok(())
}

fn crash(random: &mut Random) -> Crash {
    let keeps =
        [Keep::Random, Keep::Random, Keep::Random, Keep::InOrder, Keep::Everything, Keep::Nothing];
    let keep = *random.pick(&keeps);
    let crash = Crash::new(random.number()).keep(keep);
    let crash = if random.percent(30) { crash.sector_size(4096) } else { crash };
    if random.percent(30) { crash.tear_bytes() } else { crash }
}

/// Something that will go wrong; where the power goes off, everything fails until it is back.
fn arm(sim: &SimStorage, random: &mut Random) {
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
    const LOOKING: [Operation; 3] = [Operation::Read, Operation::Map, Operation::ReadDir];
    let nth = 1 + random.below(12);
    match random.below(12) {
        0..=4 => sim.fail_after_ops(random.below(120)),
        5 => sim.inject(Fault::SyncDropsPages { nth }),
        6 => sim.inject(Fault::Fail { operation: Operation::Sync, nth }),
        7 => sim.inject(Fault::Fail { operation: *random.pick(&CHANGING), nth }),
        8 => sim.inject(Fault::FailFrom { operation: *random.pick(&CHANGING), nth }),
        9 => sim.set_free_space(Some(random.below(300_000))),
        10 => sim.inject(Fault::Fail { operation: *random.pick(&LOOKING), nth: nth * 8 }),
        _ => {}
    }
    // Harmless ones, always.
    let len = usize::try_from(1 + random.below(100)).unwrap_or(1);
    sim.inject(Fault::Short { operation: Operation::Write, nth: nth * 3, len });
    sim.inject(Fault::Short { operation: Operation::Read, nth: nth * 5, len });
    sim.inject(Fault::Interrupt { operation: Operation::Write, nth: nth * 2 });
}

/// Opens until it works, with crashes and kills in between. Tells whether power was lost.
fn recover(
    sim: &SimStorage,
    harness: &mut Harness,
    random: &mut Random,
    mut power_lost: bool,
) -> Result<bool, Mismatch> {
    for attempt in 0.. {
        sim.set_free_space(None);
        harness.abandon_process();
        let nested = attempt < 3 && random.percent(40);
        if nested {
            match random.below(3) {
                0 => {
                    let nth = 1 + random.below(4);
                    sim.inject(Fault::Fail { operation: Operation::Sync, nth });
                }
                _ => sim.fail_after_ops(random.below(30)),
            }
        }
        match harness.open() {
            Ok(()) if !nested => break,
            Err(error) if !nested => {
                return Err(Mismatch::new(format!("recovery is refused: {error} ({error:?})")));
            }
            _ => {}
        }
        if random.percent(70) {
            sim.crash(crash(random));
            power_lost = true;
        } else {
            sim.kill();
        }
    }
    Ok(power_lost)
}
