//! The path of an append: prepare → (lock) check, assign, encode → (unlock) group commit.
//!
//! Owns what makes a commit acceptable. All checks come before the first change, so a refused
//! commit leaves nothing behind.
//!
//! Records are encoded under the lock, straight into the group's buffer. Encoding outside and
//! copying under the lock would shorten the time under it, but costs a second pass over the bytes,
//! and the checksum covers the version and position that are only known under it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use uuid::Uuid;

use crate::catalog::{Catalog, LookupError};
use crate::engine::Engine;
use crate::error::{Error, FailedCheck, Result};
use crate::event::{ExpectedVersion, NewEvent, Position, Timestamp};
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind, SESSION_BODY_LEN};
use crate::format::record::{
    self, Assigned, MAX_STREAM_LEN, MAX_TAG_LEN, MAX_TAGS, MAX_TYPE_LEN, RecordRef,
};
use crate::format::segment_header::DATA_START;
use crate::group_commit::Writer;
use crate::index::Head;
use crate::log::segment::Segment;
use crate::options::Options;

/// One operation of a commit: a check, and the events to append if it holds.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: ExpectedVersion,
    pub(crate) events: &'a [NewEvent],
}

/// A commit within its limits.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    operations: &'a [Operation<'a>],
    body_len: usize,
    event_count: u32,
    has_ids: bool,
}

/// What was decided about a commit, and the group to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequenced {
    pub(crate) group: u64,
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    pub(crate) recorded_at: Timestamp,
    pub(crate) already_recorded: bool,
}

/// Where a frame is being put.
#[derive(Debug, Clone, Copy)]
struct FramePlace {
    /// In the buffer.
    start: usize,
    /// In the file.
    frame_at: u64,
    first_position: u64,
    recorded_at: u64,
}

/// Checks everything about a commit that needs no lock.
pub(crate) fn prepare<'a>(
    operations: &'a [Operation<'a>],
    options: &Options,
) -> Result<Prepared<'a>> {
    let mut body_len = 0_usize;
    let mut event_count = 0_usize;
    let mut given_ids = 0_usize;
    for operation in operations {
        check_limit(
            "a stream name in bytes",
            operation.stream.len(),
            MAX_STREAM_LEN,
        )?;
        if operation.stream.is_empty() {
            return Err(empty("stream"));
        }
        for event in operation.events {
            check_event(event, options)?;
            body_len = body_len.saturating_add(record::encoded_len(operation.stream, event));
            given_ids += usize::from(event.id.is_some());
        }
        event_count += operation.events.len();
    }
    if operations.is_empty()
        || (event_count == 0
            && operations
                .iter()
                .all(|o| o.expected == ExpectedVersion::Any))
    {
        return Err(Error::EmptyCommit);
    }
    let max = options.segment_size / 4;
    check_limit(
        "a commit in bytes",
        body_len,
        usize::try_from(max).unwrap_or(usize::MAX),
    )?;
    if given_ids > 1 {
        let mut seen = HashSet::with_capacity(given_ids);
        let ids = operations
            .iter()
            .flat_map(|o| o.events)
            .filter_map(|event| event.id);
        if let Some(id) = ids.into_iter().find(|id| !seen.insert(*id)) {
            return Err(Error::DuplicateId { id });
        }
    }
    Ok(Prepared {
        operations,
        body_len,
        // Bounded by the commit's size.
        event_count: u32::try_from(event_count).unwrap_or(u32::MAX),
        has_ids: given_ids > 0,
    })
}

fn check_event(event: &NewEvent, options: &Options) -> Result<()> {
    check_limit(
        "an event type in bytes",
        event.event_type.len(),
        MAX_TYPE_LEN,
    )?;
    if event.event_type.is_empty() {
        return Err(empty("event type"));
    }
    check_limit("the number of tags", event.tags.len(), MAX_TAGS)?;
    for tag in &event.tags {
        check_limit("a tag in bytes", tag.len(), MAX_TAG_LEN)?;
        if tag.is_empty() {
            return Err(empty("tag"));
        }
    }
    let size = event.data.len().saturating_add(event.metadata.len());
    let max = usize::try_from(options.max_event_size).unwrap_or(usize::MAX);
    check_limit("data and metadata in bytes", size, max)
}

