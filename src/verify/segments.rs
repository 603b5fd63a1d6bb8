//! The checks of segments: headers, frames, ends and seals.
//!
//! Owns the walk through one segment after the other. Must never stop at damage if a valid frame
//! follows, and must never take a commit in progress of an active writer for damage.

use std::sync::Arc;

use super::{Progress, Verifier};
use crate::error::Result;
use crate::format::Defect;
use crate::format::checkpoint::SegmentEntry;
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::ChangeNumber;
use crate::format::seal;
use crate::format::segment_header::{COPIES, DATA_START, HEADER_LEN, SegmentHeader};
use crate::log::scan::{ScanEnd, ScanState, Window, resume, scan};
use crate::log::segment::SegmentFile;
use crate::recovery::find_evidence;
use crate::storage::read_exact_at;

impl Verifier<'_> {
    /// Verifies both copies of the header, and the zeros around them.
    pub(super) fn headers(&mut self, file: &SegmentFile) {
        if *self.store_id.get_or_insert(file.header.store_id) != file.header.store_id {
            self.fault(&file.path, 32, "the segment belongs to another store");
        }
        let mut bytes = vec![0; usize::try_from(DATA_START).unwrap_or(0)];
        if let Err(e) = read_exact_at(&*file.file, &mut bytes, 0) {
            self.fault(&file.path, 0, format!("cannot be read: {e}"));
            return;
        }
        for at in COPIES {
            let start = usize::try_from(at).unwrap_or(0);
            let copy = &bytes[start..start + HEADER_LEN];
            match SegmentHeader::decode(copy) {
                Ok(header) if header == file.header => {}
                Ok(_) => self.fault(&file.path, at, "the copies of the header differ"),
                Err(d) => self.fault(&file.path, at, format!("a copy of the header: {d}")),
            }
            let gap = &bytes[start + HEADER_LEN..start + 4096];
            if let Some(at) = gap.iter().position(|&byte| byte != 0) {
                let offset = (start + HEADER_LEN + at) as u64;
                self.fault(&file.path, offset, "bytes between the headers are not zero");
            }
        }
        self.advance(DATA_START);
    }

    /// Walks on in the segment before `file`, if a writer has written more to it since it was walked: `file` begins after
    /// that, or is sealed.
    fn catch_up(&mut self, before: &SegmentFile, file: &SegmentFile, limit: u64) -> Result<()> {
        let first = first_of(file)?;
        if !self.joined || first.is_none_or(|first| first.link == self.state.link) {
            return Ok(());
        }
        let mut window = Window::new(Arc::clone(&before.file), before.len()?);
        let mut state = self.state.clone();
        if let Err(error) = self.walk(&mut window, before, &mut state, limit) {
            self.error(error)?;
        }
        self.state = state;
        Ok(())
    }

    /// Walks over frames, and counts them.
    fn walk(
        &mut self,
        window: &mut Window,
        file: &SegmentFile,
        state: &mut ScanState,
        limit: u64,
    ) -> Result<ScanEnd> {
        let (mut commits, mut events, mut bytes) = (0, 0, 0);
        let number = file.header.number;
        let end = scan(window, file.header.seed(), state, limit, &file.path, |f| {
            commits += u64::from(f.header.kind == FrameKind::Commit);
            events += u64::from(f.header.event_count);
            bytes += f.header.frame_len();
            self.snapshots.pass(f);
            self.backup.pass(number, f);
            (self.progress)(Progress {
                done_bytes: self.done + bytes,
                total_bytes: self.total.max(self.done + bytes),
            });
            Ok(())
        });
        self.report.commits += commits;
        self.report.events += events;
        self.advance(bytes);
        end
    }

    /// Passes a segment that is elsewhere: what its stub records joins the segments around it.
    pub(super) fn cold_segment(&mut self, file: &SegmentFile) -> Result<()> {
        self.store_id.get_or_insert(file.header.store_id);
        let (Some(trailer), Some(first)) = (file.trailer()?, first_of(file)?) else {
            self.fault(&file.path, 0, "the stub of the cold segment contradicts itself");
            return Ok(());
        };
        if self.joined
            && (first.link != self.state.link || first.first_position != self.state.next_position)
        {
            self.fault(&file.path, DATA_START, "the cold segment does not follow the one before");
        }
        self.report.cold_segments += 1;
        self.report.events += u64::from(trailer.event_count);
        self.report.commits += u64::from(trailer.commit_count);
        self.state = ScanState {
            offset: trailer.seal_offset,
            link: trailer.link,
            next_position: trailer.base_position + u64::from(trailer.event_count),
            recorded_at: trailer.last_recorded_at,
            proven: self.state.proven,
            next_change: ChangeNumber::NONE,
        };
        self.joined = true;
        self.unused = 0;
        self.snapshots.pass_unread(self.state.next_position);
        self.sealed.push(SegmentEntry { header: file.header.clone(), trailer });
        Ok(())
    }

    pub(super) fn segment(
        &mut self,
        file: &SegmentFile,
        before: Option<&SegmentFile>,
        later: &[SegmentFile],
        is_last: bool,
        limit: Option<u64>,
    ) -> Result<()> {
        // The trailer is read before the length: a writer may seal the segment in between, and the part
        // that the trailer describes must lie within the length.
        let trailer = file.trailer()?;
        let len = file.len()?;
        // All of a sealed segment is durable, including a last frame without events, and so is all before it.
        let (beside_writer, limit) = (limit.is_some(), limit.filter(|_| trailer.is_none()));
        if let Some(before) = before.filter(|_| beside_writer) {
            self.catch_up(before, file, limit.unwrap_or(u64::MAX))?;
        }
        let seed = file.header.seed();
        let mut window = Window::new(Arc::clone(&file.file), len);
        self.state.offset = DATA_START;
        let starts_with_a_frame = self.take_first(file)?;
        // The segment after a sealed one may be empty and take the next event, like the first of a new
        // store.
        let number = file.header.number;
        let after_sealed = self.sealed.last().is_some_and(|it| it.header.number + 1 == number);
        let in_use = starts_with_a_frame || after_sealed || number == 1;
        self.unused = if in_use { 0 } else { self.unused + 1 };
        let mut state = self.state.clone();
        self.backup.pass_start(number, &state);
        let end = loop {
            let walked = self.walk(&mut window, file, &mut state, limit.unwrap_or(u64::MAX));
            let end = match walked {
                Ok(end) => end,
                Err(error) => {
                    self.error(error)?;
                    self.joined = false;
                    break ScanEnd::EndOfFile;
                }
            };
            let defect = match &end {
                ScanEnd::Invalid(defect) => defect.clone(),
                // A file that was truncated ends like a full one.
                ScanEnd::EndOfFile => Defect::TooShort,
                ScanEnd::Sealed | ScanEnd::Limit => break end,
            };
            let behind = trailer.as_ref().map_or(len, |t| t.seal_offset);
            if trailer.as_ref().is_some_and(|t| state.offset >= t.seal_offset) {
                self.seal_fault(file, state.offset, format!("the seal: {defect}"));
                break end;
            }
            // Damage, or the end of an active segment: continue at the next valid frame, if there is
            // one.
            let damage = trailer.is_some() || self.is_damage(file, later, &state, limit)?;
            match resume(&mut window, seed, state.offset + 8, behind, &file.path)? {
                Some((offset, header)) if damage => {
                    self.fault(&file.path, state.offset, defect.to_string());
                    self.advance(offset - state.offset);
                    state = ScanState {
                        offset,
                        link: header.link,
                        next_position: header.first_position,
                        recorded_at: header.recorded_at,
                        proven: state.proven.max(header.durable_position),
                        next_change: ChangeNumber::NONE,
                    };
                }
                _ => {
                    if damage {
                        self.fault(&file.path, state.offset, defect.to_string());
                        self.joined = false;
                    }
                    break end;
                }
            }
        };
        self.ending(file, later.first(), &state, &end, is_last, starts_with_a_frame, limit)?;
        if let Some(trailer) = trailer {
            self.trailer(file, &trailer, (end != ScanEnd::Limit).then_some(&state));
            self.sealed.push(SegmentEntry { header: file.header.clone(), trailer });
        }
        self.state = state;
        self.advance(len.saturating_sub(self.state.offset.max(DATA_START)));
        Ok(())
    }

    /// Applies the recovery rule to a segment that is not sealed; returns whether its end is damage.
    fn is_damage(
        &self,
        file: &SegmentFile,
        later: &[SegmentFile],
        state: &ScanState,
        limit: Option<u64>,
    ) -> Result<bool> {
        let next = match later.first() {
            Some(next) => first_of(next)?,
            None => None,
        };
        // If the next segment continues this one, this one is full and its seal is missing or
        // unfinished: the next opening, or the active writer, completes it.
        let goes_on = next.is_some_and(|first| {
            first.link == state.link && first.first_position == state.next_position
        });
        if goes_on {
            // Not damage: the segment is full and will be sealed.
            return Ok(false);
        }
        if let Some(visible) = limit {
            return Ok(visible != u64::MAX && state.next_position <= visible);
        }
        Ok(self.checkpoint.max(self.closed_at) >= state.next_position
            || find_evidence(file, later, state)?.is_some())
    }

    /// Whether the segment begins with a frame. After damage, the expected state is set from that frame.
    fn take_first(&mut self, file: &SegmentFile) -> Result<bool> {
        let mut bytes = [0; frame::HEADER_LEN];
        if file.len()? < DATA_START + frame::HEADER_LEN as u64 {
            return Ok(false);
        }
        if let Err(e) = read_exact_at(&*file.file, &mut bytes, DATA_START) {
            self.fault(&file.path, DATA_START, format!("cannot be read: {e}"));
            return Ok(false);
        }
        let Ok((first, _)) = FrameHeader::decode(&bytes, file.header.seed(), DATA_START) else {
            return Ok(false);
        };
        if !self.joined {
            self.state.link = first.link;
            self.state.next_position = first.first_position;
            self.state.recorded_at = first.recorded_at;
            self.joined = true;
        }
        Ok(true)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `segment`, split off for length")]
    fn ending(
        &mut self,
        file: &SegmentFile,
        next: Option<&SegmentFile>,
        state: &ScanState,
        end: &ScanEnd,
        is_last: bool,
        begins: bool,
        limit: Option<u64>,
    ) -> Result<()> {
        // A writer may have created the next segment since the segments were listed.
        if *end == ScanEnd::Sealed && is_last && !self.has_segment(file.header.number + 1) {
            self.fault(
                &file.path,
                state.offset,
                "the segment is sealed, and no segment follows it",
            );
        }
        let ScanEnd::Invalid(defect) = end else {
            return Ok(());
        };
        if limit.is_some() || *defect == Defect::Zero {
            return Ok(());
        }
        let goes_on = match next {
            Some(next) => {
                first_of(next)?.is_some_and(|first| first.first_position == state.next_position)
            }
            None => false,
        };
        if !goes_on && begins {
            self.report.notes.push(format!(
                "{}: the next opening cuts the tail at offset {} off: {defect}",
                file.path.display(),
                state.offset
            ));
        }
        Ok(())
    }

    /// Verifies the trailer. `state` is the end of the frames; `None` if the walk stopped at the limit
    /// because a writer has sealed the segment since that was read.
    fn trailer(&mut self, file: &SegmentFile, trailer: &seal::Trailer, state: Option<&ScanState>) {
        let table_at = trailer.table_offset();
        let len = seal::body_len(trailer.event_count) - seal::TRAILER_LEN as u64;
        let Ok(len) = usize::try_from(len) else {
            self.fault(&file.path, table_at, "the offset table is longer than the address space");
            return;
        };
        let mut table = vec![0; len];
        if let Err(e) = read_exact_at(&*file.file, &mut table, table_at) {
            self.fault(&file.path, table_at, format!("the offset table cannot be read: {e}"));
            return;
        }
        if crc32(file.header.seed().plain(), &table) != trailer.table_checksum {
            self.seal_fault(file, table_at, "the offset table has a wrong checksum".into());
        }
        let next = trailer.base_position + u64::from(trailer.event_count);
        let contradicts =
            |state: &ScanState| state.next_position != next || state.link != trailer.link;
        if self.joined && state.is_some_and(contradicts) {
            self.fault(&file.path, trailer.seal_offset, "the seal contradicts the frames");
        }
    }
}

fn first_of(file: &SegmentFile) -> Result<Option<FrameHeader>> {
    let mut bytes = [0; frame::HEADER_LEN];
    if file.len()? < DATA_START + frame::HEADER_LEN as u64
        || read_exact_at(&*file.file, &mut bytes, DATA_START).is_err()
    {
        return Ok(None);
    }
    let decoded = FrameHeader::decode(&bytes, file.header.seed(), DATA_START);
    Ok(decoded.ok().map(|(header, _)| header))
}
