//! `copy`, `fence` and `position`: a history moves to another place.
//!
//! Owns what is printed of a copy. Must never decide whether a copy is right.

use std::ops::ControlFlow;
use std::path::Path;

use annals::Options;
use annals_copy::{Address, PositionMap, Report, Settings, Step, Until};
use annals_es::Position;

use crate::args::{CopyArgs, FenceCommand, Format, PositionArgs};
use crate::failure::Failure;
use crate::interrupt;
use crate::open;
use crate::output::Output;
use crate::progress::{Progress, Unit, note};

/// `annals copy`
pub(crate) fn copy(args: &CopyArgs, quiet: bool) -> Result<(), Failure> {
    let from = Address::from(args.from.as_str());
    if let Address::Directory(path) = &from {
        open::must_exist(path)?;
    }
    // Nothing is created for a source that cannot be read.
    let mut source = from.source()?;
    let options = args.segment_size.map_or_else(Options::new, |it| Options::new().segment_size(it));
    let mut target = Address::from(args.to.as_str()).target(options)?;
    let mut settings = Settings::default().wait(args.wait.unwrap_or_default());
    settings.until = match (args.follow, args.switch) {
        (true, _) => Until::Fenced,
        (_, true) => Until::Switched,
        _ => Until::CaughtUp,
    };
    settings.map.clone_from(&args.map);
    settings.leave_out = args.leave_out;
    let mut progress = Progress::new(Unit::Events, None, quiet);
    let names = [source.name(), target.name()].map(str::to_owned);
    let mut shown = Shown { names, follows: false, is_out: false };
    let done = annals_copy::copy(&mut *source, &mut *target, &settings, &mut |step| {
        shown.show(step, &mut progress, quiet);
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    let closed = target.close();
    let report = done?;
    closed?;
    if quiet { Ok(()) } else { print(args, source.name(), &report) }
}

/// What the user was told.
struct Shown {
    /// Those of the source and of the target.
    names: [String; 2],
    follows: bool,
    /// That a place cannot be reached.
    is_out: bool,
}

impl Shown {
    fn show(&mut self, step: Step, progress: &mut Progress, quiet: bool) {
        let was_out = std::mem::replace(&mut self.is_out, matches!(step, Step::Unreachable { .. }));
        match step {
            Step::Unreachable { is_source, .. } if !was_out && !quiet => {
                let name = &self.names[usize::from(!is_source)];
                progress.suspend(|| {
                    note(format_args!("{name} cannot be reached; trying again until it can"));
                });
            }
            Step::Copied { events, position, head } => {
                progress.set(events, Some(events + (head.get() - position.get())));
            }
            Step::Compared { events } => progress.set(events, None),
            Step::CaughtUp { position }
                if !std::mem::replace(&mut self.follows, true) && !quiet =>
            {
                progress.suspend(|| {
                    note(format_args!(
                        "copied and compared up to position {position}; following the source until it is fenced"
                    ));
                });
            }
            Step::Fencing if !quiet => {
                progress.suspend(|| {
                    note("fencing the source; a program that writes it has to close it");
                });
            }
            _ => {}
        }
    }
}

fn print(args: &CopyArgs, from: &str, report: &Report) -> Result<(), Failure> {
    let mut out = Output::new(Format::Text);
    let Report { events_copied, events_compared, checkpoints, times_raised, .. } = report;
    out.line(format_args!(
        "{events_copied} events copied, {events_compared} compared and equal, {checkpoints} checkpoints set"
    ))?;
    if *times_raised > 0 {
        out.line(format_args!(
            "{times_raised} commits have the time of the commit before, which was recorded later than they were"
        ))?;
    }
    if report.positions_moved {
        let hint =
            if args.map.is_some() { "annals position" } else { "--map writes a table of them" };
        out.line(format_args!("events have new positions: {hint}"))?;
    }
    if report.is_complete {
        out.line(format_args!("{from} is fenced, and the copy is complete: open the new place"))?;
    }
    out.flush()
}

/// `annals fence`
pub(crate) fn fence(command: &FenceCommand) -> Result<(), Failure> {
    let place = match command {
        FenceCommand::Raise(args) => &args.place,
        FenceCommand::Lift(args) | FenceCommand::Show(args) => &args.place,
    };
    let address = Address::from(place.as_str());
    if let Address::Directory(path) = &address {
        open::must_exist(path)?;
        return fence_directory(path, command);
    }
    let mut store = address.source()?;
    match command {
        FenceCommand::Raise(args) => {
            Ok(store.raise_fence(&args.to, args.wait.unwrap_or_default())?)
        }
        FenceCommand::Lift(_) => lifted(store.lift_fence()?.as_deref(), place),
        FenceCommand::Show(_) => {
            let fence = store.find_fence()?;
            show(fence.map(|fence| (fence.to, fence.is_complete)))
        }
    }
}

/// Works also on a store that cannot be read.
fn fence_directory(path: &Path, command: &FenceCommand) -> Result<(), Failure> {
    match command {
        FenceCommand::Raise(args) => {
            let raised = annals::fence::raise(path, &args.to, args.wait.unwrap_or_default());
            raised.map_err(Failure::from)
        }
        FenceCommand::Lift(args) => lifted(annals::fence::lift(path)?.as_deref(), &args.place),
        FenceCommand::Show(_) => {
            let fence = annals::fence::find(path)?;
            show(fence.map(|fence| (fence.to, fence.is_complete)))
        }
    }
}

fn lifted(fence: Option<&str>, place: &str) -> Result<(), Failure> {
    match fence {
        Some(_) => Ok(()),
        None => Err(Failure::Fault(format!("{place} is not fenced"))),
    }
}

fn show(fence: Option<(String, bool)>) -> Result<(), Failure> {
    let mut out = Output::new(Format::Text);
    match fence {
        None => out.line("not fenced")?,
        Some((to, true)) => out.line(format_args!("fenced: the history goes on at {}", out.name(&to)))?,
        Some((to, false)) => out.line(format_args!(
            "fenced: the history goes on at {}; the program that writes the store has not closed it yet",
            out.name(&to)
        ))?,
    }
    out.flush()
}

/// `annals position`
pub(crate) fn position(args: &PositionArgs) -> Result<(), Failure> {
    let map = PositionMap::load(&args.map)?;
    let mut out = Output::new(Format::Text);
    for &old in &args.positions {
        out.line(map.new_position(Position::new(old)))?;
    }
    out.flush()
}
