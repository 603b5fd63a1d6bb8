//! `repair` and `recover`: the intact rest of a damaged store.
//!
//! Owns the description of a loss. Must never choose which data is given up: the user names the
//! position.

use std::path::Path;
use std::time::Duration;

use annals::{
    Error, Position, Store,
    repair::{Gap, Loss, RepairOptions, RepairReport, SkippedBytes, Supplied},
    verify::Progress as Done,
};

use crate::args::{Format, RecoverArgs, RepairArgs};
use crate::failure::{self, Failure};
use crate::open;
use crate::output::Output;
use crate::progress::{Progress, Unit};
use crate::salvage::SalvageFile;

/// Number of gaps, streams and intact events that are listed; the written report has all.
const LISTED: usize = 20;
/// The pause between two attempts to open a locked store.
const PAUSE: Duration = Duration::from_millis(20);

/// `annals repair`
#[expect(clippy::disallowed_methods, reason = "the report is the user's file, not the store's")]
pub(crate) fn repair(args: &RepairArgs, quiet: bool) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    outside(&args.store, &args.to)?;
    if let Some(salvage) = &args.salvage {
        outside(&args.store, salvage)?;
        if salvage.starts_with(&args.to) {
            let (file, to) = (salvage.display(), args.to.display());
            return Err(Failure::Usage(format!("{file} is inside {to}, which has to be empty")));
        }
    }
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let mut options = RepairOptions::new().stop_at_damage(args.stop_at_damage);
    if let Some(backup) = &args.from {
        options = options.segments_from(backup);
    }
    #[cfg(feature = "backup")]
    let fetched = crate::shipping::fetch_for_repair(args, quiet)?;
    #[cfg(feature = "backup")]
    if let Some(fetched) = &fetched {
        options = options.segments_from(fetched.dir());
    }
    let advance = |done: Done| progress.set(done.done_bytes, Some(done.total_bytes));
    let mut salvage = args.salvage.as_deref().map(SalvageFile::create).transpose()?;
    let report =
        annals::repair::repair_and_salvage(&args.store, &args.to, options, advance, |event| {
            salvage.as_mut().map_or(Ok(()), |file| file.event(event))
        });
    let report = report.map_err(|error| {
        salvage.as_mut().and_then(SalvageFile::failure).unwrap_or_else(|| error.into())
    })?;
    progress.finish();
    let salvaged = salvage.map_or(Ok(()), SalvageFile::finish);
    let path = args.report.clone().unwrap_or_else(|| args.to.join("repair-report.json"));
    let mut json = serde_json::to_vec_pretty(&report)
        .map_err(|e| Failure::Fault(format!("the report cannot be written as JSON: {e}")))?;
    json.push(b'\n');
    let written = std::fs::write(&path, json);
    let printed = print_report(&report, args.salvage.as_deref(), quiet);
    // A report that could not be written is a failure, even if the pipe is closed.
    written.map_err(|e| Failure::Fault(format!("cannot write {}: {e}", path.display())))?;
    salvaged?;
    printed
}

/// Resolves links, which may hide that the new store would be inside the damaged one.
fn outside(store: &Path, to: &Path) -> Result<(), Failure> {
    let Ok(store) = store.canonicalize() else { return Ok(()) };
    let existing = to.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        path.canonicalize().ok()
    });
    if existing.is_some_and(|path| path.starts_with(&store)) {
        let what = format!("{} is inside the damaged store", to.display());
        return Err(Failure::Usage(what));
    }
    Ok(())
}

fn print_report(report: &RepairReport, salvage: Option<&Path>, quiet: bool) -> Result<(), Failure> {
    let mut out = Output::new(Format::Text);
    if !quiet {
        for supplied in report.supplied.iter().take(LISTED) {
            print_supplied(&mut out, supplied)?;
        }
        more(&mut out, report.supplied.len(), "places")?;
        for gap in report.gaps.iter().take(LISTED) {
            print_gap(&mut out, gap)?;
        }
        more(&mut out, report.gaps.len(), "places")?;
        for skipped in &report.tail {
            out.line(format_args!("never acknowledged, left out: {}", described(skipped)))?;
        }
        for loss in report.streams.iter().take(LISTED) {
            let missing: Vec<String> = loss.missing.iter().map(ToString::to_string).collect();
            let name = out.name(&loss.stream);
            out.line(format_args!("stream {name}: missing versions {}", missing.join(", ")))?;
            for run in loss.versions.iter().filter(|run| run.first != run.new_first) {
                out.line(format_args!("  versions {run}"))?;
            }
        }
        more(&mut out, report.streams.len(), "streams")?;
        for run in report.positions.iter().filter(|run| run.first != run.new_first).take(LISTED) {
            out.line(format_args!("positions {run}"))?;
        }
        if let Some(left_out) = report.left_out {
            out.line(format_args!("left out after the damage: positions {left_out}"))?;
        }
        print_salvaged(&mut out, report, salvage)?;
        let verdict = match (report.is_complete(), report.missing_events) {
            (true, _) => "nothing is missing".to_owned(),
            (false, 1) => "1 event is missing".to_owned(),
            (false, missing) => format!("{missing} events are missing"),
        };
        out.line(format_args!(
            "{verdict}: {} events in {} commits are in the new store",
            report.events, report.commits
        ))?;
    }
    out.flush()
}

