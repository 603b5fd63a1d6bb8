//! Shipping: a backup in object storage that follows a store.
//!
//! Owns the order of uploads: bytes first, then the manifest that names them. Must never change or remove an object that
//! the newest manifest names.

mod plan;
mod running;
mod upload;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use annals::shipping::{DurableLog, LogEnd, LogSegment};
use annals::{Position, Store};
use uuid::Uuid;

use self::plan::{parts_of_full, parts_to_keep};
pub use self::running::{RunningShipper, ShipStatus};
use self::upload::Uploads;
use crate::catalog::{self, Loaded};
use crate::cold::keep_local;
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::manifest::{self, FORMAT, Full, Manifest, SegmentEntry};
use crate::parallel::in_parallel;

/// Full segments that are uploaded before a manifest names them.
const BATCH: usize = 8;
/// Segments that a manifest lists beside its base.
const MOST_LISTED: usize = 64;
/// Manifests, and objects that they replaced, that are kept for readers that have just read them.
const KEPT: u64 = 128;

/// Options of a [`Shipper`].
#[derive(Debug, Clone)]
pub struct ShipOptions {
    interval: Duration,
    level: i32,
    new_branch: bool,
    parallel: usize,
    keep_local: Option<u64>,
    bytes: Option<u64>,
}

impl Default for ShipOptions {
    fn default() -> Self {
        let interval = Duration::from_secs(1);
        Self { interval, level: 3, new_branch: false, parallel: 2, keep_local: None, bytes: None }
    }
}

impl ShipOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time between two looks at the store, which is about what can be lost with the machine. Default: 1 second.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Does not wait for the interval if the log has gained this many bytes; looks ten times a second. Each upload is at
    /// least two requests. Default: the interval alone.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// The compression level of Zstandard, from 1 to 19; values outside are taken as the nearest. Default: 3.
    pub fn compression_level(mut self, level: i32) -> Self {
        self.level = level.clamp(1, 19);
        self
    }

    /// Begins a new branch, for a store that was restored to an earlier state, or promoted from a standby. Full segments
    /// that the former branch holds too are not uploaded again. Default: no.
    pub fn new_branch(mut self, new_branch: bool) -> Self {
        self.new_branch = new_branch;
        self
    }

    /// Full segments that are compressed and uploaded at the same time, at least 1. Default: 2.
    pub fn parallel(mut self, segments: usize) -> Self {
        self.parallel = segments.max(1);
        self
    }

    /// After an upload, moves full segments into cold storage until those that stay have at most this many bytes: see
    /// [`keep_local`]. For a store that is open for writing in this process. Default: every segment stays.
    pub fn keep_local(mut self, bytes: u64) -> Self {
        self.keep_local = Some(bytes);
        self
    }
}

/// What one look at the store has uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Shipped {
    /// The last position in the backup.
    pub position: Position,
    /// Bytes of the log that were read.
    pub log_bytes: u64,
    /// Bytes of objects that were written, without manifests.
    pub sent_bytes: u64,
    /// Requests that wrote an object; a large one takes one for each 8 MiB.
    pub puts: u64,
}

/// Keeps a backup up to date with a store. The store may be open for writing in this process, or for reading beside its
/// writer.
#[derive(Debug)]
pub struct Shipper {
    store: Store,
    to: Destination,
    options: ShipOptions,
    id: Uuid,
    state: Loaded,
    /// Objects that no manifest names any more, and the number of the first manifest that did not.
    replaced: VecDeque<(u64, String)>,
    /// The manifests of the branch with lower numbers were removed, except the bases.
    oldest: u64,
    /// The bases that manifests which are kept may need, oldest first.
    bases: VecDeque<u64>,
    /// The number of full segments after whose upload segments were moved into cold storage.
    moved: usize,
}

