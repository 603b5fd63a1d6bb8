//! The recovery rule: the contents of a store when it is opened.
//!
//! Reads the newest valid checkpoint, then the index files after it, then the frames after those. At the
//! first frame that is not valid there are exactly two cases:
//!
//! - something durable records a durable position at or after the gap: acknowledged data is damaged, and
//!   the store is refused, never shortened ([`evidence`]);
//! - nothing does: the rest is a torn tail of unacknowledged commits, which is kept in quarantine,
//!   zeroed and cut off ([`tail`]).
//!
//! Opening for reading makes the same decisions and writes nothing.

mod accepted_loss;
mod evidence;
mod load;
mod spare_search;
mod tail;
pub(crate) mod tenure;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::load::SegmentComparison;
use self::spare_search::SpareSearch;
use crate::catalog::{ActivePart, Catalog, Part};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::backup::LogEnd;
use crate::format::checkpoint::SegmentEntry;
use crate::format::metadata::ChangeNumber;
use crate::index::metadata::Metadata;
use crate::log::scan::ScanState;
use crate::log::segment::{Segment, SegmentFile};

pub(crate) use accepted_loss::{Cut, perform as perform_cut, plan as plan_cut};
pub(crate) use evidence::find as find_evidence;
pub(crate) use load::check_segment;

/// The result of opening a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Opened {
    /// There was no store; one was created.
    Created,
    /// The store was closed by its last writer.
    Clean,
    /// Something was repaired: the last writer did not close the store, or derived files were missing.
    /// Every acknowledged commit is in the store.
    Recovered(Recovery),
    /// Acknowledged data is damaged, and the store was opened for reading only: it ends before the
    /// damage.
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// The offset of the damage in the file, in bytes.
        offset: u64,
        /// The position that is expected there.
        expected_position: Position,
        /// What proves that this position was acknowledged.
        evidence: String,
    },
}

/// The changes that recovery made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Recovery {
    /// Bytes of unacknowledged commits that were cut off; 0 if there were none.
    pub dropped_bytes: u64,
    /// The file in quarantine that holds those bytes; the first one, if there are several.
    pub quarantined: Option<PathBuf>,
    /// Bytes of whole commits that were not proven durable, and were written and synced again.
    pub rewritten_bytes: u64,
    /// Index files and seals that were missing or damaged and were rebuilt from the log.
    pub rebuilt: u64,
}

/// A store after recovery.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) catalog: Catalog,
    pub(crate) metadata: Metadata,
    /// The end of the log, where the next frame is written.
    pub(crate) state: ScanState,
    pub(crate) last_frame: u64,
    /// The close frame before that end, if it is not proven durable: it is written again with the first
    /// group. Empty unless the store was closed cleanly.
    pub(crate) prelude: Vec<u8>,
    /// The directory entries of the files are known to be durable.
    pub(crate) names_synced: bool,
    /// The next segment, if it exists already.
    pub(crate) spare: Option<SegmentFile>,
    pub(crate) opened: Opened,
    pub(crate) commits: u64,
    pub(crate) store_id: [u8; 16],
    pub(crate) created_at: u64,
    pub(crate) checkpoint: u64,
    /// Segments listed in a checkpoint, from the first on, that are still to be compared with it.
    pub(crate) unchecked: Vec<SegmentEntry>,
}

impl Recovered {
    /// The size that the newest segment was created with.
    pub(crate) fn newest_capacity(&self) -> u64 {
        let active = &self.catalog.active.segment.header;
        self.spare.as_ref().map_or(active.capacity, |spare| spare.header.capacity)
    }
}

/// What recovery may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    /// Nothing is changed.
    Read,
    /// Nothing is changed, and the log is read up to the position that an active writer has published.
    /// What follows it is the writer's work in progress, and is not read.
    Follow {
        visible: u64,
    },
}

impl Mode {
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::Write | Self::Read => u64::MAX,
            Self::Follow { visible } => visible,
        }
    }
}

