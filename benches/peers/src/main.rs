//! annals beside the stores a user would pick instead, and beside a bare loop.
//!
//! See README.md for the workloads and the method.

mod child;
mod driver;
mod input;
mod layout;
mod long_stream;
mod lookups;
mod machine;
mod many;
mod mixed;
mod options;
mod paced;
mod peer;
mod peers;
mod plot;
mod report;
mod targets;
#[cfg(test)]
mod tests;
mod versions;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use options::Options;
use peer::{About, Result};
use report::Results;
use workload::Workload;

fn main() -> std::process::ExitCode {
    match run(&Options::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result {
    if let Some(child) = &options.child {
        return child::run(&job(child)?);
    }
    if options.list {
        let names: Vec<&str> = peers::all().iter().map(|about| about.name).collect();
        println!("peers: {}", names.join(" "));
        println!("workloads: {}", Workload::ALL.map(Workload::name).join(" "));
        return Ok(());
    }
    if let Some(events) = options.long_stream {
        let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        let stores = tempfile::Builder::new().prefix("stores-").tempdir_in(dir)?;
        return long_stream::run(stores.path(), events, options.reps.unwrap_or(5).max(1));
    }
    if let Some(results) = &options.report {
        let out = results.parent().unwrap_or(Path::new("."));
        return tell(&fs::read_to_string(results)?, out);
    }
    let out = match &options.out {
        Some(out) => out.clone(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers"),
    };
    fs::create_dir_all(&out)?;
    let base = options.dir.clone().unwrap_or_else(|| out.clone());
    fs::create_dir_all(&base)?;
    let stores = tempfile::Builder::new().prefix("stores-").tempdir_in(base)?;
    let results = out.join("results.jsonl");
    let log = fs::File::create(&results)?;
    driver::Driver::new(options, stores.path().to_owned(), log)?.run()?;
    tell(&fs::read_to_string(results)?, &out)
}

/// Prints the table, and writes it and the plot beside the results.
fn tell(results: &str, out: &Path) -> Result {
    let results = Results::parse(results)?;
    let table = results.markdown();
    fs::write(out.join("table.md"), &table)?;
    fs::write(out.join("plot.svg"), plot::svg(&results))?;
    println!("{table}");
    eprintln!("results.jsonl, table.md and plot.svg are in {}", out.display());
    Ok(())
}

/// The job that a driver's arguments describe.
fn job(arguments: &[String]) -> Result<child::Job> {
    let [peer, task, dir, count, limit, seed] = arguments else {
        return Err("a job has six parts".into());
    };
    Ok(child::Job {
        about: peers::find(peer).ok_or("no such peer")?,
        task: task.clone(),
        dir: PathBuf::from(dir),
        count: count.parse()?,
        limit: Duration::from_millis(limit.parse()?),
        seed: seed.parse()?,
    })
}

fn chosen_peers(options: &Options) -> Result<Vec<&'static About>> {
    if options.only.is_empty() {
        return Ok(peers::all());
    }
    let find = |name: &String| {
        peers::find(name).ok_or_else(|| format!("no peer {name}; see --list").into())
    };
    options.only.iter().map(find).collect()
}

fn chosen_workloads(options: &Options) -> Result<Vec<Workload>> {
    if options.workload.is_empty() {
        let usual = |workload: &Workload| match workload {
            Workload::OpenLarge => options.large,
            Workload::OpenMany => !options.quick,
            _ => true,
        };
        return Ok(Workload::ALL.into_iter().filter(usual).collect());
    }
    let find = |name: &String| {
        Workload::find(name).ok_or_else(|| format!("no workload {name}; see --list").into())
    };
    options.workload.iter().map(find).collect()
}
