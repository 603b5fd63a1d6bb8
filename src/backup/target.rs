//! The directory of a backup: what it holds, and its manifest.
//!
//! Owns the rule that a directory is changed only if it is empty or holds a backup of the same store and history. Holds
//! the directory's lock for as long as it exists.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::creation::{bind, take_lock};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::backup::{LogEnd, Manifest};
use crate::format::frame::{self, FrameHeader};
use crate::format::names;
use crate::log::rotation::{remove_leftover, temporary_path, write_derived};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::{EntryKind, File, LockGuard, OpenMode, Storage, read_exact_at};

/// The directories of a backup.
const DIRECTORIES: [&str; 4] =
    [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR, names::SNAPSHOT_DIR];

/// The directory of a backup, which this process changes.
#[derive(Debug)]
pub(crate) struct Target {
    dir: StoreDir,
    manifest: Manifest,
    _lock: Arc<dyn LockGuard>,
}

fn refused(dir: &StoreDir, why: impl Into<String>) -> Error {
    Error::BackupRefused { path: dir.root().into(), why: why.into() }
}

impl Target {
    /// Takes an empty directory, which is created if it is missing, or one with a backup of this store.
    pub(crate) fn open(storage: Arc<dyn Storage>, to: &Path, store_id: [u8; 16]) -> Result<Self> {
        let dir = StoreDir::new(storage, to);
        let io = |operation: &'static str| move |e| Error::io(operation, to, e);
        if dir.storage().entry_kind(to).map_err(io("look at"))?.is_none() {
            dir.storage().create_dir(to).map_err(io("create"))?;
        }
        let dir = bind(&dir, None).map_err(|error| match error {
            Error::NotAStore { why, .. } => refused(&dir, why),
            error => error,
        })?;
        let entries = dir.storage().read_dir(dir.root()).map_err(io("list"))?;
        let is_backup = entries.iter().any(|entry| entry.name == names::BACKUP);
        // The manifest is the first file of a backup, under its temporary name.
        let begun = temporary_path(Path::new(names::BACKUP));
        let own = |name: &str| name == names::LOCK || Path::new(name) == begun;
        let other = entries.iter().find(|entry| !own(&entry.name));
        if let Some(other) = other.filter(|_| !is_backup) {
            return Err(refused(&dir, format!("it holds {:?} and is not a backup", other.name)));
        }
        let lock = take_lock(&dir, Duration::ZERO)?;
        let manifest = match dir.read_backup()? {
            Some(manifest) => manifest,
            None => {
                let begun = Manifest { store_id, end: None, taken_at: 0 };
                write_derived(dir.storage(), &dir.join(names::BACKUP), &begun.encode())?;
                begun
            }
        };
        if manifest.store_id != store_id {
            let other = uuid::Uuid::from_bytes(manifest.store_id);
            return Err(refused(&dir, format!("it holds a backup of store {other}")));
        }
        for name in DIRECTORIES {
            let path = dir.join(name);
            dir.storage().create_dir(&path).map_err(|e| Error::io("create", path, e))?;
        }
        dir.sync_root_and_parent()?;
        Ok(Self { dir, manifest, _lock: lock })
    }

    pub(crate) fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// The manifest of the backup that is there already.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Refuses to continue the backup of another history: the log has to hold what the backup ends with.
    pub(super) fn check_history(&self, log: &[Arc<Segment>], before: &LogEnd) -> Result<()> {
        let segment = log.iter().find(|segment| segment.number() == before.segment);
        let other = || {
            let position = before.position;
            let why = "the backup there ends with another history of this store";
            refused(&self.dir, format!("{why}, at position {position}; use another directory"))
        };
        let segment = segment.ok_or_else(other)?;
        let file = SegmentFile::open(&self.dir, before.segment, OpenMode::Read, before.position)?;
        if file.header.salt != segment.header.salt {
            return Err(other());
        }
        if before.last_frame == 0 {
            return Ok(());
        }
        let mut bytes = [0; frame::HEADER_LEN];
        match read_exact_at(&*segment.file, &mut bytes, before.last_frame) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(other()),
            read => read.map_err(|e| Error::io("read", &segment.path, e))?,
        }
        let found = FrameHeader::decode(&bytes, segment.seed, before.last_frame);
        let is_same = found.is_ok_and(|(header, checksum)| {
            checksum == before.link && before.last_frame + header.frame_len() == before.offset
        });
        if is_same { Ok(()) } else { Err(other()) }
    }

    /// Whether the directory holds this segment with this length.
    pub(super) fn has_segment(&self, segment: &Segment, len: u64) -> Result<bool> {
        let path = self.dir.segment_path(segment.number());
        match self.dir.storage().file_len(&path) {
            Ok(found) if found == len => {}
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("look at", path, e)),
        }
        let file = SegmentFile::open(&self.dir, segment.number(), OpenMode::Read, 0);
        Ok(file.is_ok_and(|file| file.header == segment.header))
    }

    /// The copy of this segment that an earlier backup ended in, if its frames go up to that end. One that is sealed
    /// may be a link to a file of the store, and is not returned.
    pub(super) fn unsealed_segment(
        &self,
        segment: &Segment,
        end: u64,
    ) -> Result<Option<Arc<dyn File>>> {
        let file = SegmentFile::open(&self.dir, segment.number(), OpenMode::ReadWrite, 0);
        let Ok(file) = file else { return Ok(None) };
        let is_it = file.header == segment.header && file.len()? >= end;
        Ok((is_it && file.trailer()?.is_none()).then_some(file.file))
    }

    /// Whether there is a segment with this number.
    pub(crate) fn has(&self, number: u64) -> bool {
        let kind = self.dir.storage().entry_kind(&self.dir.segment_path(number));
        matches!(kind, Ok(Some(EntryKind::File)))
    }

    /// Removes segments that an unfinished backup copied and that the store no longer has: it had not synced them.
    pub(super) fn remove_other_segments(&self, log: &[Arc<Segment>]) -> Result<()> {
        let (numbers, _) = self.dir.segment_numbers()?;
        let is_other = |number: u64| {
            let segment = usize::try_from(number - 1).ok().and_then(|at| log.get(at));
            let file = SegmentFile::open(&self.dir, number, OpenMode::Read, 0);
            !file.is_ok_and(|file| segment.is_some_and(|segment| segment.header == file.header))
        };
        for number in numbers.into_iter().rev().take_while(|&number| is_other(number)) {
            remove_leftover(self.dir.storage(), &self.dir.segment_path(number))?;
            let log = self.dir.join(names::LOG_DIR);
            self.dir.storage().sync_dir(&log).map_err(|e| Error::io("sync", &log, e))?;
        }
        Ok(())
    }

    /// Declares the copy to be whole.
    pub(crate) fn finish(&mut self, manifest: Manifest) -> Result<()> {
        let path = self.dir.join(names::BACKUP);
        write_derived(self.dir.storage(), &path, &manifest.encode())?;
        self.manifest = manifest;
        Ok(())
    }
}
