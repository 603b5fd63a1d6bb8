//! Enters what frames and index files hold into heads, metadata and the index of the active segment.
//!
//! Owns nothing. The frames are proven before. Must never read a file.

use crate::format::Defect;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::heads::Heads;
use crate::index::metadata::Metadata;
use crate::index::sealed::SealedIndex;
use crate::log::scan::{ScannedFrame, for_each_record};
use crate::log::segment::LogPlace;

/// Enters the heads of an index file's streams where they are newer.
pub(crate) fn merge_heads(heads: &mut Heads, index: &SealedIndex) -> Result<(), Defect> {
    let mut failure = None;
    index.for_each_head(|name, head| match heads.get(name) {
        Ok(before) if before.version < head.version => {
            failure = failure.take().or(heads.put(name, head).err());
        }
        Ok(_) => {}
        Err(defect) => failure = Some(defect),
    })?;
    failure.map_or(Ok(()), Err)
}

/// Adds the events of a proven frame in `segment` to heads and index, and its changes to the metadata.
pub(crate) fn load_frame(
    heads: &mut Heads,
    metadata: &mut Metadata,
    index: &mut ActiveIndex,
    frame: &ScannedFrame<'_>,
    segment: u64,
) -> Result<(), Defect> {
    let FrameHeader { kind, recorded_at, .. } = frame.header;
    if matches!(kind, FrameKind::Commit | FrameKind::Metadata) {
        index.note_commit(recorded_at, kind == FrameKind::Commit);
    }
    let changes =
        frame.for_each_change(|number, change| metadata.apply(number, &change, segment))?;
    index.changes += u64::from(changes);
    let mut failure = None;
    for_each_record(frame, |LogPlace { offset, position }, record| {
        let stream = record.stream();
        match heads.find(stream) {
            Ok(slot) if slot.head().version + 1 == record.version() => {
                let before = slot.head();
                let head = Head { version: record.version(), last_position: position };
                heads.set(slot, stream, before.version, head);
                // A segment is smaller than 4 GiB.
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                index.push(offset, before, record.id());
            }
            Ok(_) => failure = Some(Defect::Invalid("a version is not the next of its stream")),
            Err(defect) => failure = Some(defect),
        }
    })?;
    failure.map_or(Ok(()), Err)
}
