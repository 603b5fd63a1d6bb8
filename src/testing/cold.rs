//! Cold segments of a store under test, and the copies that take their place.
//!
//! Owns the copies, which no crash of the machine loses. Must never give a store other bytes than it had.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::compare::{Checked, Mismatch, ensure};
use super::harness::Harness;
use crate::cold::{ColdSegment, SegmentSource};
use crate::dir::StoreDir;
use crate::error::Error;
use crate::store::Store;
use crate::sync::{Mutex, Rank};

/// The memory for cold segments: two of the smallest, so that others are dropped.
pub(super) const CACHE: u64 = 128 << 10;

/// The cold segments of a harness.
#[derive(Debug, Default)]
pub(super) struct ColdState {
    copies: Arc<ColdCopies>,
    moves: bool,
    /// The number of chances to move a segment, which decides what is moved.
    chances: u8,
}

impl ColdState {
    pub(super) fn source(&self) -> Arc<dyn SegmentSource> {
        Arc::clone(&self.copies) as _
    }

    /// Sets whether some requests fail from now on.
    pub(super) fn set_faults(&self, faults: bool) {
        self.copies.fails.store(faults, Ordering::Relaxed);
    }

    pub(super) fn set_moves(&mut self, moves: bool) {
        self.moves = moves;
    }
}

/// Copies of segments, outside of the machine.
#[derive(Debug)]
pub(super) struct ColdCopies {
    /// By number and salt.
    copies: Mutex<HashMap<(u64, u64), Vec<u8>>>,
    /// Whether some requests fail.
    fails: AtomicBool,
    requests: AtomicUsize,
}

impl Default for ColdCopies {
    fn default() -> Self {
        let copies = Mutex::new(Rank::ColdCache, HashMap::new());
        Self { copies, fails: AtomicBool::new(false), requests: AtomicUsize::new(0) }
    }
}

impl ColdCopies {
    /// Every fifth request fails if faults may strike.
    fn request(&self) -> io::Result<()> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let fails = self.fails.load(Ordering::Relaxed) && number % 5 == 4;
        if fails { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl SegmentSource for ColdCopies {
    fn holds(&self, segment: &ColdSegment) -> io::Result<bool> {
        self.request()?;
        let copies = self.copies.lock();
        let copy = copies.get(&(segment.number(), segment.salt()));
        Ok(copy.is_some_and(|copy| copy.len() as u64 == segment.len()))
    }

    fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()> {
        self.request()?;
        let key = (segment.number(), segment.salt());
        let copy = self.copies.lock().get(&key).cloned();
        to.write_all(&copy.ok_or(io::ErrorKind::NotFound)?)
    }
}

impl Harness {
    /// The directory of the store, with its cold segments.
    pub(super) fn dir(&self) -> StoreDir {
        let dir = StoreDir::new(Arc::clone(&self.storage), &self.root);
        dir.with_cold_segments(Some(self.cold.source()), CACHE)
    }

    /// Moves a segment or two, if this is asked for and the store is open.
    ///
    /// # Errors
    ///
    /// If the store does not do as it should.
    pub fn move_segments(&mut self) -> Checked {
        match self.store().cloned() {
            Some(store) => self.move_some(&store),
            None => Ok(()),
        }
    }

    pub(super) fn move_some(&mut self, store: &Store) -> Checked {
        if !self.cold.moves {
            return Ok(());
        }
        for _ in 0..2 {
            self.cold.chances = self.cold.chances.wrapping_add(1);
            let chance = self.cold.chances;
            self.move_segment(store, chance, chance % 6 == 5)?;
        }
        Ok(())
    }

    /// Moves one of the full segments into cold storage, or back.
    fn move_segment(&mut self, store: &Store, which: u8, back: bool) -> Checked {
        let full = store.engine().full_segments();
        let Some(segment) = usize::from(which).checked_rem(full.len()).map(|at| &full[at]) else {
            return Ok(());
        };
        let number = segment.number();
        if back {
            let done = store.make_local(number);
            self.allow(done)?;
            return Ok(());
        }
        let Some(cold) = self.allow(store.cold_segments())? else { return Ok(()) };
        let was_cold = cold.contains(&number);
        let Some(len) = segment.trailer.as_ref().map(crate::format::seal::Trailer::file_len) else {
            return Err(Mismatch::new("a full segment has no trailer"));
        };
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if self.allow(segment.read(&mut bytes, 0))?.is_none() {
            return Ok(());
        }
        let key = (number, segment.header.salt);
        if !was_cold && which % 4 == 3 {
            // The store keeps what is nowhere else.
            self.cold.copies.copies.lock().remove(&key);
            let refused = store.make_cold(number);
            ensure!(
                matches!(refused, Err(Error::ColdSegment { .. })) || self.settings.faults,
                "a segment without a copy is removed: {refused:?}"
            );
            return Ok(());
        }
        self.cold.copies.copies.lock().insert(key, bytes);
        let freed = store.make_cold(number);
        if let Some(freed) = self.allow(freed)? {
            ensure!(freed == if was_cold { 0 } else { len }, "{freed} bytes of {len} are free");
            self.answered(if was_cold { "was cold" } else { "made cold" });
        }
        Ok(())
    }
}
