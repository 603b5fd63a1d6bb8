//! The tail: the bytes after the last valid frame, and frames that are not proven durable.
//!
//! Must never change a byte before the end that the walk has found, except to write the same bytes
//! again.

use std::path::Path;
use std::sync::Arc;

use super::spare_search::SpareSearch;
use super::{LoadedLog, Recovery, Unproven};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, Window};
use crate::log::segment::SegmentFile;
use crate::storage::{File, OpenMode, Storage, read_exact_at, write_all_at};

const PIECE: usize = 1 << 20;
/// Bytes searched at a time: few enough to stay in a core's own cache after they are copied.
const SEARCHED: usize = 64 << 10;

/// A range of a file that should be zero and is not.
#[derive(Debug, Clone)]
pub(super) struct Remains {
    pub(super) file: Arc<dyn File>,
    pub(super) path: std::path::PathBuf,
    pub(super) number: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Remains {
    /// The file name of the copy in quarantine.
    pub(super) fn kept_name(&self, nonce: u64) -> String {
        format!("{:020}-{:010}-{nonce:016x}.tail", self.number, self.from)
    }
}

/// Finds the non-zero bytes after the end of the log, in the active segment and those after it. If the
/// status file records a close at that end, there are none, and nothing is searched. The segment that
/// was searched `beside` the walk is not searched again.
pub(super) fn find(
    active: &SegmentFile,
    extras: &[SegmentFile],
    state: &ScanState,
    trusted: bool,
    mut beside: Option<SpareSearch>,
) -> Result<Option<Vec<Remains>>> {
    if trusted {
        return Ok(None);
    }
    let mut remains = Vec::new();
    for (segment, from) in std::iter::once((active, state.offset))
        .chain(extras.iter().map(|segment| (segment, DATA_START)))
    {
        let number = segment.header.number;
        let known =
            beside.take_if(|b| from == DATA_START && b.is_of(number)).and_then(SpareSearch::end);
        let to = match known {
            Some(known) => known?,
            None => last_nonzero(&segment.file, &segment.path, from)?,
        };
        if let Some(to) = to {
            remains.push(Remains {
                file: Arc::clone(&segment.file),
                path: segment.path.clone(),
                number,
                from,
                to,
            });
        }
    }
    Ok((!remains.is_empty()).then_some(remains))
}

/// Exclusive end of the non-zero bytes at or after `from`; `None` if all are zero.
pub(super) fn last_nonzero(file: &Arc<dyn File>, path: &Path, from: u64) -> Result<Option<u64>> {
    let len = file.len().map_err(|e| Error::io("read the length of", path, e))?;
    let mut window = Window::with_pieces(Arc::clone(file), len, SEARCHED);
    let mut found = None;
    let mut offset = from;
    while offset < len {
        let piece = usize::try_from(len - offset).unwrap_or(SEARCHED).min(SEARCHED);
        let bytes = window.get(offset, piece).map_err(|e| Error::io("read", path, e))?;
        let bytes = bytes.unwrap_or_default();
        // Whole words first, and no branch for each: the search covers all the preallocated space of
        // an unclean store.
        let (words, _) = bytes.as_chunks::<8>();
        let dirty = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word)) != 0;
        if dirty || bytes[words.len() * 8..].iter().any(|&byte| byte != 0) {
            found = bytes.iter().rposition(|&b| b != 0).map(|at| offset + at as u64 + 1).or(found);
        }
        offset += piece as u64;
    }
    Ok(found)
}

