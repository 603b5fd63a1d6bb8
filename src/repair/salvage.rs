//! What a walk over the damaged log has taken and skipped, and the rules for taking a frame.
//!
//! Positions, versions and times must increase, so that old frames are refused.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::backup::Backup;
use super::report::{Gap, LostEvent, Moved, Range, RepairReport, SkippedBytes};
use super::salvaged::{BrokenCommit, SalvagedEvent, Sink};
use super::source::{Item, SourceSegment};
use super::streams::StreamLosses;
use super::survey::{Found, is_first, survey};
use super::target::Target;
use super::walk::SegmentWalk;
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::format::frame::FrameHeader;
use crate::format::metadata::{Change, ChangeNumber, RecordValue, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, ScannedFrame, Window, for_each_record};
use crate::verify::Progress;

/// The number of intact events of broken commits that the report lists.
const MAX_LISTED: u64 = 100_000;

pub(super) struct Salvage<'a, 'b> {
    pub(super) target: Target<'a>,
    pub(super) report: RepairReport,
    pub(super) streams: StreamLosses,
    /// Where the next frame of the log is expected.
    pub(super) state: ScanState,
    /// Bytes that were skipped since the last frame that was taken.
    pub(super) skipped: Vec<SkippedBytes>,
    intact: Intact,
    /// The number of intact events that the report has room for.
    unlisted: u64,
    /// The position that damaged bytes may begin with.
    pub(super) guess: u64,
    stop_at_damage: bool,
    stopped: bool,
    pub(super) checksums: Vec<u8>,
    /// The end of the frames in the last segment.
    pub(super) last_end: Option<SkippedBytes>,
    observer: Observer<'b>,
    pub(super) backup: Option<Backup>,
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

impl<'a, 'b> Salvage<'a, 'b> {
    pub(super) fn new(
        target: Target<'a>,
        stop_at_damage: bool,
        total: u64,
        observer: Observer<'b>,
        backup: Option<Backup>,
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
            backup,
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

    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.observer.progress)(Progress {
            done_bytes: self.done,
            total_bytes: self.total.max(self.done),
        });
    }

    /// The reason why a whole frame is not part of the history; `None` if it is.
    pub(super) fn refusal(&self, frame: &ScannedFrame<'_>) -> Option<&'static str> {
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
    pub(super) fn take(&mut self, frame: &ScannedFrame<'_>, link: u32) -> Result<()> {
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
    pub(super) fn skip(
        &mut self,
        walk: &mut SegmentWalk<'_>,
        bytes: std::ops::Range<u64>,
        header: Option<&FrameHeader>,
        reason: &str,
    ) -> Result<()> {
        let SegmentWalk { source, window, .. } = walk;
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
        // A missing segment has no bytes.
        self.report.tail.retain(|skipped| skipped.from < skipped.to);
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
