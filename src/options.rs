//! The settings of an opening.
//!
//! Owns the settings, their defaults and their bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cold::SegmentSource;
use crate::error::{Error, Result};
use crate::event::Timestamp;
use crate::storage::{DiskStorage, Storage};

/// When an append returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When the commit is on stable storage: it survives a power loss.
    #[default]
    Sync,
    /// When the operating system has the commit: it survives the end of the process, and a power
    /// loss after the next sync, which happens at least every `interval`, on
    /// [`Store::sync`](crate::Store::sync) and on close.
    Buffered {
        /// The longest time a commit stays unsynced.
        interval: Duration,
    },
}

impl Durability {
    /// [`Durability::Buffered`] with an interval of 100 ms.
    pub const BUFFERED: Self = Self::Buffered { interval: Duration::from_millis(100) };

    pub(crate) fn is_sync(self) -> bool {
        matches!(self, Self::Sync)
    }
}

/// How often reads verify checksums. Opening and [`verify`](crate::verify()) always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Checksums {
    /// Each record once, when its region of the file is first read.
    #[default]
    Once,
    /// Each record at each read.
    Always,
    /// None: for scans of a store that was just verified.
    Never,
}

/// Whether buffered commits are copied into a mapping of the log; see [`Options::mapped_writes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MappedWrites {
    /// On Linux, on file systems that write reserved space in its place: ext4 and tmpfs.
    #[default]
    WhereSafe,
    /// On Linux, on every file system that can reserve space. On one that writes to another place, as copies that
    /// share blocks make XFS and Btrfs do, a full disk ends the process with a signal.
    Always,
    /// Nowhere.
    Never,
}

/// Settings for opening a store.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("ledger");
/// use annals::{Durability, Options};
///
/// let store = Options::new()
///     .durability(Durability::BUFFERED)
///     .segment_size(16 << 20)
///     .open(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "settings that have nothing to do with each other"
)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) checksums: Checksums,
    /// `None`: the size of the store's newest segment, or the default for a new store.
    segment_size: Option<u64>,
    pub(crate) max_event_size: u64,
    pub(crate) max_pending_bytes: u64,
    pub(crate) snapshots_kept: usize,
    /// In µs.
    pub(crate) max_clock_jump: u64,
    /// `None`: if it pays, and if there are threads.
    zero_fill: Option<bool>,
    mapped_writes: MappedWrites,
    pub(crate) lock_timeout: Duration,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) background: bool,
    pub(crate) compaction: bool,
    #[cfg(feature = "tracing")]
    slow_append: Duration,
    /// A clean close always writes a checkpoint of at most this number of bytes.
    pub(crate) small_checkpoint: u64,
    /// `None`: a default that depends on the limits of the process.
    pub(crate) max_open_files: Option<usize>,
    pub(crate) max_mappings: usize,
    pub(crate) cold_source: Option<Arc<dyn SegmentSource>>,
    pub(crate) cold_cache: u64,
    pub(crate) storage: Arc<dyn Storage>,
    /// `None`: the clock of the storage.
    clock: Option<Clock>,
}

