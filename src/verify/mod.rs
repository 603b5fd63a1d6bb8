//! Verification: reads every byte of a store and reports each fault.

// Owns the checks and their order. Does not depend on opening: works on stores that opening refuses, and
// beside a writer. Reads positionally. Must never stop at the first fault if the rest can still be read.

mod backup;
mod derived;
mod report;
mod segments;
mod snapshots;

use std::path::Path;
use std::sync::Arc;

use self::backup::BackupEnd;
pub use self::report::{FoundFault, VerifyReport};
use self::snapshots::UncheckedSnapshots;
use crate::cold::SegmentSource;
use crate::creation::bind_existing;
use crate::derived::newest;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::{Timestamp, clock_behind_by};
use crate::format::checkpoint::SegmentEntry;
use crate::format::names;
use crate::format::status::Status;
use crate::log::partial_reads::Tolerant;
use crate::log::scan::ScanState;
use crate::log::segment::SegmentFile;
pub use crate::progress::Progress;
use crate::recovery::tenure::Tenure;
use crate::storage::{DiskStorage, EntryKind, OpenMode, Storage, is_directory};

/// Reads every byte of the store in a directory and verifies it: headers, frames, the chain between
/// them, records, seals, index files, checkpoints. Snapshots that are torn, ahead of the log or of
/// another history are notes. Changes nothing.
///
/// Works beside a writer, whose commits in progress are not faults, and on a store that
/// [`Options::open`](crate::Options::open) refuses as damaged. If a fault is found and a writer has
/// opened the store meanwhile, everything is read a second time, and `progress` starts again.
///
/// [Cold segments](crate::cold) are counted and not read: [`verify_with_cold_segments`] does.
///
/// # Errors
///
/// [`Error::NotAStore`] and [`Error::Io`], if the store cannot be read at all. Faults inside it are
/// listed in the report.
pub fn verify(path: impl AsRef<Path>, progress: impl FnMut(Progress)) -> Result<VerifyReport> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    verify_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?, progress)
}

/// Like [`verify`], and reads the cold segments back from a source: see [`cold`](crate::cold). Memory for one of them is
/// needed.
///
/// # Errors
///
/// Those of [`verify`].
pub fn verify_with_cold_segments(
    path: impl AsRef<Path>,
    source: Arc<dyn SegmentSource>,
    progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    let dir = bind_existing(&StoreDir::new(disk, path.as_ref()))?;
    verify_in(&dir.with_cold_segments(Some(source), 0), progress)
}

pub(crate) fn verify_in(
    dir: &StoreDir,
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    let kind = dir.storage().entry_kind(&dir.join(names::LOG_DIR));
    if !matches!(kind, Ok(Some(EntryKind::Directory))) {
        return Err(Error::NotAStore { path: dir.root().into(), why: "it has no log".into() });
    }
    let tenure = Tenure::now(dir)?;
    let report = verify_once(dir, &mut progress, tenure.limit())?;
    if tenure.limit().is_some() || report.faults.is_empty() {
        return Ok(report);
    }
    let later = Tenure::now(dir)?;
    if tenure.is_same(&later) {
        return Ok(report);
    }
    // A writer has opened the store meanwhile: frames that it appended after the end of the log may have
    // been taken for evidence of missing data.
    verify_once(dir, &mut progress, Some(later.visible()))
}

fn verify_once(
    dir: &StoreDir,
    progress: &mut dyn FnMut(Progress),
    limit: Option<u64>,
) -> Result<VerifyReport> {
    let mut verifier = Verifier {
        dir,
        report: VerifyReport::default(),
        done: 0,
        total: 0,
        progress,
        state: ScanState::START,
        joined: true,
        store_id: None,
        checkpoint: 0,
        closed_at: 0,
        sealed: Vec::new(),
        unused: 0,
        snapshots: UncheckedSnapshots::default(),
        backup: BackupEnd::default(),
    };
    verifier.run(limit)?;
    Ok(verifier.report)
}

struct Verifier<'a> {
    dir: &'a StoreDir,
    report: VerifyReport,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
    /// Where the next frame of the log is expected.
    state: ScanState,
    /// Whether `state` is known; false after damage until the next readable segment.
    joined: bool,
    store_id: Option<[u8; 16]>,
    /// The last position that the newest undamaged checkpoint covers.
    checkpoint: u64,
    /// The last position that the status file of a cleanly closed store records.
    closed_at: u64,
    /// Headers and trailers of the sealed segments, in order.
    sealed: Vec<SegmentEntry>,
    /// The number of segments at the end that hold no frame.
    unused: u64,
    /// Snapshots that are compared with the log.
    snapshots: UncheckedSnapshots,
    backup: BackupEnd,
}

