//! Adapters of annals beside the backends that the upstream crates ship: appends and loads per second, in turn within
//! one run.

mod cqrs;
mod evento_fjall;
mod facts;
mod input;
mod measure;
mod uma;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tokio::runtime::{Handle, Runtime};

use measure::{Opened, Rounds, Side};

#[derive(Parser)]
#[command(
    about = "Measures adapters beside the backends of their crates, and prints a Markdown table"
)]
struct Arguments {
    /// Rounds; in each, both sides work for some time, one side after the other
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Time of a side in a round, in milliseconds
    #[arg(long, default_value_t = 100)]
    slice_ms: u64,
    /// The rows whose name has this text, such as "cqrs-es" or "durable, 1 "
    #[arg(long, default_value = "")]
    only: String,
    /// Directory of the stores, on the file system to measure
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What survives when an append has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survives {
    /// It survives a power failure.
    PowerFailure,
    /// It survives the end of the process; the operating system has it.
    EndOfProcess,
}

impl Survives {
    /// The options of annals.
    fn options(self) -> annals::Options {
        annals::Options::new().durability(match self {
            Self::PowerFailure => annals::Durability::Sync,
            // It syncs once an hour, the other side never.
            Self::EndOfProcess => {
                annals::Durability::Buffered { interval: Duration::from_secs(3600) }
            }
        })
    }
}

/// How a pair is opened.
#[derive(Debug, Clone, Copy)]
struct Setup<'a> {
    dir: &'a Path,
    survives: Survives,
    clients: u32,
    runtime: &'a Handle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    CqrsEs,
    Evento,
    UmaDb(uma::Reads, Appends),
    Factstr(facts::Find, Appends),
}

/// What an append demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Appends {
    /// Nothing.
    Always,
    /// That no event of the account was stored after the last one that the client has stored.
    Unchanged,
}

