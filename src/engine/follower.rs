//! Reading beside a writer in another process.
//!
//! The status file records the position up to which readers may read; frames up to it are walked,
//! proven and added to the catalog when a read begins. Must never write or lock. Without a writer,
//! every valid frame counts, because it has reached the operating system. A writer may open the store
//! during that search, so its result is used only if no writer did ([`Tenure`]).

mod changes;

use std::io::ErrorKind;
use std::sync::Arc;

use self::changes::{DurableEnd, next_segment};
use crate::catalog::{ActivePart, Catalog, Lookup, LookupError, Part, PartIndex};
use crate::derived::{self, load_frame, open_index};
use crate::dir::StoreDir;
use crate::engine::contents::Contents;
use crate::engine::positions::{FOLLOW_EVERY, Positions};
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::Defect;
use crate::format::backup::LogEnd;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::names;
use crate::format::segment_header::DATA_START;
use crate::index::active::ActiveIndex;
use crate::index::block_file::Reads;
use crate::log::rotation::SealPoint;
use crate::log::scan::{ScanState, ScannedFrame, Window, for_each_record, scan};
use crate::log::segment::{Segment, SegmentFile};
use crate::recovery::tenure::Tenure;
use crate::recovery::{Mode, Opened, Recovered, recover};
use crate::storage::{OpenMode, read_exact_at};
use crate::sync::{Instant, Mutex, Rank};

/// Number of attempts to find the end of a log while writers come and go.
const READ_TRIES: u32 = 4;

/// Number of bytes of the active segment that are compared with the file now under its name.
const LOOKED_AT: u64 = 64 << 10;

/// A store that is open for reading only, and follows the writer in another process.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    progress: Mutex<FollowProgress>,
}

/// The point up to which a reader has followed its writer.
#[derive(Debug)]
pub(super) struct FollowProgress {
    state: ScanState,
    /// Offset of the last frame in the active segment; 0 if it has none.
    last_frame: u64,
    commits: u64,
    /// The log is damaged after this point; there is nothing to follow.
    damaged: bool,
}

/// How far a reader may read the active segment.
#[derive(Debug, Clone, Copy)]
struct ReadableEnd {
    /// The last position.
    limit: u64,
    /// Exclusive end of the bytes, as an offset.
    len: u64,
}

impl FollowProgress {
    pub(super) fn new(recovered: &Recovered) -> Self {
        Self {
            state: recovered.state.clone(),
            last_frame: recovered.last_frame,
            commits: recovered.commits,
            damaged: matches!(recovered.opened, Opened::Damaged { .. }),
        }
    }
}

/// The end of a followed log.
pub(super) struct FollowedTip {
    pub(super) next_position: u64,
    /// When the last commit was recorded.
    pub(super) recorded_at: u64,
    pub(super) commits: u64,
    /// Offset of the end of the log in its last segment.
    pub(super) offset: u64,
}

/// Opens a log for reading, beside a writer or without one.
///
/// A writer that opens the store during the search for the end of the log can turn an unfinished frame
/// into a gap, or valid frames after it into apparent damage. The search is then repeated up to the
/// position that this writer has made visible, which is durable or, with a buffered writer, written.
pub(crate) fn open_for_reading(dir: &StoreDir, threads: bool) -> Result<Recovered> {
    let mut tenure = Tenure::now(dir)?;
    let mut mode = tenure.limit().map_or(Mode::Read, |visible| Mode::Follow { visible });
    for _ in 0..READ_TRIES {
        let recovered = recover(dir, mode, threads, false);
        if mode.limit() != u64::MAX {
            return recovered;
        }
        let later = Tenure::now(dir)?;
        if tenure.is_same(&later) {
            return recovered;
        }
        tenure = later;
        mode = Mode::Follow { visible: tenure.visible() };
    }
    // Several buffered writers in turn may each have published everything written.
    recover(dir, mode, threads, false)
}

/// Looks up all that entering a frame needs of the checkpoint. Returns the frame's streams that have no
/// event in the active segment.
fn can_enter(catalog: &Catalog, frame: &ScannedFrame<'_>) -> Lookup<Vec<Box<str>>> {
    let (mut found, mut older) = (Ok(()), Vec::<Box<str>>::new());
    let _ = for_each_record(frame, |_, record| {
        if found.is_ok() {
            let stream = record.stream();
            match catalog.active.heads.get(stream) {
                Ok(Some(head)) => found = catalog.active.index.touch_shortcuts(head),
                Ok(None) if older.last().is_some_and(|last| **last == *stream) => {}
                Ok(None) => older.push(stream.into()),
                Err(defect) => found = Err(defect),
            }
        }
    });
    // A frame that cannot be walked is reported when it is entered.
    found.map_err(LookupError::Heads).map(|()| older)
}