/// Copies the remains to quarantine, then zeroes them; both are durable before this returns.
pub(super) fn cut(
    dir: &StoreDir,
    active: &SegmentFile,
    extras: &[SegmentFile],
    remains: Option<Vec<Remains>>,
) -> Result<Recovery> {
    let Some(remains) = remains else {
        return Ok(Recovery::default());
    };
    let directory = dir.join(names::QUARANTINE_DIR);
    dir.storage().create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
    dir.sync_root()?;
    let mut recovery = Recovery::default();
    let nonce = dir.storage().random_u64();
    for part in &remains {
        let path = directory.join(part.kept_name(nonce));
        copy_out(dir.storage(), part, &path)?;
        recovery.dropped_bytes += part.to - part.from;
        recovery.quarantined.get_or_insert(path);
    }
    dir.storage().sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;
    for part in &remains {
        zero(part)?;
    }
    for segment in std::iter::once(active).chain(extras) {
        segment.file.sync_data().map_err(|e| Error::io("sync", &segment.path, e))?;
    }
    Ok(recovery)
}

pub(super) fn copy_out(storage: &dyn Storage, part: &Remains, path: &Path) -> Result<()> {
    let copy = storage.open(path, OpenMode::CreateNew).map_err(|e| Error::io("create", path, e))?;
    let mut buffer = zeros(part.to - part.from);
    let mut offset = part.from;
    while offset < part.to {
        let piece = usize::try_from(part.to - offset).unwrap_or(PIECE).min(PIECE);
        read_exact_at(&*part.file, &mut buffer[..piece], offset)
            .map_err(|e| Error::io("read", &part.path, e))?;
        write_all_at(&*copy, &buffer[..piece], offset - part.from)
            .map_err(|e| Error::io("write", path, e))?;
        offset += piece as u64;
    }
    copy.sync_data().map_err(|e| Error::io("sync", path, e))
}

pub(super) fn zero(part: &Remains) -> Result<()> {
    let zeros = zeros(part.to - part.from);
    let mut offset = part.from;
    while offset < part.to {
        let piece = usize::try_from(part.to - offset).unwrap_or(PIECE).min(PIECE);
        write_all_at(&*part.file, &zeros[..piece], offset)
            .map_err(|e| Error::io("write", &part.path, e))?;
        offset += piece as u64;
    }
    Ok(())
}

/// A buffer of zeros, of this length or of one piece.
fn zeros(bytes: u64) -> Vec<u8> {
    vec![0; usize::try_from(bytes).unwrap_or(PIECE).min(PIECE)]
}

/// Writes frames that are not proven durable again, and syncs them: after a failed sync, the page cache
/// may hold bytes that the disk lacks, and a sync alone would not write them. Returns the number of
/// bytes.
pub(super) fn rewrite_unproven(unproven: &[Unproven], active: &SegmentFile) -> Result<u64> {
    let mut bytes = 0;
    for Unproven { path, file, from, to } in unproven {
        let mut buffer = zeros(to - from);
        let mut offset = *from;
        while offset < *to {
            let piece = usize::try_from(to - offset).unwrap_or(PIECE).min(PIECE);
            read_exact_at(&**file, &mut buffer[..piece], offset)
                .map_err(|e| Error::io("read", path, e))?;
            write_all_at(&**file, &buffer[..piece], offset)
                .map_err(|e| Error::io("write", path, e))?;
            offset += piece as u64;
        }
        file.sync_data().map_err(|e| Error::io("sync", path, e))?;
        bytes += to - from;
    }
    active.file.sync_data().map_err(|e| Error::io("sync", &active.path, e))?;
    Ok(bytes)
}

/// The close frame that ends a cleanly closed log. Its sync may have failed, and opening does not pay
/// for another one: the frame is written again before the next one.
pub(super) fn prelude(log: &LoadedLog, active: &SegmentFile) -> Result<Vec<u8>> {
    let from = match log.unproven.last() {
        Some(last) if last.path == active.path => last.from,
        _ => return Ok(Vec::new()),
    };
    let mut bytes = vec![0; usize::try_from(log.state.offset - from).unwrap_or(0)];
    read_exact_at(&*active.file, &mut bytes, from)
        .map_err(|e| Error::io("read", &active.path, e))?;
    Ok(bytes)
}
