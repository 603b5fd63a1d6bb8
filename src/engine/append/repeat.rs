//! Detection of repeated appends: an event id is unique in the store for ever.
//!
//! Looks ids up among everything accepted, commits on their way to disk included, and compares contents
//! with the records themselves; an index only gives the place to look at.

use uuid::Uuid;

use super::prepare::Prepared;
use super::{Appends, Sequenced};
use crate::engine::commit::{GroupNumber, Writer};
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::format::frame::FrameHeader;
use crate::format::record::RecordRef;
use crate::log::segment::LogPlace;
use crate::options::Checksums;

impl Appends {
    /// Looks up the ids of a commit. `None`: all are new. All known, on the same contents and in
    /// order: the first append's result. Anything else is [`Error::IdReused`].
    pub(super) fn find_recorded(
        &self,
        writer: &Writer,
        commit: &Prepared<'_>,
        versions: &mut [u64],
    ) -> Result<Option<Sequenced>> {
        let mut reused = None;
        let mut all_match = true;
        let mut range: Option<(u64, u64)> = None;
        let mut recorded_at = 0;
        for (operation, version) in commit.operations.iter().zip(versions) {
            if operation.events.is_empty() {
                *version = self.contents.head(operation.stream)?.version;
            }
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
            return Err(Error::IdReused { id, position: Position::new(position) });
        }
        Ok(Some(Sequenced {
            group: GroupNumber::NONE,
            first_position: Position::new(first),
            last_position: Position::new(last),
            recorded_at: Timestamp::from_micros(recorded_at),
            already_recorded: true,
            applied: Vec::new(),
            record_versions: Vec::new(),
        }))
    }

    /// The position of the event with this id, commits on their way to disk included.
    fn find_id(&self, writer: &Writer, id: Uuid) -> Result<Option<u64>> {
        let bytes = id.into_bytes();
        for position in self.contents.id_candidates(&bytes)? {
            if self.with_record(writer, position, |record| record.id() == bytes)?.0 {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Looks at a record, written or not; also returns when it was recorded.
    pub(super) fn with_record<T>(
        &self,
        writer: &Writer,
        position: u64,
        mut look: impl FnMut(&RecordRef<'_>) -> T,
    ) -> Result<(T, u64)> {
        let (segment, offset) = self.contents.locate(position)?;
        let corrupt = |defect| segment.corrupt(offset, position, &defect);
        if let Some(bytes) = writer.pending(&segment, offset) {
            let record = RecordRef::parse(bytes).map_err(corrupt)?;
            let frame = offset - u64::from(record.frame_distance());
            let header = writer.pending(&segment, frame).unwrap_or_default();
            let header = FrameHeader::decode_trusted(header).map_err(corrupt)?;
            return Ok((look(&record), header.recorded_at));
        }
        let (bytes, layout, header) =
            segment.event(LogPlace { offset, position }, Checksums::Once)?;
        Ok((look(&bytes.record(layout)), header.recorded_at))
    }
}
