//! Random operations on a store and on a naive model, whose answers must be equal.
//!
//! Segments have the smallest size, so that rollovers, seals, index files and checkpoints occur. A
//! failing case prints its shrunk actions, which are added to `tests/regressions`.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Arc;

use annals::testing::harness::{Harness, Mismatch, Settings};
use annals::testing::operations::{Action, actions};
use annals::testing::random::Random;
use annals::testing::tally::Tally;
use annals::testing::{DiskStorage, SimStorage};
use annals::{Durability, Options};
use proptest::prelude::*;

fn run(mut harness: Harness, actions: &[Action]) -> Result<Harness, Mismatch> {
    harness.open().map_err(|error| Mismatch::new(error.to_string()))?;
    for action in actions {
        harness.run(action)?;
    }
    harness.finish()?;
    Ok(harness)
}

fn on_sim(settings: Settings, actions: &[Action]) -> Result<Harness, Mismatch> {
    run(Harness::on_sim(&SimStorage::new(1), settings), actions)
}

fn on_disk(settings: Settings, actions: &[Action]) -> Result<Harness, Mismatch> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("store");
    run(Harness::new(Arc::new(DiskStorage), root, settings), actions)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

const BUFFERED: Settings = Settings {
    background: false,
    durability: Durability::BUFFERED,
    segment_size: Options::MIN_SEGMENT_SIZE,
    faults: false,
};

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn synced_store_agrees_with_the_model(actions in actions(60)) {
        on_sim(Settings::default(), &actions)?;
    }

    #[test]
    fn buffered_store_agrees_with_the_model(actions in actions(40)) {
        on_sim(BUFFERED, &actions)?;
    }
}

proptest! {
    #![proptest_config(cases(25))]

    #[test]
    fn store_with_threads_on_a_real_disk_agrees_with_the_model(actions in actions(40)) {
        on_disk(Settings { background: true, ..Settings::default() }, &actions)?;
    }

    #[test]
    fn buffered_store_with_threads_agrees_with_the_model(actions in actions(40)) {
        on_disk(Settings { background: true, ..BUFFERED }, &actions)?;
    }
}

/// Long histories, which take proptest too long to shrink.
#[test]
fn long_histories_over_many_segments_agree_with_the_model() {
    let (mut events, mut sealed, mut tally) = (0, 0, Tally::default());
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let mut draw = || if seed < 4 { random.action() } else { random.every_action() };
        let actions: Vec<Action> = (0..500).map(|_| draw()).collect();
        let harness = on_sim(Settings::default(), &actions)
            .unwrap_or_else(|mismatch| panic!("seed {seed}: {mismatch}"));
        let stats = harness.store().expect("open").stats();
        events += stats.events;
        sealed += stats.sealed_segments;
        tally.merge(harness.tally());
    }
    // These actions must have occurred.
    assert!(events > 1200, "{events} events");
    assert!(sealed > 20, "{sealed} sealed segments");
    for what in ["handled by a group", "retried by a group", "parked by a group"] {
        assert!(tally.get("answers", what) > 20, "{what}: {tally:?}");
    }
}
