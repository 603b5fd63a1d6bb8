//! The walk over one segment of the damaged log.
//!
//! Where a frame is damaged, it takes those of a backup, or searches for the next valid frame header, at every offset
//! where one can begin. Headers are bound to the segment's salt and their offset, so data that imitates a frame is
//! refused.

use std::path::Path;
use std::sync::Arc;

use super::backup::{Fit, Own};
use super::place::{Place, look};
use super::report::{Range, SkippedBytes, Supplied};
use super::salvage::Salvage;
use super::source::{Presence, SourceSegment};
use crate::error::{Error, Result};
use crate::format::frame::FrameHeader;
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{Window, resume};

/// The maximum length of a segment: offsets have 32 bits.
const MAX_LEN: u64 = 1 << 32;
const TOO_EARLY: &str = "the frames end too early";

/// A segment that is walked over.
pub(super) struct SegmentWalk<'a> {
    pub(super) source: &'a SourceSegment,
    pub(super) window: Window,
    /// Exclusive end of the frames.
    end: u64,
    trailer: Option<Trailer>,
    /// The next intact frame header after the places from an offset on.
    next: Option<(u64, Option<(u64, FrameHeader)>)>,
    /// Frames of the backup's copy before this offset are not taken.
    refused_to: u64,
}

/// A place where no frame can be taken, why, and the offset after it.
enum Damage {
    /// A whole frame that is not part of the history.
    Refused(FrameHeader, u64, &'static str),
    /// A frame with an intact header.
    Broken(FrameHeader, u64, String),
    Unknown(String),
    /// The file ends.
    End,
}

/// What the backup has for a place.
enum Supply {
    /// Frames up to this offset were taken.
    Taken(u64),
    /// Frames up to this offset were taken, and nothing follows them in the segment.
    All(u64),
    Nothing,
    OtherHistory,
}

impl Salvage<'_, '_> {
    pub(super) fn segment(&mut self, source: &SourceSegment) -> Result<()> {
        let segment = &source.segment;
        let len = source.len()?.min(MAX_LEN);
        let trailer = source.trailer()?;
        let end = trailer.as_ref().map_or(len, |trailer| trailer.seal_offset.min(len));
        let window = Window::new(Arc::clone(&segment.file), len);
        let mut walk = SegmentWalk { source, window, end, trailer, next: None, refused_to: 0 };
        self.state.offset = DATA_START;
        let mut is_whole = false;
        loop {
            let at = self.state.offset;
            let Some(next) = self.step(&mut walk, &mut is_whole)? else { break };
            self.advance(next - at);
            self.state.offset = next;
            if is_whole {
                break;
            }
        }
        if let Some(trailer) = &walk.trailer {
            let last = trailer.base_position + u64::from(trailer.event_count) - 1;
            self.state.proven = self.state.proven.max(last);
        }
        if let Presence::Lost(skipped) = &source.own
            && !is_whole
        {
            self.skipped.push(skipped.clone());
        }
        self.advance(len.saturating_sub(self.state.offset));
        let (at, reason) = (self.state.offset, TOO_EARLY.to_owned());
        self.last_end = Some(SkippedBytes { file: segment.path.clone(), from: at, to: at, reason });
        Ok(())
    }

    /// Takes or skips what is at the offset, and returns the next one; `None` if the segment holds no more frames.
    fn step(&mut self, walk: &mut SegmentWalk<'_>, is_whole: &mut bool) -> Result<Option<u64>> {
        let (at, segment) = (self.state.offset, &walk.source.segment);
        let place = look(segment, &mut walk.window, at, walk.end, &mut self.checksums)?;
        let damage = match place {
            Place::Seal(header) => {
                self.state.proven = self.state.proven.max(header.durable_position);
                return Ok(None);
            }
            Place::Whole(whole) => {
                let (next, link) = (whole.end(), whole.link);
                let frame = whole.read(segment, &mut walk.window)?;
                let Some(reason) = self.refusal(&frame) else {
                    self.take(&frame, link)?;
                    return Ok(Some(next));
                };
                Damage::Refused(frame.header, next, reason)
            }
            Place::Broken(header, defect) => {
                let next = (at + header.frame_len()).min(walk.end);
                Damage::Broken(header, next, defect.to_string())
            }
            Place::Nothing(defect) => Damage::Unknown(defect.to_string()),
            Place::End => Damage::End,
        };
        match self.supply(walk, &damage)? {
            Supply::Taken(next) => Ok(Some(next)),
            Supply::All(next) => {
                *is_whole = true;
                Ok(Some(next))
            }
            Supply::Nothing => self.pass(walk, &damage, ""),
            Supply::OtherHistory => {
                self.pass(walk, &damage, "; the backup has another history here")
            }
        }
    }