impl Shipper {
    /// Takes over the shipping of a store: another shipper of it stops at its next upload. Creates the backup if there is
    /// none.
    ///
    /// # Errors
    ///
    /// [`Error::NotABackup`] if the place holds something else, [`Error::OtherStore`], [`Error::OtherHistory`] and
    /// [`Error::Fenced`] unless a new branch is begun, and those of the store and the storage.
    pub fn new(store: Store, to: Destination, options: ShipOptions) -> Result<Self> {
        let log = store.durable_log()?;
        catalog::claim(&to, log.store_id())?;
        let id = Uuid::new_v4();
        let newest = catalog::newest(&to, None)?;
        let (state, oldest) = match newest {
            Some(newest) if !options.new_branch => {
                check_history(&to, &log, &newest)?;
                let listed = catalog::branches(&to)?;
                let listed = listed.get(&newest.manifest.branch).and_then(|all| all.first());
                let oldest = listed.copied().unwrap_or(newest.manifest.number);
                (newest, oldest)
            }
            newest => (Self::begin_branch(&to, &log, newest, id, &options)?, 1),
        };
        let replaced = VecDeque::new();
        let bases = VecDeque::from([state.manifest.base]);
        let mut this = Self { store, to, options, id, state, replaced, oldest, bases, moved: 0 };
        if this.state.manifest.shipper != id {
            let Loaded { segments, manifest, .. } = this.state.clone();
            this.write_manifest(manifest.end, segments, manifest.ahead)?;
        }
        Ok(this)
    }

    /// Writes the first manifest of a branch: a log without a commit, and ahead of it the full segments that the branch
    /// before has too.
    fn begin_branch(
        to: &Destination,
        log: &DurableLog,
        before: Option<Loaded>,
        id: Uuid,
        options: &ShipOptions,
    ) -> Result<Loaded> {
        let branch = before.as_ref().map_or(1, |before| before.manifest.branch + 1);
        let known = before.map(|before| before.segments).unwrap_or_default();
        let same = log.segments().zip(known).take_while(|(local, known)| is_same(local, known));
        let ahead = same.map(|(_, known)| known).collect();
        let end =
            LogEnd { position: 0, change: 0, segment: 1, offset: 8192, last_frame: 0, link: 0 };
        let mut segments = Vec::new();
        for first in log.segments().take(1) {
            let part = Uploads::default().upload(to, options.level, &first, 0, end.offset)?;
            segments.push(SegmentEntry { parts: vec![part], ..describe(&first, false) });
        }
        let manifest = Manifest {
            format: FORMAT,
            store_id: log.store_id(),
            branch,
            number: 1,
            previous: None,
            shipper: id,
            written_at: now_micros(),
            end,
            fenced: None,
            base: 1,
            segments: segments.clone(),
            ahead,
        };
        match put(to, &manifest, id)? {
            Put::Written(digest) => Ok(Loaded { manifest, digest, segments, covered: 0 }),
            Put::Before(loaded) => Ok(*loaded),
        }
    }

    /// Uploads what the store has gained since the last call. Blocks until it is stored.
    ///
    /// # Errors
    ///
    /// [`Error::OtherShipper`] and [`Error::Fenced`] end the shipping; [`Error::OtherHistory`] if the store was replaced.
    /// After an error that [is transient](Error::is_transient) the next call continues.
    pub fn ship(&mut self) -> Result<Shipped> {
        let log = self.store.durable_log()?;
        let mut uploads = Uploads::default();
        while log.end() != self.state.manifest.end {
            check_history(&self.to, &log, &self.state)?;
            let end = log.end();
            let is_behind = (self.state.manifest.end.segment, self.state.manifest.end.offset)
                < (end.segment, end.offset);
            if !is_behind {
                // What an earlier call uploaded, though its answer was lost, is more than this log.
                break;
            }
            self.upload_segments(&log, &mut uploads)?;
        }
        self.remove_replaced();
        if let Some(keep) = self.options.keep_local
            && self.full_segments() != self.moved
        {
            keep_local(&self.store, keep)?;
            self.moved = self.full_segments();
        }
        Ok(uploads.into_shipped(self.position()))
    }

