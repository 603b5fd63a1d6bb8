//! The simulated machine: its disk, clock, randomness, process locks and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Weak};

use super::SimStats;
use super::chance::Chance;
use super::crash::DirectoryModel;
use super::disk::{Disk, NodeId};
use super::fault::{Faults, Operation, Outcome};

/// 2024-01-01T00:00:00Z.
const CLOCK_START: u64 = 1_704_067_200_000_000;
const CLOCK_STEP: u64 = 1;

/// The mapped files, for a disk that does not remove mapped files.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pub(super) on: bool,
    mapped: BTreeMap<NodeId, Vec<Weak<[u8]>>>,
}

impl Pins {
    /// Adds a mapping of a file. It counts until its last handle is dropped.
    pub(super) fn add(&mut self, node: NodeId, bytes: &Arc<[u8]>) {
        if self.on {
            let mapped = self.mapped.entry(node).or_default();
            mapped.retain(|other| other.strong_count() > 0);
            mapped.push(Arc::downgrade(bytes));
        }
    }

    /// Whether more than `len` bytes of a file are mapped.
    pub(super) fn holds(&self, node: NodeId, len: u64) -> bool {
        let longer = |bytes: &Weak<[u8]>| bytes.upgrade().is_some_and(|b| b.len() as u64 > len);
        self.on && self.mapped.get(&node).is_some_and(|mapped| mapped.iter().any(longer))
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) disk: Disk,
    pub(super) faults: Faults,
    pub(super) stats: SimStats,
    pub(super) pins: Pins,
    /// The pages that processes may store to through mappings.
    pub(super) prepared: BTreeSet<(NodeId, u64)>,
    /// The source of the random choices of faults.
    pub(super) chance: Chance,
    random: Chance,
    clock: u64,
    /// The reading of the monotonic clock.
    monotonic: u64,
    generation: u64,
    locks: BTreeMap<NodeId, u64>,
    next_token: u64,
}

impl Machine {
    pub(super) fn new(seed: u64, model: DirectoryModel) -> Self {
        Self {
            disk: Disk::new(model),
            faults: Faults::default(),
            stats: SimStats::default(),
            pins: Pins::default(),
            prepared: BTreeSet::new(),
            chance: Chance::new(!seed),
            random: Chance::new(seed),
            clock: CLOCK_START,
            monotonic: 0,
            generation: 0,
            locks: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// A copy of the disk in another machine, without processes, faults or counts.
    pub(super) fn fork(&self) -> Self {
        Self {
            disk: self.disk.clone(),
            faults: Faults::default(),
            stats: SimStats::default(),
            pins: Pins { on: self.pins.on, ..Pins::default() },
            prepared: BTreeSet::new(),
            chance: self.chance.clone(),
            random: self.random.clone(),
            clock: self.clock,
            monotonic: self.monotonic,
            generation: 0,
            locks: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// Ends every process: handles become invalid, locks are released, and faults are removed.
    pub(super) fn end_processes(&mut self) {
        self.generation += 1;
        self.locks.clear();
        self.pins.mapped.clear();
        self.prepared.clear();
        self.faults.clear();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn check_generation(&self, generation: u64) -> io::Result<()> {
        if generation == self.generation {
            Ok(())
        } else {
            Err(io::Error::other("a handle from before the crash"))
        }
    }

    /// Counts an operation and returns its outcome.
    pub(super) fn start(
        &mut self,
        operation: Operation,
        path: &Path,
        changes: bool,
    ) -> io::Result<Outcome> {
        crate::sync::check_storage();
        let outcome = self.faults.next(operation, path, changes)?;
        self.stats.operations += u64::from(changes);
        self.stats.count_fault(outcome);
        Ok(outcome)
    }

    /// Refuses to remove mapped bytes at or after `len` from the file at `path`, if it exists.
    pub(super) fn check_pins(&self, path: &Path, len: u64) -> io::Result<()> {
        match self.disk.find_live(path)? {
            Some(node) if self.pins.holds(node, len) => Err(ErrorKind::PermissionDenied.into()),
            _ => Ok(()),
        }
    }

    /// Number of bytes of a write for which the disk has space.
    pub(super) fn room_for(&self, node: NodeId, offset: u64, len: usize) -> io::Result<usize> {
        let Some(free) = self.disk.free else {
            return Ok(len);
        };
        let need = self.new_bytes(node, offset, len)?;
        let lacking = usize::try_from(need.saturating_sub(free)).unwrap_or(usize::MAX);
        Ok(len.saturating_sub(lacking))
    }

    fn new_bytes(&self, node: NodeId, offset: u64, len: usize) -> io::Result<u64> {
        let backed = self.disk.file(node)?.backed();
        Ok((offset + len as u64).saturating_sub(offset.max(backed)))
    }

    pub(super) fn write(&mut self, node: NodeId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let need = self.new_bytes(node, offset, bytes.len())?;
        if let Some(free) = &mut self.disk.free {
            *free = free.saturating_sub(need);
        }
        let at = self.disk.tick();
        self.disk.file_mut(node)?.write(at, offset, bytes);
        self.stats.writes += 1;
        self.stats.bytes_written += bytes.len() as u64;
        Ok(())
    }

    /// Stores bytes through a mapping, into space that is reserved.
    pub(super) fn store(&mut self, node: NodeId, offset: u64, bytes: &[u8]) {
        let at = self.disk.tick();
        let file = self.disk.file_mut(node).expect("a mapped file stays");
        assert!(offset + bytes.len() as u64 <= file.backed(), "SIGBUS: a store into a hole");
        file.write(at, offset, bytes);
        self.stats.stores += u64::from(!bytes.is_empty());
    }

    /// Takes a lock; returns the token that releases it, or `None` if it is held.
    pub(super) fn lock(&mut self, node: NodeId) -> Option<u64> {
        if self.is_locked(node) {
            return None;
        }
        self.next_token += 1;
        self.locks.insert(node, self.next_token);
        Some(self.next_token)
    }

    pub(super) fn is_locked(&self, node: NodeId) -> bool {
        self.locks.contains_key(&node)
    }

    pub(super) fn unlock(&mut self, node: NodeId, token: u64) {
        if self.locks.get(&node) == Some(&token) {
            self.locks.remove(&node);
        }
    }

    pub(super) fn now(&mut self) -> u64 {
        let now = self.clock;
        self.clock = self.clock.saturating_add(CLOCK_STEP);
        self.monotonic += CLOCK_STEP;
        now
    }

    pub(super) fn monotonic(&self) -> u64 {
        self.monotonic
    }

    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    pub(super) fn set_clock(&mut self, micros: u64) {
        self.clock = micros;
    }

    pub(super) fn advance_clock(&mut self, micros: i64) {
        self.clock = self.clock.saturating_add_signed(micros);
        self.monotonic = self.monotonic.saturating_add(u64::try_from(micros).unwrap_or(0));
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random.next()
    }
}
