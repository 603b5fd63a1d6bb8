//! Cuts off a log at the damage because of which an opening refuses it.
//!
//! Owns the place of the cut and its order: first everything is copied to quarantine; then derived files
//! are removed, then later segments from the last one on, then the rest of the damaged segment. After a
//! power loss at any moment, the store either is refused at the same position as before, or ends there.
//! Must never touch a byte before the cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::load_files;
use super::tail::{Remains, copy_out, last_nonzero, zero};
use super::{Mode, judge};
use crate::catalog::{Part, head_in};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::container::CHECKPOINT_MAGIC;
use crate::format::frame::FrameKind;
use crate::format::names;
use crate::format::segment_header::DATA_START;
use crate::format::snapshot::SnapshotFile;
use crate::index::block_file::{BlockFile, Reads};
use crate::index::heads::{HeadTable, Heads};
use crate::log::rotation::create_segment;
use crate::log::scan::{Window, resume};
use crate::log::segment::SegmentFile;
use crate::storage::{EntryKind, OpenMode, Storage, read_exact_at, write_all_at};

/// The place where a log is to be cut, and the reason.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The segment that the cut lies in; with `fresh`, the first segment that is removed.
    segment: u64,
    pub(crate) offset: u64,
    /// The first position that is removed.
    pub(crate) position: u64,
    /// Everything that is kept is sealed: the log continues in a new segment.
    fresh: bool,
    pub(crate) file: PathBuf,
    pub(crate) what: String,
    pub(crate) evidence: String,
    /// The last position that frames after the cut record; 0: none.
    pub(crate) last_known: u64,
    store_id: [u8; 16],
    capacity: u64,
    /// Segments after the one that is cut.
    later: Vec<u64>,
    /// The streams' heads before the cut, if they could be read.
    heads: Option<(Vec<Part>, Heads)>,
}

/// The result of a cut.
#[derive(Debug, Default)]
pub(crate) struct Cutting {
    /// Bytes removed from the log, without zeros at the end of a file.
    pub(crate) bytes: u64,
    pub(crate) kept: Vec<PathBuf>,
}

/// The place where an opening for writing refuses the store; `None` if it would succeed. Changes
/// nothing.
pub(crate) fn plan(dir: &StoreDir) -> Result<Option<Cut>> {
    let (numbers, _) = dir.segment_numbers()?;
    let (files, refused) = whole_prefix(dir, &numbers)?;
    let Some(last) = files.last() else {
        let missing = "the segment is missing".to_owned();
        let (file, what) = refused.unwrap_or_else(|| (dir.segment_path(1), missing));
        let evidence = Some("no part of the log can be kept".into());
        return Err(Error::Corrupt {
            file,
            offset: 0,
            expected_position: 1.into(),
            what,
            evidence,
        });
    };
    let (last, store_id, capacity) =
        (last.header.number, last.header.store_id, last.header.capacity);
    let mut cut = Cut {
        segment: last + 1,
        offset: 0,
        position: 0,
        fresh: false,
        file: dir.segment_path(last + 1),
        what: String::new(),
        evidence: String::new(),
        last_known: 0,
        store_id,
        capacity,
        later: Vec::new(),
        heads: None,
    };
    match load_files(dir, Mode::Read, &files) {
        Ok(log) => {
            let active = &log.files[0];
            let (_, evidence) = judge(&log, active, &log.files[1..], None)?;
            let Some(evidence) =
                evidence.or_else(|| refused.as_ref().map(|(_, what)| what.clone()))
            else {
                return Ok(None);
            };
            cut.segment = active.header.number;
            cut.offset = log.state.offset;
            cut.position = log.state.next_position;
            cut.file.clone_from(&active.path);
            (cut.what, cut.evidence) = (log.end.clone(), evidence);
            cut.last_known = log.checkpoint_position;
            cut.heads = Some((log.parts, log.heads));
        }
        Err(Error::Corrupt { file, offset, expected_position, what, evidence })
            if expected_position.get() > 0 =>
        {
            cut.position = expected_position.get();
            match files.iter().find(|segment| segment.path == file) {
                Some(segment) if offset >= DATA_START => {
                    cut.segment = segment.header.number;
                    cut.offset = offset;
                }
                None if file == cut.file => cut.fresh = true,
                _ => {
                    return Err(Error::Corrupt { file, offset, expected_position, what, evidence });
                }
            }
            cut.file.clone_from(&file);
            cut.evidence = evidence.unwrap_or_else(|| "the segment is sealed".into());
            cut.what = what;
        }
        Err(other) => return Err(other),
    }
    if let Some((file, what)) = refused
        && cut.segment >= last
    {
        (cut.file, cut.evidence) = (file, what);
    }
    cut.later =
        numbers.into_iter().filter(|&n| n > cut.segment || cut.fresh && n == cut.segment).collect();
    let behind = behind(&files, &cut)?;
    cut.last_known = cut.last_known.max(behind);
    Ok(Some(cut))
}

