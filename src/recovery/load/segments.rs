//! Opens the segments of a log: all of them, or, if the store was closed cleanly, only those that its
//! checkpoint does not list.
//!
//! For segments that are not opened, header and trailer are taken from the checkpoint. They were right
//! when it was written; [`check_segment`] compares the files with them, during opening or soon after.

use super::{LogFiles, load_once};
use crate::derived::newest;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::checkpoint::SegmentEntry;
use crate::format::frame::{self, FrameHeader};
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::log::lazy_file::segment_for_later;
use crate::log::segment::SegmentFile;
use crate::recovery::{LoadedLog, Mode};
use crate::storage::{OpenMode, read_exact_at};

/// When sealed segments that a checkpoint lists are compared with their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recovery) enum SegmentComparison {
    /// While the store is opened; if one differs, the checkpoint is not used.
    Now,
    /// The caller compares them later.
    Later,
}

/// How often a reader lists the segments again while a writer creates new ones.
const LIST_TRIES: u32 = 8;

/// Loads the log of a store.
///
/// A writer may create the next segment and seal the last one after a reader has listed them. The reader
/// would then miss a segment, so if loading fails and the list is outdated, the segments are listed
/// again.
pub(in crate::recovery) fn load(
    dir: &StoreDir,
    mode: Mode,
    when: SegmentComparison,
    threads: bool,
) -> Result<LoadedLog> {
    let mut numbers = dir.list_segments()?;
    let tries = if mode == Mode::Write { 1 } else { LIST_TRIES };
    for _ in 1..tries {
        let loaded = load_listed(dir, mode, when, threads, &numbers);
        if loaded.is_ok() {
            return loaded;
        }
        let listed = dir.list_segments()?;
        if listed == numbers {
            return loaded;
        }
        numbers = listed;
    }
    load_listed(dir, mode, when, threads, &numbers)
}

/// Loads a log that consists of the segments with these numbers.
fn load_listed(
    dir: &StoreDir,
    mode: Mode,
    when: SegmentComparison,
    threads: bool,
    numbers: &[u64],
) -> Result<LoadedLog> {
    let opener = Opener { dir, mode };
    settled(dir, mode, || {
        if let Some(log) = load_known(&opener, numbers, when)? {
            return Ok(log);
        }
        let mut files = Vec::new();
        opener.open_all(numbers, &mut files)?;
        load_opened(dir, threads, mode, &files)
    })
}

/// Loads a log from these open segments, which are the first ones, without a gap.
pub(in crate::recovery) fn load_files(
    dir: &StoreDir,
    mode: Mode,
    files: &[SegmentFile],
) -> Result<LoadedLog> {
    settled(dir, mode, || load_opened(dir, false, mode, files))
}

/// Loads again if files changed meanwhile: beside a writer, a missing index file may have been merged
/// into a level file after those were listed.
fn settled(dir: &StoreDir, mode: Mode, load: impl Fn() -> Result<LoadedLog>) -> Result<LoadedLog> {
    let beside_writer = if mode == Mode::Write { 0 } else { 3 };
    for _ in 0..beside_writer {
        let listed = dir.levels()?;
        let log = load()?;
        if log.rebuilt == 0 || listed == dir.levels()? {
            return Ok(log);
        }
    }
    load()
}

/// Loads a log from what a checkpoint records of its sealed segments; `None` if no checkpoint lists any,
/// or if it does not fit the log.
///
/// The checkpoint is used without opening the segments only if the last writer closed the store. After a
/// kill, the files themselves are read.
fn load_known(
    opener: &Opener<'_>,
    numbers: &[u64],
    when: SegmentComparison,
) -> Result<Option<LoadedLog>> {
    let Opener { dir, mode } = *opener;
    let (Some(&last), true) = (numbers.last(), numbers.len() > 1) else { return Ok(None) };
    if !dir.read_status().is_some_and(|status| status.clean) {
        return Ok(None);
    }
    let store_id = opener.open(last)?.header.store_id;
    let Some(newest) = newest(dir, store_id)? else { return Ok(None) };
    let entries = newest.1.sealed_segments().unwrap_or_default();
    let known = entries.len();
    if known == 0 || known >= numbers.len() {
        return Ok(None);
    }
    if when == SegmentComparison::Now
        && (0..known).any(|at| check_segment(dir, &entries, at).is_err())
    {
        return Ok(None);
    }
    let (mut files, mut trailers) = (Vec::new(), Vec::new());
    for entry in &entries {
        trailers.push(Some(entry.trailer.clone()));
        files.push(segment_for_later(dir, opener.open_mode(), entry.clone()));
    }
    opener.open_all(&numbers[known..], &mut files)?;
    for file in &files[known..] {
        trailers.push(file.trailer()?);
    }
    let log = LogFiles { files: &files, trailers: &trailers, threads: false, known };
    let mut log = load_once(dir, mode, &log, Some(newest))?;
    if let Some(log) = &mut log
        && when == SegmentComparison::Later
    {
        log.unchecked = entries;
    }
    Ok(log)
}

