//! Whole simulated lives by the hundred; each follows from its seed.

use annals::testing::simulation;

/// Number of seeds, unless `ANNALS_CRASH_SEEDS` sets another.
const SEEDS: u64 = 300;

#[test]
fn chained_crashes_lose_nothing_that_was_promised() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = number("ANNALS_CRASH_FIRST_SEED").unwrap_or(0);
    let seeds = number("ANNALS_CRASH_SEEDS").unwrap_or(SEEDS);
    let mut states = 0;
    for seed in first..first + seeds {
        let why = match std::panic::catch_unwind(|| simulation::run(seed)) {
            Ok(Ok(checked)) => {
                states += checked;
                continue;
            }
            Ok(Err(mismatch)) => mismatch.to_string(),
            Err(_) => "it panicked, see above".into(),
        };
        panic!(
            "seed {seed}: {why}\nrepeat it with: ANNALS_CRASH_FIRST_SEED={seed} \
             ANNALS_CRASH_SEEDS=1 cargo test --test crash chained_crashes"
        );
    }
    if std::env::var_os("ANNALS_COUNT_STATES").is_some() {
        eprintln!(
            "states {states} chained_crashes::chained_crashes_lose_nothing_that_was_promised"
        );
    }
    assert!(states >= seeds, "{states} states after a crash were checked");
}