/// A file, and what is wrong with it.
type Refused = (PathBuf, String);

/// The segments up to the first one that does not continue its predecessor, and the reason for that one.
fn whole_prefix(dir: &StoreDir, numbers: &[u64]) -> Result<(Vec<SegmentFile>, Option<Refused>)> {
    let mut files: Vec<SegmentFile> = Vec::new();
    for (&number, expected) in numbers.iter().zip(1..) {
        let path = dir.segment_path(expected);
        if number != expected {
            let what = format!("segment {expected} is missing, and segment {number} exists");
            return Ok((files, Some((path, what))));
        }
        match SegmentFile::open(dir, number, OpenMode::Read, 0) {
            Ok(file) => {
                let first = files.first().unwrap_or(&file);
                if first.header.store_id != file.header.store_id {
                    let what = format!("segment {number} belongs to another store");
                    return Ok((files, Some((path, what))));
                }
                files.push(file);
            }
            Err(Error::Corrupt { what, .. }) => {
                return Ok((files, Some((path, format!("segment {number}: {what}")))));
            }
            Err(other) => return Err(other),
        }
    }
    Ok((files, None))
}

/// The last position that frames after the cut record.
fn behind(files: &[SegmentFile], cut: &Cut) -> Result<u64> {
    let mut last = 0;
    for file in files.iter().filter(|file| file.header.number >= cut.segment) {
        let len = file.len()?;
        let end = file.trailer()?.map_or(len, |trailer| trailer.seal_offset);
        let mut window = Window::new(Arc::clone(&file.file), len);
        let inside = file.header.number == cut.segment && !cut.fresh;
        let mut from = if inside { cut.offset } else { DATA_START };
        let seed = file.header.seed();
        while let Some((offset, header)) = resume(&mut window, seed, from, end, &file.path)? {
            if header.kind == FrameKind::Commit {
                last = last.max(header.next_position() - 1);
            }
            last = last.max(header.durable_position);
            from = offset + header.frame_len();
        }
        if let Some(trailer) = file.trailer()? {
            last = last.max(trailer.base_position + u64::from(trailer.event_count) - 1);
        }
    }
    Ok(if last >= cut.position { last } else { 0 })
}

