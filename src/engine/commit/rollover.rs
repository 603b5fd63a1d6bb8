//! The end of a segment: the next one is taken into use, and a checkpoint begins.
//!
//! Owns the steps and their order. Must never let a frame into a segment that it does not fit.

use std::sync::Arc;

use super::lead::Guard;
use super::work::PendingCheckpoint;
use super::{Commits, Writer};
use crate::catalog::{ActivePart, Catalog, Part};
use crate::error::Result;
use crate::format::checkpoint::CheckpointMeta;
use crate::format::frame::{self, FrameKind};
use crate::format::metadata::{Change, RecordEntry};
use crate::index::active::ActiveIndex;
use crate::index::metadata::EncodedMetadata;
use crate::index::records::RecordMap;
use crate::log::rotation::{SealPoint, create_segment};
use crate::log::segment::{Segment, SegmentFile};
use crate::log::writer::{Spare, Tip};
use crate::trace;

impl Commits {
    /// Takes the next segment into use. If appends were faster than its preparation, it is created
    /// here. Must not be called while another thread prepares one.
    pub(super) fn roll_over(&self, writer: &mut Guard<'_>) -> Result<()> {
        let (number, base) = (writer.log.active().number() + 1, writer.log.tip.next_position);
        if writer.log.has_prelude() {
            writer.buffer();
        }
        let spare = match writer.spare.take() {
            Some(spare) => spare,
            None => Spare::new(self.create(number)?, 0),
        };
        let replaced = writer.log.turn_to(spare, base)?;
        writer.work.retired.extend(replaced);
        let segment = Arc::clone(writer.log.active());
        self.contents.change_catalog(|catalog| {
            let mut index = ActiveIndex::new(base);
            // The next segment probably holds as many.
            let events = catalog.active.index.len();
            index.reserve(events + events / 8);
            if catalog.active.index.keeps_terms() {
                index.keep_terms();
            }
            let mut active = ActivePart::new(segment, index);
            active.heads.reserve_like(&catalog.active.heads);
            let point =
                SealPoint { link: writer.log.tip.link, recorded_at: writer.log.tip.recorded_at };
            catalog.turn_to(active, |full| {
                full.segment.file.keep_open(false);
                writer.work.seals.push_back(full.segment.number());
                Part::frozen(full, point)
            });
            writer.log.tip.turn_to(number);
            self.begin_checkpoint(writer, catalog, base);
        });
        if trace::ENABLED && writer.work.rollovers.len() < trace::ROLLOVERS {
            writer.work.rollovers.push((number, base));
        }
        self.maintenance_wanted.notify_one();
        Ok(())
    }

    /// Creates the segment with this number.
    pub(in crate::engine) fn create(&self, number: u64) -> Result<SegmentFile> {
        let capacity = self.shared.options().capacity();
        let file = create_segment(self.shared.dir(), number, self.shared.store_id(), capacity)?;
        file.file.keep_open(true);
        Ok(file)
    }

    /// Asks for the next segment once a quarter of the active one is used.
    pub(in crate::engine) fn want_spare(&self, writer: &mut Guard<'_>) {
        let enough = self.shared.options().capacity() / 4;
        if writer.spare.is_none() && !writer.work.prepare && writer.log.tip.offset > enough {
            writer.work.prepare = true;
            self.preparation_wanted.notify_one();
        }
    }

    /// Begins a checkpoint of everything before the active segment, whose first position is `base`,
    /// unless one is under way.
    fn begin_checkpoint(&self, writer: &mut Writer, catalog: &Catalog, base: u64) {
        if writer.work.checkpoint.is_none() {
            let index = ActiveIndex::new(base);
            let tip = &writer.log.tip;
            let meta = checkpoint_meta(tip, &catalog.active.segment, &index, catalog.streams);
            let metadata = self.encode_metadata(writer, 0);
            writer.work.checkpoint = Some(PendingCheckpoint { metadata, meta });
        }
    }

    /// Ends the log cleanly: a close frame, if the segment has room for it, and a status that records
    /// the end. Everything accepted before is durable; nothing is accepted any more. Returns the tip.
    pub(in crate::engine) fn close_log(&self) -> Result<Tip> {
        let mut writer = self.writer.lock();
        if writer.log.tip.offset + frame::HEADER_LEN as u64 <= writer.log.active().header.capacity {
            self.push_frame(&mut writer, FrameKind::Close, &[]);
            writer.collecting.sync = true;
            let number = writer.collecting_number;
            let (guard, synced) = self.wait_for_group(writer, number, true);
            synced?;
            writer = guard;
        }
        let tip = writer.log.tip.clone();
        drop(writer);
        self.positions.mark_clean(true, tip.link, tip.next_position - 1)?;
        Ok(tip)
    }

    /// What a checkpoint of everything accepted takes from the metadata, of which `in_segment` changes are in
    /// the active segment.
    pub(in crate::engine) fn metadata_to_save(&self, in_segment: u64) -> MetadataToSave {
        let writer = self.writer.lock();
        let active = writer.log.tip.segment;
        let mut records =
            self.contents.with_metadata(|metadata| metadata.records().of_segment(active));
        for (change, segment) in writer.changes.pending() {
            if let Change::Record(record) = change
                && segment == active
            {
                records.insert(record.key.clone(), RecordEntry::of(record, segment));
            }
        }
        let metadata = self.encode_metadata(&writer, in_segment);
        MetadataToSave { metadata, records, newest: writer.work.checkpoint_number }
    }

    /// The sections METADATA and CURSOR TIMES of a checkpoint: all changes that are accepted, of which
    /// `in_segment` are in the active segment.
    fn encode_metadata(&self, writer: &Writer, in_segment: u64) -> EncodedMetadata {
        let pending = || writer.changes.pending_times();
        let mut encoded = self.contents.with_metadata(|metadata| metadata.encode(pending()));
        let last = writer.log.tip.point().change.get();
        let header = [last.to_le_bytes(), in_segment.to_le_bytes()];
        encoded.changes.splice(0..0, header.into_iter().flatten());
        encoded
    }
}

/// What a checkpoint takes from the metadata.
#[derive(Debug)]
pub(in crate::engine) struct MetadataToSave {
    pub(in crate::engine) metadata: EncodedMetadata,
    /// The records with a change in the active segment, except those that the newest checkpoint alone has.
    pub(in crate::engine) records: RecordMap,
    /// The number of the newest checkpoint file.
    pub(in crate::engine) newest: u64,
}

/// What a checkpoint records of the log up to `tip`, which lies in `segment`.
pub(in crate::engine) fn checkpoint_meta(
    tip: &Tip,
    segment: &Segment,
    index: &ActiveIndex,
    streams: u64,
) -> CheckpointMeta {
    CheckpointMeta {
        position: tip.next_position - 1,
        recorded_at: tip.recorded_at,
        link: tip.link,
        segment: segment.number(),
        offset: tip.offset,
        base_position: segment.base_position,
        streams,
        commits: tip.commits,
        segment_commits: index.commits,
        last_frame: tip.last_frame,
        first_recorded_at: index.first_recorded_at,
    }
}
