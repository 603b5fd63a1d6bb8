//! annals-es beside cqrs-es on SQLite: the commands per second of the same bank account, in turn within one run.

mod bank;
mod measure;
mod rusqlite_repository;
mod sides;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use measure::{Measured, Rounds, Running};
use sides::{AnnalsBank, State, Survives};

#[derive(Parser)]
#[command(about = "Measures annals-es beside cqrs-es on SQLite, and prints a Markdown table")]
struct Arguments {
    /// Rounds; in each, every side executes commands for some time, one side after the other
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Time of a side in a round, in milliseconds
    #[arg(long, default_value_t = 100)]
    slice_ms: u64,
    /// The workloads whose name has this text, such as "durable, 1 "
    #[arg(long, default_value = "")]
    workload: String,
    /// The sides whose name has this text
    #[arg(long, default_value = "")]
    side: String,
    /// Directory of the stores, on the file system to measure
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Annals,
    SqliteEs(State),
    Rusqlite(State),
}

const SIDES: [(Side, &str); 5] = [
    (Side::Annals, "annals-es"),
    (Side::SqliteEs(State::Saved), "sqlite-es, saved state"),
    (Side::SqliteEs(State::Events), "sqlite-es, events"),
    (Side::Rusqlite(State::Saved), "rusqlite, saved state"),
    (Side::Rusqlite(State::Events), "rusqlite, events"),
];

const WORKLOADS: [(&str, Survives, u32); 4] = [
    ("buffered, 1 client", Survives::EndOfProcess, 1),
    ("buffered, 10 clients", Survives::EndOfProcess, 10),
    ("durable, 1 client", Survives::PowerFailure, 1),
    ("durable, 10 clients", Survives::PowerFailure, 10),
];

/// Opens a side in a directory of its own.
fn open(runtime: &Runtime, side: Side, dir: &Path, survives: Survives, clients: u32) -> Opened {
    let dir = tempfile::tempdir_in(dir).expect("a directory");
    let path = dir.path();
    let bank: Box<dyn Measured> = match side {
        Side::Annals => Running::new(AnnalsBank::open(path, survives), runtime, clients),
        Side::SqliteEs(state) => {
            let bank = runtime.block_on(sides::sqlite_es(path, survives, state, clients));
            Running::new(bank, runtime, clients)
        }
        Side::Rusqlite(state) => {
            Running::new(sides::rusqlite(path, survives, state), runtime, clients)
        }
    };
    Opened { bank, _dir: dir }
}

struct Opened {
    bank: Box<dyn Measured>,
    _dir: TempDir,
}

fn main() {
    let arguments = Arguments::parse();
    let dir = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let slice = Duration::from_millis(arguments.slice_ms);
    let runtime = Runtime::new().expect("a runtime");
    let sides: Vec<_> = SIDES.into_iter().filter(|it| it.1.contains(&arguments.side)).collect();
    let names: Vec<_> = sides.iter().map(|it| it.1).collect();
    println!("| commands per second | {} | ratios to the first |", names.join(" | "));
    println!("|---|{}---|", "---:|".repeat(sides.len()));
    for (name, survives, clients) in WORKLOADS {
        if !name.contains(&arguments.workload) {
            continue;
        }
        let mut opened: Vec<_> =
            sides.iter().map(|(side, _)| open(&runtime, *side, &dir, survives, clients)).collect();
        let mut rounds = Rounds::new(sides.len());
        for round in 0..arguments.rounds.max(1) {
            for turn in 0..sides.len() {
                let side = (turn + round) % sides.len();
                rounds.add(side, opened[side].bank.execute(&runtime, slice));
            }
        }
        for side in &opened {
            side.bank.check(&runtime);
        }
        println!("| {name} | {} |", rounds.row());
    }
}
