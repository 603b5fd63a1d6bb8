//! Power loss at every operation that changes the disk, while a store is created, appended to,
//! rolled over, sealed, indexed, checkpointed, closed and opened again; and at every operation of
//! the recovery from that.

use annals::testing::{Crash, DirectoryModel, Keep, SimStorage};
use annals::{ExpectedVersion, Result};

use super::support::*;

/// Six events fill a segment.
const SIZE: usize = 9_000;

/// Runs a whole life of a store, and returns at the first error. `acknowledged` is set to the
/// number of confirmed commits.
fn live(sim: &SimStorage, acknowledged: &mut u64) -> Result<()> {
    let mut number = 0;
    for events in [8, 1, 6] {
        let store = open(sim)?;
        for _ in 0..events {
            number += 1;
            let event = event(number, SIZE);
            store.append(stream_of(number), ExpectedVersion::Any, [event])?;
            *acknowledged = number;
        }
        store.close()?;
    }
    Ok(())
}

fn crashes(step: u64) -> [Crash; 6] {
    [
        Crash::new(step).keep(Keep::Nothing),
        Crash::new(step).keep(Keep::Everything),
        Crash::new(step).keep(Keep::InOrder),
        Crash::new(step),
        Crash::new(step + 10_000).sector_size(4096),
        Crash::new(step + 20_000).tear_bytes(),
    ]
}

/// Asserts that the store opens, holds what was acknowledged and at most one commit more, and
/// accepts appends.
fn check(name: &str, sim: &SimStorage, acknowledged: u64) {
    let store = open(sim).unwrap_or_else(|error| panic!("{name}: {error} ({error:?})"));
    let found = read_back(&store, SIZE).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let possible = acknowledged..=acknowledged + 1;
    assert!(possible.contains(&found), "{name}: {found} events, {acknowledged} acknowledged");
    append(&store, found + 1, found + 1, SIZE);
    drop(store);
    let store = open(sim).unwrap();
    assert_eq!(read_back(&store, SIZE).unwrap(), found + 1, "{name}");
}

fn operations(model: DirectoryModel) -> u64 {
    let sim = SimStorage::with_directory_model(1, model);
    live(&sim, &mut 0).unwrap();
    assert!(sim.files().iter().any(|path| path.ends_with("index/00000000000000000002.idx")));
    sim.op_count()
}

fn at_every_step(model: DirectoryModel) {
    let operations = operations(model);
    assert!(operations > 100, "{operations} operations");
    for step in 0..=operations {
        let base = SimStorage::with_directory_model(1, model);
        base.fail_after_ops(step);
        let mut acknowledged = 0;
        let ended = live(&base, &mut acknowledged);
        // The last operations prepare the next opening; a close succeeds without them.
        assert!(ended.is_ok() || step < operations, "{ended:?}");
        assert!(ended.is_err() || step + 30 > operations, "step {step} of {operations}");
        for crash in crashes(step) {
            let sim = base.fork();
            sim.crash(crash);
            check(&format!("step {step} of {operations}, {crash:?}"), &sim, acknowledged);
        }
    }
}

#[test]
fn power_loss_at_each_step_with_strict_directories_loses_nothing_acknowledged() {
    at_every_step(DirectoryModel::Strict);
}

#[test]
fn power_loss_at_each_step_with_journaled_directories_loses_nothing_acknowledged() {
    at_every_step(DirectoryModel::Ext4Like);
}

#[test]
fn kill_at_each_step_then_power_loss_loses_nothing_shown() {
    let operations = operations(DirectoryModel::Strict);
    for step in 0..=operations {
        let sim = SimStorage::new(1);
        sim.fail_after_ops(step);
        let mut acknowledged = 0;
        let _ = live(&sim, &mut acknowledged);
        // The process is killed and the page cache stays; the next process reads and appends, then
        // the power is lost.
        sim.kill();
        let store = open(&sim).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let shown = read_back(&store, SIZE).unwrap();
        assert!((acknowledged..=acknowledged + 1).contains(&shown), "step {step}");
        // Enough events to need the segment that may have been prepared before the kill.
        append(&store, shown + 1, shown + 7, SIZE);
        sim.crash(Crash::new(step).keep(Keep::Nothing));
        drop(store);
        let store = open(&sim).unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert_eq!(read_back(&store, SIZE).unwrap(), shown + 7, "step {step}: shown, then lost");
    }
}

#[test]
fn power_loss_at_each_step_of_a_recovery_loses_nothing_acknowledged() {
    let operations = operations(DirectoryModel::Strict);
    let mut states = 0;
    for step in (0..=operations).step_by(3) {
        let base = SimStorage::new(1);
        base.fail_after_ops(step);
        let mut acknowledged = 0;
        let _ = live(&base, &mut acknowledged);
        for crash in [crashes(step)[1], crashes(step)[3]] {
            let crashed = base.fork();
            crashed.crash(crash);
            for nested in 0.. {
                let sim = crashed.fork();
                sim.fail_after_ops(nested);
                let opened = open(&sim);
                let done = !sim.is_stopped();
                sim.crash(Crash::new(nested + step * 100));
                drop(opened);
                check(&format!("step {step}, then step {nested} of recovery"), &sim, acknowledged);
                states += 1;
                if done {
                    break;
                }
            }
        }
    }
    assert!(states > 200, "{states} nested states");
}