/// Loads the log from these segments. `threads`: other threads may do part of the work.
fn load_opened(
    dir: &StoreDir,
    threads: bool,
    mode: Mode,
    files: &[SegmentFile],
) -> Result<LoadedLog> {
    let none = || Error::NotAStore { path: dir.root().into(), why: "there is no segment".into() };
    let first = files.first().ok_or_else(none)?;
    let newest = newest(dir, first.header.store_id)?;
    let trailers = files.iter().map(SegmentFile::trailer).collect::<Result<Vec<_>>>()?;
    let log = LogFiles { files, trailers: &trailers, threads, known: 0 };
    load_once(dir, mode, &log, newest)?.ok_or_else(none)
}

/// Compares a sealed segment with its entry in a checkpoint, and its first frame with the seal of the
/// segment before. `entries` are those of the segments from the first on.
pub(crate) fn check_segment(dir: &StoreDir, entries: &[SegmentEntry], at: usize) -> Result<()> {
    let SegmentEntry { header, trailer } = &entries[at];
    let before: Option<&Trailer> = at.checked_sub(1).map(|before| &entries[before].trailer);
    let file = SegmentFile::open(dir, header.number, OpenMode::Read, trailer.base_position)?;
    let mut first = [0; frame::HEADER_LEN];
    read_exact_at(&*file.file, &mut first, DATA_START)
        .map_err(|e| Error::io("read", &file.path, e))?;
    let follows = |first: &FrameHeader| {
        first.link == before.map_or(0, |before| before.link)
            && first.first_position == trailer.base_position
    };
    let decoded = FrameHeader::decode(&first, header.seed(), DATA_START);
    if file.header == *header
        && file.trailer()?.as_ref() == Some(trailer)
        && decoded.is_ok_and(|(first, _)| follows(&first))
    {
        return Ok(());
    }
    Err(Error::Corrupt {
        file: dir.segment_path(header.number),
        offset: 0,
        expected_position: trailer.base_position.into(),
        what: "not the sealed segment that the checkpoint records".into(),
        evidence: None,
    })
}

/// Opens segments; in a writing mode for writing, because sealed segments may have to be sealed again.
struct Opener<'a> {
    dir: &'a StoreDir,
    mode: Mode,
}

impl Opener<'_> {
    fn open_mode(&self) -> OpenMode {
        if self.mode == Mode::Write { OpenMode::ReadWrite } else { OpenMode::Read }
    }

    fn open(&self, number: u64) -> Result<SegmentFile> {
        let file = SegmentFile::open(self.dir, number, self.open_mode(), 0)?;
        if self.mode == Mode::Write && file.header.ro_features != 0 {
            let bits = file.header.ro_features;
            let what = format!("unknown features {bits:#x} permit reading only");
            return Err(Error::Unsupported { path: file.path, what });
        }
        Ok(file)
    }

    /// Opens the segments with these numbers and adds them to `files`; all have to be of the same store.
    fn open_all(&self, numbers: &[u64], files: &mut Vec<SegmentFile>) -> Result<()> {
        for &number in numbers {
            let file = self.open(number)?;
            if let Some(first) = files.first()
                && first.header.store_id != file.header.store_id
            {
                return Err(Error::Corrupt {
                    file: file.path,
                    offset: 32,
                    expected_position: 0.into(),
                    what: "the segment belongs to another store".into(),
                    evidence: None,
                });
            }
            files.push(file);
        }
        Ok(())
    }
}