/// Makes the cut. The caller holds the lock.
pub(crate) fn perform(dir: &StoreDir, cut: &Cut) -> Result<Cutting> {
    let directory = dir.join(names::QUARANTINE_DIR);
    dir.storage().create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
    dir.sync_root()?;
    let mut keeper =
        Keeper { dir, directory, nonce: dir.storage().random_u64(), cutting: Cutting::default() };
    let mut rest = None;
    if !cut.fresh {
        let segment = SegmentFile::open(dir, cut.segment, OpenMode::ReadWrite, cut.position)?;
        rest = keeper.log(segment, cut.offset)?;
    }
    for &number in &cut.later {
        keeper.whole_segment(dir.root(), number)?;
    }
    let in_use = std::iter::once(cut.segment).filter(|_| !cut.fresh);
    let indexes = in_use.chain(cut.later.iter().copied());
    let mut derived: Vec<PathBuf> = indexes.map(|number| dir.index_path(number)).collect();
    // A level file is removed if it covers any segment that is cut.
    let levels = dir.levels()?.into_iter().filter(|level| level.1 >= cut.segment);
    derived.extend(levels.map(|(first, last)| dir.level_path(first, last)));
    derived.extend(checkpoints_behind(dir, cut)?);
    let snapshots = snapshots_behind(dir, cut)?;
    let mut copied = Vec::new();
    for path in derived.into_iter().chain(snapshots) {
        if keeper.file(&path)? {
            copied.push(path);
        }
    }
    keeper.record(cut)?;
    let (directory, cutting) = (keeper.directory, keeper.cutting);
    dir.storage().sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;

    // Snapshots are removed first: one of removed events must not be used with the events that replace
    // them.
    for path in copied.iter().rev() {
        remove(dir.storage(), path)?;
    }
    // The status file may record that the store was closed at a later position.
    let status = dir.join(names::STATUS);
    let kind = dir.storage().entry_kind(&status).map_err(|e| Error::io("look at", &status, e))?;
    if kind == Some(EntryKind::File) {
        remove(dir.storage(), &status)?;
    }
    // The manifest of a backup names the place that is cut off.
    dir.end_backup()?;
    for &number in cut.later.iter().rev() {
        remove(dir.storage(), &dir.segment_path(number))?;
    }
    if let Some((segment, remains)) = rest {
        if let Some(remains) = remains {
            zero(&remains)?;
        }
        if segment.len()? < segment.header.capacity {
            let allocated = segment.file.allocate(segment.header.capacity);
            allocated.map_err(|e| {
                Error::io("allocate", &segment.path, e).wanting(segment.header.capacity)
            })?;
        }
        segment.file.sync_data().map_err(|e| Error::io("sync", &segment.path, e))?;
    } else {
        create_segment(dir, cut.segment, cut.store_id, cut.capacity)?;
    }
    Ok(cutting)
}

fn remove(storage: &dyn Storage, path: &Path) -> Result<()> {
    storage.remove_file(path).map_err(|e| Error::io("remove", path, e))?;
    let directory = path.parent().unwrap_or(path);
    storage.sync_dir(directory).map_err(|e| Error::io("sync", directory, e))
}

