//! Tests of the simulated disk: the states that can survive a crash, and those that cannot.

mod crashes;
mod faults;
mod live;
mod names;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::storage::{read_exact_at, write_all_at};

const PATH: &str = "/file";

fn create(sim: &SimStorage, path: &str) -> Arc<dyn File> {
    sim.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn open(sim: &SimStorage, path: &str) -> Arc<dyn File> {
    sim.open(Path::new(path), OpenMode::ReadWrite).unwrap()
}

/// A disk with one open file whose contents are durable.
fn disk_with(bytes: &[u8]) -> (SimStorage, Arc<dyn File>) {
    let sim = SimStorage::new(1);
    sim.write_file(PATH, bytes).unwrap();
    let file = open(&sim, PATH);
    (sim, file)
}

/// The possible contents of the file after a power loss, over many seeds.
fn outcomes(sim: &SimStorage, crash: impl Fn(u64) -> Crash) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = (0..400)
        .map(|seed| {
            let sim = sim.fork();
            sim.crash(crash(seed));
            assert_eq!(sim.read_file(PATH).unwrap(), sim.read_durable(PATH).unwrap());
            sim.read_file(PATH).unwrap()
        })
        .collect();
    found.sort();
    found.dedup();
    found
}