impl Verifier<'_> {
    /// `limit`: the position up to which readers may read beside an active writer.
    fn run(&mut self, limit: Option<u64>) -> Result<()> {
        for name in names::DIRECTORIES {
            let path = self.dir.join(name);
            if let Err(error) = is_directory(self.dir.storage(), &path) {
                self.fault(&path, 0, format!("{error}; opening the store fails"));
            }
        }
        let (numbers, others) = self.dir.segment_numbers()?;
        for path in others {
            self.fault(&path, 0, "it is named like a segment and is not a regular file");
        }
        if numbers.is_empty() {
            let why = "its log has no segments".into();
            return Err(Error::NotAStore { path: self.dir.root().into(), why });
        }
        let status = self.dir.read_status();
        self.closed_at = status.and_then(Status::closed_at).unwrap_or(0);
        let (mut files, mut media, mut cold) = (Vec::new(), Vec::new(), Vec::new());
        let mut expected = 1;
        for &number in &numbers {
            if number > expected {
                let path = self.dir.segment_path(expected);
                let missing = match number - expected {
                    1 => "the segment is missing".to_owned(),
                    _ => format!("the segments {expected} to {} are missing", number - 1),
                };
                self.fault(&path, 0, format!("{missing}, and segment {number} exists"));
            }
            expected = number + 1;
            match SegmentFile::open(self.dir, number, OpenMode::Read, 0) {
                Ok(mut file) => {
                    cold.push(!file.file.is_readable());
                    self.total += if file.file.is_readable() { file.len()? } else { 0 };
                    let medium = Arc::new(Tolerant::new(Arc::clone(&file.file)));
                    file.file = Arc::clone(&medium) as _;
                    media.push(medium);
                    files.push(file);
                }
                Err(error) => self.error(error)?,
            }
        }
        if let Some(first) = files.first()
            && self.has(names::CHECKPOINT_DIR)
        {
            let newest = newest(self.dir, first.header.store_id)?;
            self.checkpoint = newest.map_or(0, |(_, table)| table.meta.position);
        }
        self.read_backup()?;
        self.read_snapshots(files.first().map(|first| first.header.store_id), limit.is_some());
        self.derived_size(names::INDEX_DIR);
        self.derived_size(names::CHECKPOINT_DIR);
        let last = files.len().saturating_sub(1);
        let mut expected = 1;
        for (i, file) in files.iter().enumerate() {
            // After a missing segment, the walk continues from the first frame of the next one.
            self.joined &= file.header.number == expected;
            expected = file.header.number + 1;
            if cold[i] {
                self.cold_segment(file)?;
                continue;
            }
            self.headers(file);
            let before = i.checked_sub(1).map(|before| &files[before]);
            self.segment(file, before, &files[i + 1..], i == last, limit)?;
            for (from, to) in media[i].unreadable() {
                self.fault(&file.path, from, format!("{} bytes cannot be read", to - from));
            }
        }
        self.report.segments = files.len() as u64 - self.unused;
        self.report.prepared_segments = self.unused;
        self.derived(&numbers)?;
        self.judge_snapshots(limit);
        self.judge_backup();
        self.judge_time();
        self.foreign();
        Ok(())
    }

    /// Notes a clock that runs behind the last recorded time: a clock was ahead once, and later commits
    /// get that time. No read reports this.
    fn judge_time(&mut self) {
        let (recorded_at, now) = (self.state.recorded_at, self.dir.storage().now_micros());
        self.report.clock_behind_by = clock_behind_by(recorded_at, now);
        if self.report.clock_behind_by.is_some() {
            let [recorded_at, now] = [recorded_at, now].map(Timestamp::from_micros);
            self.report.notes.push(format!(
                "the newest commit was recorded at {recorded_at}, and the clock reads {now}: a clock \
                 was ahead, and later commits are recorded at that time until it is reached"
            ));
        }
    }

    /// Whether this entry of the store is a directory; other kinds of entry are not read.
    fn has(&self, name: &str) -> bool {
        is_directory(self.dir.storage(), &self.dir.join(name)).unwrap_or(false)
    }

    fn has_segment(&self, number: u64) -> bool {
        let path = self.dir.segment_path(number);
        matches!(self.dir.storage().entry_kind(&path), Ok(Some(EntryKind::File)))
    }

    fn fault(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        let what = what.into();
        self.report.faults.push(FoundFault { file: file.into(), offset, what });
    }

    /// Reports a damaged seal. The index file is written once the seal is durable: without one, the seal
    /// was never finished, the writer seals the segment again, and this is no fault.
    fn seal_fault(&mut self, file: &SegmentFile, offset: u64, what: String) {
        let number = file.header.number;
        let index = self.dir.index_path(number);
        let levels = self.dir.levels().unwrap_or_default();
        let covered = levels.iter().any(|(first, last)| (*first..=*last).contains(&number));
        if !covered && matches!(self.dir.storage().entry_kind(&index), Ok(None)) {
            let path = file.path.display();
            self.report.notes.push(format!(
                "{path}: the next opening for writing seals it again: {what}, at offset {offset}"
            ));
        } else {
            self.fault(&file.path, offset, what);
        }
    }

    /// Adds damage to the report; any other error ends the run.
    fn error(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { file, offset, what, .. } => self.fault(&file, offset, what),
            Error::Io { path, operation, source } => {
                self.fault(&path, 0, format!("cannot {operation}: {source}"));
            }
            Error::Unsupported { path, what } => self.fault(&path, 0, what),
            other => return Err(other),
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.report.bytes += bytes;
        let total_bytes = self.total.max(self.done);
        (self.progress)(Progress { done_bytes: self.done, total_bytes });
    }
}
