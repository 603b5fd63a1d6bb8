//! Records the history of a git repository as events, rebuilds trees from the events alone, and
//! compares them with git.
//!
//! ```text
//! cargo run --release --example git_history -- [REPO] [STORE]
//! ```
//!
//! `REPO` is any git repository, bare, shallow or with submodules (default: this one). `STORE`
//! is the directory of the store; it is created, or, if it holds an earlier part of the same
//! history, continued (default: a temporary directory, removed at the end).
//!
//! The recorded events:
//!
//! - a stream per path (`paths` converts between paths and stream names);
//! - per git commit of the first-parent history one atomic commit over all the streams it
//!   touches, each with the version it expects; merges count as their difference from the first
//!   parent, and commits that change nothing leave no event;
//! - types `Added`, `Modified`, `Deleted`, `TypeChanged`; the data has the former and the new entry
//!   of the path (`change` shows the JSON), the metadata the commit's hash, its author and the
//!   author's time.
//!
//! Commits are synced (the store's default), but not waited for one by one: tickets are
//! collected a window later, so that many commits share a sync.
//!
//! Then the tree is rebuilt, by reading the store as of a position, at HEAD and at three earlier
//! commits, and once more as of a time; some streams are read alone, too. Each is held against
//! `git ls-tree -r`. The last line is `match`, and the exit code 0; a difference prints the first
//! ones and exits 1, as any failure does; 2 is for wrong arguments.
//!
//! Over a clone of git's own repository, on two cores:
//!
//! ```text
//! $ cargo run --release --example git_history -- git
//! repository  git (sha1, 24254 first-parent commits)
//! recorded    96875 events of 24195 commits (59 more without changes, 0 recorded before)
//! events      96875
//! streams     7326
//! seconds     3.050 (reading git 2.585, recording 0.465)
//! events/s    31757 (recording alone 208243)
//! HEAD        1a3e64c6c4a6 as of position 96875: 4847 paths, 65 streams alone, same
//! HEAD~6064   d96e31e3902d as of position 61659: 3653 paths, 65 streams alone, same
//! HEAD~12127  f893be27123a as of position 37763: 2564 paths, 65 streams alone, same
//! HEAD~18190  fd74cb087412 as of position 17165: 1219 paths, 65 streams alone, same
//! HEAD~12126  4806c8c5cae6 as of time 1795297549744531 µs: 2564 paths, 65 streams alone, same
//! match
//! ```
//!
//! This file owns the arguments and the output.

mod change;
mod check;
mod git;
mod paths;
mod record;

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use annals::Store;

use crate::git::Repository;

/// The failure, as a message for the user.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
Records the first-parent history of a git repository in a store, and checks it against git.

Usage: git_history [REPO] [STORE]

  REPO   a git repository (default: this one)
  STORE  the store's directory, created or continued (default: a temporary one)
";

struct Arguments {
    repository: PathBuf,
    store: Option<PathBuf>,
}

enum Request {
    Run(Arguments),
    Help,
    Wrong(String),
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    match parse(env::args_os().skip(1)) {
        Request::Help => match out.write_all(USAGE.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Request::Wrong(what) => {
            complain(&format!("{what}\n\n{}", USAGE.trim_end()));
            ExitCode::from(2)
        }
        Request::Run(arguments) => match run(&arguments, &mut out) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        },
    }
}

/// Ignored: standard error is closed too.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "git_history: {message}");
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Request {
    let mut given = Vec::new();
    let mut only_paths = false;
    for argument in arguments {
        if only_paths || !argument.as_encoded_bytes().starts_with(b"-") {
            if argument.is_empty() {
                return Request::Wrong("an argument is empty".to_owned());
            }
            given.push(PathBuf::from(argument));
        } else if argument == "--" {
            only_paths = true;
        } else if argument == "--help" || argument == "-h" {
            return Request::Help;
        } else {
            return Request::Wrong(format!("unknown option {}", argument.display()));
        }
    }
    if let Some(extra) = given.get(2) {
        return Request::Wrong(format!("one argument too many: {}", extra.display()));
    }
    let mut given = given.into_iter();
    // Cargo sets the package's directory; without it, "this repository" is the current directory.
    let repository = given.next().unwrap_or_else(|| {
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
    });
    Request::Run(Arguments { repository, store: given.next() })
}

/// Whether everything matched.
fn run(arguments: &Arguments, out: &mut impl Write) -> Result<bool> {
    let repository = Repository::open(&arguments.repository)?;
    let history = repository.first_parents()?;
    writeln!(
        out,
        "repository  {} ({}, {} first-parent commits{})",
        arguments.repository.display(),
        repository.object_format(),
        history.len(),
        if repository.is_shallow() { ", shallow: from where the clone begins" } else { "" },
    )?;

    // Held until the end of the run: dropping it removes the directory.
    let mut temporary = None;
    let directory = match &arguments.store {
        Some(directory) => directory.clone(),
        None => temporary.insert(tempfile::tempdir()?).path().join("store"),
    };
    let store = record::open(&directory)?;
    let all_match = record_and_check(&repository, &history, &store, out)?;
    store.close()?;
    if all_match {
        writeln!(out, "match")?;
    }
    Ok(all_match)
}

fn record_and_check(
    repository: &Repository,
    history: &[String],
    store: &Store,
    out: &mut impl Write,
) -> Result<bool> {
    let mut progress = Progress::new(history.len());
    let recorded = record::record(repository, history, store, |done| progress.show(done));
    progress.clear();
    let recorded = recorded?;

    let stats = store.stats();
    writeln!(
        out,
        "recorded    {} events of {} commits ({} more without changes, {} recorded before)",
        recorded.events, recorded.commits, recorded.empty_commits, recorded.commits_before
    )?;
    writeln!(out, "events      {}", stats.events)?;
    writeln!(out, "streams     {}", stats.streams)?;
    writeln!(
        out,
        "seconds     {:.3} (reading git {:.3}, recording {:.3})",
        (recorded.reading + recorded.recording).as_secs_f64(),
        recorded.reading.as_secs_f64(),
        recorded.recording.as_secs_f64()
    )?;
    writeln!(
        out,
        "events/s    {} (recording alone {})",
        per_second(recorded.events, recorded.reading + recorded.recording),
        per_second(recorded.events, recorded.recording)
    )?;
    out.flush()?;
    check::check(repository, history, store, out)
}

fn per_second(count: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

/// A line on standard error while recording takes longer than a second; none if that is not a
/// terminal.
struct Progress {
    total: usize,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { total, started: Instant::now(), shown: None, terminal }
    }

    fn show(&mut self, done: usize) {
        let due = match self.shown {
            None => self.started.elapsed() > Duration::from_secs(1),
            Some(shown) => shown.elapsed() > Duration::from_millis(200),
        };
        if self.terminal && due {
            let _ = write!(io::stderr(), "\r{done} of {} commits", self.total);
            self.shown = Some(Instant::now());
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
