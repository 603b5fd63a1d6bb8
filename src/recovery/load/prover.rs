//! Proves the frames of a segment in a thread of its own, ahead of the walk that enters them.
//!
//! Reading and proving takes about as long as looking up the stream of each event, so after a kill the
//! two go on beside each other. Must never be needed: it says up to where all frames are proven, and
//! the walk proves for itself what lies behind, whatever has ended this thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::frame::FrameHeader;
use crate::log::scan::{
    Passing, ScanEnd, ScanState, ScannedFrame, Window, records_end, scan, scan_proven_by,
    verify_body,
};
use crate::log::segment::SegmentFile;
use crate::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use crate::sync::thread::Builder;

/// Read and passed on at a time: as much as fits into the cache of a core.
const PIECE: usize = 256 << 10;
/// So many pieces may wait for the walk.
const AHEAD: usize = 4;
/// Where there can be no more than this, no thread is started.
const WORTH_A_THREAD: u64 = 1 << 20;

/// A part of the segment.
struct Piece {
    start: u64,
    bytes: Vec<u8>,
    /// All frames before this offset are proven.
    proven: u64,
}

/// A thread that proves frames, and passes on what it has read.
pub(super) struct Prover {
    pieces: Receiver<Piece>,
    used: Sender<Vec<u8>>,
}

impl Prover {
    /// Begins to prove what follows in a segment of this length, if that is much.
    pub(super) fn begin(file: &SegmentFile, len: u64, state: &ScanState) -> Option<Self> {
        if len.saturating_sub(state.offset) < WORTH_A_THREAD {
            return None;
        }
        let (proven, pieces) = sync_channel(AHEAD);
        let (used, buffers) = channel();
        let (file, state) = (file.clone(), state.clone());
        let builder = Builder::new().name("annals-prove".into());
        builder.spawn(move || run(&file, len, state, proven, buffers)).ok()?;
        Some(Self { pieces, used })
    }

    /// Walks as [`scan`] does, from where the thread began.
    ///
    /// Both walks take the same steps, so the pieces that the thread has read begin where this one
    /// needs them, and the bytes it walks over are those that were proven.
    pub(super) fn scan(
        self,
        window: &mut Window,
        file: &SegmentFile,
        state: &mut ScanState,
        visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
    ) -> Result<ScanEnd> {
        let seed = file.header.seed();
        let proven = Rc::new(Cell::new(0));
        let told = Rc::clone(&proven);
        let Self { pieces, used } = self;
        window.pass(Passing::Over(Box::new(move |offset, buffer| {
            let _ = used.send(buffer);
            let piece = pieces.recv().ok().filter(|piece| piece.start == offset)?;
            told.set(piece.proven);
            Some(piece.bytes)
        })));
        let mut checksums = Vec::new();
        let prove = |header: &FrameHeader, end: u64, body: &[u8]| -> Result<usize, Defect> {
            if end <= proven.get() {
                records_end(header, body)
            } else {
                verify_body(header, body, seed, &mut checksums)
            }
        };
        scan_proven_by(window, seed, state, u64::MAX, &file.path, prove, visit)
    }
}

fn run(
    file: &SegmentFile,
    len: u64,
    mut state: ScanState,
    pieces: SyncSender<Piece>,
    used: Receiver<Vec<u8>>,
) {
    let proven = Rc::new(Cell::new(state.offset));
    let wanted = Rc::new(Cell::new(true));
    let (so_far, still) = (Rc::clone(&proven), Rc::clone(&wanted));
    let mut window = Window::with_pieces(Arc::clone(&file.file), len, PIECE);
    window.pass(Passing::On(Box::new(move |start, bytes| {
        // There is none before the first piece.
        if !bytes.is_empty() {
            let piece = Piece { start, bytes, proven: so_far.get() };
            still.set(pieces.send(piece).is_ok());
        }
        used.try_recv().unwrap_or_default()
    })));
    let seed = file.header.seed();
    let walked = scan(&mut window, seed, &mut state, u64::MAX, &file.path, |frame| {
        proven.set(frame.offset + frame.header.frame_len());
        if wanted.get() { Ok(()) } else { Err(Error::Closed) }
    });
    if walked.is_ok() {
        window.pass_last();
    }
}