fn check_limit(what: &'static str, size: usize, max: usize) -> Result<()> {
    if size > max {
        return Err(Error::LimitExceeded {
            what,
            size: size as u64,
            max: max as u64,
        });
    }
    Ok(())
}

fn empty(what: &'static str) -> Error {
    Error::InvalidArgument {
        what,
        why: "must not be empty".into(),
    }
}

impl Engine {
    /// Checks a commit against everything accepted before, and adds it to the collecting group.
    /// Returns the locked writer, for the caller to wait or to leave. `versions` has a place for
    /// each operation.
    pub(crate) fn sequence(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        versions: &mut [u64],
    ) -> Result<(MutexGuard<'_, Writer>, Sequenced)> {
        self.check_writable()?;
        let mut writer = self.writer.lock();
        writer.check_usable()?;
        let max = self.options.max_pending_bytes;
        while writer.pending_bytes() as u64 + commit.body_len as u64 > max
            && !writer.collecting.extents.is_empty()
        {
            writer = self.wait_for_room(writer)?;
        }
        if commit.has_ids
            && let Some(known) = self.find_recorded(&mut writer, commit, versions)?
        {
            self.counters
                .already_recorded
                .fetch_add(1, Ordering::Relaxed);
            writer.collecting.sync |= sync;
            let group = writer.collecting_number;
            return Ok((writer, Sequenced { group, ..known }));
        }
        self.check(commit.operations, versions)?;
        if commit.event_count == 0 {
            let head = Position::new(writer.tip.next_position - 1);
            let sequenced = Sequenced {
                group: 0,
                first_position: head,
                last_position: head,
                recorded_at: Timestamp::from_micros(writer.tip.recorded_at),
                already_recorded: false,
            };
            return Ok((writer, sequenced));
        }
        let session = if writer.tip.session_begun {
            0
        } else {
            SESSION_BODY_LEN + frame::HEADER_LEN
        };
        self.make_room(&mut writer, commit.body_len + frame::HEADER_LEN + session)?;
        let sequenced = self.encode(&mut writer, commit, versions);
        writer.collecting.sync |= sync;
        writer.collecting.commits += 1;
        self.counters.appends.fetch_add(1, Ordering::Relaxed);
        self.want_spare(&mut writer);
        Ok((writer, sequenced))
    }

