//! Repair of damaged stores: every intact commit in a new store, or a loss that is accepted in place.

// `source` reads the damaged store, and nothing writes to it; `backup` reads a backup of it. `walk` goes over the
// segments, `place` finds frames, and `salvage` takes every intact commit; `survey` finds intact events of broken ones, `salvaged` shows them to the caller, and `streams` counts versions. `target` is the new store.
// `loss` opens a store for writing past evidence of loss, in place. Must never change the damaged store,
// nor put anything into the new one that was not in it.

mod backup;
mod loss;
mod place;
mod report;
mod salvage;
mod salvaged;
mod source;
mod streams;
mod survey;
mod target;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::creation::bind_existing;
use crate::derived::{newest, recorded_heads};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::status::Status;
use crate::index::Head;
use crate::index::names::NameRange;
use crate::options::Options;
use crate::storage::{DiskStorage, EntryKind, Storage};
use crate::verify::Progress;

pub use loss::{AcceptedLoss, Loss, accept_loss, find_loss};
#[cfg(feature = "testing")]
pub(crate) use loss::{accept_loss_in, find_loss_in};
pub use report::{Gap, LostEvent, Moved, Range, RepairReport, SkippedBytes, StreamLoss, Supplied};

pub(crate) use salvaged::Sink;
pub use salvaged::{BrokenCommit, SalvagedEvent};

use backup::Backup;
use salvage::{Observer, Salvage};
use source::Item;
use target::Target;

/// Options of [`repair`].
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    stop_at_damage: bool,
    segments_from: Option<PathBuf>,
}

impl RepairOptions {
    /// The defaults: copy every intact commit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copy only commits before the first missing position, so that every event keeps its position and
    /// version. Default: no.
    pub fn stop_at_damage(mut self, stop: bool) -> Self {
        self.stop_at_damage = stop;
        self
    }

    /// Take damaged and missing commits from a backup of the same store, which
    /// [`Store::backup_to`](crate::Store::backup_to) made, of any age. Nothing in the backup is changed. Default: none.
    ///
    /// A commit is taken only if it continues the damaged store's own history: its segment has the same random salt,
    /// and its frame is linked to the frames before and after it. [`RepairReport::supplied`] lists what was taken.
    ///
    /// The directory needs `log/` with any of the segments. Without the backup's manifest `BACKUP` it may be a copy that
    /// was written to since; then only commits are taken that the damaged store confirms ([`Supplied::confirmed`]).
    pub fn segments_from(mut self, backup: impl Into<PathBuf>) -> Self {
        self.segments_from = Some(backup.into());
        self
    }
}

/// Copies every intact commit of the store in `from` into a new store in `to`, which must be missing or
/// empty. Never changes anything in `from`.
///
/// Events keep their ids, contents and recorded times, so that appending them again is recognised. Up to
/// the first missing event, everything keeps its position and version. After it, positions are
/// renumbered without gaps, and so are the versions of streams that lost events; the report maps old
/// numbers to new ones. The new store has an id of its own, and no snapshots.
///
/// If one event of a commit is damaged, the whole commit is lost: [`repair_and_salvage`] hands out the intact events of
/// such commits. Bytes after the end of the log that
/// were never acknowledged are reported as the tail.
///
/// # Errors
///
/// [`Error::Locked`] if a writer has the store open, [`Error::NotAStore`] if there is no log,
/// [`Error::Unsupported`] if a newer version wrote the store, [`Error::InvalidArgument`] if `to` is not
/// empty or lies in `from`, or if the backup is not one of this store, [`Error::Io`] and [`Error::DiskFull`]. Files written to `to` are then
/// removed; an unfinished copy is never accepted as a store.
pub fn repair(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: RepairOptions,
    progress: impl FnMut(Progress),
) -> Result<RepairReport> {
    repair_and_salvage(from, to, options, progress, |_| Ok(()))
}

/// Like [`repair()`], and passes each intact event of a broken commit to `salvaged`, whole and in the order of the log.
///
/// The new store does not have these events: whether half a commit is of use is for the caller to decide. Events of the
/// [tail](RepairReport::tail) are passed too. Memory is bounded: one event is read at a time.
///
/// ```no_run
/// use annals::repair::{RepairOptions, repair_and_salvage};
///
/// let report = repair_and_salvage("ledger", "repaired", RepairOptions::new(), |_| {}, |event| {
///     println!("{}@{}: {}", event.stream(), event.version(), event.commit().reason);
///     Ok(())
/// })?;
/// # Ok::<(), annals::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`repair()`]. If `salvaged` returns an error, the repair ends with [`Error::Io`], and files written to `to`
/// are removed.
pub fn repair_and_salvage(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    mut options: RepairOptions,
    mut progress: impl FnMut(Progress),
    mut salvaged: impl FnMut(&SalvagedEvent<'_>) -> io::Result<()>,
) -> Result<RepairReport> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::io("find", path, e));
    let (from, to) = (absolute(from.as_ref())?, absolute(to.as_ref())?);
    if let Some(backup) = &mut options.segments_from {
        *backup = absolute(backup)?;
    }
    let (from, to) = (StoreDir::new(Arc::clone(&storage), &from), StoreDir::new(storage, &to));
    repair_in(&from, &to, &options, &mut progress, &mut salvaged)
}

