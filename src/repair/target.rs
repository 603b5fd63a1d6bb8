//! The new store, written frame by frame.
//!
//! Owns the rule that an unfinished copy is never taken for a store: the first segment gets its name
//! when everything is durable, and until then a marker file states what the directory is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::report::Range;
use crate::creation::{PathContents, bind, look_at, take_lock};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber, SectionHeader};
use crate::format::record::{self, RecordRef};
use crate::format::segment_header::DATA_START;
use crate::format::{align, names};
use crate::log::rotation::{create_segment, create_unnamed, name_segment, remove_leftover};
use crate::log::segment::SegmentFile;
use crate::options::Options;
use crate::storage::{EntryKind, LockGuard, OpenMode, write_all_at};
use crate::verify::verify_in;

/// A file in the directory that marks it as unfinished.
const MARKER: &str = "REPAIR-UNFINISHED";
/// Bytes that are collected before they are written.
const BUFFER: usize = 8 << 20;

pub(super) struct Target<'a> {
    dir: &'a StoreDir,
    lock: Arc<dyn LockGuard>,
    store_id: [u8; 16],
    capacity: u64,
    /// The first segment, once a later one is in use.
    first: Option<SegmentFile>,
    segment: SegmentFile,
    buffer: Vec<u8>,
    /// Offset of the next frame.
    offset: u64,
    link: u32,
    next_position: u64,
    next_change: ChangeNumber,
    recorded_at: u64,
    durable: u64,
    checksums: Vec<u8>,
    begun: bool,
    pub(super) commits: u64,
}

fn taken(root: &Path, why: &str) -> Error {
    Error::InvalidArgument {
        what: "the new store's directory",
        why: format!("{} {why}", root.display()),
    }
}

impl<'a> Target<'a> {
    /// Binds to the directory, which is created if it is missing. Its contents are not changed.
    pub(super) fn bind(dir: &StoreDir) -> Result<StoreDir> {
        if dir
            .storage()
            .entry_kind(dir.root())
            .map_err(|e| Error::io("look at", dir.root(), e))?
            .is_none()
        {
            dir.storage().create_dir(dir.root()).map_err(|e| Error::io("create", dir.root(), e))?;
        }
        bind(dir, None).map_err(|error| match error {
            Error::NotAStore { why, .. } => taken(dir.root(), &why),
            error => error,
        })
    }

