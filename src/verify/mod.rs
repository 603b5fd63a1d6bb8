//! Verification: reads every byte of a store and reports each fault.

// Owns the checks and their order. Does not depend on opening: works on stores that opening refuses, and
// beside a writer. Reads positionally. Must never stop at the first fault if the rest can still be read.

mod derived;
mod snapshots;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::snapshots::UncheckedSnapshots;
use crate::creation::bind_existing;
use crate::derived::newest;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::{Timestamp, clock_behind_by};
use crate::format::checkpoint::SegmentEntry;
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::ChangeNumber;
use crate::format::seal;
use crate::format::segment_header::{COPIES, DATA_START, HEADER_LEN, SegmentHeader};
use crate::format::status::Status;
use crate::format::{Defect, names};
use crate::log::partial_reads::Tolerant;
use crate::log::scan::{ScanEnd, ScanState, Window, resume, scan};
use crate::log::segment::SegmentFile;
use crate::recovery::find_evidence;
use crate::recovery::tenure::Tenure;
use crate::storage::{DiskStorage, EntryKind, OpenMode, Storage, is_directory, read_exact_at};

/// The progress of a long operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are processed.
    pub done_bytes: u64,
    /// Total bytes to process.
    pub total_bytes: u64,
}

/// A fault that [`verify`] found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FoundFault {
    /// The file with the fault.
    pub file: PathBuf,
    /// The offset of the fault in the file, in bytes.
    pub offset: u64,
    /// A description of the fault.
    pub what: String,
}

/// The result of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// Damage. A store without faults opens, and every event in it can be read.
    pub faults: Vec<FoundFault>,
    /// Findings that are not faults: foreign files, a tail that the next opening will cut, index files
    /// that it will build.
    pub notes: Vec<String>,
    /// Segments read that hold events or take new ones: the number that
    /// [`Stats::segments`](crate::Stats::segments) gives for the same store.
    pub segments: u64,
    /// Segments read that are prepared for later, and hold no frame yet.
    pub prepared_segments: u64,
    /// Commits verified.
    pub commits: u64,
    /// Events verified.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How far this machine's clock is behind the newest recorded time, if by more than a minute. A
    /// clock was ahead once, and commits are recorded at that time until the clock reaches it.
    pub clock_behind_by: Option<Duration>,
}

