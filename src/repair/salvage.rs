//! Walks the damaged log and takes every whole commit.
//!
//! Where the walk cannot continue, it searches for the next valid frame header, at every offset where
//! one can begin. Headers are bound to the segment's salt and their offset, so data that imitates a
//! frame is refused; positions, versions and times must increase, so that old frames are refused.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use uuid::Uuid;

use super::report::{Gap, LostEvent, Moved, Range, RepairReport, SkippedBytes};
use super::salvaged::{BrokenCommit, SalvagedEvent, Sink};
use super::source::{Item, SourceSegment};
use super::streams::StreamLosses;
use super::survey::{Found, is_first, survey};
use super::target::Target;
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber, RecordValue, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::log::scan::{ScanState, ScannedFrame, Window, for_each_record, resume, verify_body};
use crate::verify::Progress;

/// The maximum length of a segment: offsets have 32 bits.
const MAX_LEN: u64 = 1 << 32;
/// The number of intact events of broken commits that the report lists.
const MAX_LISTED: u64 = 100_000;

pub(super) struct Salvage<'a, 'b> {
    pub(super) target: Target<'a>,
    pub(super) report: RepairReport,
    pub(super) streams: StreamLosses,
    /// Where the next frame of the log is expected.
    state: ScanState,
    /// Bytes that were skipped since the last frame that was taken.
    skipped: Vec<SkippedBytes>,
    intact: Intact,
    /// The number of intact events that the report has room for.
    unlisted: u64,
    /// The position that damaged bytes may begin with.
    guess: u64,
    stop_at_damage: bool,
    stopped: bool,
    checksums: Vec<u8>,
    /// The end of the frames in the last segment.
    last_end: Option<SkippedBytes>,
    observer: Observer<'b>,
    done: u64,
    total: u64,
}

/// What the caller of a repair learns while it runs.
pub(super) struct Observer<'a> {
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) salvaged: Sink<'a>,
}

/// The intact records among the bytes that were skipped since the last frame that was taken.
#[derive(Debug, Default)]
struct Intact {
    count: u64,
    /// The first ones, as long as the report does not list too many.
    listed: Vec<LostEvent>,
    /// The highest version of each of their streams.
    versions: HashMap<Box<str>, u64>,
}

/// What is found at an offset in a segment.
enum NewPlace {
    /// A whole frame that continues the walk.
    Whole {
        header: FrameHeader,
        link: u32,
        body_at: u64,
        records: usize,
    },
    /// A valid frame header, and what is wrong with the rest of the frame.
    Broken(FrameHeader, Defect),
    /// The header of a seal.
    Seal,
    Nothing(Defect),
    /// The end of the segment: no room for a frame.
    End,
}

impl<'a, 'b> Salvage<'a, 'b> {
    pub(super) fn new(
        target: Target<'a>,
        stop_at_damage: bool,
        total: u64,
        observer: Observer<'b>,
    ) -> Self {
        Self {
            target,
            report: RepairReport::default(),
            streams: StreamLosses::default(),
            state: ScanState::START,
            skipped: Vec::new(),
            intact: Intact::default(),
            unlisted: MAX_LISTED,
            guess: 1,
            stop_at_damage,
            stopped: false,
            checksums: Vec::new(),
            last_end: None,
            observer,
            done: 0,
            total,
        }
    }

