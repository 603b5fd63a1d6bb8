//! Searches bytes that hold no whole commit for intact records: their events are lost, but can be named.

use uuid::Uuid;

use super::report::LostEvent;
use crate::event::Position;
use crate::format::ALIGNMENT;
use crate::format::checksum::Seed;
use crate::format::frame;
use crate::format::record::RecordRef;

/// The number of consecutive damaged records that are stepped over.
const STEPS: u64 = 4;

/// The intact records in `bytes`, of which the first may be that of `position`; also returns the
/// position after them.
///
/// A record proves its position, but not its length: for bytes made to look like many overlapping
/// records, the work is bounded by a few times their length.
pub(super) fn survey(bytes: &[u8], seed: Seed, mut position: u64) -> (Vec<LostEvent>, u64) {
    let (mut found, mut at) = (Vec::new(), 0);
    let mut budget = bytes.len().saturating_mul(16);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= frame::HEADER_LEN) {
        let Ok(record) = RecordRef::parse(rest) else {
            at += ALIGNMENT;
            continue;
        };
        let right = (position..position.saturating_add(STEPS)).find(|&candidate| {
            let affordable = budget >= record.padded_len();
            budget = budget.saturating_sub(record.padded_len());
            affordable && record.verify(seed, candidate).is_ok()
        });
        let Some(right) = right else {
            at += ALIGNMENT;
            continue;
        };
        found.push(LostEvent {
            position: Position::new(right),
            stream: record.stream().to_owned(),
            version: record.version(),
            id: Uuid::from_bytes(record.id()),
        });
        position = right + 1;
        at += record.padded_len();
    }
    (found, position)
}
