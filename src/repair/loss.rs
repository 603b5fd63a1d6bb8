//! Shows and accepts loss: the only way to write to a store past evidence of loss.
//!
//! Owns the check that no more is cut off than the loss that the caller names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::refuse_writer;
use crate::creation::{bind_existing, take_lock};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::names;
use crate::recovery::{Cut, perform_cut, plan_cut};
use crate::storage::{DiskStorage, EntryKind, Storage};

/// Acknowledged events that a store has lost, so that it does not open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Loss {
    /// The last position before the damage; everything up to it is kept. [`accept_loss`] takes this
    /// position.
    pub cut_after: Position,
    /// The last position recorded after the damage, if there is one: events between the two are lost, or
    /// would be cut off. There may have been more.
    pub last_known: Option<Position>,
    /// The damaged file.
    pub file: PathBuf,
    /// The offset in its segment at which the log ends, in bytes.
    pub offset: u64,
    /// A description of the damage.
    pub what: String,
    /// What proves that acknowledged data is lost.
    pub evidence: String,
}

/// The result of [`accept_loss`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AcceptedLoss {
    /// The loss that was accepted.
    pub loss: Loss,
    /// Bytes of the log that were cut off.
    pub bytes: u64,
    /// The files in `quarantine/`: the bytes that were cut off, the checkpoints, index files and
    /// snapshots that belong to them, and a text that describes the cut.
    pub quarantined: Vec<PathBuf>,
}

/// Searches for the damage because of which an opening for writing refuses the store. Changes nothing.
///
/// # Errors
///
/// [`Error::NothingLost`] if the store would open, [`Error::Locked`] if a writer has it open,
/// [`Error::NotAStore`], [`Error::Unsupported`], [`Error::Io`]; [`Error::Corrupt`] for damage that
/// leaves nothing to keep: [`repair`](crate::repair::repair()) such a store.
pub fn find_loss(path: impl AsRef<Path>) -> Result<Loss> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    find_loss_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?)
}

/// Cuts a damaged store off after the position `after`, so that it opens for writing again.
///
/// This gives up acknowledged events, which [`Options::open`](crate::Options::open) never does. `after`
/// must be the position that [`find_loss`] returns. Everything after it is copied to `quarantine/`
/// first, intact commits included; [`repair`](crate::repair::repair()) keeps those. After a power loss
/// during the cut, the store is refused as before, or the cut is complete.
///
/// # Errors
///
/// [`Error::WrongCut`] if the damage is at another position, and those of [`find_loss`].
pub fn accept_loss(path: impl AsRef<Path>, after: Position) -> Result<AcceptedLoss> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    accept_loss_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?, after)
}

pub(crate) fn find_loss_in(dir: &StoreDir) -> Result<Loss> {
    must_be_a_store(dir)?;
    refuse_writer(dir)?;
    find(dir).map(|cut| loss(&cut))
}

pub(crate) fn accept_loss_in(dir: &StoreDir, after: Position) -> Result<AcceptedLoss> {
    must_be_a_store(dir)?;
    let _lock = take_lock(dir, Duration::ZERO)?;
    let cut = find(dir)?;
    let loss = loss(&cut);
    if loss.cut_after != after {
        return Err(Error::WrongCut { given: after, whole: loss.cut_after });
    }
    let cutting = perform_cut(dir, &cut)?;
    Ok(AcceptedLoss { loss, bytes: cutting.bytes, quarantined: cutting.kept })
}

fn must_be_a_store(dir: &StoreDir) -> Result<()> {
    match dir.storage().entry_kind(&dir.join(names::LOG_DIR)) {
        Ok(Some(EntryKind::Directory)) => Ok(()),
        _ => Err(Error::NotAStore { path: dir.root().into(), why: "it has no log".into() }),
    }
}

fn find(dir: &StoreDir) -> Result<Cut> {
    plan_cut(dir)?.ok_or_else(|| Error::NothingLost { path: dir.root().into() })
}

fn loss(cut: &Cut) -> Loss {
    Loss {
        cut_after: Position::new(cut.position - 1),
        last_known: (cut.last_known >= cut.position).then(|| Position::new(cut.last_known)),
        file: cut.file.clone(),
        offset: cut.offset,
        what: cut.what.clone(),
        evidence: cut.evidence.clone(),
    }
}
