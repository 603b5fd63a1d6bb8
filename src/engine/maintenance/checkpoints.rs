//! Checkpoints: begun at a rollover, written when all that they cover is durable, and at a clean close.
//!
//! Must never write a checkpoint before that: recovery takes it as proof of durability.

use std::sync::Arc;

use super::Maintainer;
use crate::catalog::{Catalog, LookupError, SavedCheckpoint};
use crate::derived::{CheckpointImage, sealed_segments, write_checkpoint};
use crate::engine::commit::{MetadataToSave, PendingCheckpoint, checkpoint_meta};
use crate::error::{Maintenance as Task, Result};
use crate::format::checkpoint::CheckpointMeta;
use crate::index::heads::HeadsCopy;
use crate::index::layers::NamedSections;
use crate::index::metadata::EncodedMetadata;
use crate::index::record_table::RecordsCopy;
use crate::log::writer::Tip;
use crate::trace;

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
        let Some((pending, number)) = self.commits.take_checkpoint() else { return Ok(false) };
        let watch = trace::Watch::start();
        self.commits.sync_full(pending.meta.segment - 1)?;
        let PendingCheckpoint { metadata, meta } = pending;
        let segments = sealed_segments(&self.contents.parts(), meta.segment);
        let position = meta.position;
        let (heads, records) = (NamedSections::default(), NamedSections::default());
        let EncodedMetadata { changes: metadata, cursor_times } = &metadata;
        let active = None;
        let image =
            CheckpointImage { meta, heads, records, metadata, cursor_times, segments, active };
        let table = write_checkpoint(self.shared.dir(), number, self.shared.store_id(), image)?;
        self.commits.note_checkpoint(number);
        self.contents.change_catalog(|catalog| catalog.saved = SavedCheckpoint::of(&table));
        trace::checkpointed(self.shared.root(), number, position, watch.took());
        Ok(true)
    }

    /// Completes a clean close: syncs everything, writes a close frame, and a checkpoint of all of it
    /// unless the newest one covers all but a short tail.
    pub(in crate::engine) fn finish(&self) -> Result<()> {
        self.commits.sync_all()?;
        // Also those that a thread is about to save.
        self.snapshots.save_due();
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
        let changes = self.contents.with_catalog(|catalog| catalog.active.index.changes);
        let MetadataToSave { metadata, records: newer, newest } =
            self.commits.metadata_to_save(changes);
        let EncodedMetadata { changes: metadata, cursor_times } = &metadata;
        let encode = |catalog: &Catalog| {
            let active = &catalog.active;
            let meta = checkpoint_meta(tip, &active.segment, &active.index, catalog.streams);
            let encoded = active.index.encode().map_err(LookupError::Heads)?;
            let base = active.heads.base().cloned();
            Ok((meta, active.heads.copy(), base, encoded, Arc::clone(&catalog.parts)))
        };
        let read = |(meta, heads, base, active, parts): (CheckpointMeta, HeadsCopy, _, _, _)| {
            let heads = heads.encode(meta.base_position).map_err(LookupError::Heads)?;
            let records = RecordsCopy { newer: newer.clone(), base };
            let records = records.encode().map_err(LookupError::Heads)?;
            Ok((meta, heads, records, active, parts))
        };
        let (meta, heads, records, active, parts) = self.contents.lookup(encode, read)?;
        let segments = sealed_segments(&parts, meta.segment);
        let active = Some(active);
        let image =
            CheckpointImage { meta, heads, records, metadata, cursor_times, segments, active };
        write_checkpoint(self.shared.dir(), newest + 1, self.shared.store_id(), image)?;
        Ok(true)
    }
}

/// Whether enough was written since the newest checkpoint to make a new one worth its cost, or one takes
/// no more bytes than `small`. If not, the next opening walks over the tail.
fn is_outgrown(tip: &Tip, catalog: &Catalog, small: u64) -> bool {
    let active = catalog.active.segment.number();
    let Some(SavedCheckpoint { segment, offset, len }) = catalog.saved else { return true };
    let tail = tip.offset.saturating_sub(offset);
    segment != active
        // An event adds less to a checkpoint than the size of its frame.
        || len.saturating_add(tail) <= small
        || tail > SMALL_TAIL.max(len / TAIL_SHARE)
}
