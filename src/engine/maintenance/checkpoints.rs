//! Checkpoints: begun at a rollover, written when all that they cover is durable, and at a clean close.
//!
//! Must never write one before that: whoever finds it takes it as proof.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::engine::commit::Writer;
use crate::error::{Maintenance, Result};
use crate::format::checkpoint::CheckpointMeta;
use crate::format::frame::{self, FrameKind};
use crate::format::segment_header::DATA_START;
use crate::index::active::ActiveIndex;
use crate::index::heads::FrozenHeads;
use crate::recovery::{Image, sealed_segments, write_checkpoint};

/// A clean close leaves the newest checkpoint as it is while no more than this was written after it, in
/// bytes of frames: an opening walks over that in less time than a checkpoint takes to write.
const SMALL_TAIL: u64 = 512 << 10;
/// It also does so while what was written is less than this part of the checkpoint: then all checkpoints
/// together take a constant times the bytes that were appended, however short the sessions are.
const TAIL_SHARE: u64 = 8;

/// Heads that stand still until they are written.
#[derive(Debug)]
pub(super) struct PendingCheckpoint {
    heads: FrozenHeads,
    metadata: Vec<u8>,
    meta: CheckpointMeta,
}

impl Engine {
    /// Begins a checkpoint of everything before the active segment, whose first position is `base`,
    /// unless one is under way.
    pub(super) fn begin_checkpoint(&self, writer: &mut Writer, catalog: &mut Catalog, base: u64) {
        if writer.work.checkpoint.is_none()
            && let Some(heads) = catalog.heads.freeze()
        {
            let number = catalog.active.segment.number();
            let meta = checkpoint_meta(writer, number, base, &ActiveIndex::new(base));
            let metadata = self.encode_metadata(writer, 0);
            writer.work.checkpoint = Some(PendingCheckpoint { heads, metadata, meta });
        }
    }

    /// Writes the checkpoint that a rollover began, if it did, once all that it covers is durable.
    /// Whether one was written.
    pub(super) fn checkpoint(&self) -> Result<bool> {
        let (mut pending, number) = {
            let mut writer = self.writer.lock();
            let Some(pending) = writer.work.checkpoint.take() else {
                return Ok(false);
            };
            (pending, writer.work.checkpoint_number + 1)
        };
        let written = self.flush_and_sync().and_then(|()| {
            if let Some(base) = pending.heads.base().cloned() {
                pending.heads.swap_base(&base, &self.sound(&base)?);
            }
            let PendingCheckpoint { heads, metadata, meta } = &pending;
            let segments = sealed_segments(&self.catalog.read().parts, meta.segment);
            let image = Image { meta: meta.clone(), heads, metadata, segments, active: None };
            write_checkpoint(&*self.storage, &self.root, number, self.store_id, image)
        });
        match written {
            Ok(table) => {
                self.writer.lock().work.checkpoint_number = number;
                self.catalog.write().heads.replace_base(table);
                Ok(true)
            }
            Err(error) => {
                self.catalog.write().heads.thaw();
                Err(error)
            }
        }
    }

    /// The end of a clean close: everything durable, a close frame, and a checkpoint of all of it, unless
    /// the one that is there covers all but a short tail.
    pub(crate) fn finish(&self) -> Result<()> {
        self.sync_all()?;
        let tip = self.writer.lock().tip.clone();
        if !tip.session_begun {
            // Nothing was written since it was opened, and the status file says so already, except
            // where it tells readers that they may read whatever is written.
            if !self.options.durability.is_sync() {
                self.mark_clean(true, tip.link, tip.next_position - 1)?;
            }
            self.try_maintain();
            return Ok(());
        }
        self.try_maintain();
        let mut writer = self.writer.lock();
        if writer.tip.offset + frame::HEADER_LEN as u64 <= writer.active.header.capacity {
            self.push_frame(&mut writer, FrameKind::Close, &[]);
            writer.collecting.sync = true;
            let number = writer.collecting_number;
            let (guard, synced) = self.wait_for_group(writer, number, true);
            synced?;
            writer = guard;
        }
        self.mark_clean(true, writer.tip.link, writer.tip.next_position - 1)?;
        if !is_outgrown(&writer, &self.catalog.read(), self.options.small_checkpoint) {
            return Ok(());
        }
        if let Err(error) = self.mend_checkpoints() {
            // Everything is durable, and the next opening does without a checkpoint.
            self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
            writer.note_outcome(Maintenance::Checkpoint, Err(error));
            return Ok(());
        }
        let mut catalog = self.catalog.write();
        let Some(heads) = catalog.heads.freeze() else {
            return Ok(());
        };
        let active = &catalog.active;
        let base = active.segment.base_position;
        let meta = checkpoint_meta(&writer, active.segment.number(), base, &active.index);
        let metadata = self.encode_metadata(&writer, active.index.changes);
        let number = writer.work.checkpoint_number + 1;
        let (heads, metadata) = (&heads, &metadata[..]);
        let segments = sealed_segments(&catalog.parts, meta.segment);
        let image = Image { meta, heads, metadata, segments, active: Some(&active.index) };
        let written = write_checkpoint(&*self.storage, &self.root, number, self.store_id, image);
        if written.is_err() {
            // Everything is durable; the next opening reads a segment instead of a checkpoint.
            self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
        }
        drop(catalog);
        writer.note_outcome(Maintenance::Checkpoint, written.map(drop));
        Ok(())
    }

    /// The section METADATA of a checkpoint: everything accepted so far, of which so many changes are
    /// in the active segment.
    fn encode_metadata(&self, writer: &Writer, in_segment: u64) -> Vec<u8> {
        let mut section = Vec::new();
        section.extend_from_slice(&(writer.tip.next_change - 1).to_le_bytes());
        section.extend_from_slice(&in_segment.to_le_bytes());
        section.extend(self.metadata.read().encode(writer.changes.pending()));
        section
    }
}

/// Whether enough was written since the newest checkpoint to make a new one worth its cost, or one takes
/// no more bytes than `small`. If not, the next opening walks over the tail.
fn is_outgrown(writer: &Writer, catalog: &Catalog, small: u64) -> bool {
    let active = &catalog.active;
    let Some(base) = catalog.heads.base() else { return true };
    let meta = &base.meta;
    // Without what it kept of the active segment, all of that is the tail.
    let from = if active.index.kept_in().is_some_and(|kept| Arc::ptr_eq(kept, base)) {
        meta.offset
    } else {
        DATA_START
    };
    let tail = writer.tip.offset.saturating_sub(from);
    let len = base.file().file_len();
    base.number == 0
        || meta.segment != active.segment.number()
        // What an event adds to a checkpoint is less than its frame.
        || len.saturating_add(tail) <= small
        || tail > SMALL_TAIL.max(len / TAIL_SHARE)
}

fn checkpoint_meta(
    writer: &Writer,
    segment: u64,
    base_position: u64,
    index: &ActiveIndex,
) -> CheckpointMeta {
    CheckpointMeta {
        position: writer.tip.next_position - 1,
        recorded_at: writer.tip.recorded_at,
        link: writer.tip.link,
        segment,
        offset: writer.tip.offset,
        base_position,
        streams: 0,
        commits: writer.tip.commits,
        segment_commits: index.commits,
        last_frame: writer.tip.last_frame,
        first_recorded_at: index.first_recorded_at,
    }
}