impl Pair {
    /// The adapter, then the backend of the upstream crate, each in a directory of its own.
    fn open(self, setup: &Setup<'_>, dirs: [&Path; 2]) -> [Box<dyn Side>; 2] {
        let [annals, backend] = dirs.map(|dir| Setup { dir, ..*setup });
        match self {
            Self::CqrsEs => [cqrs::annals(&annals), cqrs::sqlite(&backend)],
            Self::Evento => [evento_fjall::annals(&annals), evento_fjall::fjall(&backend)],
            Self::UmaDb(reads, appends) => {
                [uma::annals(&annals, appends), uma::core(&backend, reads, appends)]
            }
            Self::Factstr(find, appends) => {
                [facts::annals(&annals, find, appends), facts::sqlite(&backend, find, appends)]
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Appends to an empty store.
    Append,
    /// Appends to a store of 100,000 events.
    AppendToLarge,
    /// Loads from a store of 10,000 events.
    Load,
}

impl Work {
    /// The number of events of each of 100 accounts that the store has before.
    fn filled(self) -> u64 {
        match self {
            Self::Append => 0,
            Self::AppendToLarge => 1_000,
            Self::Load => 100,
        }
    }
}

type Row = (&'static str, Pair, Work, Survives, u32);

const ROWS: [Row; 22] = {
    use Appends::{Always, Unchanged};
    use Survives::{EndOfProcess, PowerFailure};
    use Work::{Append, AppendToLarge, Load};
    use facts::Find::{Payload, Type};
    use uma::Reads::{Cached, Uncached};
    [
        ("cqrs-es: append, durable, 1 client", Pair::CqrsEs, Append, PowerFailure, 1),
        ("cqrs-es: append, durable, 10 clients", Pair::CqrsEs, Append, PowerFailure, 10),
        ("cqrs-es: append, buffered, 1 client", Pair::CqrsEs, Append, EndOfProcess, 1),
        ("cqrs-es: append, buffered, 10 clients", Pair::CqrsEs, Append, EndOfProcess, 10),
        ("cqrs-es: load, 1 client", Pair::CqrsEs, Load, PowerFailure, 1),
        ("evento: append, durable, 1 client", Pair::Evento, Append, PowerFailure, 1),
        ("evento: append, durable, 10 clients", Pair::Evento, Append, PowerFailure, 10),
        ("evento: append, buffered, 1 client", Pair::Evento, Append, EndOfProcess, 1),
        ("evento: append, buffered, 10 clients", Pair::Evento, Append, EndOfProcess, 10),
        ("evento: load, 1 client", Pair::Evento, Load, PowerFailure, 1),
        ("umadb: append, durable, 1 client", Pair::UmaDb(Cached, Always), Append, PowerFailure, 1),
        (
            "umadb: append, durable, 10 clients",
            Pair::UmaDb(Cached, Always),
            Append,
            PowerFailure,
            10,
        ),
        (
            "umadb: append if unchanged, 1 client",
            Pair::UmaDb(Cached, Unchanged),
            AppendToLarge,
            PowerFailure,
            1,
        ),
        (
            "umadb: append if unchanged, 10 clients",
            Pair::UmaDb(Cached, Unchanged),
            AppendToLarge,
            PowerFailure,
            10,
        ),
        ("umadb: load by tag, 1 client", Pair::UmaDb(Cached, Always), Load, PowerFailure, 1),
        (
            "umadb, uncached: load by tag, 1 client",
            Pair::UmaDb(Uncached, Always),
            Load,
            PowerFailure,
            1,
        ),
        (
            "factstr: append, durable, 1 client",
            Pair::Factstr(Type, Always),
            Append,
            PowerFailure,
            1,
        ),
        (
            "factstr: append, durable, 4 clients",
            Pair::Factstr(Type, Always),
            Append,
            PowerFailure,
            4,
        ),
        (
            "factstr: append, durable, 10 clients",
            Pair::Factstr(Type, Always),
            Append,
            PowerFailure,
            10,
        ),
        (
            "factstr: append if unchanged, by type, 1 client",
            Pair::Factstr(Type, Unchanged),
            AppendToLarge,
            PowerFailure,
            1,
        ),
        ("factstr: load by type, 1 client", Pair::Factstr(Type, Always), Load, PowerFailure, 1),
        (
            "factstr: load by payload, 1 client",
            Pair::Factstr(Payload, Always),
            Load,
            PowerFailure,
            1,
        ),
    ]
};

fn main() {
    let arguments = Arguments::parse();
    let dir = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let slice = Duration::from_millis(arguments.slice_ms);
    let runtime = Runtime::new().expect("a runtime");
    // Printed at the end, because UmaDB prints lines of its own.
    let mut table = vec![
        "| per second | adapter on annals | its crate's backend | ratio |".to_owned(),
        "|---|---:|---:|---:|".to_owned(),
    ];
    for (name, pair, work, survives, clients) in ROWS {
        if !name.contains(&arguments.only) {
            continue;
        }
        let dirs = [(); 2].map(|()| tempfile::tempdir_in(&dir).expect("a directory"));
        let setup = Setup { dir: &dir, survives, clients, runtime: runtime.handle() };
        let sides = pair.open(&setup, [dirs[0].path(), dirs[1].path()]);
        let mut opened = sides.map(|side| Opened::new(side, clients));
        if work.filled() > 0 {
            opened.iter_mut().for_each(|it| it.fill(work.filled()));
        }
        let mut rounds = Rounds::default();
        for round in 0..arguments.rounds.max(1) {
            for turn in 0..2 {
                let side = (turn + round) % 2;
                rounds.add(
                    side,
                    match work {
                        Work::Append | Work::AppendToLarge => opened[side].append(slice),
                        Work::Load => opened[side].load(slice),
                    },
                );
            }
        }
        opened.iter().for_each(Opened::check);
        table.push(format!("| {name} | {} |", rounds.row()));
    }
    println!("{}", table.join("\n"));
}