/// The checkpoints that cover removed positions.
fn checkpoints_behind(dir: &StoreDir, cut: &Cut) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for number in dir.checkpoints()? {
        let path = dir.checkpoint_path(number);
        let file =
            dir.storage().open(&path, OpenMode::Read).map_err(|e| Error::io("open", &path, e))?;
        let table = BlockFile::open(file, CHECKPOINT_MAGIC).and_then(|file| {
            file.verify()?;
            HeadTable::new(file)
        });
        if table.is_ok_and(|table| table.meta.position >= cut.position) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The snapshots that cover removed events, or may cover them.
fn snapshots_behind(dir: &StoreDir, cut: &Cut) -> Result<Vec<PathBuf>> {
    let root = dir.join(names::SNAPSHOT_DIR);
    let list = |path: &Path| match dir.storage().read_dir(path) {
        Ok(entries) => Ok(entries),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", path, e)),
    };
    let mut found = Vec::new();
    for fan_out in list(&root)?.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let directory = root.join(&fan_out.name);
        for entry in list(&directory)?.iter().filter(|entry| entry.kind == EntryKind::File) {
            let path = directory.join(&entry.name);
            if !is_before(dir.storage(), &path, cut)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn is_before(storage: &dyn Storage, path: &Path, cut: &Cut) -> Result<bool> {
    let io = |e| Error::io("read", path, e);
    let file = storage.open(path, OpenMode::Read).map_err(io)?;
    let mut bytes = vec![0; usize::try_from(file.len().map_err(io)?).unwrap_or(0)];
    read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
    let Ok(snapshot) = SnapshotFile::decode(&bytes) else { return Ok(false) };
    Ok(match (&cut.heads, snapshot.is_position) {
        (_, true) => snapshot.mark < cut.position,
        (Some((parts, heads)), false) => {
            let head = match heads.get(snapshot.key) {
                Ok(None) => head_in(parts, snapshot.key, Reads::Any).ok(),
                head => head.ok().flatten(),
            };
            head.is_some_and(|head| snapshot.mark <= head.version)
        }
        (None, false) => false,
    })
}

/// Copies files into quarantine.
struct Keeper<'a> {
    dir: &'a StoreDir,
    directory: PathBuf,
    nonce: u64,
    cutting: Cutting,
}

impl Keeper<'_> {
    /// Copies the rest of a segment from `from` on.
    fn log(
        &mut self,
        segment: SegmentFile,
        from: u64,
    ) -> Result<Option<(SegmentFile, Option<Remains>)>> {
        let to = last_nonzero(&segment.file, &segment.path, from)?;
        let remains = to.map(|to| Remains {
            file: Arc::clone(&segment.file),
            path: segment.path.clone(),
            number: segment.header.number,
            from,
            to,
        });
        if let Some(remains) = &remains {
            self.keep(remains)?;
        }
        Ok(Some((segment, remains)))
    }

    fn whole_segment(&mut self, root: &Path, number: u64) -> Result<()> {
        let path = names::segment_path(root, number);
        let opened = self.dir.storage().open(&path, OpenMode::Read);
        let file = opened.map_err(|e| Error::io("open", &path, e))?;
        match last_nonzero(&file, &path, 0)? {
            Some(to) => self.keep(&Remains { file, path, number, from: 0, to }),
            None => Ok(()),
        }
    }

    fn keep(&mut self, remains: &Remains) -> Result<()> {
        let path = self.directory.join(remains.kept_name(self.nonce));
        copy_out(self.dir.storage(), remains, &path)?;
        self.cutting.bytes += remains.to - remains.from.max(DATA_START.min(remains.to));
        self.cutting.kept.push(path);
        Ok(())
    }

    /// Copies a derived file or a snapshot; returns whether it exists.
    fn file(&mut self, path: &Path) -> Result<bool> {
        let file = match self.dir.storage().open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kept = self.directory.join(format!("{:016x}-{name}", self.nonce));
        let to = file.len().map_err(|e| Error::io("read", path, e))?;
        let remains = Remains { file, path: path.into(), number: 0, from: 0, to };
        copy_out(self.dir.storage(), &remains, &kept)?;
        self.cutting.kept.push(kept);
        Ok(true)
    }

    /// Writes a readable text that describes the cut.
    fn record(&mut self, cut: &Cut) -> Result<()> {
        let path = self.directory.join(format!("{:020}-{:016x}.loss", cut.position, self.nonce));
        let known = match cut.last_known {
            0 => "unknown".to_owned(),
            last => format!("{last} or later"),
        };
        let text = format!(
            "Loss accepted.\nkept up to position: {}\nlast position known: {known}\ndamage: {} at \
             offset {}: {}\nevidence: {}\nnumber in the names of the kept files: {:016x}\n",
            cut.position - 1,
            cut.file.display(),
            cut.offset,
            cut.what,
            cut.evidence,
            self.nonce
        );
        let io = |e| Error::io("write", &path, e);
        let file = self.dir.storage().open(&path, OpenMode::CreateNew).map_err(io)?;
        write_all_at(&*file, text.as_bytes(), 0).and_then(|()| file.sync_data()).map_err(io)?;
        self.cutting.kept.push(path);
        Ok(())
    }
}
