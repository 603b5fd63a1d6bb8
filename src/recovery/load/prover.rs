//! Verifies the frames of a segment in a separate thread, ahead of the walk that enters them.
//!
//! Reading and verifying takes about as long as looking up the stream of each event, so after a kill
//! both run in parallel. Must never be needed: the thread reports which frames are verified, and the walk
//! verifies the rest itself, for whatever reason the thread ended.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::frame::FrameHeader;
use crate::log::scan::{
    Passing, ScanEnd, ScanState, ScannedFrame, Window, scan, scan_proven_by, verify_body,
};
use crate::log::segment::SegmentFile;
use crate::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use crate::sync::thread::Builder;

/// Bytes read and passed on at a time: as much as fits into the cache of a core.
const PIECE: usize = 256 << 10;
/// Number of pieces that may wait for the walk.
const AHEAD: usize = 4;
/// Below this number of bytes, no thread is started.
const WORTH_A_THREAD: u64 = 1 << 20;

/// A part of the segment.
struct Piece {
    start: u64,
    bytes: Vec<u8>,
    /// The frames that were verified since the piece before.
    proven: Vec<Proven>,
}

/// A frame that was verified.
struct Proven {
    /// The offset of its end in the file.
    end: u64,
    /// Where its records end in its body. To find that out takes a walk over all of them.
    records_end: usize,
}

/// A thread that verifies frames and passes on the bytes it has read.
pub(super) struct Prover {
    pieces: Receiver<Piece>,
    used: Sender<Vec<u8>>,
}

impl Prover {
    /// Starts to verify the rest of a segment of this length, if that is at least [`WORTH_A_THREAD`].
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

    /// Walks as [`scan`] does, from the offset at which the thread began.
    ///
    /// Both walks take the same steps, so the thread's pieces begin where this walk needs them, and the
    /// bytes it walks over are the bytes that were verified.
    pub(super) fn scan(
        self,
        window: &mut Window,
        file: &SegmentFile,
        state: &mut ScanState,
        visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
    ) -> Result<ScanEnd> {
        let seed = file.header.seed();
        let proven = Rc::new(RefCell::new(VecDeque::new()));
        let received = Rc::clone(&proven);
        let Self { pieces, used } = self;
        window.pass(Passing::Over(Box::new(move |offset, buffer| {
            let _ = used.send(buffer);
            let piece = pieces.recv().ok().filter(|piece| piece.start == offset)?;
            received.borrow_mut().extend(piece.proven);
            Some(piece.bytes)
        })));
        let mut checksums = Vec::new();
        let prove = |header: &FrameHeader, end: u64, body: &[u8]| -> Result<usize, Defect> {
            match take_proven(&mut proven.borrow_mut(), end) {
                Some(frame) => Ok(frame.records_end),
                None => verify_body(header, body, seed, &mut checksums),
            }
        };
        scan_proven_by(window, seed, state, u64::MAX, &file.path, prove, visit)
    }
}

/// Takes out the frame that ends here, if it was verified; with those before it, which are not needed any more.
fn take_proven(proven: &mut VecDeque<Proven>, end: u64) -> Option<Proven> {
    while proven.front().is_some_and(|frame| frame.end < end) {
        proven.pop_front();
    }
    if proven.front()?.end == end { proven.pop_front() } else { None }
}

fn run(
    file: &SegmentFile,
    len: u64,
    mut state: ScanState,
    pieces: SyncSender<Piece>,
    used: Receiver<Vec<u8>>,
) {
    let proven = Rc::new(RefCell::new(Vec::new()));
    let wanted = Rc::new(Cell::new(true));
    let (since, still) = (Rc::clone(&proven), Rc::clone(&wanted));
    let mut window = Window::with_pieces(Arc::clone(&file.file), len, PIECE);
    window.pass(Passing::On(Box::new(move |start, bytes| {
        // Before the first piece there is no buffer to return.
        if !bytes.is_empty() {
            let piece = Piece { start, bytes, proven: since.take() };
            still.set(pieces.send(piece).is_ok());
        }
        used.try_recv().unwrap_or_default()
    })));
    let seed = file.header.seed();
    let walked = scan(&mut window, seed, &mut state, u64::MAX, &file.path, |frame| {
        let end = frame.offset + frame.header.frame_len();
        let records_end = frame.body.len() - frame.metadata.len();
        proven.borrow_mut().push(Proven { end, records_end });
        if wanted.get() { Ok(()) } else { Err(Error::Closed) }
    });
    if walked.is_ok() {
        window.pass_last();
    }
}
