//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// annals beside the stores a user would pick instead, and beside a bare loop.
#[derive(Parser, Debug)]
#[command(name = "peers")]
pub struct Options {
    /// A short look: one repetition, less of everything.
    #[arg(long)]
    pub quick: bool,
    /// The peers to run, by name; all of them otherwise.
    #[arg(long, value_delimiter = ',', value_name = "PEER,..")]
    pub only: Vec<String>,
    /// The workloads to run, by name; all of them otherwise.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD,..")]
    pub workload: Vec<String>,
    /// Opens stores with 10^7 streams as well, which takes a few GB of disk and a long time to fill.
    #[arg(long)]
    pub large: bool,
    /// Number of repetitions; medians are printed. Default: 3, or 1 with --quick.
    #[arg(long, value_name = "N")]
    pub reps: Option<usize>,
    /// Where the stores are put; on the file system that is to be measured.
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
    /// Where results.jsonl, table.md and plot.svg go. Default: target/peers of this workspace.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Prints the table and the plot of existing results, and measures nothing.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Reads one stream of this many events in annals and in SQLite, and measures nothing else.
    #[arg(long, value_name = "EVENTS")]
    pub long_stream: Option<u64>,
    /// Lists peers and workloads.
    #[arg(long)]
    pub list: bool,
    /// Runs one measurement and prints its figures: what this program starts itself for each.
    #[arg(long, num_args = 6, hide = true)]
    pub child: Option<Vec<String>>,
}

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Scale {
    pub reps: usize,
    /// Events of the store that is read and opened.
    pub prepared: u64,
    /// Events of the store with a long stream, which has half of them.
    pub long: u64,
    /// Streams of the store that has many; the large one has ten times as many.
    pub many: u64,
    /// Events that fill one segment of annals' default size, in commits of 100, but for a little.
    pub filled: u64,
    /// Events that `latency` appends; a tenth of them count as a fresh store's.
    pub latency: u64,
    /// Events that `paced` appends.
    pub paced: u64,
    /// Events in the store before `mixed` begins.
    pub mixed: u64,
    /// Of the most events that a measurement of appends makes, how many hundredths.
    pub appended_percent: u64,
    /// The time after which a measurement begins nothing more.
    pub limit_ms: u64,
    /// The same for `latency`, which has to last.
    pub latency_limit_ms: u64,
}

impl Options {
    pub fn scale(&self) -> Scale {
        let scale = if self.quick {
            Scale {
                reps: 1,
                prepared: 200_000,
                long: 40_000,
                many: 1_000_000,
                filled: 390_000,
                latency: 400_000,
                paced: 400_000,
                mixed: 50_000,
                appended_percent: 40,
                limit_ms: 400,
                latency_limit_ms: 2_000,
            }
        } else {
            Scale {
                reps: 3,
                prepared: 1_000_000,
                long: 200_000,
                many: 1_000_000,
                filled: 390_000,
                latency: 1_000_000,
                paced: 1_200_000,
                mixed: 200_000,
                appended_percent: 100,
                limit_ms: 800,
                latency_limit_ms: 8_000,
            }
        };
        Scale { reps: self.reps.unwrap_or(scale.reps).max(1), ..scale }
    }
}
