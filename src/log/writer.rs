//! The end of the log: where the next frame goes, and the bytes that wait to be written there.
//!
//! Owns the tip, the active segment and the buffers of frames. Must never decide what a frame holds,
//! or when it is written.

use std::io;
use std::sync::Arc;

use super::mapped::MappedTail;
use super::segment::{Segment, SegmentFile};
use crate::error::Result;
use crate::format::align;
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::ChangeNumber;
use crate::format::segment_header::DATA_START;
use crate::options::MappedWrites;
use crate::storage::{File, write_all_at};

/// The largest buffer that is kept for the next frames, in bytes: one that a large commit has grown is
/// not kept.
const MAX_KEPT_BUFFER: usize = 8 << 20;

/// The end of the log, with the frames that are not written yet.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    /// The number of the active segment.
    pub(crate) segment: u64,
    /// The offset of the next frame in the active segment.
    pub(crate) offset: u64,
    /// The header checksum of the last frame.
    pub(crate) link: u32,
    /// The position of the next event.
    pub(crate) next_position: u64,
    /// When the last commit was recorded, in µs since 1970.
    pub(crate) recorded_at: u64,
    /// The offset of the last frame in the active segment; 0: the segment has no frame.
    pub(crate) last_frame: u64,
    /// The number of commits in the store.
    pub(crate) commits: u64,
    /// Whether this writer has added its session frame.
    pub(crate) session_begun: bool,
    /// The number of the next change of the metadata.
    pub(crate) next_change: ChangeNumber,
    /// The last change that a frame has recorded as durable.
    pub(crate) told_change: ChangeNumber,
}

/// A place in the order of commits: after all events up to a position and all changes of the metadata up
/// to a number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CommitPoint {
    /// The position of the last event; 0: none.
    pub(crate) position: u64,
    /// The number of the last change.
    pub(crate) change: ChangeNumber,
}

impl CommitPoint {
    /// Whether `other` is not after this point.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.position <= self.position && other.change <= self.change
    }
}

impl Tip {
    /// The last event and the last change before the tip.
    pub(crate) fn point(&self) -> CommitPoint {
        CommitPoint { position: self.next_position - 1, change: self.next_change.previous() }
    }

    /// Moves to the beginning of another segment.
    pub(crate) fn turn_to(&mut self, segment: u64) {
        self.segment = segment;
        self.offset = DATA_START;
        self.last_frame = 0;
    }

    /// Moves past a frame that was added at the tip.
    pub(crate) fn pass(&mut self, frame: &FrameHeader, link: u32) {
        self.last_frame = self.offset;
        self.link = link;
        self.next_position = frame.next_position();
        self.offset += frame.frame_len();
    }
}

/// Bytes that are written to one segment with one call.
#[derive(Debug)]
pub(crate) struct SegmentWrite {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// The mapping that the bytes may be written through.
    mapped: Option<Arc<MappedTail>>,
}

impl SegmentWrite {
    /// The exclusive end of the bytes in the segment.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Writes the bytes, and moves the end of the segment that readers see past them. `sync`: a sync follows, so that
    /// nothing is gained by a mapping.
    pub(crate) fn perform(&self, sync: bool) -> io::Result<()> {
        if sync || !self.store() {
            write_all_at(&*self.segment.file, &self.bytes, self.offset)?;
        }
        self.publish();
        Ok(())
    }

    /// Like [`SegmentWrite::perform`] without a sync, but only if no system call is needed; `false`: nothing was
    /// written.
    pub(crate) fn copy(&self) -> bool {
        let stored = self.is_a_copy() && self.store();
        if stored {
            self.publish();
        }
        stored
    }

    fn store(&self) -> bool {
        let mapped = self.mapped.as_ref();
        mapped.is_some_and(|mapped| mapped.store(&self.bytes, self.offset))
    }

    fn publish(&self) {
        // Readers need not prove bytes that this process has just encoded, or proven when it recovered:
        // the system returns what was written to it until the file is read anew from the medium, which
        // is after an opening, or when the segment is sealed, and sealing proves all of it.
        self.segment.note_verified(self.offset, self.end());
        self.segment.set_end(self.end());
    }

    /// Whether [`SegmentWrite::perform`] makes no system call, if no sync follows.
    pub(crate) fn is_a_copy(&self) -> bool {
        let mapped = self.mapped.as_ref();
        mapped.is_some_and(|mapped| mapped.is_prepared_for(self.bytes.len(), self.offset))
    }

    /// The mapping, if pages of it are to be prepared for the next frames, which are expected to be like this write.
    pub(crate) fn lacking_pages(&self) -> Option<&Arc<MappedTail>> {
        self.mapped.as_ref().filter(|mapped| mapped.lacks_pages(self.bytes.len(), self.end()))
    }

    /// The bytes from `offset` of a segment on, if they are among these.
    pub(crate) fn bytes_at(&self, segment: &Segment, offset: u64) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let here = self.segment.number() == segment.number() && at < self.bytes.len();
        here.then(|| &self.bytes[at..])
    }
}

/// A segment that waits to be used.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) file: SegmentFile,
    /// End of the part that was filled with zeros.
    pub(crate) filled_to: u64,
    /// Its mapping, if the segment is to be written through one and it was mapped ahead.
    mapped: Option<Arc<MappedTail>>,
}

impl Spare {
    pub(crate) fn new(file: SegmentFile, filled_to: u64) -> Self {
        Self { file, filled_to, mapped: None }
    }

    /// Maps it for writing, and prepares the first pages.
    pub(crate) fn map_ahead(&mut self, maps: MappedWrites) {
        self.mapped = map(maps, &*self.file.file, self.file.header.capacity, DATA_START);
        if let Some(mapped) = &self.mapped {
            mapped.prepare_ahead(DATA_START);
        }
    }
}