    /// Skips damage, and returns the next offset.
    fn pass(
        &mut self,
        walk: &mut SegmentWalk<'_>,
        damage: &Damage,
        remark: &str,
    ) -> Result<Option<u64>> {
        let at = self.state.offset;
        match damage {
            Damage::Refused(header, next, reason) => {
                self.skip(walk, at..*next, Some(header), &format!("{reason}{remark}"))?;
                Ok(Some(*next))
            }
            Damage::Broken(header, next, reason) => {
                self.guess = header.first_position.max(self.state.next_position);
                self.state.proven = self.state.proven.max(header.durable_position);
                self.skip(walk, at..*next, Some(header), &format!("{reason}{remark}"))?;
                self.guess = header.next_position().max(self.guess);
                Ok(Some(*next))
            }
            Damage::Unknown(reason) => {
                let next = match self.next_of_copy(walk)? {
                    Some(next) => Some(next),
                    None => walk.next_frame(at)?.map(|(offset, _)| offset),
                };
                let to = match next {
                    Some(next) => next,
                    None => walk.last_damaged(at)?,
                };
                if to > at {
                    self.skip(walk, at..to, None, &format!("{reason}{remark}"))?;
                }
                Ok(next)
            }
            Damage::End => {
                let next = self.next_of_copy(walk)?;
                if next.is_some() {
                    let file = walk.source.segment.path.clone();
                    let skipped = match &walk.source.own {
                        Presence::Lost(skipped) => skipped.clone(),
                        _ => SkippedBytes { file, from: at, to: at, reason: TOO_EARLY.into() },
                    };
                    self.skipped.push(skipped);
                }
                Ok(next)
            }
        }
    }

    /// The offset of the next frame of the backup's copy before the damaged store's own next one, if something could
    /// confirm it.
    fn next_of_copy(&self, walk: &mut SegmentWalk<'_>) -> Result<Option<u64>> {
        let (Some(backup), Some(copy)) = (&self.backup, &walk.source.copy) else { return Ok(None) };
        let at = self.state.offset;
        let next = walk.next_frame(at)?;
        let to = next.as_ref().map_or(u64::MAX, |(offset, _)| *offset);
        let own = Own { here: None, next, trailer: walk.trailer.as_ref() };
        if !backup.can_be_confirmed(walk.source.segment.header.number, &own) {
            return Ok(None);
        }
        copy.next_frame(walk.refused_to.max(at + 8), to)
    }

    /// Takes frames of the backup's copy in place of damage.
    fn supply(&mut self, walk: &mut SegmentWalk<'_>, damage: &Damage) -> Result<Supply> {
        let from = self.state.offset;
        let (Some(backup), Some(copy)) = (&mut self.backup, &walk.source.copy) else {
            return Ok(Supply::Nothing);
        };
        if from < walk.refused_to {
            return Ok(Supply::Nothing);
        }
        let here = match damage {
            Damage::Broken(header, ..) => Some(header),
            _ => None,
        };
        let next = match here {
            Some(_) => None,
            None => walk.next_frame(from)?,
        };
        let own = Own { here, next, trailer: walk.trailer.as_ref() };
        let Some(run) = backup.run(copy, &self.state, &own)? else { return Ok(Supply::Nothing) };
        if matches!(run.fit, Fit::Unproven | Fit::Contradicted) {
            walk.refused_to = run.end;
            let is_other = run.fit == Fit::Contradicted;
            return Ok(if is_other { Supply::OtherHistory } else { Supply::Nothing });
        }
        let (mut window, mut at) = (copy.window(), from);
        let mut positions = None;
        while at < run.end {
            let Place::Whole(whole) = copy.look(&mut window, at, &mut self.checksums)? else {
                break;
            };
            let (next, link) = (whole.end(), whole.link);
            let frame = whole.read(&copy.segment, &mut window)?;
            if self.refusal(&frame).is_some() {
                break;
            }
            if frame.header.event_count > 0 {
                let first =
                    positions.map_or(frame.header.first_position, |range: Range| range.first);
                positions = Some(Range { first, last: frame.header.next_position() - 1 });
            }
            self.take(&frame, link)?;
            at = next;
        }
        if at == from {
            return Ok(Supply::Nothing);
        }
        self.report.supplied.push(Supplied {
            file: walk.source.segment.path.clone(),
            from,
            to: at,
            positions,
            confirmed: run.fit == Fit::Confirmed,
        });
        let is_all = at == run.end && run.to_seal;
        Ok(if is_all { Supply::All(at) } else { Supply::Taken(at) })
    }
}

impl SegmentWalk<'_> {
    /// The next intact frame header after an offset.
    fn next_frame(&mut self, at: u64) -> Result<Option<(u64, FrameHeader)>> {
        let known = self.next.as_ref().filter(|(from, next)| {
            *from <= at && next.as_ref().is_none_or(|(offset, _)| *offset > at)
        });
        if let Some((_, next)) = known {
            return Ok(next.clone());
        }
        let segment = &self.source.segment;
        let seed = segment.header.seed();
        let next = resume(&mut self.window, seed, at + 8, self.end, &segment.path)?;
        self.next = Some((at, next.clone()));
        Ok(next)
    }

    /// Exclusive end of the damaged bytes from an offset on, if no frame follows.
    fn last_damaged(&mut self, at: u64) -> Result<u64> {
        let last = last_nonzero(&mut self.window, at, self.end, &self.source.segment.path)?;
        Ok(last.max(self.source.file.last_failed_within(at, self.end).unwrap_or(at)))
    }
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