    /// Waits until the collecting group has been taken; takes it if nobody is at work.
    fn wait_for_room<'a>(
        &'a self,
        mut writer: MutexGuard<'a, Writer>,
    ) -> Result<MutexGuard<'a, Writer>> {
        if writer.writing.is_none() {
            writer = self.lead(writer);
        } else {
            writer.room_waiters += 1;
            self.room.wait(&mut writer);
            writer.room_waiters -= 1;
        }
        writer.check_usable()?;
        Ok(writer)
    }

    /// Checks every operation, in order, each against the stream as those before leave it.
    fn check(&self, operations: &[Operation<'_>], versions: &mut [u64]) -> Result<()> {
        let head = |stream: &str| self.lookup(|catalog| catalog.head(stream));
        if let ([operation], [version]) = (operations, &mut *versions) {
            let actual = head(operation.stream)?.version;
            if !operation.expected.holds_for(actual) {
                self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                let (stream, expected) = (operation.stream.to_owned(), operation.expected);
                return Err(Error::WrongExpectedVersion {
                    stream,
                    expected,
                    actual,
                });
            }
            *version = actual + operation.events.len() as u64;
            return Ok(());
        }
        let mut current: HashMap<&str, u64> = HashMap::with_capacity(operations.len());
        let mut failed = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            let actual = match current.get(operation.stream) {
                Some(&version) => version,
                None => head(operation.stream)?.version,
            };
            if !operation.expected.holds_for(actual) {
                let (stream, expected) = (operation.stream.to_owned(), operation.expected);
                failed.push(FailedCheck::WrongExpectedVersion {
                    index,
                    stream,
                    expected,
                    actual,
                });
            }
            versions[index] = actual + operation.events.len() as u64;
            current.insert(operation.stream, versions[index]);
        }
        if failed.is_empty() {
            return Ok(());
        }
        self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        Err(Error::Conflict { failed })
    }

    /// Makes sure that a frame of this many bytes fits the active segment.
    fn make_room(&self, writer: &mut MutexGuard<'_, Writer>, len: usize) -> Result<()> {
        let capacity = self.catalog.read().active.segment.header.capacity;
        if writer.tip.offset + len as u64 <= capacity {
            return Ok(());
        }
        // A spare may have been prepared with a smaller size than is set now.
        let next = writer
            .spare
            .as_ref()
            .map_or(self.options.segment_size, |s| s.header.capacity);
        let max = next.saturating_sub(DATA_START);
        if len as u64 > max {
            return Err(Error::LimitExceeded {
                what: "a commit in bytes",
                size: len as u64,
                max,
            });
        }
        self.roll_over(writer)
    }

    /// Assigns positions and versions, encodes the frame into the group's buffer and enters it
    /// into the catalog.
    fn encode(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        commit: &Prepared<'_>,
        versions: &[u64],
    ) -> Sequenced {
        let segment = Arc::clone(&self.catalog.read().active.segment);
        let recorded_at = writer.tip.recorded_at.max(self.storage.now_micros());
        writer.tip.recorded_at = recorded_at;
        if !writer.tip.session_begun {
            let nonce = self.storage.random_u64().to_le_bytes();
            self.push_frame(writer, &segment, FrameKind::Session, &nonce);
            writer.tip.session_begun = true;
        }
        let (first_position, frame_at) = (writer.tip.next_position, writer.tip.offset);
        let mut buffer = std::mem::take(writer.buffer(&segment));
        let start = buffer.len();
        buffer.reserve(frame::HEADER_LEN + commit.body_len);
        buffer.extend_from_slice(&[0; frame::HEADER_LEN]);
        let place = FramePlace {
            start,
            frame_at,
            first_position,
            recorded_at,
        };
        let body_checksum =
            self.encode_records(writer, &segment, &mut buffer, commit, versions, place);
        let header = FrameHeader {
            kind: FrameKind::Commit,
            body_len: u32::try_from(commit.body_len).unwrap_or(u32::MAX),
            event_count: commit.event_count,
            link: writer.tip.link,
            first_position,
            durable_position: self.durable.load(Ordering::Acquire),
            recorded_at,
            body_checksum,
        };
        let (bytes, link) = header.encode(segment.seed, frame_at);
        buffer[start..start + frame::HEADER_LEN].copy_from_slice(&bytes);
        *writer.buffer(&segment) = buffer;
        let tip = &mut writer.tip;
        (tip.last_frame, tip.link, tip.next_position) = (frame_at, link, header.next_position());
        tip.offset += header.frame_len();
        tip.commits += 1;
        Sequenced {
            group: writer.collecting_number,
            first_position: Position::new(first_position),
            last_position: Position::new(header.next_position() - 1),
            recorded_at: Timestamp::from_micros(recorded_at),
            already_recorded: false,
        }
    }

    /// Appends the records to the buffer and enters them into the catalog; returns the body's
    /// checksum.
    fn encode_records(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        segment: &Segment,
        buffer: &mut Vec<u8>,
        commit: &Prepared<'_>,
        versions: &[u64],
        frame: FramePlace,
    ) -> u32 {
        let writer = &mut **writer;
        let (ids, checksums) = (&mut writer.ids, &mut writer.checksums);
        checksums.clear();
        let mut position = frame.first_position;
        let mut catalog = self.catalog.write();
        let Catalog { heads, active, .. } = &mut *catalog;
        for (operation, &after) in commit.operations.iter().zip(versions) {
            if operation.events.is_empty() {
                continue;
            }
            // `check` was answered a moment ago, under the same lock.
            let mut head = heads.get(operation.stream).unwrap_or_default();
            let before = after - operation.events.len() as u64;
            for (event, version) in operation.events.iter().zip(before + 1..) {
                let id = event
                    .id
                    .map_or_else(|| ids.next(frame.recorded_at), Uuid::into_bytes);
                let distance = buffer.len() - frame.start;
                let place = Assigned {
                    stream: operation.stream,
                    version,
                    position,
                    id,
                    frame_distance: u32::try_from(distance).unwrap_or(u32::MAX),
                };
                let checksum = record::encode(buffer, segment.seed, &place, event);
                checksums.extend_from_slice(&checksum.to_le_bytes());
                // Segments are smaller than 4 GiB.
                let offset = u32::try_from(frame.frame_at + distance as u64).unwrap_or(u32::MAX);
                active.index.push(offset, head.last_position, id);
                head = Head {
                    version,
                    last_position: position,
                };
                position += 1;
            }
            heads.set(operation.stream, before, head);
        }
        active.index.note_commit(frame.recorded_at);
        crc32(segment.seed.plain(), checksums)
    }

    /// Adds a frame without events to the collecting group. The caller has made room.
    pub(crate) fn push_frame(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        segment: &Arc<Segment>,
        kind: FrameKind,
        body: &[u8],
    ) {
        let offset = writer.tip.offset;
        let header = FrameHeader {
            kind,
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            event_count: 0,
            link: writer.tip.link,
            first_position: writer.tip.next_position,
            durable_position: self.durable.load(Ordering::Acquire),
            recorded_at: writer.tip.recorded_at,
            body_checksum: crc32(segment.seed.plain(), body),
        };
        let (bytes, link) = header.encode(segment.seed, offset);
        let buffer = writer.buffer(segment);
        buffer.extend_from_slice(&bytes);
        buffer.extend_from_slice(body);
        buffer.resize(crate::format::align(buffer.len()), 0);
        writer.tip.last_frame = offset;
        writer.tip.link = link;
        writer.tip.offset += header.frame_len();
    }

    /// Looks up the ids of a commit. `None`: all are new. All known, on the same contents and in
    /// order: the first append's result. Anything else is [`Error::IdReused`].
    fn find_recorded(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        commit: &Prepared<'_>,
        versions: &mut [u64],
    ) -> Result<Option<Sequenced>> {
        let mut reused = None;
        let mut all_match = true;
        let mut range: Option<(u64, u64)> = None;
        let mut recorded_at = 0;
        for (operation, version) in commit.operations.iter().zip(versions) {
            *version = self
                .lookup(|catalog| catalog.head(operation.stream))?
                .version;
            for event in operation.events {
                let found = match event.id {
                    Some(id) => self.find_id(writer, id)?,
                    None => None,
                };
                let Some(found) = found else {
                    all_match = false;
                    continue;
                };
                reused = reused.or(event.id.map(|id| (id, found)));
                let in_order = range.is_none_or(|(_, last)| last < found);
                let contents = self.with_record(writer, found, |record| {
                    *version = record.version();
                    record.has_contents_of(operation.stream, event)
                })?;
                all_match &= in_order && contents.0;
                recorded_at = contents.1;
                range = Some((range.map_or(found, |(first, _)| first), found));
            }
        }
        let (Some((id, position)), Some((first, last))) = (reused, range) else {
            return Ok(None);
        };
        if !all_match {
            return Err(Error::IdReused {
                id,
                position: Position::new(position),
            });
        }
        Ok(Some(Sequenced {
            group: 0,
            first_position: Position::new(first),
            last_position: Position::new(last),
            recorded_at: Timestamp::from_micros(recorded_at),
            already_recorded: true,
        }))
    }

    /// The position of the event with this id, commits on their way to disk included.
    fn find_id(&self, writer: &Writer, id: Uuid) -> Result<Option<u64>> {
        let bytes = id.into_bytes();
        for position in self.lookup(|catalog| catalog.id_candidates(&bytes))? {
            if self
                .with_record(writer, position, |record| record.id() == bytes)?
                .0
            {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Looks at a record, written or not; also returns when it was recorded.
    fn with_record<T>(
        &self,
        writer: &Writer,
        position: u64,
        mut look: impl FnMut(&RecordRef<'_>) -> T,
    ) -> Result<(T, u64)> {
        let located =
            self.lookup(|catalog| catalog.locate(position).map_err(LookupError::Store))?;
        let Some((segment, offset)) = located else {
            return Err(Error::LimitExceeded {
                what: "position",
                size: position,
                max: 0,
            });
        };
        let corrupt = |defect| segment.corrupt(offset, position, &defect);
        if let Some(bytes) = writer.pending(&segment, offset) {
            let record = RecordRef::parse(bytes).map_err(corrupt)?;
            let frame = offset - u64::from(record.frame_distance());
            let header = writer.pending(&segment, frame).unwrap_or_default();
            let header = FrameHeader::decode_trusted(header).map_err(corrupt)?;
            return Ok((look(&record), header.recorded_at));
        }
        let (bytes, layout) = segment.record(offset, position, true)?;
        let record = bytes.record(layout);
        let frame = offset.saturating_sub(u64::from(record.frame_distance()));
        let header = segment.frame_header(frame, position)?;
        Ok((look(&record), header.recorded_at))
    }
}
