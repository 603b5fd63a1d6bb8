//! Walks through the log's segments from where the checkpoint ends: sealed ones by their indexes, the
//! rest frame by frame.
//!
//! Must never go past a frame that is not valid.

use std::sync::Arc;

use super::prover::Prover;
use super::{
    ChangesAtCheckpoint, Loader, LogFiles, PendingFrame, Walk, last_frame, restore, settle,
};
use crate::catalog::{ActivePart, Lookup, LookupError, Part, PartIndex, head_in};
use crate::derived::{Contents, InMemory, Levels, index_in_memory, load_frame};
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::Change;
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::block_file::Reads;
use crate::index::checkpointed::CheckpointedActive;
use crate::index::heads::Heads;
use crate::index::metadata::Metadata;
use crate::log::rotation::SealPoint;
use crate::log::scan::{ScanState, ScannedFrame, Window, scan};
use crate::log::segment::{Segment, SegmentFile};
use crate::recovery::{Mode, Unproven};
use crate::storage::read_exact_at;

/// A segment that is appended to gets room in its index for events of this many bytes in the log.
const EVENT_LEN: u64 = 256;
/// The most events that it gets room for: 16 MiB.
const MOST_ROOM: u64 = 1 << 19;

impl Loader<'_> {
    /// Walks from segment to segment while each continues the one before. Returns the walk through the
    /// active segment and its index among `files`.
    pub(super) fn walk_segments(&mut self, log: &LogFiles<'_>) -> Result<(Walk, usize)> {
        let files = log.files;
        let mut open: Option<(Walk, usize)> = None;
        for (i, file) in files.iter().enumerate() {
            let follows = i == 0 || i < log.known || self.follows(file)?;
            if !follows && open.is_some() {
                break;
            }
            if let Some((walk, before)) = open.take() {
                self.freeze(&files[before], walk)?;
            }
            match log.trailers[i].clone() {
                Some(trailer) if follows && trailer.base_position == self.state.next_position => {
                    self.take_sealed(file, trailer)?;
                }
                _ => open = Some((self.walk(file, log.threads)?, i)),
            }
        }
        open.ok_or_else(|| {
            let last = files.last().map_or(0, |file| file.header.number);
            Error::Corrupt {
                file: self.dir.segment_path(last + 1),
                offset: 0,
                expected_position: self.state.next_position.into(),
                what: "the segment is missing".into(),
                evidence: Some(format!("segment {last} is sealed")),
            }
        })
    }

    /// Whether the first frame of the segment continues the log.
    fn follows(&self, file: &SegmentFile) -> Result<bool> {
        let mut bytes = [0; frame::HEADER_LEN];
        if file.len()? < DATA_START + frame::HEADER_LEN as u64 {
            return Ok(false);
        }
        read_exact_at(&*file.file, &mut bytes, DATA_START)
            .map_err(|e| Error::io("read", &file.path, e))?;
        let first = FrameHeader::decode(&bytes, file.header.seed(), DATA_START);
        Ok(first.is_ok_and(|(header, _)| {
            header.link == self.state.link && header.first_position == self.state.next_position
        }))
    }

    /// Enters a sealed segment. The index file is written once the seal is durable, so without one the
    /// seal proves nothing: the segment is indexed in memory, and sealed again later.
    fn take_sealed(&mut self, file: &SegmentFile, trailer: Trailer) -> Result<()> {
        let number = file.header.number;
        let last_position = trailer.base_position + u64::from(trailer.event_count) - 1;
        self.state = ScanState {
            offset: trailer.seal_offset,
            link: trailer.link,
            next_position: last_position + 1,
            recorded_at: trailer.last_recorded_at.max(self.state.recorded_at),
            proven: last_position,
            next_change: self.state.next_change.plus(u64::from(trailer.change_count)),
        };
        self.pending.clear();
        let (base, commits) = (trailer.base_position, u64::from(trailer.commit_count));
        let end = trailer.seal_offset;
        let segment = Arc::new(Segment::new(file.clone(), base, Some(trailer), end)?);
        let covered = self.checkpoint.as_ref().is_some_and(|c| c.meta.segment > number);
        if !covered {
            // The checkpoint may cover the beginning of this segment.
            let before = self.checkpoint.as_ref().filter(|c| c.meta.segment == number);
            self.commits += commits - before.map_or(0, |c| c.meta.segment_commits.min(commits));
        }
        if let Some(index) = self.take_index(&segment, covered) {
            // The checkpoint may have records of its beginning.
            self.metadata.drop_records(number);
            self.parts.push(Part { segment, index: PartIndex::Sealed(index) });
            return Ok(());
        }
        self.rebuilt += 1;
        let mut apply = |at, change: Change, recorded_at| {
            self.metadata.apply_at(at, &change, number, recorded_at);
        };
        let in_memory = match index_in_memory(&segment, &self.parts, &mut apply) {
            Err(Error::Corrupt { .. }) => {
                self.settle()?;
                let apply = |at, change: Change, recorded_at| {
                    self.metadata.apply_at(at, &change, number, recorded_at);
                };
                index_in_memory(&segment, &self.parts, apply)?
            }
            in_memory => in_memory?,
        };
        let InMemory { index, heads, begun } = in_memory;
        let unsealed = Arc::new(Segment::new(file.clone(), base, None, end)?);
        if !covered && number > self.entered {
            let counted = begun.partition_point(|&position| position <= self.counted_to());
            self.streams += (begun.len() - counted) as u64;
        }
        let point = SealPoint { link: self.state.link, recorded_at: self.state.recorded_at };
        self.parts.push(Part::frozen(ActivePart { segment: unsealed, index, heads }, point));
        Ok(())
    }

    /// Walks through a segment that is not sealed; if the checkpoint ends in it, from there.
    fn walk(&mut self, file: &SegmentFile, threads: bool) -> Result<Walk> {
        self.state.offset = DATA_START;
        self.last_frame = 0;
        let mut index = ActiveIndex::new(self.state.next_position);
        let checkpoint = self.checkpoint.clone();
        let mut heads = Heads::default();
        if let Some(table) = checkpoint.filter(|c| c.meta.segment == file.header.number)
            && let Some(kept) = CheckpointedActive::new(&table)
        {
            let ChangesAtCheckpoint { last: last_change, in_segment } = self.changes_at_checkpoint;
            index = restore(&table, kept);
            index.changes = in_segment;
            heads = Heads::with_base(Some(Arc::clone(&table)));
            let meta = &table.meta;
            self.state = ScanState {
                offset: meta.offset,
                link: meta.link,
                next_position: meta.position + 1,
                recorded_at: meta.recorded_at,
                proven: meta.position,
                next_change: last_change.next(),
            };
            self.last_frame = meta.last_frame;
            self.last_kind = last_frame(&table, file).map(|header| header.kind);
        }
        let len = file.len()?;
        if self.mode == Mode::Write {
            let events = (file.header.capacity / EVENT_LEN).min(MOST_ROOM);
            index.reserve(usize::try_from(events).unwrap_or(0));
        }
        // After the end that a clean close recorded, there are no frames.
        let mut window = if index.len() > 0 {
            Window::with_small_piece(Arc::clone(&file.file), len)
        } else {
            Window::new(Arc::clone(&file.file), len)
        };
        let all = self.mode.limit() == u64::MAX;
        let prover = if threads && all { Prover::begin(file, len, &self.state) } else { None };
        let (parts, levels, rebuilt) = (&mut self.parts, &mut self.levels, &mut self.rebuilt);
        let (streams, pending, commits) = (&mut self.streams, &mut self.pending, &mut self.commits);
        let metadata = &mut self.metadata;
        let (last_frame, last_kind) = (&mut self.last_frame, &mut self.last_kind);
        let number = file.header.number;
        let visit = |frame: &ScannedFrame<'_>| {
            *commits += u64::from(frame.header.kind == FrameKind::Commit);
            let (heads, index) = (&mut heads, &mut index);
            let contents = Contents { heads, index, metadata, streams };
            let loaded = load_frame(contents, frame, number, |metadata, stream| {
                older_head(parts, levels, rebuilt, metadata, stream)
            });
            let corrupt = |defect: &Defect| Error::Corrupt {
                file: file.path.clone(),
                offset: frame.offset,
                expected_position: frame.header.first_position.into(),
                what: defect.to_string(),
                evidence: None,
            };
            loaded.map_err(|failure| failure.into_error(corrupt))?;
            *last_frame = frame.offset;
            *last_kind = Some(frame.header.kind);
            // A frame without events is proven durable by a later durable position: the one that it
            // carries itself was reached without it.
            let proven_by =
                frame.header.first_position + u64::from(frame.header.event_count.max(1)) - 1;
            pending.push_back(PendingFrame { segment: number, offset: frame.offset, proven_by });
            while pending.front().is_some_and(|p| p.proven_by <= frame.header.durable_position) {
                pending.pop_front();
            }
            Ok(())
        };
        let (limit, seed) = (self.mode.limit(), file.header.seed());
        let end = match prover {
            Some(prover) => prover.scan(&mut window, file, &mut self.state, visit)?,
            None => scan(&mut window, seed, &mut self.state, limit, &file.path, visit)?,
        };
        Ok(Walk { index, heads, end })
    }

    /// Takes a segment that is full but was not sealed, or whose seal is damaged. It is sealed later:
    /// recovery changes nothing before it has read everything.
    fn freeze(&mut self, file: &SegmentFile, walk: Walk) -> Result<()> {
        let Walk { index, heads, .. } = walk;
        let end = self.state.offset;
        let segment = Segment::new(file.clone(), index.base_position(), None, end)?;
        let point = SealPoint { link: self.state.link, recorded_at: self.state.recorded_at };
        if let Some(from) =
            self.pending.iter().find(|p| p.segment == file.header.number).map(|p| p.offset)
        {
            let (path, file) = (file.path.clone(), Arc::clone(&file.file));
            self.unproven.push(Unproven { path, file, from, to: end });
        }
        self.rebuilt += 1;
        let full = ActivePart { segment: Arc::new(segment), index, heads };
        self.parts.push(Part::frozen(full, point));
        Ok(())
    }

    pub(super) fn verified_to(&self, file: &SegmentFile) -> u64 {
        let restored = self.checkpoint.as_ref().filter(|c| c.meta.segment == file.header.number);
        // The part that a checkpoint covers was not walked.
        if restored.is_some_and(|c| c.meta.offset > DATA_START) {
            DATA_START
        } else {
            self.state.offset
        }
    }

    pub(super) fn collect_unproven(&mut self, active: &SegmentFile) {
        let number = active.header.number;
        if let Some(&PendingFrame { offset: from, .. }) =
            self.pending.iter().find(|p| p.segment == number)
        {
            self.unproven.push(Unproven {
                path: active.path.clone(),
                file: Arc::clone(&active.file),
                from,
                to: self.state.offset,
            });
        }
    }
}

/// The head of a stream after these parts. Where an index file is damaged, its segments are indexed in
/// memory.
fn older_head(
    parts: &mut [Part],
    levels: &mut Levels,
    rebuilt: &mut u64,
    metadata: &mut Metadata,
    stream: &str,
) -> Lookup<Head> {
    match head_in(parts, stream, Reads::Any) {
        Err(LookupError::Index(_) | LookupError::Heads(_)) => {
            settle(parts, levels, rebuilt, metadata)?;
            head_in(parts, stream, Reads::Any)
        }
        found => found,
    }
}
