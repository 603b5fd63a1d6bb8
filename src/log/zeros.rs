//! Fills the space of a segment that waits to be used with zeros.
//!
//! Space that is only allocated costs a commit of the file system's metadata at the sync of each
//! first write to it; space that was written once does not. Both read as zeros, so a filling may
//! end anywhere, also at a crash, and no code depends on it. Owns the order of writes and syncs;
//! the caller decides about speed and extent.
//!
//! There are two ways: a thread fills the next segment before it has its name ([`fill`]); if that
//! was too late, and in the first segment, the thread that writes and syncs frames writes zeros
//! after them at intervals ([`fill_ahead`]). Only the writer of frames may do the latter.

use std::io;

use crate::error::{Error, Result};
use crate::format::segment_header::DATA_START;
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::{File, write_all_at};

/// The size of one write. It determines the pieces in which the page cache holds the file until it is
/// written out: after pieces of 1 MiB, single small appends take 2 to 3 times as long as after pieces
/// of 4 or 64 KiB, and large ones as long as after 64 KiB, which is half as long as after 4 KiB.
const PIECE: usize = 64 << 10;

/// The bytes between two syncs, each followed by a pause. A sync of frames waits for one of zeros, which many of them
/// would make a slow one: row "durable, 100 events, p99" of `benches/peers`.
const SYNC_EVERY: u64 = 256 << 10;

/// The size of the zeros after the frames. A smaller one means more frequent extra work, a larger one a noticeable
/// pause.
const AHEAD: u64 = 256 << 10;

/// How far a segment was filled.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) to: u64,
    /// The error that ended it early. The segment remains usable.
    pub(crate) failed: Option<Error>,
}

/// Fills the data space from its beginning while `go_on`, which is called before each step, returns
/// true. The filled part is durable when this returns. A failed write ends the filling without
/// another effect; after a failed sync the segment cannot be used.
pub(crate) fn fill(segment: &SegmentFile, mut go_on: impl FnMut() -> bool) -> Result<Filled> {
    let io = |operation| move |e| Error::io(operation, &segment.path, e);
    let end = segment.header.capacity;
    let zeros = vec![0; PIECE];
    let (mut at, mut failed) = (DATA_START, None);
    while at < end && failed.is_none() && go_on() {
        // Pieces and steps end at multiples of their lengths, like pages and blocks.
        let step = end.min((at / SYNC_EVERY + 1) * SYNC_EVERY);
        failed = write_zeros(&*segment.file, &zeros, at, step).err().map(io("write"));
        at = step;
        segment.file.sync_data().map_err(io("sync"))?;
    }
    Ok(Filled { to: at, failed })
}

/// Writes zeros after the frames of the active segment, which end at `end`, unless there are zeros
/// already. The sync of those frames syncs them too. To be called only between two writes of
/// frames.
pub(crate) fn fill_ahead(segment: &Segment, end: u64) -> io::Result<()> {
    if end <= segment.filled_to() {
        return Ok(());
    }
    let to = segment.header.capacity.min((end / AHEAD + 1) * AHEAD);
    let zeros = vec![0; PIECE];
    let written = write_zeros(&*segment.file, &zeros, end, to);
    // A failed filling is not repeated.
    segment.note_filled(if written.is_ok() { to } else { segment.header.capacity });
    written
}

fn write_zeros(file: &dyn File, zeros: &[u8], mut at: u64, end: u64) -> io::Result<()> {
    while at < end {
        let next = end.min((at / PIECE as u64 + 1) * PIECE as u64);
        let len = usize::try_from(next - at).unwrap_or(PIECE).min(zeros.len());
        write_all_at(file, &zeros[..len], at)?;
        at += len as u64;
    }
    Ok(())
}
