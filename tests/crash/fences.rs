//! A power loss while a fence is raised or lifted.

use std::time::Duration;

use annals::Error;
use annals::testing::{Crash, Keep, SimStorage, lift_fence_on, raise_fence_on};

use super::support::*;

const SIZE: usize = 100;

fn raise(sim: &SimStorage) -> annals::Result<()> {
    raise_fence_on(&sim.process(), ROOT, "elsewhere", Duration::ZERO)
}

/// Whether the store is fenced. The events are there in both cases.
fn is_fenced(sim: &SimStorage) -> bool {
    let reader = options(sim).read_only(true).open(ROOT).unwrap();
    assert_eq!(read_back(&reader, SIZE).unwrap(), 3);
    match open(sim) {
        Ok(_) => false,
        Err(Error::Fenced { .. }) => true,
        Err(error) => panic!("{error:?}"),
    }
}

/// Calls `change` on a store, with a power loss after each number of operations, until it is complete. Returns for each
/// whether it had succeeded, and whether the store was fenced afterwards.
fn lose_power(
    original: &SimStorage,
    change: impl Fn(&SimStorage) -> annals::Result<()>,
) -> Vec<(bool, bool)> {
    let mut found = Vec::new();
    for operations in 0.. {
        let mut is_complete = false;
        for keep in [Keep::Nothing, Keep::Everything, Keep::Random, Keep::InOrder] {
            let sim = original.fork();
            sim.fail_after_ops(operations);
            let done = change(&sim);
            is_complete = !sim.is_stopped();
            sim.crash(Crash::new(operations).keep(keep));
            found.push((done.is_ok(), is_fenced(&sim)));
        }
        if is_complete {
            break;
        }
    }
    found
}

#[test]
fn power_loss_keeps_a_raised_fence_and_brings_no_lifted_one_back() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, SIZE);
    store.close().unwrap();
    let found = lose_power(&sim, raise);
    assert!(found.iter().all(|&(raised, is_fenced)| !raised || is_fenced), "{found:?}");
    assert!(found.iter().any(|(raised, _)| *raised) && found.iter().any(|(_, fenced)| !fenced));

    raise(&sim).unwrap();
    let found = lose_power(&sim, |sim| lift_fence_on(&sim.process(), ROOT).map(drop));
    assert!(found.iter().all(|&(lifted, is_fenced)| !lifted || !is_fenced), "{found:?}");
    assert!(found.iter().any(|(lifted, _)| *lifted) && found.iter().any(|(_, fenced)| *fenced));
}
