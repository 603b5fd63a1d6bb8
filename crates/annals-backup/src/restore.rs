//! Restores: a store in a directory, from a backup, as of any commit.
//!
//! Owns the choice of segments for a moment. Must never write to a directory that holds anything but an unfinished
//! restore of the same store.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::Position;
use annals::shipping::{LogCopy, LogEnd, SegmentCopy, Until};
use annals::verify::Progress;

use crate::catalog::{self, Loaded};
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::fetch::fetch_beginning;
use crate::manifest::SegmentEntry;
use crate::parallel::in_parallel;

/// Options of [`restore`].
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    until: Option<Until>,
    branch: Option<u32>,
    parallel: usize,
    up_to_damage: bool,
    verify: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self { until: None, branch: None, parallel: 4, up_to_damage: false, verify: true }
    }
}

impl RestoreOptions {
    /// The defaults: everything that the newest branch holds, verified.
    pub fn new() -> Self {
        Self::default()
    }

    /// Restores the store as of an earlier moment. Appending to it begins another history: positions and tokens of
    /// consumers that were ahead are refused, and shipping it needs [a new branch](crate::ShipOptions::new_branch).
    pub fn until(mut self, until: Until) -> Self {
        self.until = Some(until);
        self
    }

    /// Restores from this branch instead of the newest.
    pub fn branch(mut self, branch: u32) -> Self {
        self.branch = Some(branch);
        self
    }

    /// Segments that are fetched at the same time, at least 1. Default: 4.
    pub fn parallel(mut self, segments: usize) -> Self {
        self.parallel = segments.max(1);
        self
    }

    /// If an object is missing or damaged, restores the commits before it instead of failing. Default: no.
    pub fn up_to_damage(mut self, up_to_damage: bool) -> Self {
        self.up_to_damage = up_to_damage;
        self
    }

    /// Reads the restored store back and proves every checksum. Default: yes.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }
}

/// The result of [`restore`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The last position in the restored store.
    pub position: Position,
    /// The branch that it came from.
    pub branch: u32,
    /// The last position of that branch.
    pub end_of_backup: Position,
    /// Bytes of the log that were written.
    pub log_bytes: u64,
    /// The first damage, if the restore ended there.
    pub damage: Option<Error>,
    /// What verification found; empty unless the backup holds a damaged log. `None`: it was not verified.
    pub faults: Option<Vec<annals::verify::FoundFault>>,
}

/// Restores a backup into a directory that is empty or missing, or that holds an unfinished restore. The result is a
/// store: open it for writing, or for reading. Blocks until it is durable.
///
/// # Errors
///
/// [`Error::NotABackup`], [`Error::OutOfRange`] if the backup does not hold the moment, [`Error::Damaged`] with object
/// and position, [`annals::Error::BackupRefused`] if the directory is not empty, [`annals::Error::DiskFull`], and those of
/// the storage. The directory is no store then, and the same call continues.
pub fn restore(
    from: &Destination,
    dir: impl AsRef<Path>,
    options: &RestoreOptions,
    progress: impl FnMut(Progress) + Send,
) -> Result<Restored> {
    let dir = dir.as_ref();
    let store_id = catalog::store_id(from)?;
    let loaded = load(from, options.branch)?;
    let last = last_segment(&loaded, options.until)?;
    let mut copy = LogCopy::open(dir, store_id)?;
    if copy.end().is_some() {
        return Err(annals::Error::BackupRefused {
            path: dir.into(),
            why: "it holds a whole backup".into(),
        }
        .into());
    }
    let segments = &loaded.segments[..last];
    let fetched = fetch_all(from, loaded.manifest.branch, &copy, segments, options, progress)?;
    let end = match (options.until, &fetched.damage) {
        (None, None) => Some(loaded.manifest.end),
        (Some(until), None) => cut(&copy, fetched.whole, until)?,
        (until, Some(_)) => cut_before_damage(&copy, fetched.whole, until)?,
    };
    let (end, damage) = match (end, fetched.damage) {
        (Some(end), damage) => (end, damage),
        (None, Some(damage)) => return Err(damage),
        (None, None) => return Err(out_of_range(options.until, &loaded)),
    };
    copy.finish(&end)?;
    drop(copy);
    let faults = if options.verify { Some(annals::verify(dir, |_| {})?.faults) } else { None };
    Ok(Restored {
        position: Position::new(end.position),
        branch: loaded.manifest.branch,
        end_of_backup: Position::new(loaded.manifest.end.position),
        log_bytes: fetched.bytes,
        damage,
        faults,
    })
}

