//! `ship`, `restore`, `follow`, `promote` and `backup list|verify|prune|new-key`: backups in object storage.
//!
//! Owns what is printed of them. Must never decide what a backup holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use annals::verify::Progress as Done;
use annals_backup::{
    Destination, Error, Keys, PruneOptions, RestoreOptions, ShipOptions, Shipper, Standby,
};
use annals_lines::time;

use crate::args::{
    BackupCommand, FollowArgs, Format, KeyFile, PromoteArgs, RepairArgs, RestoreArgs, ShipArgs,
};
use crate::failure::{self, Failure};
use crate::interrupt;
use crate::open;
use crate::output::Output;
use crate::progress::{Progress, Unit, note, warn};

/// How often the state of a running shipper is looked at.
const SLICE: Duration = Duration::from_millis(100);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Self::Store(error),
            Error::Url { .. } | Error::OutOfRange { .. } => Self::Usage(error.to_string()),
            error => Self::Fault(failure::with_causes(&error)),
        }
    }
}

pub(crate) fn place(url: &str, keys: &KeyFile) -> Result<Destination, Failure> {
    let place = Destination::open(url)?;
    let Some(file) = &keys.keys else { return Ok(place) };
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::Fault(format!("cannot read {}: {e}", file.display())))?;
    Ok(place.with_keys(Keys::parse(&text)?))
}

fn say(quiet: bool, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    if quiet {
        return Ok(());
    }
    let mut out = Output::new(Format::Text);
    out.line(text)?;
    out.flush()
}

/// `annals ship`
pub(crate) fn ship(args: &ShipArgs, quiet: bool) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    open::must_be_whole(&store)?;
    let options = ShipOptions::new()
        .interval(args.interval)
        .compression_level(args.level)
        .new_branch(args.new_branch);
    let options = match args.bytes {
        Some(bytes) => options.bytes(bytes),
        None => options,
    };
    let mut shipper = Shipper::new(store, place(&args.url, &args.keys)?, options)?;
    if args.once {
        let done = shipper.ship()?;
        return say(
            quiet,
            format_args!(
                "shipped up to position {}: {} bytes of the log in {} bytes",
                done.position, done.log_bytes, done.sent_bytes
            ),
        );
    }
    let running = shipper.start()?;
    let (mut told, mut is_caught_up) = (None, false);
    while !interrupt::requested() {
        let status = running.status();
        if status.ended {
            break;
        }
        if status.last_error != told {
            match &status.last_error {
                Some(error) => warn(format_args!("{error}; trying again")),
                None if !quiet => note("shipping again"),
                None => {}
            }
            told = status.last_error;
        }
        if status.lag == 0 && !is_caught_up {
            is_caught_up = true;
            say(quiet, format_args!("shipped up to position {}; going on", status.position))?;
        }
        interrupt::pause(SLICE);
    }
    Ok(running.stop()?)
}

/// `annals restore`
pub(crate) fn restore(args: &RestoreArgs, quiet: bool) -> Result<(), Failure> {
    let from = place(&args.url, &args.keys)?;
    let mut options = RestoreOptions::new().up_to_damage(args.up_to_damage).verify(!args.no_verify);
    if let Some(until) = args.to {
        options = options.until(until);
    }
    if let Some(branch) = args.branch {
        options = options.branch(branch);
    }
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let restored = annals_backup::restore(&from, &args.dir, &options, |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
        stop_if_interrupted();
    });
    progress.finish();
    let restored = restored?;
    if let Some(damage) = &restored.damage {
        warn(format_args!(
            "the backup is damaged, and only what comes before is restored: {damage}"
        ));
    }
    let faults = restored.faults.unwrap_or_default();
    for fault in &faults {
        warn(format_args!("{} offset {}: {}", fault.file.display(), fault.offset, fault.what));
    }
    say(
        quiet,
        format_args!(
            "restored up to position {} of {} in branch {}: {} bytes",
            restored.position, restored.end_of_backup, restored.branch, restored.log_bytes
        ),
    )?;
    if faults.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

/// Nothing that was written is lost: the next call continues.
fn stop_if_interrupted() {
    if interrupt::requested() {
        std::process::exit(failure::INTERRUPTED.into());
    }
}

/// `annals follow`
pub(crate) fn follow(args: &FollowArgs, quiet: bool) -> Result<(), Failure> {
    let from = place(&args.url, &args.keys)?;
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let opened = Standby::open(from, &args.dir, |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
        stop_if_interrupted();
    });
    progress.finish();
    let mut standby = opened?;
    say(quiet, format_args!("up to position {}; following", standby.position()))?;
    let mut is_failing = false;
    while !interrupt::requested() {
        match standby.catch_up() {
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn(format_args!("{}; trying again", failure::with_causes(&error)));
                }
            }
            done => {
                done?;
                if std::mem::take(&mut is_failing) && !quiet {
                    note("following again");
                }
            }
        }
        interrupt::pause(args.interval);
    }
    Ok(())
}

