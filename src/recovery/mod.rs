//! The recovery rule: what a store is when it is opened.
//!
//! Reads the newest valid checkpoint, the index files behind it and the frames behind those. At
//! the first frame that is not valid it decides between two cases and has no third:
//!
//! - something that was durable tells of a durable position at or behind the gap: acknowledged
//!   data is damaged, and the store is refused, never shortened ([`evidence`]);
//! - nothing does: the rest is a torn tail of unacknowledged commits, which is kept in
//!   quarantine, zeroed and cut off ([`tail`]).
//!
//! Opening for reading takes the same decisions and writes nothing.

mod accepted_loss;
mod evidence;
mod load;
mod spare_search;
mod tail;
pub(crate) mod tenure;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::load::Known;
use self::spare_search::SpareSearch;
use crate::catalog::{ActivePart, Catalog, Part};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::checkpoint::SegmentEntry;
use crate::index::metadata::Metadata;
use crate::log::scan::ScanState;
use crate::log::segment::{Segment, SegmentFile};

pub(crate) use accepted_loss::{Cut, perform as perform_cut, plan as plan_cut};
pub(crate) use evidence::find as find_evidence;
pub(crate) use load::check_segment;

/// What opening a store found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Opened {
    /// There was no store; one was created.
    Created,
    /// The store was as its last writer left it.
    Clean,
    /// Something was put right: the last writer did not close the store, or derived files were
    /// missing. Everything acknowledged is there.
    Recovered(Recovery),
    /// Acknowledged data is damaged, and the store was opened for reading only: it ends before
    /// the damage.
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// The position that should be found there.
        expected_position: Position,
        /// What proves that it had been acknowledged.
        evidence: String,
    },
}

/// What recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Recovery {
    /// Bytes of unacknowledged commits that were cut off; 0: none.
    pub dropped_bytes: u64,
    /// Where those bytes are kept.
    pub quarantined: Option<PathBuf>,
    /// Bytes of whole commits that no frame had proven durable, written again and synced.
    pub rewritten_bytes: u64,
    /// Index files and seals that were missing or damaged and were rebuilt from the log.
    pub rebuilt: u64,
}

/// A store as recovery leaves it.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) catalog: Catalog,
    pub(crate) metadata: Metadata,
    /// Where the next frame goes.
    pub(crate) state: ScanState,
    pub(crate) last_frame: u64,
    /// The last bytes before that, which nothing proves durable: they go to disk again with the
    /// first group. Empty unless the store was closed cleanly.
    pub(crate) prelude: Vec<u8>,
    /// The names that lead to the files are durable for sure.
    pub(crate) names_synced: bool,
    /// The next segment, if it is there already.
    pub(crate) spare: Option<SegmentFile>,
    pub(crate) opened: Opened,
    pub(crate) commits: u64,
    pub(crate) store_id: [u8; 16],
    pub(crate) created_at: u64,
    pub(crate) checkpoint: u64,
    /// Segments that a checkpoint tells of, from the first on, that are to be compared with it.
    pub(crate) unchecked: Vec<SegmentEntry>,
}

impl Recovered {
    /// The size that the newest segment was created with.
    pub(crate) fn newest_capacity(&self) -> u64 {
        let active = &self.catalog.active.segment.header;
        self.spare.as_ref().map_or(active.capacity, |spare| spare.header.capacity)
    }
}

/// What recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    /// Nothing is changed.
    Read,
    /// Likewise, beside a writer that says to read up to a position: what lies behind is its
    /// work in progress, and is not looked at.
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

/// Opens the log in `dir`, which holds at least one segment; `created`: a moment ago. `threads`: some
/// of it may be done beside this, or later.
pub(crate) fn recover(
    dir: &StoreDir,
    mode: Mode,
    threads: bool,
    created: bool,
) -> Result<Recovered> {
    // A reader has nobody who could compare it later.
    let later = threads && mode == Mode::Write;
    let known = if later { Known::CheckedLater } else { Known::CheckedNow };
    // After a clean close there is next to nothing to walk over or to search.
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
        let quiet = found.is_none() && (log.closed || log.trusted);
        if !quiet {
            dir.sync_names()?;
        }
        names_synced |= !quiet;
        let rewritten = if quiet { 0 } else { tail::rewrite_unproven(&log.unproven, &active)? };
        prelude = if quiet { tail::prelude(&log, &active)? } else { Vec::new() };
        let dropped = found.is_some();
        let cut = tail::cut(dir, &active, &extras, found)?;
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
            heads: log.heads,
            parts: Arc::new(log.parts),
            active: ActivePart { segment, index: log.index },
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

/// What lies behind the end of the log, and the evidence that something durable ought to be there.
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
    Ok((found, evidence.or_else(|| log.status_evidence())))
}

/// The log as far as it could be read.
#[derive(Debug)]
pub(crate) struct LoadedLog {
    /// The segments that are not among `parts`: the active one, then those behind it.
    files: Vec<SegmentFile>,
    parts: Vec<Part>,
    heads: crate::index::heads::Heads,
    metadata: Metadata,
    index: crate::index::active::ActiveIndex,
    state: ScanState,
    last_frame: u64,
    /// What the walk ended with, in words.
    end: String,
    /// The last frame says that the store was closed, or there is none.
    closed: bool,
    /// The status file says so too, and that nothing was written since: there is no tail.
    trusted: bool,
    /// Frames whose durability nothing proves, per segment: from here to where its frames end.
    unproven: Vec<Unproven>,
    verified_to: u64,
    commits: u64,
    rebuilt: u64,
    created_at: u64,
    checkpoint_number: u64,
    checkpoint_position: u64,
    checkpoint_change: u64,
    /// The status file says that the store was closed with this as its last position.
    closed_at: Option<u64>,
    /// Segments that a checkpoint tells of and nobody has looked at yet, from the first on.
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
    /// A checkpoint is written only when all that it covers is durable.
    fn checkpoint_evidence(&self) -> Option<String> {
        let (position, change) = (self.checkpoint_position, self.checkpoint_change);
        (position >= self.state.next_position || change >= self.state.next_change)
            .then(|| format!("a checkpoint covers position {position} and change {change}"))
    }

    /// A status says that the store was closed only once everything before is durable.
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
