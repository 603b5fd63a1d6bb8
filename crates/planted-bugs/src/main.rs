//! `planted-bugs`: plants each bug in a copy of the tree and shows what detects it.
//!
//! Ends with 1 if a bug is not caught, or if the source has moved away from under it.

#![allow(clippy::disallowed_methods, reason = "a tool for this repository works on its files")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command says what it found")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use planted_bugs::bug::{Bug, CaughtBy, load_all};
use planted_bugs::catcher::{Catcher, Verdict};
use planted_bugs::tree::Tree;
use planted_bugs::{report, repository};

/// Plants bugs in a copy of annals, one by one, and shows what catches each.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only bugs whose names contain one of these.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Name the bugs and plant none.
    #[arg(long)]
    list: bool,
    /// The number of seeds for each bug that the simulator must detect, instead of the number in
    /// its file.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The longest time for one run, without builds, in seconds.
    #[arg(long, value_name = "S", default_value_t = 600)]
    limit: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all were caught.
fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    let source = repository();
    let bugs = chosen(arguments, load_all(&source)?)?;
    if arguments.list {
        for bug in &bugs {
            println!("{}", report::line(bug));
        }
        return Ok(true);
    }
    let scratch = scratch();
    let root = scratch.join("tree");
    std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let mut tree = Tree::new(&source, &root)?;
    let catcher = Catcher::new(&scratch, &tree, Duration::from_secs(arguments.limit))?;
    without_bugs(&tree, &catcher, &bugs)?;
    println!("{}", report::HEAD);
    let mut caught = 0;
    for bug in &bugs {
        let outcome = tree.plant(Some(bug)).and_then(|()| catcher.run(&tree, &bug.caught_by));
        println!("{}", report::row(bug, &outcome));
        caught += usize::from(matches!(outcome, Ok(Verdict::Caught { .. })));
    }
    tree.plant(None)?;
    println!("\n{caught} of {} caught in {} s", bugs.len(), started.elapsed().as_secs());
    Ok(caught == bugs.len())
}

fn chosen(arguments: &Arguments, bugs: Vec<Bug>) -> Result<Vec<Bug>> {
    let wanted = |bug: &Bug| {
        arguments.only.is_empty() || arguments.only.iter().any(|n| bug.name.contains(n))
    };
    let mut bugs: Vec<Bug> = bugs.into_iter().filter(wanted).collect();
    if bugs.is_empty() {
        bail!("there is no such bug");
    }
    if let Some(count) = arguments.seeds {
        for bug in &mut bugs {
            if let CaughtBy::Simulator { seeds: [from, to] } = &mut bug.caught_by {
                *to = from.saturating_add(count);
            }
        }
    }
    Ok(bugs)
}

/// Below the target directory, which is ignored and removed as a whole.
fn scratch() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| "target".into());
    repository().join(target).join("planted-bugs")
}

/// A detector that fails without a bug proves nothing with one.
fn without_bugs(tree: &Tree, catcher: &Catcher, bugs: &[Bug]) -> Result<()> {
    let mut seeds: Option<[u64; 2]> = None;
    let mut tests = Vec::new();
    for bug in bugs {
        match &bug.caught_by {
            CaughtBy::Simulator { seeds: [from, to] } => {
                let [first, last] = seeds.unwrap_or([*from, *to]);
                seeds = Some([first.min(*from), last.max(*to)]);
            }
            CaughtBy::Test { package, target, name, .. } => {
                if !tests.contains(&(package, target, name)) {
                    tests.push((package, target, name));
                }
            }
        }
    }
    let mut simulated = String::from("no seed");
    if let Some(seeds) = seeds {
        match catcher.run(tree, &CaughtBy::Simulator { seeds })? {
            Verdict::Missed { took } => simulated = took,
            Verdict::Caught { took, message } => {
                bail!("without any bug, the simulator complains ({took}): {message}")
            }
        }
    }
    for (package, target, name) in &tests {
        let test = CaughtBy::Test {
            package: (*package).clone(),
            target: (*target).clone(),
            name: (*name).clone(),
            because: String::new(),
        };
        if let Verdict::Caught { message, .. } = catcher.run(tree, &test)? {
            bail!("without any bug, the test {name} fails: {message}");
        }
    }
    println!("Without a bug: {simulated} and {} named tests pass.\n", tests.len());
    Ok(())
}