pub(crate) fn repair_in(
    from: &StoreDir,
    to: &StoreDir,
    options: &RepairOptions,
    progress: &mut dyn FnMut(Progress),
    salvaged: Sink<'_>,
) -> Result<RepairReport> {
    if to.root().starts_with(from.root()) || from.root().starts_with(to.root()) {
        return Err(Error::InvalidArgument {
            what: "the new store's directory",
            why: format!("{} is inside the damaged store, or contains it", to.root().display()),
        });
    }
    let kind = from.storage().entry_kind(&from.join(names::LOG_DIR));
    if !matches!(kind, Ok(Some(EntryKind::Directory))) {
        return Err(Error::NotAStore { path: from.root().into(), why: "it has no log".into() });
    }
    let backup_dir = options.segments_from.as_deref();
    let backup_dir = backup_dir.map(|path| StoreDir::new(Arc::clone(from.shared_storage()), path));
    let from = &bind_existing(from)?;
    refuse_writer(from)?;
    let mut backup = backup_dir.as_ref().map(Backup::open).transpose()?;
    refuse_cold(from, backup.as_ref())?;
    let items = source::list(from, backup.as_mut().zip(options.segments_from.as_deref()))?;
    let (capacity, total, store_id) = shape(&items)?;
    let made = matches!(to.storage().entry_kind(to.root()), Ok(None));
    let to = &Target::bind(to)?;
    let target = Target::create(to, made, capacity)?;
    let result = (|| {
        let observer = Observer { progress, salvaged };
        let mut salvage = Salvage::new(target, options.stop_at_damage, total, observer, backup);
        for item in items {
            salvage.item(item)?;
        }
        let checkpoint = match store_id {
            Some(store_id) => newest(from, store_id)?.map(|(_, table)| table),
            None => None,
        };
        let covered = checkpoint.as_ref().map_or(0, |table| table.meta.position);
        let status = from.read_status();
        salvage.end(status.and_then(Status::closed_at).unwrap_or(0).max(covered));
        let mut know = |name: &str, head: Head| salvage.streams.know(name, head.version);
        if let Some(table) = checkpoint {
            // A damaged file only makes the report less complete.
            let _ = table.for_each(&NameRange::ALL, usize::MAX, &mut know);
        }
        if let Some(store_id) = store_id {
            recorded_heads(from, store_id, know);
        }
        // If a writer opened the store meanwhile, the copy may mix two states.
        refuse_writer(from)?;
        let Salvage { target, mut report, streams, .. } = salvage;
        report.streams = streams.finish();
        target.finish()?;
        Ok(report)
    })();
    if result.is_err() {
        target::remove_all(to, made);
    }
    result
}

/// A segment that is elsewhere is not lost, and must not be left out as if it were.
fn refuse_cold(dir: &StoreDir, backup: Option<&Backup>) -> Result<()> {
    let has_copy = |number| backup.is_some_and(|backup| backup.has(number));
    match dir.cold_numbers()?.into_iter().find(|&number| !has_copy(number)) {
        Some(segment) => Err(Error::ColdSegment {
            segment,
            path: dir.segment_path(segment),
            why: "a repair needs it; give a backup that has it, or bring it back with Store::make_local".into(),
            source: None,
        }),
        None => Ok(()),
    }
}

fn refuse_writer(dir: &StoreDir) -> Result<()> {
    let path = dir.join(names::LOCK);
    if dir.storage().is_locked(&path).map_err(|e| Error::io("look at the lock", &path, e))? {
        Err(Error::Locked { path: dir.root().into(), holder: dir.storage().lock_holder(&path) })
    } else {
        Ok(())
    }
}

/// The size of the new segments, the number of bytes to read, and the store's id.
fn shape(items: &[Item]) -> Result<(u64, u64, Option<[u8; 16]>)> {
    let (mut capacity, mut total, mut store_id) = (None, 0_u64, None);
    for item in items {
        let Item::Segment(source) = item else { continue };
        let header = &source.segment.header;
        capacity = capacity.max(Some(header.capacity));
        total = total.saturating_add(source.segment.len()?);
        store_id = store_id.or(Some(header.store_id));
    }
    let capacity = capacity.unwrap_or(Options::DEFAULT_SEGMENT_SIZE);
    Ok((capacity.clamp(Options::MIN_SEGMENT_SIZE, Options::MAX_SEGMENT_SIZE), total, store_id))
}
