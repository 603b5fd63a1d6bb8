//! Lives whole lives of stores on a simulated disk, by the thousand: random operations, faults,
//! crashes, crashes during recoveries, each followed by a check of everything that was promised.
//!
//! ```text
//! cargo run --release --example simulate --features testing -- --seeds 1000
//! ```
//!
//! Everything follows from the seeds. A life that fails is shrunk to the fewest rounds and actions
//! that still fail, and the command that repeats it is printed; the exit code is 1 then.
//! `docs/evidence/simulator.md` describes the checks and the output.
//!
//! This file owns the arguments; `fleet` runs lives on all cores, `show` prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod fleet;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use annals::testing::simulation::{Kind, Life, Selection, shrink};
use clap::{Parser, ValueEnum};

use crate::fleet::{Fleet, Plan};

/// Runs simulated lives of stores and checks that no promise is broken.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// The number of seeds.
    #[arg(long, default_value_t = 1000, conflicts_with_all = ["seed", "minutes", "until_failure"])]
    seeds: u64,
    /// Begin with this seed.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    first_seed: u64,
    /// Runs seeds for this number of minutes.
    #[arg(long, conflicts_with_all = ["seed", "until_failure"])]
    minutes: Option<f64>,
    /// Seed after seed until one fails.
    #[arg(long, conflicts_with = "seed")]
    until_failure: bool,
    /// One life only, telling each of its steps.
    #[arg(long)]
    seed: Option<u64>,
    /// The maximum number of rounds of that life.
    #[arg(long, requires = "seed")]
    rounds: Option<u64>,
    /// Of that life, only these actions: numbers and ranges, as in `1,4-7`.
    #[arg(long, requires = "seed")]
    actions: Option<Selection>,
    /// Look for the smallest part of that life that still fails.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// What lives are made of. Default: `log` and `everything`, each seed in both; for one life:
    /// `everything`.
    #[arg(long)]
    kind: Option<KindName>,
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    /// The log and its reads: the kind of the kept seeds.
    Log,
    /// Also snapshots, readers beside the writer, every fault: kept seeds too.
    Beside,
    /// Every operation and every fault.
    Everything,
    /// Like `everything`, and full segments move into cold storage and back.
    Cold,
    /// On a disk that lies about syncs: lives must fail, to show that the checks can.
    Lying,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Log => Self::Log,
            KindName::Beside => Self::Beside,
            KindName::Everything => Self::Everything,
            KindName::Cold => Self::Cold,
            KindName::Lying => Self::Lying,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One life, step by step.
fn one(seed: u64, arguments: &Arguments) -> bool {
    let kind = arguments.kind.map_or(Kind::Everything, Kind::from);
    let life = Life {
        rounds: arguments.rounds.unwrap_or(u64::MAX),
        actions: arguments.actions.clone().unwrap_or_else(Selection::all),
        ..Life::new(kind, seed)
    };
    let lived = if arguments.shrink {
        fleet::without_noise(|| life.run().map_err(|failure| shrink(failure, show::shrinking)))
    } else {
        life.run_traced(|step| println!("{step}"))
    };
    match lived {
        Ok(report) => {
            show::report(&report);
            true
        }
        Err(failure) => {
            show::failure(&failure);
            false
        }
    }
}

/// Many lives. On an honest disk none may fail; on one that lies, some must.
fn many(arguments: &Arguments) -> bool {
    let kinds = match arguments.kind {
        Some(kind) => vec![kind.into()],
        None => vec![Kind::Log, Kind::Everything],
    };
    let plan = Plan {
        first: arguments.first_seed,
        seeds: if arguments.minutes.is_some() || arguments.until_failure {
            u64::MAX
        } else {
            arguments.seeds
        },
        time: arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
        until_failure: arguments.until_failure,
        threads: arguments.threads.unwrap_or_else(fleet::cores),
        kinds,
    };
    let lying = plan.kinds == [Kind::Lying];
    let mut fleet: Fleet = fleet::run(&plan);
    show::fleet(&plan, &fleet);
    if lying {
        return show::lies(&fleet);
    }
    for failure in fleet.shown.drain(..) {
        show::failure(&fleet::without_noise(|| shrink(failure, show::shrinking)));
    }
    fleet.failed == 0
}
