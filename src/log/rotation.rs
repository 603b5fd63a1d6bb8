//! Creates segments ahead of need, and seals full ones.
//!
//! A segment gets its final name before its first frame, and header and name are durable by then:
//! the first frame is written like any other, and rollover waits for nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{Segment, SegmentFile};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::checksum::crc32;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::names;
use crate::format::seal::{self, Trailer};
use crate::format::segment_header::{COPIES, FEATURES, SegmentHeader};
use crate::index::active::ActiveIndex;
use crate::storage::{File, OpenMode, Storage, write_all_at};

/// Creates segment `number`, empty, durable and under its final name.
pub(crate) fn create_segment(
    dir: &StoreDir,
    number: u64,
    store_id: [u8; 16],
    capacity: u64,
) -> Result<SegmentFile> {
    let unnamed = create_unnamed(dir, number, store_id, capacity)?;
    name_segment(dir, unnamed)
}

/// Creates segment `number`, empty, under a temporary name that is not durable.
pub(crate) fn create_unnamed(
    dir: &StoreDir,
    number: u64,
    store_id: [u8; 16],
    capacity: u64,
) -> Result<SegmentFile> {
    let temporary = dir.segment_path(number).with_extension("seg.tmp");
    remove_leftover(dir.storage(), &temporary)?;
    let result = (|| -> Result<_> {
        let file = dir
            .storage()
            .open(&temporary, OpenMode::CreateNew)
            .map_err(|e| Error::io("create", &temporary, e))?;
        let header = SegmentHeader {
            store_id,
            number,
            salt: dir.storage().random_u64(),
            capacity,
            created_at: dir.storage().now_micros(),
            features: FEATURES,
            ro_features: 0,
        };
        let io = |operation| {
            let temporary = temporary.clone();
            move |e| Error::io(operation, temporary, e)
        };
        file.allocate(capacity).map_err(io("allocate"))?;
        for at in COPIES {
            write_all_at(&*file, &header.encode(), at).map_err(io("write"))?;
        }
        file.sync_data().map_err(io("sync"))?;
        Ok((file, header))
    })();
    let (file, header) = match result {
        Ok(created) => created,
        Err(error) => {
            // A failed removal is ignored: the first error is returned.
            let _ = dir.storage().remove_file(&temporary);
            return Err(error.wanting(capacity));
        }
    };
    Ok(SegmentFile { path: temporary, file, header })
}

/// Gives a segment its final name, durably.
pub(crate) fn name_segment(dir: &StoreDir, unnamed: SegmentFile) -> Result<SegmentFile> {
    let path = dir.segment_path(unnamed.header.number);
    let directory = dir.join(names::LOG_DIR);
    dir.storage()
        .rename(&unnamed.path, &path)
        .map_err(|e| Error::io("rename", &unnamed.path, e))?;
    dir.storage().sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;
    Ok(SegmentFile { path, ..unnamed })
}

/// Removes a file that an interrupted creation left.
pub(crate) fn remove_leftover(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// The name of a file that is being created.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(names::TEMPORARY_SUFFIX);
    temporary.into()
}

/// Writes a derived file so that it appears complete or not at all.
pub(crate) fn write_derived(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
) -> Result<Arc<dyn File>> {
    let temporary = &*temporary_path(path);
    remove_leftover(storage, temporary)?;
    let io = |operation: &'static str| move |e| Error::io(operation, temporary, e);
    let file = storage.open(temporary, OpenMode::CreateNew).map_err(io("create"))?;
    write_all_at(&*file, bytes, 0).map_err(|e| io("write")(e).wanting(bytes.len() as u64))?;
    file.sync_data().map_err(io("sync"))?;
    if let Err(error) = storage.rename(temporary, path) {
        // The unfinished file would occupy space that other files need.
        let _ = remove_leftover(storage, temporary);
        return Err(io("rename")(error));
    }
    if let Some(directory) = path.parent() {
        storage.sync_dir(directory).map_err(|e| Error::io("sync", directory, e))?;
    }
    Ok(file)
}

/// The contents of a seal without the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealPoint {
    /// The link that the next frame, in the next segment, has too.
    pub(crate) link: u32,
    /// The offset of the last frame.
    pub(crate) recorded_at: u64,
}

/// Seals a segment that is full and durable; returns the sealed segment. Handles of the unsealed
/// one stay valid. A torn seal of an earlier attempt is overwritten.
pub(crate) fn seal_segment(
    segment: &Segment,
    index: &ActiveIndex,
    point: SealPoint,
) -> Result<Segment> {
    let seal_offset = segment.end();
    let offsets = index.encode_offsets().map_err(|d| segment.corrupt(0, segment.base_position, &d));
    let mut body = seal::encode_table(offsets?);
    let event_count = u32::try_from(index.len()).unwrap_or(u32::MAX);
    let trailer = Trailer {
        event_count,
        commit_count: u32::try_from(index.commits).unwrap_or(u32::MAX),
        base_position: segment.base_position,
        seal_offset,
        first_recorded_at: index.first_recorded_at,
        last_recorded_at: index.last_recorded_at,
        link: point.link,
        table_checksum: crc32(segment.seed.plain(), &body),
        change_count: u32::try_from(index.changes).unwrap_or(u32::MAX),
    };
    body.extend_from_slice(&trailer.encode(segment.seed));
    let next_position = segment.base_position + u64::from(event_count);
    let header = FrameHeader {
        kind: FrameKind::Seal,
        body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
        event_count: 0,
        link: point.link,
        first_position: next_position,
        durable_position: next_position - 1,
        recorded_at: point.recorded_at,
        body_checksum: crc32(segment.seed.plain(), &body),
    };
    let io = |operation: &'static str| move |e| Error::io(operation, &segment.path, e);
    let file = &segment.file;
    let (header, _) = header.encode(segment.seed, seal_offset);
    let body_at = seal_offset + frame::HEADER_LEN as u64;
    write_all_at(&**file, &header, seal_offset).map_err(io("write"))?;
    write_all_at(&**file, &body, body_at).map_err(io("write"))?;
    file.set_len(trailer.file_len()).map_err(io("set the length of"))?;
    file.sync_data().map_err(io("sync"))?;
    let reopened = SegmentFile {
        path: segment.path.clone(),
        file: Arc::clone(file),
        header: segment.header.clone(),
    };
    let sealed = Segment::new(reopened, segment.base_position, Some(trailer), seal_offset)?;
    sealed.note_verified(crate::format::segment_header::DATA_START, segment.verified_end());
    Ok(sealed)
}
