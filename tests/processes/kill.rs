//! Writers killed with `kill -9`, one after the other, in the same directory.

use super::life::rounds::{Lives, Tally};

fn live(seed: u64, rounds: u64) -> Tally {
    println!("seed {seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Lives::new(dir.path().join("store"), seed);
    let mut tally = Tally::default();
    for _ in 0..rounds {
        lives.round(&mut tally);
    }
    lives.end(&mut tally);
    println!("{tally:?}");
    tally
}

/// After each kill everything acknowledged is there, unchanged, in order and at its position; what
/// was refused is not; a commit without an answer is there as a whole or not at all.
#[test]
fn killed_writers_lose_nothing_acknowledged() {
    let tally = live(1, 40);
    assert!(tally.acknowledged > 500, "{tally:?}");
    assert!(tally.recovered > 5, "{tally:?}");
}

/// Kills new stores early, so that their creation is hit as well.
#[test]
fn writers_killed_during_creation_leave_a_store_or_none() {
    let mut tally = Tally::default();
    for seed in 100..112 {
        let dir = tempfile::tempdir().unwrap();
        let mut lives = Lives::new(dir.path().join("store"), seed);
        for _ in 0..2 {
            lives.round(&mut tally);
        }
        lives.end(&mut tally);
    }
    println!("{tally:?}");
    assert_eq!(tally.kills, 24);
}