impl Follower {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        progress: FollowProgress,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            progress: Mutex::new(Rank::Follower, progress),
        }
    }

    pub(super) fn tip(&self) -> FollowedTip {
        let FollowProgress { state, commits, .. } = &*self.progress.lock();
        FollowedTip {
            next_position: state.next_position,
            recorded_at: state.recorded_at,
            commits: *commits,
            offset: state.offset,
        }
    }

    /// The end of what was followed.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the log is damaged after it.
    pub(super) fn log_end(&self) -> Result<LogEnd> {
        let FollowProgress { state, last_frame, damaged, .. } = &*self.progress.lock();
        let segment = self.contents.active_segment();
        if *damaged {
            let defect = Defect::Invalid("acknowledged events are missing after this place");
            return Err(segment.corrupt(state.offset, state.next_position, &defect));
        }
        Ok(LogEnd {
            position: state.next_position - 1,
            change: state.next_change.previous().get(),
            segment: segment.number(),
            offset: state.offset,
            last_frame: *last_frame,
            link: state.link,
        })
    }

    /// Makes the followed segments durable, unless the writer shows only what is. Without one, or with a buffered one,
    /// the end of the log may be in the page cache alone.
    pub(super) fn sync(&self, log: &[Arc<Segment>]) -> Result<()> {
        let dir = self.shared.dir();
        if Tenure::now(dir)?.limit().is_some_and(|limit| limit != u64::MAX) {
            return Ok(());
        }
        // Windows syncs only files that are open for writing.
        let mode = if cfg!(unix) { OpenMode::Read } else { OpenMode::ReadWrite };
        for segment in log.iter().filter(|segment| segment.trailer.is_none()) {
            let file = SegmentFile::open(dir, segment.number(), mode, segment.base_position)?;
            file.file.sync_data().map_err(|e| Error::io("sync", &file.path, e))?;
        }
        let log = dir.join(names::LOG_DIR);
        dir.storage().sync_dir(&log).map_err(|e| Error::io("sync", log, e))
    }

    /// Takes in what the writer has made visible since the last read.
    pub(super) fn refresh(&self) -> Result<()> {
        let mut follower = self.progress.lock();
        self.check_followed()?;
        if follower.damaged {
            return Ok(());
        }
        self.check_same_history(&follower)?;
        let tenure = Tenure::now(self.shared.dir())?;
        let has_changes = tenure.durable_link().is_some_and(|link| link != follower.state.link);
        if tenure.limit().is_some_and(|limit| limit < follower.state.next_position) && !has_changes
        {
            return Ok(());
        }
        let change = self.contents.last_change();
        // A frame that was entered is shown whole, events and changes, even if the walk ends early.
        let walked = self.walk_on(&mut follower, tenure);
        let last = follower.state.next_position - 1;
        let before = self.positions.written();
        self.positions.raise_written(last);
        self.positions.raise_durable(last);
        drop(follower);
        if last > before || self.contents.last_change() > change {
            self.positions.announce();
        }
        walked
    }

    /// Whether the log still holds the last followed frame. If the store was restored to an earlier
    /// state, events read since then belong to another history.
    fn check_same_history(&self, follower: &FollowProgress) -> Result<()> {
        if follower.last_frame == 0 {
            return Ok(());
        }
        let segment = self.contents.active_segment();
        let mut bytes = [0; frame::HEADER_LEN];
        match read_exact_at(&*segment.file, &mut bytes, follower.last_frame) {
            // The file was cut: the read of an event that is missing reports where.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read.map_err(|e| Error::io("read", &segment.path, e))?,
        }
        let found = FrameHeader::decode(&bytes, segment.seed, follower.last_frame);
        if found.is_ok_and(|(_, checksum)| checksum == follower.state.link) {
            return Ok(());
        }
        let position = Position::new(follower.state.next_position - 1);
        Err(Error::OtherHistory { position })
    }

    /// Whether the path still leads to the followed directory and active segment, neither removed nor
    /// replaced by those of another store. A different file with the same contents, as after the
    /// copy-up of an overlay, replaces the old one.
    fn check_followed(&self) -> Result<()> {
        self.shared
            .storage()
            .check_place()
            .map_err(|e| Error::io("find", self.shared.root(), e))?;
        let segment = self.contents.active_segment();
        let path = &segment.path;
        if !segment.is_stale()
            && segment.file.is_in_place().map_err(|e| Error::io("look at", path, e))?
        {
            return Ok(());
        }
        self.renew_active(&segment)
    }

    /// Continues with the file that is now under the name of the active segment.
    fn renew_active(&self, segment: &Segment) -> Result<()> {
        let number = segment.number();
        let file = SegmentFile::open(self.shared.dir(), number, OpenMode::Read, 0);
        let gone = |why: &str| Error::StoreGone { path: segment.path.clone(), why: why.into() };
        let file = match file {
            Ok(file) => file,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(gone("the segment was removed while the store was open"));
            }
            Err(error) => return Err(error),
        };
        if file.header != segment.header {
            return Err(gone(if file.header.store_id == segment.header.store_id {
                "the segment was replaced while the store was open"
            } else {
                "another store is in the place of the one that was opened"
            }));
        }
        let end = segment.end();
        let renewed = Arc::new(Segment::new(file, segment.base_position, None, end)?);
        self.contents.change_catalog(|catalog| {
            if catalog.active.segment.number() == number {
                catalog.active.segment = renewed;
            }
        });
        Ok(())
    }

    fn walk_on(&self, follower: &mut FollowProgress, mut tenure: Tenure) -> Result<()> {
        let mut durable = None;
        loop {
            self.walk_active(follower, &mut tenure, &mut durable)?;
            if !self.walk_over(follower)? {
                return Ok(());
            }
            follower.state.offset = DATA_START;
            follower.last_frame = 0;
        }
    }

    /// The loop of the thread of a read-only store: looks for new events on behalf of all waiters, and
    /// sleeps while there are none.
    pub(super) fn run(&self) {
        let ended = || self.shared.is_closed();
        while !ended() {
            let watch = self.positions.watch();
            watch.sleep_until_wanted(ended);
            watch.sleep_until(Instant::now() + FOLLOW_EVERY, ended);
            if self.refresh().is_err() {
                // Each waiter looks for itself after this and meets the error.
                self.positions.announce();
            }
        }
    }

    /// How far the active segment may be read.
    fn reach(
        &self,
        state: &ScanState,
        segment: &Segment,
        tenure: &mut Tenure,
    ) -> Result<ReadableEnd> {
        let length = || segment.file.len().map_err(|e| Error::io("read", &segment.path, e));
        let mut proven = 0;
        for _ in 0..READ_TRIES {
            let len = length()?;
            if let Some(limit) = tenure.limit().filter(|&limit| limit != u64::MAX) {
                return Ok(ReadableEnd { limit, len });
            }
            let mut window = Window::with_small_piece(Arc::clone(&segment.file), len);
            let mut end = state.clone();
            scan(&mut window, segment.seed, &mut end, u64::MAX, &segment.path, |_| Ok(()))?;
            let later = Tenure::now(self.shared.dir())?;
            if tenure.is_same(&later) {
                return Ok(ReadableEnd { limit: u64::MAX, len: end.offset });
            }
            proven = end.proven;
            *tenure = later;
        }
        // What a frame records as durable is durable, whichever writer wrote it.
        Ok(ReadableEnd { limit: proven, len: length()? })
    }

    fn walk_active(
        &self,
        follower: &mut FollowProgress,
        tenure: &mut Tenure,
        durable: &mut Option<DurableEnd>,
    ) -> Result<()> {
        let segment = self.contents.active_segment();
        let ReadableEnd { limit, len } = self.reach(&follower.state, &segment, tenure)?;
        if len == follower.state.offset {
            return Ok(());
        }
        let from = follower.state.offset;
        let mut window = Window::new(Arc::clone(&segment.file), len);
        let mut walked = self.walk_to(follower, &segment, &mut window, limit);
        if walked.is_ok() && limit < follower.state.next_position {
            walked = self.walk_changes(follower, (&segment, len), tenure, durable);
        }
        let state = &follower.state;
        segment.set_end(state.offset);
        walked?;
        // The status records a later position: the writer may be using another file.
        let end = len.min(from.saturating_add(LOOKED_AT));
        if state.offset == from && limit != u64::MAX && segment.look_again_at(from, end) {
            self.renew_active(&segment)?;
        }
        Ok(())
    }

    /// Takes in the frames without events that follow the last visible position in a segment, whose file has `len` bytes,
    /// and are durable.
    fn walk_changes(
        &self,
        follower: &mut FollowProgress,
        (segment, len): (&Arc<Segment>, u64),
        tenure: &Tenure,
        durable: &mut Option<DurableEnd>,
    ) -> Result<()> {
        let Some(last) = tenure.durable_link() else { return Ok(()) };
        if durable.is_none() {
            *durable = DurableEnd::find(self.shared.dir(), segment, &follower.state, last)?;
        }
        let Some(end) = *durable else { return Ok(()) };
        let end = end.within(segment.number(), len);
        // All frames before that end have no events: they are accepted up to the next one.
        let mut window = Window::new(Arc::clone(&segment.file), end);
        let next = follower.state.next_position;
        self.walk_to(follower, segment, &mut window, next)
    }

    /// Takes in the frames of a segment up to a position.
    fn walk_to(
        &self,
        follower: &mut FollowProgress,
        segment: &Arc<Segment>,
        window: &mut Window,
        limit: u64,
    ) -> Result<()> {
        let FollowProgress { state, commits, last_frame, .. } = follower;
        let (seed, number) = (segment.seed, segment.number());
        let walked = scan(window, seed, state, limit, &segment.path, |frame| {
            // A frame is entered whole or not at all: the checkpoint blocks that it needs are read
            // first.
            let older = self.contents.lookup(|catalog| can_enter(catalog, frame), Ok)?;
            // Only this thread, which follows, makes another segment active.
            let streams = older.iter().map(|stream| &**stream);
            let older = self.contents.older_heads(streams, Reads::Any)?.unwrap_or_default();
            *commits += u64::from(frame.header.kind == FrameKind::Commit);
            self.contents
                .change_all(|catalog, metadata| {
                    let Catalog { active, streams, .. } = catalog;
                    let ActivePart { heads, index, .. } = active;
                    let contents = derived::Contents { heads, index, metadata, streams };
                    // Looked up before. A frame that was not walked then fails again here.
                    load_frame(contents, frame, number, |_, stream| {
                        Ok(older.get(stream).unwrap_or_default())
                    })
                })
                .map_err(|failure| {
                    let position = frame.header.first_position;
                    failure.into_error(|d| segment.corrupt(frame.offset, position, d))
                })?;
            *last_frame = frame.offset;
            Ok(())
        });
        walked.map(|_| ())
    }

    /// Goes on to the next segment, if the writer has.
    fn walk_over(&self, follower: &FollowProgress) -> Result<bool> {
        let number = self.contents.active_segment().number() + 1;
        let position = follower.state.next_position;
        let after = (follower.state.link, position);
        let next = next_segment(self.shared.dir(), number, self.shared.store_id(), after)?;
        let Some(file) = next else { return Ok(false) };
        let segment = Arc::new(Segment::new(file, position, None, DATA_START)?);
        let active = ActivePart::new(segment, ActiveIndex::new(position));
        let point =
            SealPoint { link: follower.state.link, recorded_at: follower.state.recorded_at };
        // Only this thread, which follows, exchanges the active segment: it is looked at in files
        // before the catalog is locked.
        let full = self.contents.active_segment();
        let sealed = self.sealed_by_writer(&full)?;
        self.contents.change_all(|catalog, metadata| {
            if sealed.is_some() {
                metadata.drop_records(full.number());
            }
            catalog.turn_to(active, |full| sealed.unwrap_or_else(|| Part::frozen(full, point)));
        });
        Ok(true)
    }

    fn sealed_by_writer(&self, segment: &Segment) -> Result<Option<Part>> {
        let file = SegmentFile {
            path: segment.path.clone(),
            file: Arc::clone(&segment.file),
            header: segment.header.clone(),
        };
        let Some(trailer) = file.trailer()? else {
            return Ok(None);
        };
        let end = trailer.seal_offset;
        let sealed = Arc::new(Segment::new(file, segment.base_position, Some(trailer), end)?);
        let index = open_index(self.shared.dir(), &sealed);
        Ok(index.map(|index| Part { segment: sealed, index: PartIndex::Sealed(index) }))
    }
}
