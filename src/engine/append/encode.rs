//! Gives a commit its positions and versions, and turns it into a frame.

use super::check::CheckResults;
use super::prepare::Prepared;
use super::{Answer, Appends, Sequenced};
use crate::catalog::Catalog;
use crate::engine::commit::Writer;
use crate::event::{NewEvent, Position, Timestamp};
use crate::format::align;
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, RecordValue, SECTION_HEADER_LEN, SectionHeader};
use crate::format::record::{self, Assigned, IdOrigin};
use crate::format::segment_header::FEATURE_EXTENDED_EVENTS;
use crate::index::Head;

impl Appends {
    /// Encodes the frame into the group's buffer and enters its events into the catalog. The
    /// checks have passed and there is room.
    pub(super) fn encode(
        &self,
        writer: &mut Writer,
        catalog: &mut Catalog,
        commit: &Prepared<'_>,
        answer: &mut Answer<'_>,
        checked: &mut CheckResults,
        recorded_at: u64,
    ) {
        let CheckResults { slots, changes, record_versions } = checked;
        let changes = std::mem::take(changes);
        writer.log.tip.recorded_at = recorded_at;
        if !writer.log.tip.session_begun {
            let nonce = self.shared.storage().random_u64().to_le_bytes();
            self.commits.push_frame(writer, FrameKind::Session, &nonce);
            writer.log.tip.session_begun = true;
        }
        let (first_position, frame_at) = (writer.log.tip.next_position, writer.log.tip.offset);
        let seed = writer.log.active().seed;
        let states_origin = writer.log.active().header.features & FEATURE_EXTENDED_EVENTS != 0;
        let mut buffer = std::mem::take(writer.buffer());
        let start = buffer.len();
        let metadata_len = commit.metadata_len.max(SECTION_HEADER_LEN);
        buffer.reserve(frame::HEADER_LEN + commit.body_len + metadata_len);
        buffer.extend_from_slice(&[0; frame::HEADER_LEN]);
        writer.checksums.clear();
        let mut position = first_position;
        let Catalog { active, streams, .. } = catalog;
        let operations = commit.operations.iter().zip(&*answer.versions).zip(&*slots);
        for ((operation, &after), slot) in operations.filter(|((o, _), _)| !o.events.is_empty()) {
            let (mut head, mut steps) = active.heads.current(slot, operation.stream);
            let before = after - operation.events.len() as u64;
            for (event, version) in operation.events.iter().zip(before + 1..) {
                let generate = || writer.ids.next(recorded_at);
                let id = event.id.map_or_else(generate, |id| id.as_u128());
                let distance = buffer.len() - start;
                let place = Assigned {
                    stream: operation.stream,
                    version,
                    position,
                    id,
                    id_origin: origin_of(event, states_origin),
                    frame_distance: u32::try_from(distance).unwrap_or(u32::MAX),
                };
                let checksum = record::encode(&mut buffer, seed, &place, event);
                writer.checksums.extend_from_slice(&checksum.to_le_bytes());
                // Segments are smaller than 4 GiB.
                let offset = u32::try_from(frame_at + distance as u64).unwrap_or(u32::MAX);
                steps = active.index.push(offset, head, steps, id.to_be_bytes());
                active.index.push_terms(operation.stream, event);
                head = Head { version, last_position: position };
                position += 1;
            }
            *streams += u64::from(before == 0);
            active.heads.set(slot, operation.stream, head, steps);
        }
        active.index.note_commit(recorded_at, commit.event_count > 0);
        writer.log.tip.commits += u64::from(commit.event_count > 0);
        active.index.changes += changes.len() as u64;
        let records_end = buffer.len();
        put_metadata(&mut buffer, start, writer, changes);
        let body_checksum = crc32(seed.plain(), &writer.checksums);
        let body_checksum = match &buffer[records_end..] {
            [] => body_checksum,
            metadata => crc32(body_checksum, metadata),
        };
        let body_len = buffer.len() - start - frame::HEADER_LEN;
        buffer.resize(start + frame::HEADER_LEN + align(body_len), 0);
        let header = FrameHeader {
            kind: if commit.event_count > 0 { FrameKind::Commit } else { FrameKind::Metadata },
            body_len: u32::try_from(body_len).unwrap_or(u32::MAX),
            event_count: commit.event_count,
            link: writer.log.tip.link,
            first_position,
            durable_position: self.positions.durable(),
            recorded_at,
            body_checksum,
        };
        let link = header.write(&mut buffer[start..], seed, frame_at);
        *writer.buffer() = buffer;
        writer.log.tip.pass(&header, link);
        answer.sequenced = Sequenced {
            group: writer.collecting_number,
            // A commit without events records the position it follows.
            first_position: Position::new(first_position.min(position - 1)),
            last_position: Position::new(position - 1),
            recorded_at: Timestamp::from_micros(recorded_at),
            already_recorded: false,
            applied: Vec::new(),
            record_versions: std::mem::take(record_versions),
        };
    }
}

/// The origin of an event's id, if the segment may state it.
fn origin_of(event: &NewEvent, stated: bool) -> IdOrigin {
    match (stated, event.id) {
        (false, _) => IdOrigin::Unrecorded,
        (true, Some(_)) => IdOrigin::Given,
        (true, None) => IdOrigin::Generated,
    }
}

/// Appends the metadata of a commit after its records: its changes, and the number of durable changes
/// unless a frame has recorded that number already. The frame begins at `start` of the buffer.
fn put_metadata(buffer: &mut Vec<u8>, start: usize, writer: &mut Writer, changes: Vec<Change>) {
    let durable = writer.changes.durable;
    if changes.is_empty() && durable <= writer.log.tip.told_change {
        return;
    }
    // A commit's size bounds them.
    let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    SectionHeader { first: writer.log.tip.next_change, durable, count }.encode(buffer);
    writer.log.tip.told_change = durable;
    let (seed, segment) = (writer.log.active().seed, writer.log.tip.segment);
    let recorded_at = writer.log.tip.recorded_at;
    for mut change in changes {
        let offset = writer.log.tip.offset + (buffer.len() - start) as u64;
        change.encode(buffer, seed);
        if let Change::Record(record) = &mut change {
            // Segments are smaller than 4 GiB.
            record.offset = u32::try_from(offset).unwrap_or(u32::MAX);
            record.value = record.value.as_ref().map(|value| RecordValue::Logged(value.len()));
        }
        writer.changes.accept(writer.log.tip.next_change, change, segment, recorded_at);
        writer.log.tip.next_change = writer.log.tip.next_change.next();
    }
}