/// `annals promote`
pub(crate) fn promote(args: &PromoteArgs, quiet: bool) -> Result<(), Failure> {
    let from = place(&args.url, &args.keys)?;
    if let Some(old) = &args.old_store {
        open::must_exist(old)?;
    }
    let standby = Standby::open(from, &args.dir, |_| {})?;
    let wait = args.wait.wait.unwrap_or_default();
    let done = standby.promote(&args.place, args.old_store.as_deref(), wait)?;
    let dir = failure::quoted(&args.dir);
    if done.is_complete {
        say(quiet, format_args!("promoted at position {}; nothing is lost", done.position))?;
    } else {
        say(
            quiet,
            format_args!(
                "promoted at position {}; what the old store acknowledged after it is not in {dir}",
                done.position
            ),
        )?;
    }
    if !quiet {
        note(format_args!("next: annals ship {dir} {} --new-branch", args.url));
    }
    Ok(())
}

/// `annals backup list|verify|prune|new-key`
pub(crate) fn run(command: &BackupCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        BackupCommand::List { url, keys } => list(&place(url, keys)?),
        BackupCommand::Verify { url, branch, compare, keys } => {
            verify(&place(url, keys)?, *branch, compare.as_deref(), quiet)
        }
        BackupCommand::Prune { url, keep_branches, grace, keys } => {
            let mut options = PruneOptions::new().grace(*grace);
            if let Some(keep) = keep_branches {
                options = options.keep_branches(usize::try_from(*keep).unwrap_or(usize::MAX));
            }
            let pruned = annals_backup::prune(&place(url, keys)?, &options)?;
            say(
                quiet,
                format_args!(
                    "removed {} objects with {} bytes, {} branches",
                    pruned.objects, pruned.bytes, pruned.branches
                ),
            )
        }
        BackupCommand::NewKey => {
            let mut out = Output::new(Format::Text);
            out.line(format_args!("{}", Keys::generate()))?;
            out.flush()
        }
    }
}

fn list(from: &Destination) -> Result<(), Failure> {
    let found = annals_backup::list(from)?;
    let mut out = Output::new(Format::Text);
    out.line(format_args!("store {}: {} bytes stored", found.store_id, found.stored_bytes))?;
    for branch in &found.branches {
        let fenced = branch.fenced.as_ref().map(|to| format!("; goes on in {to:?}"));
        out.line(format_args!(
            "branch {}: up to position {}, written {}; {} segments, {} bytes in {}{}",
            branch.branch,
            branch.position,
            time::to_rfc3339(branch.written_at),
            branch.segments,
            branch.log_bytes,
            branch.stored_bytes,
            fenced.unwrap_or_default()
        ))?;
    }
    out.flush()
}

fn verify(
    from: &Destination,
    branch: Option<u32>,
    compare: Option<&Path>,
    quiet: bool,
) -> Result<(), Failure> {
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let verified = annals_backup::verify(from, branch, |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
        stop_if_interrupted();
    });
    progress.finish();
    let verified = verified?;
    for fault in &verified.faults {
        say(false, format_args!("{}", failure::with_causes(fault)))?;
    }
    if !verified.faults.is_empty() {
        return Err(Failure::Reported);
    }
    say(
        quiet,
        format_args!(
            "branch {} is whole up to position {}: {} bytes in {} objects, {} manifests",
            verified.branch,
            verified.position,
            verified.log_bytes,
            verified.objects,
            verified.manifests
        ),
    )?;
    let Some(store) = compare else { return Ok(()) };
    let events = annals_backup::compare(from, verified.branch, &open::for_reading(store)?, store)?;
    say(quiet, format_args!("{events} events are those of {}", failure::quoted(store)))
}

/// A backup that was restored beside a new store, for as long as the repair takes.
pub(crate) struct FetchedBackup {
    dir: PathBuf,
}

impl FetchedBackup {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for FetchedBackup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Fetches the backup that `annals repair --from-url` names.
pub(crate) fn fetch_for_repair(
    args: &RepairArgs,
    quiet: bool,
) -> Result<Option<FetchedBackup>, Failure> {
    let Some(url) = &args.from_url else { return Ok(None) };
    let mut dir = args.to.clone().into_os_string();
    dir.push(".backup");
    let dir = PathBuf::from(dir);
    let from = place(url, &args.keys)?;
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    // A part of the backup is better than none.
    let options = RestoreOptions::new().up_to_damage(true).verify(false);
    let restored = annals_backup::restore(&from, &dir, &options, |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
    });
    progress.finish();
    let restored = restored?;
    if let Some(damage) = restored.damage {
        warn(format_args!("the backup is damaged, and only what comes before is used: {damage}"));
    }
    Ok(Some(FetchedBackup { dir }))
}
