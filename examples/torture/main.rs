//! Kills writers for the given time, and checks after each kill that no acknowledged commit is
//! lost. The lives of `tests/processes`, and more of them.
//!
//! ```text
//! cargo run --release --example torture --features testing -- [--minutes N] [--seed N] [--dir DIR]
//! ```
//!
//! A child process appends in every way (single events, batches, transactions over streams, with and
//! without ids, pipelines of tickets, buffered and synced, snapshots, over many small segments) and
//! prints the acknowledged commits. It is killed with `kill -9` at a random moment, also while it
//! opens, recovers, creates or closes. Then the store is opened, for reading or for writing, and
//! compared with the child's output; sometimes it is verified too. The next child continues in the
//! same directory; after some dozen lives a new one begins.
//!
//! The seed determines what is written and when to kill, as far as processes are repeatable. The
//! exit code is 0 when the time is over and not 0 at the first difference; the directory is kept
//! then.

#![allow(clippy::unwrap_used, reason = "a difference ends the run")]
#![allow(clippy::cast_possible_truncation, reason = "test data made from random numbers")]
#![allow(clippy::disallowed_methods, reason = "real files and processes are the subject")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its report")]
#![allow(dead_code, reason = "the tests use more of it")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../../tests/processes/life/mod.rs"]
mod life;

use life::rounds::{Lives, Tally};

/// Lives in one directory, before a new one begins.
const LIVES: u64 = 40;

fn main() -> ExitCode {
    if let Some((_, store, life)) = life::child::role() {
        life::writer::live(Path::new(&store), life);
        return ExitCode::SUCCESS;
    }
    let Some((minutes, seed, dir)) = arguments() else {
        eprintln!("usage: torture [--minutes N] [--seed N] [--dir DIR]");
        return ExitCode::from(2);
    };
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut tally = Tally::default();
    let mut said = Instant::now();
    for seed in seed.. {
        let place = tempfile::Builder::new().prefix("annals-torture-").tempdir_in(&dir).unwrap();
        // Kept where it ends in a panic.
        let path = place.keep();
        println!("seed {seed}: {}", path.display());
        let mut lives = Lives::new(path.join("store"), seed);
        for _ in 0..LIVES {
            lives.round(&mut tally);
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                println!("  {tally}");
            }
            if Instant::now() > until {
                break;
            }
        }
        lives.end(&mut tally);
        std::fs::remove_dir_all(path).unwrap();
        if Instant::now() > until {
            break;
        }
    }
    println!("{tally}");
    println!("nothing acknowledged was lost");
    ExitCode::SUCCESS
}

/// Minutes (1 unless given), the first seed (1) and where to make directories.
fn arguments() -> Option<(f64, u64, PathBuf)> {
    let (mut minutes, mut seed, mut dir) = (1.0, 1, std::env::temp_dir());
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next()?;
        match name.as_str() {
            "--minutes" => minutes = value.parse().ok().filter(|m| (0.0..1e6).contains(m))?,
            "--seed" => seed = value.parse().ok()?,
            "--dir" => dir = value.into(),
            _ => return None,
        }
    }
    Some((minutes, seed, dir))
}