    pub(super) fn item(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Lost(skipped) => {
                self.skipped.extend(skipped);
                Ok(())
            }
            Item::Segment(source) => self.segment(&source),
        }
    }

    fn segment(&mut self, source: &SourceSegment) -> Result<()> {
        let segment = &source.segment;
        let len = segment.len()?.min(MAX_LEN);
        let trailer = segment.trailer()?;
        let end = trailer.as_ref().map_or(len, |trailer| trailer.seal_offset.min(len));
        let mut window = Window::new(std::sync::Arc::clone(&segment.file), len);
        self.state.offset = DATA_START;
        while let Some(next) = self.step(source, &mut window, end)? {
            self.advance(next - self.state.offset);
            self.state.offset = next;
        }
        if let Some(trailer) = trailer {
            let last = trailer.base_position + u64::from(trailer.event_count) - 1;
            self.state.proven = self.state.proven.max(last);
        }
        self.advance(len.saturating_sub(self.state.offset));
        let (at, reason) = (self.state.offset, "the frames end too early".to_owned());
        self.last_end = Some(SkippedBytes { file: segment.path.clone(), from: at, to: at, reason });
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.observer.progress)(Progress {
            done_bytes: self.done,
            total_bytes: self.total.max(self.done),
        });
    }

    /// Takes or skips what is at the offset; `None` if the segment holds no more frames.
    fn step(
        &mut self,
        source: &SourceSegment,
        window: &mut Window,
        end: u64,
    ) -> Result<Option<u64>> {
        let at = self.state.offset;
        match self.look(source, window, at, end)? {
            NewPlace::End | NewPlace::Seal => Ok(None),
            NewPlace::Whole { header, link, body_at, records } => {
                let path = &source.segment.path;
                let body = window.get(body_at, header.body_len as usize);
                let body = body.map_err(|e| Error::io("read", path, e))?.unwrap_or_default();
                let metadata = if header.kind.may_hold_metadata() { &body[records..] } else { &[] };
                let frame = ScannedFrame { offset: at, header, checksum: link, body, metadata };
                let next = at + frame.header.frame_len();
                match self.refusal(&frame) {
                    Some(reason) => {
                        let header = frame.header;
                        self.skip(source, window, at..next, Some(&header), reason)?;
                    }
                    None => self.take(&frame, link)?,
                }
                Ok(Some(next))
            }
            NewPlace::Broken(header, defect) => {
                let next = (at + header.frame_len()).min(end);
                self.guess = header.first_position.max(self.state.next_position);
                self.state.proven = self.state.proven.max(header.durable_position);
                self.skip(source, window, at..next, Some(&header), &defect.to_string())?;
                self.guess = header.next_position().max(self.guess);
                Ok(Some(next))
            }
            NewPlace::Nothing(defect) => {
                let path = &source.segment.path;
                let seed = source.segment.header.seed();
                let next = resume(window, seed, at + 8, end, path)?.map(|(offset, _)| offset);
                let to = match next {
                    Some(next) => next,
                    None => {
                        let last = last_nonzero(window, at, end, path)?;
                        last.max(source.file.last_failed_within(at, end).unwrap_or(at))
                    }
                };
                if to > at {
                    self.skip(source, window, at..to, None, &defect.to_string())?;
                }
                Ok(next)
            }
        }
    }

    fn look(
        &mut self,
        source: &SourceSegment,
        window: &mut Window,
        at: u64,
        end: u64,
    ) -> Result<NewPlace> {
        let (path, seed) = (&source.segment.path, source.segment.header.seed());
        let read = |e| Error::io("read", path, e);
        if at + frame::HEADER_LEN as u64 > end {
            return Ok(NewPlace::End);
        }
        let header = match window.get(at, frame::HEADER_LEN).map_err(read)? {
            None => return Ok(NewPlace::End),
            Some(bytes) => FrameHeader::decode(bytes, seed, at),
        };
        let (header, link) = match header {
            Ok(decoded) => decoded,
            Err(defect) => return Ok(NewPlace::Nothing(defect)),
        };
        if header.kind == FrameKind::Seal {
            self.state.proven = self.state.proven.max(header.durable_position);
            return Ok(NewPlace::Seal);
        }
        let body_at = at + frame::HEADER_LEN as u64;
        let padded = align(header.body_len as usize);
        let body = if at + header.frame_len() <= end {
            window.get(body_at, padded).map_err(read)?
        } else {
            None
        };
        let proven = match body {
            Some(body) => verify_body(&header, body, seed, &mut self.checksums),
            None => Err(Defect::TooShort),
        };
        Ok(match proven {
            Ok(records) => NewPlace::Whole { header, link, body_at, records },
            Err(defect) => NewPlace::Broken(header, defect),
        })
    }

    /// The reason why a whole frame is not part of the history; `None` if it is.
    fn refusal(&self, frame: &ScannedFrame<'_>) -> Option<&'static str> {
        let header = &frame.header;
        if header.first_position < self.state.next_position {
            return Some("the frame has positions of another frame");
        }
        if header.recorded_at < self.state.recorded_at {
            return Some("the frame's time is before that of its predecessor");
        }
        let follows = header.link == self.state.link || frame.offset == DATA_START;
        if self.skipped.is_empty() && !follows {
            return Some("the frame does not follow its predecessor");
        }
        if header.frame_len() > self.target.max_frame_len() {
            return Some("the frame is larger than a segment can be");
        }
        let changes = frame.for_each_change(|_, _| {});
        let first = first_change(frame);
        if changes.is_ok_and(|count| count > 0) && first < self.state.next_change {
            return Some("the frame has change numbers of another frame");
        }
        let (mut last, mut rest) = (HashMap::new(), frame.body);
        for _ in 0..header.event_count {
            // The records of a verified frame can be read.
            let Ok(record) = RecordRef::parse(rest) else { break };
            let (stream, version) = (record.stream(), record.version());
            let before =
                last.insert(stream, version).unwrap_or_else(|| self.streams.old_version(stream));
            if version <= before {
                return Some("a version is not greater than the previous one of its stream");
            }
            rest = &rest[record.padded_len()..];
        }
        None
    }

    /// Takes a frame; bytes skipped before it are reported as damage.
    fn take(&mut self, frame: &ScannedFrame<'_>, link: u32) -> Result<()> {
        let header = &frame.header;
        self.close_gap(header.first_position - 1);
        self.state.link = link;
        self.state.next_position = header.next_position();
        self.state.recorded_at = header.recorded_at;
        self.state.proven = self.state.proven.max(header.durable_position);
        self.guess = self.state.next_position;
        if !header.kind.may_hold_metadata() {
            return Ok(());
        }
        let changes = self.changes(frame);
        if header.event_count == 0 {
            if !self.stopped && !changes.is_empty() {
                self.target.append(header, &[], &changes, |_| 0)?;
            }
            return Ok(());
        }
        let old = Range { first: header.first_position, last: header.next_position() - 1 };
        if self.stopped {
            let streams = &mut self.streams;
            // The records of a verified frame can be read.
            let _ = for_each_record(frame, |_, record| {
                streams.know(record.stream(), record.version());
            });
            let first = self.report.left_out.map_or(old.first, |range| range.first);
            self.report.left_out = Some(Range { first, last: old.last });
            return Ok(());
        }
        let streams = &mut self.streams;
        let new = self.target.append(header, frame.body, &changes, |record| {
            streams.take(record.stream(), record.version())
        })?;
        self.report.commits += 1;
        self.report.events += old.count();
        match self.report.positions.last_mut() {
            Some(run) if run.last + 1 == old.first => run.last = old.last,
            _ => {
                let run = Moved { first: old.first, last: old.last, new_first: new.first };
                self.report.positions.push(run);
            }
        }
        Ok(())
    }

    /// The changes of a frame for the new store: cursors and truncations move with the events that they
    /// refer to, and changes to a stream that is lost are dropped.
    fn changes(&mut self, frame: &ScannedFrame<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let first = first_change(frame);
        let Ok(count) = frame.for_each_change(|_, change| changes.push(change)) else {
            return Vec::new();
        };
        if count == 0 {
            return Vec::new();
        }
        self.report.missing_changes += first.get().saturating_sub(self.state.next_change.get());
        self.state.next_change = first.plus(u64::from(count));
        for change in &mut changes {
            match change {
                Change::CursorSet { position, .. } => *position = self.new_position(*position),
                Change::Truncated { stream, before } => {
                    *before = self.streams.new_version(stream, before.saturating_sub(1)) + 1;
                }
                Change::Record(record) => {
                    if let Some(value) = frame.record_value(record) {
                        let value = RecordValue::Given(Bytes::copy_from_slice(value));
                        record.value = Some(value);
                    }
                }
                _ => {}
            }
        }
        changes.retain(|change| {
            change.hides().is_none() || self.streams.old_version(change.name()) > 0
        });
        self.report.changes += changes.len() as u64;
        changes
    }

    /// The position in the new store of the last kept event up to `old` in the damaged one.
    fn new_position(&self, old: u64) -> u64 {
        let run = self.report.positions.iter().rev().find(|run| run.first <= old);
        run.map_or(0, |run| run.new_first + old.min(run.last) - run.first)
    }

    /// Records a gap if positions up to `last` were expected, and the bytes that were skipped instead.
    fn close_gap(&mut self, last: u64) {
        let first = self.state.next_position;
        let missing = (last >= first).then_some(Range { first, last });
        if missing.is_none() && self.skipped.is_empty() {
            return;
        }
        let (mut skipped, intact) =
            (std::mem::take(&mut self.skipped), std::mem::take(&mut self.intact));
        if skipped.is_empty() {
            skipped.extend(self.last_end.clone());
        }
        for (stream, version) in &intact.versions {
            self.streams.know(stream, *version);
        }
        self.report.missing_events += missing.as_ref().map_or(0, Range::count);
        self.stopped |= self.stop_at_damage && missing.is_some();
        self.report.gaps.push(Gap {
            missing,
            acknowledged: false,
            skipped,
            intact: intact.listed,
            intact_events: intact.count,
        });
    }

    /// Records bytes that cannot be taken, and hands out the intact records in them. `header`: the intact header of the
    /// frame that the bytes are.
    fn skip(
        &mut self,
        source: &SourceSegment,
        window: &mut Window,
        bytes: std::ops::Range<u64>,
        header: Option<&FrameHeader>,
        reason: &str,
    ) -> Result<()> {
        let path = &source.segment.path;
        let (from, to) = (bytes.start, bytes.end);
        let reason = if source.file.has_failed_within(from, to) {
            "cannot be read".to_owned()
        } else {
            reason.to_owned()
        };
        self.survey(source, window, bytes, header, &reason)?;
        match self.skipped.last_mut() {
            Some(last) if last.file == *path && last.to == from && last.reason == reason => {
                last.to = to;
            }
            _ => self.skipped.push(SkippedBytes { file: path.clone(), from, to, reason }),
        }
        Ok(())
    }

    /// Hands out the intact records in bytes that cannot be taken.
    fn survey(
        &mut self,
        source: &SourceSegment,
        window: &mut Window,
        bytes: std::ops::Range<u64>,
        header: Option<&FrameHeader>,
        reason: &str,
    ) -> Result<()> {
        let (path, seed) = (&source.segment.path, source.segment.header.seed());
        let (intact, salvaged) = (&mut self.intact, &mut self.observer.salvaged);
        let unlisted = &mut self.unlisted;
        // The frame whose first record was found, if the header is damaged.
        let mut first = None;
        let read = |found: Found<'_>| {
            let Found { record, position, frame } = found;
            if is_first(&record) {
                first = Some((frame, position));
            }
            let of_record = first.filter(|&(of, _)| of == frame).map(|(_, position)| position);
            let commit = BrokenCommit {
                file: path,
                offset: frame,
                first_position: header.map(|h| h.first_position).or(of_record).map(Position::new),
                events: header.map(|h| h.event_count),
                recorded_at: header.map(|h| Timestamp::from_micros(h.recorded_at)),
                reason,
            };
            intact.pass(&record, position, *unlisted > 0);
            *unlisted = unlisted.saturating_sub(1);
            salvaged(&SalvagedEvent { record, position, commit })
                .map_err(|e| Error::io("hand out an intact event of", path, e))
        };
        let failed = |e| Error::io("read", path, e);
        self.guess = survey(window, seed, bytes, header, self.guess, read, failed)?;
        Ok(())
    }

    /// Ends the walk. `proven`: positions up to this one are known to have been durable.
    pub(super) fn end(&mut self, proven: u64) {
        let proven = proven.max(self.state.proven);
        if proven >= self.state.next_position {
            self.close_gap(proven);
        }
        self.report.tail = std::mem::take(&mut self.skipped);
        self.report.tail_intact_events = std::mem::take(&mut self.intact).count;
        for gap in &mut self.report.gaps {
            gap.acknowledged = gap.missing.is_some_and(|missing| missing.first <= proven);
        }
    }
}

