//! Backups: copies of a store that is in use, as of one moment.

// Owns the order of the steps: what may only be right if it was taken before the end of the log is listed first, the
// manifest is written when all before it is durable. Must never hold a lock of the engine while it copies.

mod copy;
mod derived;
pub(crate) mod target;

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use self::copy::Copier;
use self::derived::DerivedFiles;
use self::target::Target;
use crate::engine::Engine;
use crate::error::Result;
use crate::event::Position;
use crate::format::backup::{LogEnd, Manifest};
use crate::format::names;
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::log::rotation::remove_leftover;
use crate::log::segment::Segment;
use crate::progress::Progress;

/// The result of [`Store::backup_to`](crate::Store::backup_to).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Backup {
    /// The store's identity, which the copy has too.
    pub store_id: Uuid,
    /// The position of the last event in the copy.
    pub position: Position,
    /// The number of segments of the log in the copy.
    pub segments: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Bytes of files that were not copied but linked: the directory is on the file system of the store.
    pub linked_bytes: u64,
    /// Bytes of files that earlier backups had copied or linked, and that are still right.
    pub kept_bytes: u64,
}

/// Brings the backup in a directory up to now.
pub(crate) fn back_up(
    engine: &Engine,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Backup> {
    engine.check_open()?;
    let from = engine.shared().dir();
    let store_id = engine.shared().store_id();
    let storage = from.storage().unbound().unwrap_or_else(|| Arc::clone(from.shared_storage()));
    let mut target = Target::open(storage, to, store_id)?;
    // Listed before the end of the log is taken, so that they cover nothing after it.
    let mut derived = DerivedFiles::list(from, store_id)?;
    let end = engine.log_end()?;
    let log = engine.log_up_to(&end);
    let before = target.manifest().end;
    if let Some(before) = &before {
        target.check_history(&log, before)?;
    }
    derived.drop_after(&end);
    derived.list_indexes(from, &log)?;
    let total = log.iter().map(|segment| len_in_copy(segment, &end)).sum::<u64>() + derived.len();
    let mut copier = Copier::new(from, target.dir(), total, progress);
    target.remove_other_segments(&log)?;
    for (segment, next) in log.iter().zip(log.iter().skip(1).map(Some).chain([None])) {
        copy_segment(&mut copier, &target, (segment, next), &end, before.as_ref())?;
    }
    derived.copy(&mut copier, target.dir())?;
    // Nothing is appended to a copy of a fenced store either.
    remove_leftover(target.dir().storage(), &target.dir().join(names::FENCE))?;
    copier.take_file(Path::new(names::FENCE))?;
    let counts = copier.into_counts();
    let taken_at = from.storage().now_micros();
    target.finish(Manifest { store_id, end: Some(end), taken_at })?;
    // The former backup needs them until the new one is whole.
    derived.remove_others(target.dir())?;
    Ok(Backup {
        store_id: Uuid::from_bytes(store_id),
        position: Position::new(end.position),
        segments: log.len() as u64,
        copied_bytes: counts.copied,
        linked_bytes: counts.linked,
        kept_bytes: counts.kept,
    })
}

/// The trailer of a segment that is full and sealed in the copy. The last one takes new frames there, even if it was
/// sealed since the end was taken.
fn trailer_in_copy<'a>(segment: &'a Segment, end: &LogEnd) -> Option<&'a Trailer> {
    segment.trailer.as_ref().filter(|_| segment.number() < end.segment)
}

/// The length of a segment's file in the copy: the whole file if it is sealed, or else up to the end of its frames.
fn len_in_copy(segment: &Segment, end: &LogEnd) -> u64 {
    match trailer_in_copy(segment, end) {
        Some(trailer) => trailer.file_len(),
        None if segment.number() == end.segment => end.offset,
        None => segment.end(),
    }
}

/// Brings one segment of the copy up to the end; durable, with its name, when it returns. Segments are copied in order:
/// the copy is the beginning of the log at any time.
fn copy_segment(
    copier: &mut Copier<'_>,
    target: &Target,
    (segment, next): (&Arc<Segment>, Option<&Arc<Segment>>),
    end: &LogEnd,
    before: Option<&LogEnd>,
) -> Result<()> {
    let (number, len) = (segment.number(), len_in_copy(segment, end));
    let is_before = before.is_some_and(|before| number < before.segment);
    if is_before && target.has_segment(segment, len)? {
        copier.keep(len);
        return Ok(());
    }
    if trailer_in_copy(segment, end).is_some() {
        // A sealed segment at the end of a log proves that another one is missing.
        if let Some(next) = next.filter(|next| !target.has(next.number())) {
            copier.copy_segment(next, DATA_START)?;
        }
        // A sealed segment never changes.
        return copier.take_segment(segment, len);
    }
    let goes_on = before.filter(|before| before.segment == number && before.offset <= len);
    if let Some(before) = goes_on
        && let Some(file) = target.unsealed_segment(segment, before.offset)?
    {
        return copier.append_to(&*file, segment, before.offset, len);
    }
    copier.copy_segment(segment, len)
}