    /// Uploads everything that the log has and the backup has not, and names it.
    fn upload_segments(&mut self, log: &DurableLog, uploads: &mut Uploads) -> Result<()> {
        let known = self.state.segments.clone();
        let first = known.iter().take_while(|segment| segment.full.is_some()).count();
        let mut segments = known[..first].to_vec();
        let open: Vec<_> = log.segments().skip(first).collect();
        let mut batches = open.chunks(BATCH).peekable();
        while let Some(batch) = batches.next() {
            let made = in_parallel(batch, self.options.parallel, |segment| {
                let at = usize::try_from(segment.number() - 1).unwrap_or(usize::MAX);
                let known = known.get(at).filter(|known| known.salt == salt(segment));
                let mut uploads = Uploads::default();
                Ok((self.upload_segment(segment, known, &mut uploads)?, uploads))
            })?;
            let before = uploads.puts();
            for (entry, made) in made {
                uploads.add(&made);
                segments.push(entry);
            }
            if batches.peek().is_some() && uploads.puts() > before {
                let done = segments[first..].iter().filter(|segment| segment.full.is_some());
                let stored = self.state.manifest.ahead.iter();
                let stored = stored.filter(|stored| stored.number > segments.len() as u64);
                let ahead = done.chain(stored).cloned().collect();
                self.write_manifest(self.state.manifest.end, known.clone(), ahead)?;
                uploads.count_manifest();
            }
        }
        uploads.count_manifest();
        self.write_manifest(log.end(), segments, Vec::new())
    }

    fn upload_segment(
        &self,
        segment: &LogSegment<'_>,
        known: Option<&SegmentEntry>,
        uploads: &mut Uploads,
    ) -> Result<SegmentEntry> {
        let (to, level, len) = (&self.to, self.options.level, segment.len());
        let is_full = segment.full().is_some();
        if let Some(stored) = self.state.manifest.ahead.iter().find(|it| is_same(segment, it)) {
            return Ok(stored.clone());
        }
        let mut entry = SegmentEntry { parts: Vec::new(), ..describe(segment, is_full) };
        entry.parts = known.map(|known| known.parts.clone()).unwrap_or_default();
        let keep = if is_full { parts_of_full } else { parts_to_keep };
        entry.parts.truncate(keep(&entry.parts, len));
        if entry.len() >= len {
            return Ok(entry);
        }
        let from = entry.len();
        entry.parts.push(uploads.upload(to, level, segment, from, len)?);
        Ok(entry)
    }

    /// Writes the next manifest. If an earlier attempt was stored, though its answer was lost, that one is taken.
    fn write_manifest(
        &mut self,
        end: LogEnd,
        segments: Vec<SegmentEntry>,
        ahead: Vec<SegmentEntry>,
    ) -> Result<()> {
        let before = &self.state;
        let number = before.manifest.number + 1;
        let is_base = segments.len() - before.covered > MOST_LISTED;
        let listed = if is_base { 0 } else { before.covered };
        let manifest = Manifest {
            number,
            previous: Some(before.digest.clone()),
            shipper: self.id,
            written_at: now_micros(),
            end,
            base: if is_base { number } else { before.manifest.base },
            segments: segments[listed..].to_vec(),
            ahead,
            ..before.manifest.clone()
        };
        let state = match put(&self.to, &manifest, self.id)? {
            Put::Written(digest) => {
                let full = segments.iter().take_while(|segment| segment.full.is_some()).count();
                let covered = if is_base { full } else { before.covered };
                Loaded { manifest, digest, segments, covered }
            }
            Put::Before(loaded) => *loaded,
        };
        let kept: HashSet<_> = named(&state, self.state.covered).collect();
        let gone = named(&self.state, self.state.covered).filter(|object| !kept.contains(object));
        let gone: Vec<_> = gone.map(|object| (number, object.clone())).collect();
        self.replaced.extend(gone);
        self.state = state;
        Ok(())
    }

    /// Removes objects and manifests that were replaced long ago. What cannot be removed is left to
    /// [`prune`](crate::prune).
    fn remove_replaced(&mut self) {
        let Manifest { branch, number, base, .. } = self.state.manifest;
        if self.bases.back() != Some(&base) {
            self.bases.push_back(base);
        }
        let Some(limit) = number.checked_sub(KEPT) else { return };
        while self.replaced.front().is_some_and(|(at, _)| *at <= limit) {
            let (_, object) = self.replaced.pop_front().unwrap_or_default();
            let _ = self.to.delete(&object);
        }
        // Only manifests from before `limit` need a base before another one from before it.
        while self.bases.get(1).is_some_and(|next| *next <= limit) {
            let unused = self.bases.pop_front().unwrap_or_default();
            let _ = self.to.delete(&manifest::name(branch, unused));
        }
        while self.oldest < limit {
            if !self.bases.contains(&self.oldest) {
                let _ = self.to.delete(&manifest::name(branch, self.oldest));
            }
            self.oldest += 1;
        }
    }