/// Opens the log in `dir`, which holds at least one segment; `created`: this call has just created it.
/// `threads`: other threads may do part of the work, some of it later.
pub(crate) fn recover(
    dir: &StoreDir,
    mode: Mode,
    threads: bool,
    created: bool,
) -> Result<Recovered> {
    // Only a writer has a thread that compares segments later.
    let later = threads && mode == Mode::Write;
    let known = if later { SegmentComparison::Later } else { SegmentComparison::Now };
    // After a clean close there is hardly anything to walk over or to search.
    let threads = threads && !created && !dir.read_status().is_some_and(|s| s.clean);
    let searches = threads && !matches!(mode, Mode::Follow { .. });
    let beside = if searches { SpareSearch::begin(dir) } else { None };
    let mut log = load::load(dir, mode, known, threads)?;
    log.trusted |= created;
    let extras = log.files.split_off(1);
    let active = log.files.swap_remove(0);
    let (found, evidence) = match mode {
        Mode::Write | Mode::Read => judge(&log, &active, &extras, beside)?,
        Mode::Follow { visible } => (None, log.writer_evidence(visible)),
    };
    let mut opened = log.opened();
    if let Some(evidence) = evidence {
        if mode == Mode::Write {
            return Err(Error::Corrupt {
                file: active.path,
                offset: log.state.offset,
                expected_position: Position::new(log.state.next_position),
                what: log.end.clone(),
                evidence: Some(evidence),
            });
        }
        opened = Opened::Damaged {
            file: active.path.clone(),
            offset: log.state.offset,
            expected_position: Position::new(log.state.next_position),
            evidence,
        };
    }
    let mut prelude = Vec::new();
    let mut names_synced = created;
    if mode == Mode::Write {
        dir.end_backup()?;
        let quiet = found.is_none() && (log.closed || log.trusted);
        if !quiet {
            dir.sync_names()?;
        }
        names_synced |= !quiet;
        let rewritten = if quiet { 0 } else { tail::rewrite_unproven(&log.unproven, &active)? };
        prelude = if quiet { tail::prelude(&log, &active)? } else { Vec::new() };
        let dropped = found.is_some();
        let cut = tail::cut(dir, &active, &extras, found)?;
        let capacity = active.header.capacity;
        if active.len()? < capacity {
            // A copy ends with its frames. Without the space, frames are written as far as it goes.
            let _ = active.file.allocate(capacity);
        }
        if dropped || rewritten > 0 || log.rebuilt > 0 {
            opened = Opened::Recovered(Recovery {
                rewritten_bytes: rewritten,
                rebuilt: log.rebuilt,
                ..cut
            });
        }
    }
    log.state.proven = log.state.next_position - 1;
    let store_id = active.header.store_id;
    let base = log.index.base_position();
    let segment = Arc::new(Segment::new(active, base, None, log.state.offset)?);
    segment.note_verified(crate::format::segment_header::DATA_START, log.verified_to);
    Ok(Recovered {
        catalog: Catalog {
            saved: log.heads.base().and_then(|base| crate::catalog::SavedCheckpoint::of(base)),
            parts: Arc::new(log.parts),
            active: ActivePart { segment, index: log.index, heads: log.heads },
            streams: log.streams,
        },
        metadata: log.metadata,
        state: log.state,
        last_frame: log.last_frame,
        prelude,
        names_synced,
        spare: extras.into_iter().next(),
        opened,
        commits: log.commits,
        store_id,
        created_at: log.created_at,
        checkpoint: log.checkpoint_number,
        unchecked: log.unchecked,
    })
}

/// The bytes after the end of the log, and the evidence that acknowledged data is missing there.
fn judge(
    log: &LoadedLog,
    active: &SegmentFile,
    extras: &[SegmentFile],
    beside: Option<SpareSearch>,
) -> Result<(Option<Vec<tail::Remains>>, Option<String>)> {
    let found = tail::find(active, extras, &log.state, log.trusted, beside)?;
    let evidence = match &found {
        Some(_) => evidence::find(active, extras, &log.state)?,
        None => None,
    };
    let evidence = evidence.or_else(|| log.checkpoint_evidence());
    let evidence = evidence.or_else(|| log.backup_evidence());
    Ok((found, evidence.or_else(|| log.status_evidence())))
}

/// The log up to the first frame that is not valid.
#[derive(Debug)]
pub(crate) struct LoadedLog {
    /// The segments that are not among `parts`: the active one, then those after it.
    files: Vec<SegmentFile>,
    parts: Vec<Part>,
    streams: u64,
    heads: crate::index::heads::Heads,
    metadata: Metadata,
    index: crate::index::active::ActiveIndex,
    state: ScanState,
    last_frame: u64,
    /// A description of what the walk ended at.
    end: String,
    /// The last frame is a close frame, or there is no frame.
    closed: bool,
    /// The status file also records a clean close, and that nothing was written since: there is no tail.
    trusted: bool,
    /// Frames that are not proven durable, one run per segment.
    unproven: Vec<Unproven>,
    verified_to: u64,
    commits: u64,
    rebuilt: u64,
    created_at: u64,
    checkpoint_number: u64,
    checkpoint_position: u64,
    checkpoint_change: ChangeNumber,
    /// The last position, if the status file records that the store was closed with it.
    closed_at: Option<u64>,
    /// The end of the log in the manifest, if this is a backup.
    backup: Option<LogEnd>,
    /// Segments listed in a checkpoint that were not compared with it yet, from the first on.
    unchecked: Vec<SegmentEntry>,
}

/// A run of frames in one segment.
#[derive(Debug, Clone)]
pub(crate) struct Unproven {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn crate::storage::File>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl LoadedLog {
    /// Evidence from the checkpoint, which is written only when everything it covers is durable.
    fn checkpoint_evidence(&self) -> Option<String> {
        let (position, change) = (self.checkpoint_position, self.checkpoint_change);
        (position >= self.state.next_position || change >= self.state.next_change)
            .then(|| format!("a checkpoint covers position {position} and change {change}"))
    }

    /// Evidence from the manifest of a backup, which is written when everything before its place is durable.
    fn backup_evidence(&self) -> Option<String> {
        let LogEnd { position, change, .. } = self.backup?;
        let is_short =
            position >= self.state.next_position || change >= self.state.next_change.get();
        is_short.then(|| {
            format!("the manifest of the backup names position {position} and change {change}")
        })
    }

    /// Evidence from the status file, which records a close only once everything before it is durable.
    fn status_evidence(&self) -> Option<String> {
        let position = self.closed_at.filter(|&position| position >= self.state.next_position)?;
        Some(format!("the status file records that the store was closed at position {position}"))
    }

    fn writer_evidence(&self, visible: u64) -> Option<String> {
        let short = visible != u64::MAX && visible >= self.state.next_position;
        short
            .then(|| format!("the writer's status file records that position {visible} is durable"))
    }

    fn opened(&self) -> Opened {
        if (self.closed || self.trusted) && self.rebuilt == 0 {
            Opened::Clean
        } else {
            Opened::Recovered(Recovery { rebuilt: self.rebuilt, ..Recovery::default() })
        }
    }
}