impl Intact {
    fn pass(&mut self, record: &RecordRef<'_>, position: u64, is_listed: bool) {
        let (stream, version) = (record.stream(), record.version());
        match self.versions.get_mut(stream) {
            Some(known) => *known = version.max(*known),
            None => drop(self.versions.insert(stream.into(), version)),
        }
        self.count += 1;
        if is_listed {
            self.listed.push(LostEvent {
                position: Position::new(position),
                stream: stream.to_owned(),
                version,
                id: Uuid::from_bytes(record.id()),
            });
        }
    }
}

/// The number of a frame's first change; [`ChangeNumber::NONE`] if it has no metadata.
fn first_change(frame: &ScannedFrame<'_>) -> ChangeNumber {
    let header = SectionHeader::decode(frame.metadata, |_, _| {});
    header.map_or(ChangeNumber::NONE, |header| header.first)
}

/// Exclusive end of the non-zero bytes in the range; `from` if all are zero.
fn last_nonzero(window: &mut Window, from: u64, to: u64, path: &Path) -> Result<u64> {
    let (mut at, mut found) = (from, from);
    while at < to {
        let piece = (to - at).min(1 << 20);
        let bytes = window
            .get(at, usize::try_from(piece).unwrap_or(0))
            .map_err(|e| Error::io("read", path, e))?
            .unwrap_or_default();
        if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
            found = at + last as u64 + 1;
        }
        at += piece;
    }
    Ok(found)
}