    /// The number of full segments in the backup.
    fn full_segments(&self) -> usize {
        self.state.segments.iter().filter(|segment| segment.full.is_some()).count()
    }

    /// The last position in the backup.
    pub fn position(&self) -> Position {
        Position::new(self.state.manifest.end.position)
    }
}

/// The objects of the segments after the first ones, and of those ahead.
fn named(loaded: &Loaded, first: usize) -> impl Iterator<Item = &String> {
    let segments = loaded.segments.iter().skip(first).chain(&loaded.manifest.ahead);
    segments.flat_map(|segment| segment.parts.iter().map(|part| &part.object))
}

fn salt(segment: &LogSegment<'_>) -> String {
    format!("{:016x}", segment.salt())
}

fn describe(segment: &LogSegment<'_>, is_full: bool) -> SegmentEntry {
    let full = segment.full().filter(|_| is_full).map(|full| Full {
        events: full.events,
        first_recorded_at: full.first_recorded_at.as_micros(),
        last_recorded_at: full.last_recorded_at.as_micros(),
        link: full.link,
    });
    SegmentEntry {
        number: segment.number(),
        salt: salt(segment),
        first_position: segment.first_position(),
        full,
        parts: Vec::new(),
    }
}

/// Whether a full segment of the log has the bytes that the backup has.
fn is_same(local: &LogSegment<'_>, known: &SegmentEntry) -> bool {
    known.full.is_some()
        && local.len() == known.len()
        && describe(local, true) == SegmentEntry { parts: Vec::new(), ..known.clone() }
}

fn check_history(to: &Destination, log: &DurableLog, known: &Loaded) -> Result<()> {
    let end = &known.manifest.end;
    if let Some(place) = &known.manifest.fenced {
        return Err(Error::Fenced { to: place.clone(), position: Position::new(end.position) });
    }
    let salts_are_same = log.segments().zip(&known.segments).all(|(local, known)| {
        // One that holds no frame yet is created anew if it was lost.
        salt(&local) == known.salt || (known.number == end.segment && end.last_frame == 0)
    });
    if salts_are_same && log.contains(end)? {
        return Ok(());
    }
    Err(Error::OtherHistory { url: to.url().into(), end: Position::new(end.position) })
}

/// What became of a manifest.
pub(crate) enum Put {
    /// It is stored; its digest.
    Written(String),
    /// An earlier one of this process is stored under its number: the answer to it was lost.
    Before(Box<Loaded>),
}

/// Writes a manifest.
///
/// # Errors
///
/// [`Error::Fenced`] or [`Error::OtherShipper`] if another process has written one with this number.
pub(crate) fn put(to: &Destination, manifest: &Manifest, own: Uuid) -> Result<Put> {
    let (object, digest) = catalog::seal(to, manifest)?;
    if to.put_new(&manifest.name(), &object)? {
        return Ok(Put::Written(digest));
    }
    let other = || Error::OtherShipper { url: to.url().into(), object: manifest.name() };
    let (found, digest) = catalog::read(to, manifest.branch, manifest.number)?.ok_or_else(other)?;
    if let Some(place) = found.fenced {
        let position = Position::new(found.end.position);
        return Err(Error::Fenced { to: place, position });
    }
    if found.shipper != own {
        return Err(other());
    }
    let loaded = catalog::expand(to, (found, digest))?.ok_or_else(other)?;
    Ok(Put::Before(Box::new(loaded)))
}

/// µs since 1970. Only shown, and compared with the times of objects.
#[allow(clippy::disallowed_methods, reason = "no history depends on it")]
pub(crate) fn now_micros() -> u64 {
    annals::Timestamp::from(std::time::SystemTime::now()).as_micros()
}
