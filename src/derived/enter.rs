//! Enters what frames hold into heads, metadata and the index of their segment.
//!
//! Owns nothing. The frames are proven before. Must never read a file.

use crate::catalog::{Lookup, LookupError};
use crate::format::Defect;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::heads::Heads;
use crate::index::metadata::Metadata;
use crate::log::scan::{ScannedFrame, for_each_record};
use crate::log::segment::LogPlace;

const NOT_NEXT: Defect = Defect::Invalid("a version is not the next of its stream");

/// What frames are entered into: the metadata, and the heads and the index of one segment.
pub(crate) struct Contents<'a> {
    pub(crate) heads: &'a mut Heads,
    pub(crate) index: &'a mut ActiveIndex,
    pub(crate) metadata: &'a mut Metadata,
    /// The number of streams that have events.
    pub(crate) streams: &'a mut u64,
}

/// Adds the events of a proven frame in `segment` to heads and index, and its changes to the metadata.
/// `older` returns the head before the segment of a stream that has no event in it yet, and may change the
/// metadata.
pub(crate) fn load_frame(
    contents: Contents<'_>,
    frame: &ScannedFrame<'_>,
    segment: u64,
    mut older: impl FnMut(&mut Metadata, &str) -> Lookup<Head>,
) -> Lookup<()> {
    let Contents { heads, index, metadata, streams } = contents;
    let FrameHeader { kind, recorded_at, .. } = frame.header;
    if matches!(kind, FrameKind::Commit | FrameKind::Metadata) {
        index.note_commit(recorded_at, kind == FrameKind::Commit);
    }
    let changes = frame
        .for_each_change(|number, change| metadata.apply_at(number, &change, segment, recorded_at))
        .map_err(LookupError::Heads)?;
    index.changes += u64::from(changes);
    let mut failure = None;
    for_each_record(frame, |LogPlace { offset, position }, record| {
        let stream = record.stream();
        let slot = heads.find(stream).map_err(LookupError::Heads).and_then(|slot| match slot {
            Some(slot) => Ok(slot),
            None => Ok(heads.older(stream, older(metadata, stream)?)),
        });
        match slot {
            Ok(slot) if slot.head().version + 1 == record.version() => {
                let head = Head { version: record.version(), last_position: position };
                *streams += u64::from(head.version == 1);
                // A segment is smaller than 4 GiB.
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                let (before, steps) = heads.current(&slot, stream);
                let steps = index.push(offset, before, steps, record.id());
                heads.set(&slot, stream, head, steps);
            }
            Ok(_) => failure = Some(LookupError::Heads(NOT_NEXT)),
            Err(error) => failure = Some(error),
        }
    })
    .map_err(LookupError::Heads)?;
    failure.map_or(Ok(()), Err)
}