    /// Creates a store in an empty directory.
    pub(super) fn create(dir: &'a StoreDir, made: bool, capacity: u64) -> Result<Self> {
        let taken = |why: &str| Err(taken(dir.root(), why));
        match look_at(dir) {
            Ok(PathContents::Nothing | PathContents::Unfinished) => {}
            Ok(PathContents::Store) => return taken("holds a store"),
            Err(Error::NotAStore { .. } | Error::Corrupt { .. }) => return taken("is not empty"),
            Err(other) => return Err(other),
        }
        let lock = take_lock(dir, Duration::ZERO)?;
        let log = dir.join(names::LOG_DIR);
        let marker = dir.join(MARKER);
        let file = dir
            .storage()
            .open(&marker, OpenMode::CreateNew)
            .map_err(|e| Error::io("create", &marker, e))?;
        let begun = (|| {
            file.sync_data().map_err(|e| Error::io("sync", &marker, e))?;
            dir.sync_root()?;
            dir.storage().create_dir(&log).map_err(|e| Error::io("create", &log, e))?;
            dir.sync_root()?;
            let mut store_id = [0; 16];
            store_id[..8].copy_from_slice(&dir.storage().random_u64().to_le_bytes());
            store_id[8..].copy_from_slice(&dir.storage().random_u64().to_le_bytes());
            let store_id = uuid::Builder::from_random_bytes(store_id).into_uuid().into_bytes();
            Ok((store_id, create_unnamed(dir, 1, store_id, capacity)?))
        })();
        let (store_id, segment) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                remove_all(dir, made);
                return Err(error);
            }
        };
        Ok(Self {
            dir,
            lock,
            store_id,
            capacity,
            first: None,
            segment,
            buffer: Vec::new(),
            offset: DATA_START,
            link: 0,
            next_position: 1,
            next_change: ChangeNumber::FIRST,
            recorded_at: 0,
            durable: 0,
            checksums: Vec::new(),
            begun: false,
            commits: 0,
        })
    }

    /// The largest frame that fits a segment.
    pub(super) fn max_frame_len(&self) -> u64 {
        self.capacity - DATA_START - frame::SESSION_LEN as u64
    }

    pub(super) fn last_position(&self) -> u64 {
        self.next_position - 1
    }

    /// Appends a verified frame's commit with its recorded time: the records in `body`, with the
    /// versions that `version` returns, and `changes`. Returns the positions.
    pub(super) fn append(
        &mut self,
        header: &FrameHeader,
        body: &[u8],
        changes: &[Change],
        mut version: impl FnMut(&RecordRef<'_>) -> u64,
    ) -> Result<Range> {
        let session = if self.begun { 0 } else { frame::SESSION_LEN as u64 };
        if self.offset + session + header.frame_len() > self.segment.header.capacity {
            self.roll_over()?;
        }
        self.recorded_at = header.recorded_at;
        if !self.begun {
            let nonce = self.dir.storage().random_u64().to_le_bytes();
            self.push(FrameKind::Session, 0, &nonce, None);
        }
        let (seed, first) = (self.segment.header.seed(), self.next_position);
        let mut body = body.to_vec();
        let mut section = Vec::new();
        if !changes.is_empty() {
            // Never more: a frame's length has 32 bits.
            let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
            // Nothing in the new store is acknowledged before all of it is durable.
            SectionHeader { first: self.next_change, durable: ChangeNumber::NONE, count }
                .encode(&mut section);
            for change in changes {
                change.encode(&mut section, seed);
            }
            self.next_change = self.next_change.plus(changes.len() as u64);
        }
        self.checksums.clear();
        let mut at = 0;
        for position in (first..).take(header.event_count as usize) {
            let damaged = |defect: crate::format::Defect| Error::Corrupt {
                file: self.segment.path.clone(),
                offset: self.offset,
                expected_position: position.into(),
                what: defect.to_string(),
                evidence: None,
            };
            let record = RecordRef::parse(&body[at..]).map_err(damaged)?;
            let (len, version) = (record.padded_len(), version(&record));
            let checksum = record::relocate(&mut body[at..at + len], seed, version, position);
            self.checksums.extend_from_slice(&checksum.to_le_bytes());
            at += len;
        }
        body.truncate(at);
        body.extend_from_slice(&section);
        let body_checksum = crc32(crc32(seed.plain(), &self.checksums), &section);
        let kind = if header.event_count > 0 { FrameKind::Commit } else { FrameKind::Metadata };
        self.push(kind, header.event_count, &body, Some(body_checksum));
        self.commits += u64::from(header.event_count > 0);
        self.begun = true;
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(Range { first, last: self.last_position() })
    }

    fn push(&mut self, kind: FrameKind, event_count: u32, body: &[u8], checksum: Option<u32>) {
        let seed = self.segment.header.seed();
        let header = FrameHeader {
            kind,
            // Always fits: a body comes from a frame, whose length has 32 bits.
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            event_count,
            link: self.link,
            first_position: self.next_position,
            durable_position: self.durable,
            recorded_at: self.recorded_at,
            body_checksum: checksum.unwrap_or_else(|| crc32(seed.plain(), body)),
        };
        let (bytes, link) = header.encode(seed, self.offset);
        self.buffer.extend_from_slice(&bytes);
        self.buffer.extend_from_slice(body);
        self.buffer.resize(self.buffer.len() + align(body.len()) - body.len(), 0);
        self.link = link;
        self.next_position = header.next_position();
        self.offset += header.frame_len();
    }

    fn flush(&mut self) -> Result<()> {
        let at = self.offset - self.buffer.len() as u64;
        write_all_at(&*self.segment.file, &self.buffer, at).map_err(|e| {
            Error::io("write", &self.segment.path, e).wanting(self.buffer.len() as u64)
        })?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes everything written durable, except the first segment's name.
    fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.segment.file.sync_data().map_err(|e| Error::io("sync", &self.segment.path, e))?;
        self.durable = self.last_position();
        Ok(())
    }

    fn roll_over(&mut self) -> Result<()> {
        self.sync()?;
        let number = self.segment.header.number + 1;
        let next = create_segment(self.dir, number, self.store_id, self.capacity)?;
        let full = std::mem::replace(&mut self.segment, next);
        if full.header.number == 1 {
            self.first = Some(full);
        }
        self.offset = DATA_START;
        Ok(())
    }

    /// Makes the copy a store, opens it so that it is sealed and indexed, and verifies every byte of it.
    pub(super) fn finish(mut self) -> Result<()> {
        self.sync()?;
        let fits = self.offset + frame::HEADER_LEN as u64 <= self.segment.header.capacity;
        if self.commits > 0 && fits {
            self.push(FrameKind::Close, 0, &[], None);
            self.sync()?;
        }
        let (dir, capacity) = (self.dir, self.capacity);
        name_segment(dir, self.first.unwrap_or(self.segment))?;
        remove_leftover(dir.storage(), &dir.join(MARKER))?;
        dir.sync_root()?;
        drop(self.lock);
        let mut options = Options::new().segment_size(capacity);
        options.storage = Arc::clone(dir.shared_storage());
        // Nothing is appended, so background threads would not help.
        options.background = false;
        options.open(dir.root())?.close()?;
        dir.sync_names()?;
        let report = verify_in(dir, |_| {})?;
        match report.faults.into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(Error::Corrupt {
                file: fault.file,
                offset: fault.offset,
                expected_position: 0.into(),
                what: fault.what,
                evidence: None,
            }),
        }
    }
}

/// Removes what was written, and the directory itself if it was `made` for the copy. The first segment
/// is removed first: without it, the rest is not a store.
pub(super) fn remove_all(dir: &StoreDir, made: bool) {
    let _ = dir.storage().remove_file(&dir.segment_path(1));
    for directory in [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR] {
        let directory = dir.join(directory);
        let _ = dir.storage().sync_dir(&directory);
        for entry in dir.storage().read_dir(&directory).unwrap_or_default() {
            if entry.kind == EntryKind::File {
                let _ = dir.storage().remove_file(&directory.join(&entry.name));
            }
        }
        let _ = dir.storage().sync_dir(&directory);
        let _ = dir.storage().remove_dir(&directory);
    }
    for name in [names::STATUS, names::LOCK, MARKER] {
        let _ = dir.storage().remove_file(&dir.join(name));
    }
    let _ = dir.sync_root();
    if made {
        let _ = dir.storage().remove_dir(dir.root());
    }
}