/// Reads every byte of the store in a directory and verifies it: headers, frames, the chain between
/// them, records, seals, index files, checkpoints. Snapshots that are torn, ahead of the log or of
/// another history are notes. Changes nothing.
///
/// Works beside a writer, whose commits in progress are not faults, and on a store that
/// [`Options::open`](crate::Options::open) refuses as damaged. If a fault is found and a writer has
/// opened the store meanwhile, everything is read a second time, and `progress` starts again.
///
/// # Errors
///
/// [`Error::NotAStore`] and [`Error::Io`], if the store cannot be read at all. Faults inside it are
/// listed in the report.
pub fn verify(path: impl AsRef<Path>, progress: impl FnMut(Progress)) -> Result<VerifyReport> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    verify_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?, progress)
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
        let (mut files, mut media) = (Vec::new(), Vec::new());
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
                    self.total += file.len()?;
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
        self.read_snapshots(files.first().map(|first| first.header.store_id));
        self.derived_size(names::INDEX_DIR);
        self.derived_size(names::CHECKPOINT_DIR);
        let last = files.len().saturating_sub(1);
        let mut expected = 1;
        for (i, file) in files.iter().enumerate() {
            // After a missing segment, the walk continues from the first frame of the next one.
            self.joined &= file.header.number == expected;
            expected = file.header.number + 1;
            self.headers(file);
            self.segment(file, &files[i + 1..], i == last, limit)?;
            for (from, to) in media[i].unreadable() {
                self.fault(&file.path, from, format!("{} bytes cannot be read", to - from));
            }
        }
        self.report.segments = files.len() as u64 - self.unused;
        self.report.prepared_segments = self.unused;
        self.derived(&numbers)?;
        self.judge_snapshots(limit);
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

    /// Verifies both copies of the header, and the zeros around them.
    fn headers(&mut self, file: &SegmentFile) {
        if *self.store_id.get_or_insert(file.header.store_id) != file.header.store_id {
            self.fault(&file.path, 32, "the segment belongs to another store");
        }
        let mut bytes = vec![0; usize::try_from(DATA_START).unwrap_or(0)];
        if let Err(e) = read_exact_at(&*file.file, &mut bytes, 0) {
            self.fault(&file.path, 0, format!("cannot be read: {e}"));
            return;
        }
        for at in COPIES {
            let start = usize::try_from(at).unwrap_or(0);
            let copy = &bytes[start..start + HEADER_LEN];
            match SegmentHeader::decode(copy) {
                Ok(header) if header == file.header => {}
                Ok(_) => self.fault(&file.path, at, "the copies of the header differ"),
                Err(d) => self.fault(&file.path, at, format!("a copy of the header: {d}")),
            }
            let gap = &bytes[start + HEADER_LEN..start + 4096];
            if let Some(at) = gap.iter().position(|&byte| byte != 0) {
                let offset = (start + HEADER_LEN + at) as u64;
                self.fault(&file.path, offset, "bytes between the headers are not zero");
            }
        }
        self.advance(DATA_START);
    }

    fn segment(
        &mut self,
        file: &SegmentFile,
        later: &[SegmentFile],
        is_last: bool,
        limit: Option<u64>,
    ) -> Result<()> {
        // The trailer is read before the length: a writer may seal the segment in between, and the part
        // that the trailer describes must lie within the length.
        let trailer = file.trailer()?;
        let len = file.len()?;
        // All of a sealed segment is durable, including a last frame without events.
        let limit = limit.filter(|_| trailer.is_none());
        let seed = file.header.seed();
        let mut window = Window::new(Arc::clone(&file.file), len);
        self.state.offset = DATA_START;
        let starts_with_a_frame = self.take_first(file)?;
        // The segment after a sealed one may be empty and take the next event, like the first of a new
        // store.
        let number = file.header.number;
        let after_sealed = self.sealed.last().is_some_and(|it| it.header.number + 1 == number);
        let in_use = starts_with_a_frame || after_sealed || number == 1;
        self.unused = if in_use { 0 } else { self.unused + 1 };
        let mut state = self.state.clone();
        let end = loop {
            let (mut commits, mut events, mut bytes) = (0, 0, 0);
            let result =
                scan(&mut window, seed, &mut state, limit.unwrap_or(u64::MAX), &file.path, |f| {
                    commits += u64::from(f.header.kind == FrameKind::Commit);
                    events += u64::from(f.header.event_count);
                    bytes += f.header.frame_len();
                    self.snapshots.pass(f);
                    (self.progress)(Progress {
                        done_bytes: self.done + bytes,
                        total_bytes: self.total.max(self.done + bytes),
                    });
                    Ok(())
                });
            self.report.commits += commits;
            self.report.events += events;
            self.advance(bytes);
            let end = match result {
                Ok(end) => end,
                Err(error) => {
                    self.error(error)?;
                    self.joined = false;
                    break ScanEnd::EndOfFile;
                }
            };
            let defect = match &end {
                ScanEnd::Invalid(defect) => defect.clone(),
                // A file that was truncated ends like a full one.
                ScanEnd::EndOfFile => Defect::TooShort,
                ScanEnd::Sealed | ScanEnd::Limit => break end,
            };
            let behind = trailer.as_ref().map_or(len, |t| t.seal_offset);
            if trailer.as_ref().is_some_and(|t| state.offset >= t.seal_offset) {
                self.seal_fault(file, state.offset, format!("the seal: {defect}"));
                break end;
            }
            // Damage, or the end of an active segment: continue at the next valid frame, if there is
            // one.
            let damage = trailer.is_some() || self.is_damage(file, later, &state, limit)?;
            match resume(&mut window, seed, state.offset + 8, behind, &file.path)? {
                Some((offset, header)) if damage => {
                    self.fault(&file.path, state.offset, defect.to_string());
                    self.advance(offset - state.offset);
                    state = ScanState {
                        offset,
                        link: header.link,
                        next_position: header.first_position,
                        recorded_at: header.recorded_at,
                        proven: state.proven.max(header.durable_position),
                        next_change: ChangeNumber::NONE,
                    };
                }
                _ => {
                    if damage {
                        self.fault(&file.path, state.offset, defect.to_string());
                        self.joined = false;
                    }
                    break end;
                }
            }
        };
        self.ending(file, later.first(), &state, &end, is_last, starts_with_a_frame, limit)?;
        if let Some(trailer) = trailer {
            self.trailer(file, &trailer, (end != ScanEnd::Limit).then_some(&state));
            self.sealed.push(SegmentEntry { header: file.header.clone(), trailer });
        }
        self.state = state;
        self.advance(len.saturating_sub(self.state.offset.max(DATA_START)));
        Ok(())
    }

    /// Applies the recovery rule to a segment that is not sealed; returns whether its end is damage.
    fn is_damage(
        &self,
        file: &SegmentFile,
        later: &[SegmentFile],
        state: &ScanState,
        limit: Option<u64>,
    ) -> Result<bool> {
        let next = match later.first() {
            Some(next) => first_of(next)?,
            None => None,
        };
        // If the next segment continues this one, this one is full and its seal is missing or
        // unfinished: the next opening, or the active writer, completes it.
        let goes_on = next.is_some_and(|first| {
            first.link == state.link && first.first_position == state.next_position
        });
        if goes_on {
            // Not damage: the segment is full and will be sealed.
            return Ok(false);
        }
        if let Some(visible) = limit {
            return Ok(visible != u64::MAX && state.next_position <= visible);
        }
        Ok(self.checkpoint.max(self.closed_at) >= state.next_position
            || find_evidence(file, later, state)?.is_some())
    }

    /// Whether the segment begins with a frame. After damage, the expected state is set from that frame.
    fn take_first(&mut self, file: &SegmentFile) -> Result<bool> {
        let mut bytes = [0; frame::HEADER_LEN];
        if file.len()? < DATA_START + frame::HEADER_LEN as u64 {
            return Ok(false);
        }
        if let Err(e) = read_exact_at(&*file.file, &mut bytes, DATA_START) {
            self.fault(&file.path, DATA_START, format!("cannot be read: {e}"));
            return Ok(false);
        }
        let Ok((first, _)) = FrameHeader::decode(&bytes, file.header.seed(), DATA_START) else {
            return Ok(false);
        };
        if !self.joined {
            self.state.link = first.link;
            self.state.next_position = first.first_position;
            self.state.recorded_at = first.recorded_at;
            self.joined = true;
        }
        Ok(true)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `segment`, split off for length")]
    fn ending(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
        state: &ScanState,
        end: &ScanEnd,
        is_last: bool,
        begins: bool,
        limit: Option<u64>,
    ) -> Result<()> {
        // A writer may have created the next segment since the segments were listed.
        if *end == ScanEnd::Sealed && is_last && !self.has_segment(file.header.number + 1) {
            self.fault(
                &file.path,
                state.offset,
                "the segment is sealed, and no segment follows it",
            );
        }
        let ScanEnd::Invalid(defect) = end else {
            return Ok(());
        };
        if limit.is_some() || *defect == Defect::Zero {
            return Ok(());
        }
        let goes_on = match next {
            Some(next) => {
                first_of(next)?.is_some_and(|first| first.first_position == state.next_position)
            }
            None => false,
        };
        if !goes_on && begins {
            self.report.notes.push(format!(
                "{}: the next opening cuts the tail at offset {} off: {defect}",
                file.path.display(),
                state.offset
            ));
        }
        Ok(())
    }

    /// Verifies the trailer. `state` is the end of the frames; `None` if the walk stopped at the limit
    /// because a writer has sealed the segment since that was read.
    fn trailer(&mut self, file: &SegmentFile, trailer: &seal::Trailer, state: Option<&ScanState>) {
        let table_at = trailer.table_offset();
        let len = seal::body_len(trailer.event_count) - seal::TRAILER_LEN as u64;
        let Ok(len) = usize::try_from(len) else {
            self.fault(&file.path, table_at, "the offset table is longer than the address space");
            return;
        };
        let mut table = vec![0; len];
        if let Err(e) = read_exact_at(&*file.file, &mut table, table_at) {
            self.fault(&file.path, table_at, format!("the offset table cannot be read: {e}"));
            return;
        }
        if crc32(file.header.seed().plain(), &table) != trailer.table_checksum {
            self.seal_fault(file, table_at, "the offset table has a wrong checksum".into());
        }
        let next = trailer.base_position + u64::from(trailer.event_count);
        let contradicts =
            |state: &ScanState| state.next_position != next || state.link != trailer.link;
        if self.joined && state.is_some_and(contradicts) {
            self.fault(&file.path, trailer.seal_offset, "the seal contradicts the frames");
        }
    }
}

fn first_of(file: &SegmentFile) -> Result<Option<FrameHeader>> {
    let mut bytes = [0; frame::HEADER_LEN];
    if file.len()? < DATA_START + frame::HEADER_LEN as u64
        || read_exact_at(&*file.file, &mut bytes, DATA_START).is_err()
    {
        return Ok(None);
    }
    let decoded = FrameHeader::decode(&bytes, file.header.seed(), DATA_START);
    Ok(decoded.ok().map(|(header, _)| header))
}
