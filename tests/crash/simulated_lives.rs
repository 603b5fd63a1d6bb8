//! Simulated lives with every operation and fault, and the simulator itself: it is reproducible,
//! finds faults, and shrinks a failing life.

use std::thread;

use annals::testing::simulation::{Failure, Kind, Life, Report, Selection, shrink};

/// Number of seeds run here; the example `simulate` runs any number.
const SEEDS: u64 = 120;

#[test]
fn simulated_lives_with_every_operation_and_fault_break_no_promise() {
    let mut all = Report::default();
    for seed in 0..SEEDS {
        // Some lives of the older kind, to which the kept seeds belong.
        if seed % 4 == 0 {
            let life = Life::new(Kind::Beside, seed);
            life.run().unwrap_or_else(|failure| panic!("{failure}"));
        }
        let life = Life::new(Kind::Everything, seed);
        let report = life.run().unwrap_or_else(|failure| {
            panic!(
                "{failure}\nrepeat it with: cargo run --release --example simulate \
                 --features testing -- {life} --shrink"
            )
        });
        all.merge(&report);
    }
    assert_eq!(all.lives, SEEDS);
    assert!(all.states > 2 * SEEDS, "{} states", all.states);
    // These actions and faults must have occurred.
    for (group, name) in [
        ("actions", "append"),
        ("actions", "save snapshot"),
        ("actions", "load snapshot"),
        ("actions", "follower reads"),
        ("actions", "verify"),
        ("actions", "transaction"),
        ("actions", "submit transaction"),
        ("actions", "change"),
        ("actions", "look at metadata"),
        ("actions", "follower looks at metadata"),
        ("answers", "disk full"),
        ("answers", "outcome unknown"),
        ("crashes", "during a recovery"),
        ("openings", "a tail was cut off"),
        ("openings", "after a close"),
    ] {
        assert!(all.tally.get(group, name) > 0, "{group}: no {name}");
    }
    assert!(all.disk.stores > SEEDS, "{} stores through mappings", all.disk.stores);
}

#[test]
fn simulated_life_follows_from_its_seed_alone() {
    let lived = |kind, seed| {
        let mut steps = Vec::new();
        let life = Life::new(kind, seed);
        let report = match life.run_traced(|step| steps.push(step.to_owned())) {
            Ok(report) => report,
            Err(failure) => *failure.report,
        };
        (steps, report)
    };
    for kind in Kind::ALL {
        for seed in 0..8 {
            let (steps, report) = lived(kind, seed);
            assert!(steps.len() > 2, "{steps:?}");
            let again = thread::spawn(move || lived(kind, seed)).join().unwrap();
            assert_eq!(again, (steps, report.clone()), "{kind:?} {seed}");
            // Tracing does not change the life.
            let silent = Life::new(kind, seed).run();
            let silent = silent.unwrap_or_else(|failure| *failure.report);
            assert_eq!(silent.digest, report.digest);
            assert_ne!(lived(kind, seed + 100).1.digest, report.digest);
        }
    }
}

fn lies() -> Vec<Failure> {
    (0..60).filter_map(|seed| Life::new(Kind::Lying, seed).run().err()).collect()
}

#[test]
fn simulated_disk_that_lies_about_syncs_is_found_out() {
    let found = lies();
    assert!(found.len() > 20, "only {} of 60 were found out", found.len());
    let lost = found.iter().filter(|failure| failure.what.to_string().contains("promised"));
    assert!(lost.count() > 5, "{found:?}");
}

#[test]
fn failing_life_is_shrunk_to_the_actions_that_fail() {
    let large = |failure: &Failure| failure.action > 20 && failure.round > 1;
    let failure = lies().into_iter().find(large).expect("a lie that is found out late");
    let (round, action) = (failure.round, failure.action);
    let mut lives = 0;
    let small = shrink(failure, |run, _| lives = run);
    assert!(lives > 5, "{lives} lives were tried");
    assert!(small.round <= round && small.action <= action, "{small}");
    assert_ne!(small.life.actions, Selection::all());
    // The printed arguments repeat the failure.
    let printed = small.life.to_string();
    let (_, actions) = printed.split_once("--actions ").unwrap();
    let again = Life { actions: actions.parse().unwrap(), ..small.life.clone() };
    assert_eq!(again.run().unwrap_err().to_string(), small.to_string());
    // No remaining action can be left out.
    let kept: Vec<u64> = (1..=small.action).filter(|it| small.life.actions.contains(*it)).collect();
    assert!(kept.len() <= 10, "{small}");
    for left_out in &kept {
        let fewer: Vec<u64> = kept.iter().copied().filter(|it| it != left_out).collect();
        let life = Life { actions: Selection::of(&fewer), ..small.life.clone() };
        assert!(life.run().is_ok(), "{life} fails without {left_out}");
    }
}