fn map(maps: MappedWrites, file: &dyn File, capacity: u64, end: u64) -> Option<Arc<MappedTail>> {
    let always = maps == MappedWrites::Always;
    let mapped = match maps {
        MappedWrites::Never => None,
        _ => MappedTail::of(file, capacity, end, always),
    };
    mapped.map(Arc::new)
}

/// Adds frames at the end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(crate) tip: Tip,
    active: Arc<Segment>,
    /// How the active segment is mapped for writing.
    maps: MappedWrites,
    mapped: Option<Arc<MappedTail>>,
    /// A write that was performed, emptied: what is allocated for the next one. At most one, in a list that is exchanged for
    /// the group's, so that the write itself is not moved.
    spare_writes: Vec<SegmentWrite>,
    /// Bytes before the tip that are written again with the first frame; see
    /// [`Recovered`](crate::recovery::Recovered).
    prelude: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn new(tip: Tip, active: Arc<Segment>, prelude: Vec<u8>) -> Self {
        Self {
            tip,
            active,
            maps: MappedWrites::Never,
            mapped: None,
            spare_writes: Vec::new(),
            prelude,
        }
    }

    /// Has frames that are not synced written through a mapping from now on.
    pub(crate) fn map_for_writes(&mut self, maps: MappedWrites) {
        self.maps = maps;
        let (segment, end) = (&self.active, self.tip.offset);
        self.mapped = map(maps, &*segment.file, segment.header.capacity, end);
    }

    /// The segment that takes frames.
    pub(crate) fn active(&self) -> &Arc<Segment> {
        &self.active
    }

    /// Takes another segment into use, for the frames from now on. The tip is moved by the caller. Returns the mapping
    /// of the one before: to unmap it takes milliseconds.
    pub(crate) fn turn_to(&mut self, spare: Spare, base: u64) -> Result<Option<Arc<MappedTail>>> {
        let Spare { file, filled_to, mapped } = spare;
        let segment = Arc::new(Segment::new(file, base, None, DATA_START)?);
        segment.note_filled(filled_to);
        segment.file.keep_open(true);
        let map_now = || map(self.maps, &*segment.file, segment.header.capacity, DATA_START);
        let mapped = mapped.or_else(map_now);
        self.active = segment;
        for spare in &mut self.spare_writes {
            spare.mapped = None;
        }
        Ok(std::mem::replace(&mut self.mapped, mapped))
    }

    /// The buffer for the next frame: the last one of `writes`, or a new one if that is for another
    /// segment.
    pub(crate) fn buffer<'w>(&mut self, writes: &'w mut Vec<SegmentWrite>) -> &'w mut Vec<u8> {
        let is_active = |write: &SegmentWrite| Arc::ptr_eq(&write.segment, &self.active);
        if !writes.last().is_some_and(is_active) {
            if writes.is_empty() && self.spare_writes.last().is_some_and(is_active) {
                std::mem::swap(writes, &mut self.spare_writes);
            } else {
                writes.push(self.new_write());
            }
            let last = writes.len() - 1;
            let write = &mut writes[last];
            if !self.prelude.is_empty() {
                write.bytes.append(&mut self.prelude);
            }
            write.offset = self.tip.offset - write.bytes.len() as u64;
        }
        let last = writes.len() - 1;
        &mut writes[last].bytes
    }

    /// Whether bytes are to be written again before the first frame is.
    pub(crate) fn has_prelude(&self) -> bool {
        !self.prelude.is_empty()
    }

    /// An empty write to the active segment.
    fn new_write(&mut self) -> SegmentWrite {
        let bytes = self.spare_writes.pop().map_or_else(Vec::new, |spare| spare.bytes);
        let (segment, mapped) = (Arc::clone(&self.active), self.mapped.clone());
        SegmentWrite { segment, offset: 0, bytes, mapped }
    }

    /// Empties a list of writes that were performed, and keeps what is allocated for one alone.
    pub(crate) fn recycle(&mut self, writes: &mut Vec<SegmentWrite>) {
        if let [write] = writes.as_mut_slice()
            && write.bytes.capacity() <= MAX_KEPT_BUFFER
        {
            write.bytes.clear();
            std::mem::swap(writes, &mut self.spare_writes);
        }
        writes.clear();
    }

    /// Adds a frame without events or changes. The caller has made room for it.
    pub(crate) fn push_frame(
        &mut self,
        writes: &mut Vec<SegmentWrite>,
        kind: FrameKind,
        body: &[u8],
        durable_position: u64,
    ) {
        let seed = self.active.seed;
        let header = FrameHeader {
            kind,
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            event_count: 0,
            link: self.tip.link,
            first_position: self.tip.next_position,
            durable_position,
            recorded_at: self.tip.recorded_at,
            body_checksum: crc32(seed.plain(), body),
        };
        let (bytes, link) = header.encode(seed, self.tip.offset);
        let buffer = self.buffer(writes);
        buffer.extend_from_slice(&bytes);
        buffer.extend_from_slice(body);
        buffer.resize(align(buffer.len()), 0);
        self.tip.pass(&header, link);
    }

    /// Whether a frame of this length fits the active segment, after the session frame if that is still
    /// to come. `features` are those that the segment must have.
    pub(crate) fn fits(&self, len: usize, features: u64) -> bool {
        let header = &self.active.header;
        let may = header.features & features == features;
        may && self.tip.offset + self.needed(len) <= header.capacity
    }

    /// The bytes that a frame takes, with the session frame that may have to come before it.
    pub(crate) fn needed(&self, len: usize) -> u64 {
        let session = if self.tip.session_begun { 0 } else { frame::SESSION_LEN };
        (len + session) as u64
    }
}