/// A clock that the application gives.
#[derive(Clone)]
struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The smallest segment, in bytes.
    pub const MIN_SEGMENT_SIZE: u64 = 64 << 10;
    /// The largest segment, in bytes.
    pub const MAX_SEGMENT_SIZE: u64 = 1 << 30;
    /// The smallest value of [`Options::max_mappings`].
    pub const MIN_MAPPINGS: usize = 16;
    /// The smallest value of [`Options::max_open_files`].
    pub const MIN_OPEN_FILES: usize = 8;
    /// The largest value of [`Options::max_event_size`], in bytes.
    pub const MAX_EVENT_SIZE: u64 = 256 << 20;

    /// The default of [`Options::slow_append`]: 100 ms.
    #[cfg(feature = "tracing")]
    pub const SLOW_APPEND: Duration = Duration::from_millis(100);

    /// The default size of segments of a new store, in bytes.
    pub const DEFAULT_SEGMENT_SIZE: u64 = 128 << 20;

    /// The defaults: synced, segments of the size that the store has (128 MiB in a new one), events up
    /// to 16 MiB, created if missing.
    pub fn new() -> Self {
        Self {
            durability: Durability::Sync,
            checksums: Checksums::Once,
            segment_size: None,
            max_event_size: 16 << 20,
            max_pending_bytes: 64 << 20,
            snapshots_kept: 2,
            max_clock_jump: 366 * 24 * 3600 * 1_000_000,
            zero_fill: None,
            mapped_writes: MappedWrites::WhereSafe,
            lock_timeout: Duration::ZERO,
            create: true,
            read_only: false,
            background: true,
            compaction: true,
            #[cfg(feature = "tracing")]
            slow_append: Self::SLOW_APPEND,
            small_checkpoint: 64 << 10,
            max_open_files: None,
            max_mappings: 16_384,
            cold_source: None,
            cold_cache: 256 << 20,
            storage: Arc::new(DiskStorage),
            clock: None,
        }
    }

    /// When appends return, unless a transaction overrides it. Default: [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often reads verify checksums. Default: [`Checksums::Once`].
    pub fn checksums(mut self, checksums: Checksums) -> Self {
        self.checksums = checksums;
        self
    }

    /// The size of new segments in bytes, 64 KiB to 1 GiB; existing ones keep theirs. A commit takes
    /// at most a quarter of a segment. Default: the size of the store's newest segment;
    /// [`Options::DEFAULT_SEGMENT_SIZE`] for a new store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("ledger");
    /// use annals::{Options, Store};
    ///
    /// Options::new().segment_size(1 << 20).open(&path)?.close()?;
    /// let store = Store::open(&path)?;
    /// assert_eq!(store.stats().segment_size, 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = Some(bytes);
        self
    }

    /// The size of new segments.
    pub(crate) fn capacity(&self) -> u64 {
        self.segment_size.unwrap_or(Self::DEFAULT_SEGMENT_SIZE)
    }

    /// Takes over the size of the newest segment if none was requested. A size out of range, which
    /// another writer may have chosen, is clamped.
    pub(crate) fn remember_capacity(&mut self, newest: u64) {
        let newest = newest.clamp(Self::MIN_SEGMENT_SIZE, Self::MAX_SEGMENT_SIZE);
        self.segment_size.get_or_insert(newest);
    }

    /// The maximum size of data and metadata of one event together, in bytes, up to 256 MiB. A commit
    /// takes a quarter of a segment, so events of more than 32 MiB also need a larger
    /// [`Options::segment_size`] than the default. Applies to appends alone: events of any size are read.
    /// Default: 16 MiB.
    pub fn max_event_size(mut self, bytes: u64) -> Self {
        self.max_event_size = bytes;
        self
    }

    /// The number of bytes that may wait to be written before appends block. Default: 64 MiB.
    pub fn max_pending_bytes(mut self, bytes: u64) -> Self {
        self.max_pending_bytes = bytes;
        self
    }

    /// The number of snapshots that are kept at least per key and kind of mark; older ones are removed when packs
    /// of snapshots are merged. At least 1; 2 protect from a torn newest one. Default: 2.
    pub fn snapshots_kept(mut self, snapshots: usize) -> Self {
        self.snapshots_kept = snapshots;
        self
    }

    /// How far the clock may jump ahead between two commits. Recorded times never decrease: one commit
    /// under a clock in 2099 would date all later ones there. A commit whose time jumps further is
    /// refused with [`Error::ClockJumped`], and nothing is written.
    ///
    /// While the store is open, the time that the monotonic clock measured is expected, and the jump is
    /// the difference to it, as after the clock was set or the machine was suspended. The first commit
    /// after an opening may be recorded up to ten years after the last one, or up to this setting if
    /// that is more. In a store without events, or whose last event was recorded before November 2026,
    /// any time before 2076 is accepted.
    ///
    /// [`Duration::MAX`] accepts any time: for a store that was unused for longer, when the clock is
    /// right. Default: 366 days.
    pub fn max_clock_jump(mut self, jump: Duration) -> Self {
        self.max_clock_jump = u64::try_from(jump.as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// Where the segments are that [`Store::make_cold`](crate::Store::make_cold) removes from the store's directory; see
    /// [`cold`](crate::cold). Without it a store with cold segments opens, and a read that needs one of them fails
    /// with [`Error::ColdSegment`]. Every process that reads such events has to give its own. Default: none.
    pub fn cold_segments(mut self, source: Arc<dyn SegmentSource>) -> Self {
        self.cold_source = Some(source);
        self
    }

    /// The memory for cold segments that were read back, in bytes. One segment is kept in any case while it is read.
    /// Default: 256 MiB.
    pub fn cold_cache(mut self, bytes: u64) -> Self {
        self.cold_cache = bytes;
        self
    }

    /// The clock that commits are recorded by, that the times in generated event ids are taken from, and that the
    /// ages of events and snapshots are measured by; for tests that set the time. It is read for each of these, also
    /// with a lock held, so it must return at once and must not use the store. Default: the clock of the system.
    ///
    /// Recorded times never decrease: a commit under a clock that was set back has the time of the commit before
    /// it. A clock that is given here may jump to any later time: [`Options::max_clock_jump`] does not apply.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use annals::{ExpectedVersion, NewEvent, Options, Timestamp};
    ///
    /// let micros = Arc::new(AtomicU64::new(1_000_000));
    /// let clock = Arc::clone(&micros);
    /// # let dir = tempfile::tempdir()?;
    /// let store = Options::new()
    ///     .clock(move || Timestamp::from_micros(clock.load(Ordering::Relaxed)))
    ///     .open(dir.path().join("ledger"))?;
    ///
    /// micros.store(5_000_000, Ordering::Relaxed);
    /// let done = store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
    /// assert_eq!(done.recorded_at, Timestamp::from_micros(5_000_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Some(Clock(Arc::new(now)));
        self
    }

    /// The time by a clock that was given.
    pub(crate) fn given_time(&self) -> Option<u64> {
        self.clock.as_ref().map(|clock| (clock.0)().as_micros())
    }

    /// Whether the log's space is filled with zeros ahead of its use, mostly in the background. Syncs into
    /// space that was written once are cheaper than into space that is only allocated; the price is that
    /// each segment is written twice. Disable it where writing wears the disk or costs money. Default:
    /// yes.
    pub fn zero_fill(mut self, fill: bool) -> Self {
        self.zero_fill = Some(fill);
        self
    }

    /// Whether segments are filled. Without threads only on request, because commits would have to
    /// wait for it.
    pub(crate) fn fills(&self) -> bool {
        self.zero_fill.unwrap_or(self.background && self.durability.is_sync())
    }

    /// Whether buffered commits are copied into a mapping of the log instead of written with a system call, which takes
    /// a fraction of the time. Default: [`MappedWrites::WhereSafe`]. Concerns stores that are opened with
    /// [`Durability::Buffered`], and of their commits those that no sync follows, of up to 64 KiB at once.
    ///
    /// What is promised does not change: the end of the process loses nothing, and a sync makes what was copied
    /// durable. Two things differ. While a segment is in use, a stray write of the program itself, through a wild
    /// pointer, can reach it; checksums show that when the segment is sealed or, after an opening, when the event is read.
    /// And where the disk fails, the system ends the
    /// process with a signal, instead of an error, if it had to evict a page of the log and cannot read it again.
    pub fn mapped_writes(mut self, mapped: MappedWrites) -> Self {
        self.mapped_writes = mapped;
        self
    }

    /// How the writer maps its segments.
    pub(crate) fn maps_writes(&self) -> MappedWrites {
        let buffered = !self.durability.is_sync() && !self.read_only;
        if buffered { self.mapped_writes } else { MappedWrites::Never }
    }

    /// How long [`Options::open`] waits for another writer to close the store before it fails with
    /// [`Error::Locked`]. The opening blocks the calling thread. Useful for a rolling restart, where the
    /// new process starts before the old one has ended. The lock is checked at least every 25 ms, so
    /// that a hand-over takes that time and an opening. Several waiting openings have no order.
    /// [`Duration::MAX`] waits without limit. An opening for reading takes no lock and never waits.
    /// Default: zero, which fails at once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("ledger");
    /// use std::time::Duration;
    ///
    /// use annals::{Options, Store};
    ///
    /// let old = Store::open(&path)?;
    /// let path_of_new = path.clone();
    /// let new = std::thread::spawn(move || {
    ///     Options::new().lock_timeout(Duration::from_secs(30)).open(path_of_new)
    /// });
    /// old.close()?;
    /// let new = new.join().expect("it does not panic")?;
    /// # new.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Whether a missing store is created. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only, beside a writer in this or another process if there is one; its
    /// commits become visible when they are durable. Default: no.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether the index files of neighbouring sealed segments are merged in the background, so that look-ups
    /// stay cheap as the number of segments grows. [`Store::compact`](crate::Store::compact) merges them on
    /// request. Default: yes.
    pub fn compaction(mut self, compaction: bool) -> Self {
        self.compaction = compaction;
        self
    }

    /// The maximum number of segment and index files that are open at a time, at least
    /// [`Options::MIN_OPEN_FILES`]. Others are opened when they are needed, and closed again. About ten
    /// more files and directories stay open with the store: the directory and its parts, `LOCK`,
    /// `STATUS`, the checkpoint, the active segment and the next one; and segments that were written to,
    /// until they are synced or sealed.
    ///
    /// Default: a quarter of the process's limit (`RLIMIT_NOFILE`), at most 256. Has no effect on
    /// Windows, where the number of open files is not limited.
    pub fn max_open_files(mut self, files: usize) -> Self {
        self.max_open_files = Some(files);
        self
    }

    /// The maximum number of segment and index files that are mapped at a time, at least
    /// [`Options::MIN_MAPPINGS`]. Others are mapped when they are read, in place of files that were not
    /// read for a while. Event handles keep their segments mapped in addition.
    ///
    /// Default: 16,384. Linux permits a process 65,530 mappings unless `vm.max_map_count` differs.
    /// Has no effect on Windows, where the number of mappings is not limited.
    pub fn max_mappings(mut self, mappings: usize) -> Self {
        self.max_mappings = mappings;
        self
    }

    /// Replaces the disk, for tests.
    #[cfg(feature = "testing")]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Whether the store's own threads flush, seal and checkpoint. Without them, a commit does that
    /// work itself, in a fixed order: for simulation.
    #[cfg(feature = "testing")]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// A clean close always writes a checkpoint of at most this number of bytes, however little was
    /// appended. Default: 64 KiB.
    #[cfg(feature = "testing")]
    pub fn small_checkpoint(mut self, bytes: u64) -> Self {
        self.small_checkpoint = bytes;
        self
    }

    /// The time from which an append or a commit is reported as slow, with the feature `tracing`. Default:
    /// [`Options::SLOW_APPEND`]. Those that are submitted or awaited are not timed.
    #[cfg(feature = "tracing")]
    pub fn slow_append(mut self, from: Duration) -> Self {
        self.slow_append = from;
        self
    }

    /// The time from which an append is slow.
    #[cfg_attr(
        not(feature = "tracing"),
        expect(clippy::unused_self, reason = "the other form uses it")
    )]
    pub(crate) fn slow_from(&self) -> Duration {
        #[cfg(feature = "tracing")]
        return self.slow_append;
        #[cfg(not(feature = "tracing"))]
        Duration::MAX
    }

    /// Refuses settings that are out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let range = Self::MIN_SEGMENT_SIZE..=Self::MAX_SEGMENT_SIZE;
        let bytes = self.capacity();
        if !range.contains(&bytes) {
            return Err(Error::InvalidArgument {
                what: "segment_size",
                why: format!("{bytes} is not within {range:?} bytes"),
            });
        }
        if self.max_open_files.is_some_and(|files| files < Self::MIN_OPEN_FILES) {
            let why = format!("a store needs at least {}", Self::MIN_OPEN_FILES);
            return Err(Error::InvalidArgument { what: "max_open_files", why });
        }
        if self.max_mappings < Self::MIN_MAPPINGS {
            let why = format!("a store needs at least {}", Self::MIN_MAPPINGS);
            return Err(Error::InvalidArgument { what: "max_mappings", why });
        }
        if self.snapshots_kept == 0 {
            let why = "must be at least 1".into();
            return Err(Error::InvalidArgument { what: "snapshots_kept", why });
        }
        if self.max_event_size == 0 || self.max_event_size > Self::MAX_EVENT_SIZE {
            return Err(Error::InvalidArgument {
                what: "max_event_size",
                why: format!(
                    "{} is not within 1..={} bytes",
                    self.max_event_size,
                    Self::MAX_EVENT_SIZE
                ),
            });
        }
        Ok(())
    }
}
