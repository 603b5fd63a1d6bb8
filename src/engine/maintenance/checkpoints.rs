//! Checkpoints: begun at a rollover, written when all that they cover is durable, and at a clean close.
//!
//! Must never write a checkpoint before that: recovery takes it as proof of durability.

use std::sync::Arc;

use super::Maintainer;
use crate::catalog::{Catalog, LookupError};
use crate::derived::{CheckpointImage, sealed_segments, write_checkpoint};
use crate::engine::commit::{PendingCheckpoint, checkpoint_meta};
use crate::error::{Maintenance as Task, Result};
use crate::format::segment_header::DATA_START;
use crate::log::writer::Tip;

/// A clean close leaves the newest checkpoint as it is while no more than this was written after it, in
/// bytes of frames: an opening walks over that in less time than a checkpoint takes to write.
const SMALL_TAIL: u64 = 512 << 10;
/// It also does so while what was written is less than this part of the checkpoint: then all checkpoints
/// together take a constant times the bytes that were appended, however short the sessions are.
const TAIL_SHARE: u64 = 8;

impl Maintainer {
    /// Writes the checkpoint that a rollover began, if any, once all that it covers is durable. Returns
    /// whether one was written.
    pub(super) fn checkpoint(&self) -> Result<bool> {
        let Some((mut pending, number)) = self.commits.take_checkpoint() else { return Ok(false) };
        let written = self.commits.flush_and_sync().and_then(|()| {
            if let Some(base) = pending.heads.base().cloned() {
                pending.heads.swap_base(&base, &self.contents.sound(&base)?);
            }
            let PendingCheckpoint { heads, metadata, meta } = &pending;
            let segments = sealed_segments(&self.contents.parts(), meta.segment);
            let image =
                CheckpointImage { meta: meta.clone(), heads, metadata, segments, active: None };
            write_checkpoint(self.shared.dir(), number, self.shared.store_id(), image)
        });
        match written {
            Ok(table) => {
                self.commits.note_checkpoint(number);
                self.contents.change_catalog(|catalog| catalog.heads.replace_base(table));
                Ok(true)
            }
            Err(error) => {
                self.contents.change_catalog(|catalog| catalog.heads.thaw());
                Err(error)
            }
        }
    }

    /// Completes a clean close: syncs everything, writes a close frame, and a checkpoint of all of it
    /// unless the newest one covers all but a short tail.
    pub(in crate::engine) fn finish(&self) -> Result<()> {
        self.commits.sync_all()?;
        let tip = self.commits.tip();
        if !tip.session_begun {
            // Nothing was written since the store was opened, and the status file records that already,
            // unless it lets readers read everything written.
            if !self.shared.options().durability.is_sync() {
                self.positions.mark_clean(true, tip.link, tip.next_position - 1)?;
            }
            self.try_maintain();
            return Ok(());
        }
        self.try_maintain();
        let tip = self.commits.close_log()?;
        let small = self.shared.options().small_checkpoint;
        if !self.contents.with_catalog(|catalog| is_outgrown(&tip, catalog, small)) {
            return Ok(());
        }
        let written = self.contents.rebuild_checkpoints().and_then(|()| self.checkpoint_all(&tip));
        if written.is_err() {
            // Everything is durable; the next opening reads a segment instead of a checkpoint.
            self.shared.counters().maintenance_failures.add(1);
        }
        self.commits.note_attempt(Task::Checkpoint, written);
        Ok(())
    }

    /// Writes a checkpoint of everything. Nothing is appended meanwhile. Returns whether one was
    /// written.
    fn checkpoint_all(&self, tip: &Tip) -> Result<bool> {
        let Some(heads) = self.contents.change_catalog(|catalog| catalog.heads.freeze()) else {
            return Ok(false);
        };
        let changes = self.contents.with_catalog(|catalog| catalog.active.index.changes);
        let (metadata, newest) = self.commits.metadata_section(changes);
        let encode = |catalog: &Catalog| {
            let active = &catalog.active;
            let meta = checkpoint_meta(tip, &active.segment, &active.index);
            let encoded = active.index.encode().map_err(LookupError::Heads)?;
            Ok((meta, encoded, Arc::clone(&catalog.parts)))
        };
        let (meta, active, parts) = self.contents.lookup(encode, Ok)?;
        let segments = sealed_segments(&parts, meta.segment);
        let (heads, metadata, active) = (&heads, &metadata[..], Some(active));
        let image = CheckpointImage { meta, heads, metadata, segments, active };
        write_checkpoint(self.shared.dir(), newest + 1, self.shared.store_id(), image)?;
        Ok(true)
    }
}

/// Whether enough was written since the newest checkpoint to make a new one worth its cost, or one takes
/// no more bytes than `small`. If not, the next opening walks over the tail.
fn is_outgrown(tip: &Tip, catalog: &Catalog, small: u64) -> bool {
    let active = &catalog.active;
    let Some(base) = catalog.heads.base() else { return true };
    let meta = &base.meta;
    // Without the saved part of the active segment, the whole segment is the tail.
    let from = if active.index.kept_in().is_some_and(|kept| Arc::ptr_eq(kept, base)) {
        meta.offset
    } else {
        DATA_START
    };
    let tail = tip.offset.saturating_sub(from);
    let len = base.file().file_len();
    base.number == 0
        || meta.segment != active.segment.number()
        // An event adds less to a checkpoint than the size of its frame.
        || len.saturating_add(tail) <= small
        || tail > SMALL_TAIL.max(len / TAIL_SHARE)
}