/// Names the file with the intact events of broken commits, or the option that writes one.
fn print_salvaged(
    out: &mut Output,
    report: &RepairReport,
    salvage: Option<&Path>,
) -> Result<(), Failure> {
    let of_gaps: u64 = report.gaps.iter().map(|gap| gap.intact_events).sum();
    let events = of_gaps + report.tail_intact_events;
    match salvage {
        Some(file) => out
            .line(format_args!("intact events of broken commits: {events}, in {}", file.display())),
        None if events > 0 => out.line(format_args!(
            "intact events of broken commits: {events}; --salvage FILE writes them to a file"
        )),
        None => Ok(()),
    }
}

fn print_supplied(out: &mut Output, supplied: &Supplied) -> Result<(), Failure> {
    let Supplied { file, from, to, positions, confirmed, .. } = supplied;
    let what = match positions {
        Some(positions) => format!("positions {positions}"),
        None => "no events".to_owned(),
    };
    let remark = if *confirmed { "" } else { "; the damaged store has nothing after them" };
    let file = file.display();
    out.line(format_args!("from the backup: {what}{remark} ({file} bytes {from} to {to})"))
}

fn print_gap(out: &mut Output, gap: &Gap) -> Result<(), Failure> {
    match gap.missing {
        Some(missing) if gap.acknowledged => {
            out.line(format_args!("missing: positions {missing}"))?;
        }
        Some(missing) => out.line(format_args!(
            "missing: positions {missing}; nothing proves that they were acknowledged"
        ))?,
        None => out.line("damaged, but no event is missing:")?,
    }
    for skipped in &gap.skipped {
        out.line(format_args!("  {}", described(skipped)))?;
    }
    for lost in gap.intact.iter().take(LISTED) {
        let name = out.name(&lost.stream);
        out.line(format_args!(
            "  position {}: {name} version {} is intact, but its commit is not",
            lost.position, lost.version
        ))?;
    }
    more(out, usize::try_from(gap.intact_events).unwrap_or(usize::MAX), "intact events")
}

fn more(out: &mut Output, count: usize, what: &str) -> Result<(), Failure> {
    match count.checked_sub(LISTED) {
        None | Some(0) => Ok(()),
        Some(more) => out.line(format_args!("and {more} more {what}, listed in the report")),
    }
}

fn described(skipped: &SkippedBytes) -> String {
    let SkippedBytes { file, from, to, reason, .. } = skipped;
    format!("{} bytes {from} to {to}: {reason}", file.display())
}

/// `annals recover`
pub(crate) fn recover(args: &RecoverArgs, quiet: bool) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    let Some(cut_after) = args.cut_after else {
        let loss = annals::repair::find_loss(&args.store)?;
        let mut out = Output::new(Format::Text);
        print_loss(&mut out, &loss)?;
        out.flush()?;
        return Err(Failure::Fault(format!(
            "nothing was changed; to cut the store off there: annals recover {} --accept-loss \
             --cut-after {}",
            failure::quoted(&args.store),
            loss.cut_after
        )));
    };
    let accepted = open::waiting(args.wait, quiet, |timeout| {
        let accepted = annals::repair::accept_loss(&args.store, Position::new(cut_after));
        if matches!(accepted, Err(Error::Locked { .. })) {
            // `accept_loss` tries the lock once, and does not wait for it.
            std::thread::sleep(timeout.min(PAUSE));
        }
        accepted
    });
    let accepted = accepted.map_err(|failure| match failure {
        Failure::Store(Error::WrongCut { whole, .. }) => Failure::Fault(format!(
            "nothing was changed: the store is intact up to position {whole}, not {cut_after}"
        )),
        other => other,
    })?;
    // After the cut, the store must open.
    let store = Store::open(&args.store)?;
    let head = store.head();
    open::close(store)?;
    if !quiet {
        let mut out = Output::new(Format::Text);
        print_loss(&mut out, &accepted.loss)?;
        for path in &accepted.quarantined {
            out.line(format_args!("kept: {}", path.display()))?;
        }
        out.line(format_args!(
            "cut off {} bytes of the log; the store ends at position {head} and opens",
            accepted.bytes
        ))?;
        out.flush()?;
    }
    Ok(())
}

fn print_loss(out: &mut Output, loss: &Loss) -> Result<(), Failure> {
    let file = loss.file.display();
    out.line(format_args!("damage: {file} at offset {}: {}", loss.offset, loss.what))?;
    out.line(format_args!("evidence of loss: {}", loss.evidence))?;
    let first = loss.cut_after.get() + 1;
    match loss.last_known {
        Some(last) => {
            out.line(format_args!("lost, or cut off: positions {first} to {last} at least"))?;
        }
        None => out.line(format_args!("lost, or cut off: everything from position {first} on"))?,
    }
    out.line(format_args!("kept: everything up to position {}", loss.cut_after))
}