/// The newest manifest of a branch.
pub(crate) fn load(from: &Destination, branch: Option<u32>) -> Result<Loaded> {
    catalog::newest(from, branch)?.ok_or_else(|| {
        let why =
            branch.map_or("it has no manifest yet".into(), |branch| format!("no branch {branch}"));
        Error::NotABackup { url: from.url().into(), why }
    })
}

fn out_of_range(until: Option<Until>, loaded: &Loaded) -> Error {
    let asked = match until {
        Some(Until::Position(position)) => format!("position {position}"),
        Some(Until::Time(time)) => format!("the time {} µs", time.as_micros()),
        _ => "that moment".into(),
    };
    Error::OutOfRange { asked, end: Position::new(loaded.manifest.end.position) }
}

/// The number of the last segment that can hold a commit made by a moment.
fn last_segment(loaded: &Loaded, until: Option<Until>) -> Result<usize> {
    let is_needed = |segment: &&SegmentEntry| match until {
        Some(Until::Position(position)) => segment.first_position <= position.get(),
        Some(Until::Time(time)) => {
            segment.full.as_ref().is_none_or(|full| full.first_recorded_at <= time.as_micros())
        }
        _ => true,
    };
    if let Some(Until::Position(position)) = until
        && position.get() > loaded.manifest.end.position
    {
        return Err(out_of_range(until, loaded));
    }
    Ok(loaded.segments.iter().take_while(is_needed).count().max(1))
}

/// Ends the copy before its damage, or earlier.
fn cut_before_damage(
    copy: &LogCopy,
    segments: usize,
    until: Option<Until>,
) -> Result<Option<LogEnd>> {
    let is_damage = |error: &Error| matches!(error, Error::Store(annals::Error::Corrupt { .. }));
    if let Some(until) = until {
        match cut(copy, segments, until) {
            Err(error) if is_damage(&error) => {}
            done => return done,
        }
    }
    match cut(copy, segments, Until::Damage) {
        // Not even its header is there.
        Err(error) if is_damage(&error) && segments > 1 => cut(copy, segments - 1, Until::Damage),
        Err(error) if is_damage(&error) => Ok(None),
        done => done,
    }
}

fn cut(copy: &LogCopy, segments: usize, until: Until) -> Result<Option<LogEnd>> {
    for number in (1..=segments as u64).rev() {
        if let Some(end) = copy.cut(number, until)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

struct Fetched {
    /// Leading segments that were fetched, the last one perhaps in part.
    whole: usize,
    bytes: u64,
    damage: Option<Error>,
}

fn fetch_all(
    from: &Destination,
    branch: u32,
    copy: &LogCopy,
    segments: &[SegmentEntry],
    options: &RestoreOptions,
    progress: impl FnMut(Progress) + Send,
) -> Result<Fetched> {
    let total: u64 = segments.iter().map(SegmentEntry::len).sum();
    let done = AtomicU64::new(0);
    let progress = parking_lot::Mutex::new(progress);
    let advance = |bytes: usize| {
        let done_bytes = done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        (progress.lock())(Progress::new(done_bytes, total.max(done_bytes)));
    };
    let results = in_parallel(segments, options.parallel, |segment| {
        let file = RefCell::new(None);
        let mut begin = || {
            file.replace(Some(copy.create_segment(segment.number)?));
            Ok(())
        };
        let fetched =
            fetch_beginning(from, branch, segment, segment.len(), &mut begin, &mut |bytes| {
                advance(bytes.len());
                file.borrow_mut().as_mut().map_or(Ok(()), |file| Ok(file.write(bytes)?))
            });
        let damage = match fetched {
            Err(damage @ (Error::Damaged { .. } | Error::Key { .. })) if options.up_to_damage => {
                Some(damage)
            }
            fetched => {
                fetched?;
                None
            }
        };
        file.into_inner().map_or(Ok(()), SegmentCopy::finish)?;
        Ok(damage)
    })?;
    let bytes = done.into_inner();
    let mut whole = results.len();
    let mut damage = None;
    for (result, number) in results.into_iter().zip(1..) {
        if let Some(found) = result {
            (whole, damage) = (number, Some(found));
            break;
        }
    }
    Ok(Fetched { whole, bytes, damage })
}
