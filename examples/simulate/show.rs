//! The output: progress while lives run, totals after them, and how to repeat a failure.

use std::time::Duration;

use annals::testing::simulation::{Failure, Kind, Report};
use indicatif::{ProgressBar, ProgressStyle};

use crate::fleet::{Fleet, Plan};

/// A line on a terminal, and nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Self {
        let bar = if plan.seeds == u64::MAX {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::new(plan.seeds)
        };
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos} seeds {msg}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(crate) fn show(&self, fleet: &Fleet, elapsed: Duration) {
        self.0.set_position(fleet.seeds);
        let rate = rate(fleet.report.states, elapsed);
        let failed =
            if fleet.failed == 0 { String::new() } else { format!(", {} failed", fleet.failed) };
        self.0.set_message(format!("{} states, {rate:.0}/s{failed}", fleet.report.states));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate to look at")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// The smallest failing life.
pub(crate) fn shrinking(lives: u64, actions: u64) {
    if lives.is_multiple_of(100) {
        eprintln!("shrinking: {lives} lives, the last action is {actions}");
    }
}

/// What many lives have come to.
pub(crate) fn fleet(plan: &Plan, fleet: &Fleet) {
    let kinds: Vec<&str> = plan.kinds.iter().copied().map(Kind::name).collect();
    let last = plan.first + fleet.seeds.saturating_sub(1);
    println!("kinds       {}", kinds.join(", "));
    println!("seeds       {} to {last}", plan.first);
    println!("lives       {}", fleet.lives);
    println!("failed      {}", fleet.failed);
    report(&fleet.report);
    let seconds = fleet.took.as_secs_f64();
    let rate = rate(fleet.report.states, fleet.took);
    println!("seconds     {seconds:.1} on {} threads", plan.threads);
    println!("states/s    {rate:.0}");
}

/// What happened in lives.
pub(crate) fn report(report: &Report) {
    println!("states      {} after a crash or a kill, recovered and checked", report.states);
    println!("digest      {:016x}", report.digest);
    let disk = &report.disk;
    println!("disk");
    for (count, name) in [
        (disk.operations, "changing operations"),
        (disk.writes, "writes"),
        (disk.bytes_written, "bytes written"),
        (disk.syncs, "syncs of files"),
        (disk.dir_syncs, "syncs of directories"),
        (disk.reads, "reads"),
    ] {
        println!("{count:>12}  {name}");
    }
    println!("faults that struck");
    for (count, name) in [
        (disk.io_errors, "I/O errors"),
        (disk.full, "no space, once"),
        (disk.dropped_pages, "failed syncs that dropped pages"),
        (disk.lies, "syncs that lied"),
        (disk.shorts, "short transfers"),
        (disk.interrupts, "signals"),
    ] {
        println!("{count:>12}  {name}");
    }
    for (group, counts) in report.tally.groups() {
        println!("{group}");
        for (name, count) in counts {
            println!("{count:>12}  {name}");
        }
    }
}

/// A failure, and how to repeat it.
pub(crate) fn failure(failure: &Failure) {
    println!("\nFAILED: {}", failure.what);
    println!("in round {}, after action {}. Repeat it with:", failure.round, failure.action);
    println!("  cargo run --release --example simulate --features testing -- {}", failure.life);
    println!(
        "Keep it: add the life to `simulated_lives_that_once_failed_pass` in tests/regressions/main.rs, \
         with what was wrong."
    );
}

/// Whether lies were detected.
pub(crate) fn lies(fleet: &Fleet) -> bool {
    println!("\n{} of {} lives on a lying disk were found out", fleet.failed, fleet.lives);
    for failure in &fleet.shown {
        println!("  {failure}");
    }
    fleet.failed > 0
}
