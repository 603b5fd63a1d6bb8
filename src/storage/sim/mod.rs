//! A simulated disk, deterministic by its seed, that breaks in the ways real ones do.
//!
//! It owns a machine's files, directories, clock, randomness and locks, and the effect of a power
//! loss on them. It must never interpret the contents of files, and must never be more reliable
//! than a real disk: every behaviour that an operating system permits can occur.
//!
//! # The fault model
//!
//! **Programs and the medium see different disks.** Every file has a live image, which reads
//! show, and a durable one, which survives a power loss. A sync moves what was written since the
//! last one from the former to the latter, for one file. Nothing becomes durable by itself.
//!
//! **A power loss keeps any part of the unsynced changes.** Each sector is independent: it may have
//! the contents of the last sync or of any write since. So later writes can survive earlier ones,
//! also within one call. A sector is written as a whole, or torn at a byte if the crash is
//! configured so. A file's length is independent too: data may survive without the length that
//! includes it (and is lost with it), a length without the data (and reads as zero). Bytes that a
//! cut removed do not reappear when the file grows again.
//!
//! **Names are not data.** A file's name survives by the sync of its directory, in the order of
//! changes there; see [`DirectoryModel`]. A directory that loses its name is lost with its
//! contents. A rename within a directory is atomic; between directories either side may survive
//! without the other.
//!
//! **A failed sync may lose data.** After [`Fault::SyncDropsPages`] reads show the data, later
//! syncs succeed, and a power loss removes it, as on Linux. A drive may also lie
//! ([`Fault::SyncLies`]), and lose an acknowledged write ([`SimStorage::revert_sector`]).
//!
//! **Operations fail** with I/O errors, for lack of space, half done, or interrupted; reads and
//! writes may be short. After [`SimStorage::fail_after_ops`] every operation fails, as for a
//! program that outlives its disk.
//!
//! **A killed process loses nothing** but its handles and locks: [`SimStorage::kill`].
//!
//! Not modelled: writes that reach the wrong place, sectors that read differently each time
//! (use [`Fault::Fail`] on reads), links, permissions, and mappings that show later writes.
//!
//! **A file mapped for writing** is written like any other, but for three things: a store cannot fail, it may be on
//! the medium in part, torn at any byte, and one into a page that was not prepared is a panic.

mod chance;
mod crash;
mod disk;
mod fault;
mod handle;
mod image;
mod inode;
mod machine;
mod stores;
#[cfg(test)]
#[cfg(not(miri))] // Crashes by the hundred are too slow there, and nothing here is unsafe.
mod tests;
mod transfer;

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crash::{Crash, DirectoryModel, Keep};
pub use fault::{Fault, Operation};

use crate::sync::{Mutex, MutexGuard, Rank};

use super::{DirEntry, EntryKind, File, LockGuard, OpenMode, Storage};
use disk::{Disk, NodeId, View};
use fault::Outcome;
use handle::{SimFile, SimLock};
use image::SECTOR;
use machine::Machine;

/// Counters of a simulated machine since it was created or forked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Files opened or created.
    pub opens: u64,
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Writes of at least one byte.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Parts of stores through mappings, which are not counted as writes.
    pub stores: u64,
    /// Syncs of data that returned `Ok`.
    pub syncs: u64,
    /// Syncs of directories that returned `Ok`.
    pub dir_syncs: u64,
    /// Operations that change or could change the disk, with or without a fault.
    pub operations: u64,
    /// Operations that a fault affected, of any kind.
    pub faults: u64,
    /// Operations that failed with an I/O error.
    pub io_errors: u64,
    /// Operations that failed for lack of space, by [`Fault::Full`].
    pub full: u64,
    /// Operations that a signal interrupted.
    pub interrupts: u64,
    /// Reads and writes that were cut short.
    pub shorts: u64,
    /// Syncs that failed and dropped the pages.
    pub dropped_pages: u64,
    /// Syncs that succeeded and did nothing.
    pub lies: u64,
    /// Power losses.
    pub crashes: u64,
}

impl SimStats {
    /// Adds the counters of another machine.
    pub fn add(&mut self, other: &Self) {
        self.opens += other.opens;
        self.reads += other.reads;
        self.bytes_read += other.bytes_read;
        self.writes += other.writes;
        self.bytes_written += other.bytes_written;
        self.stores += other.stores;
        self.syncs += other.syncs;
        self.dir_syncs += other.dir_syncs;
        self.operations += other.operations;
        self.faults += other.faults;
        self.io_errors += other.io_errors;
        self.full += other.full;
        self.interrupts += other.interrupts;
        self.shorts += other.shorts;
        self.dropped_pages += other.dropped_pages;
        self.lies += other.lies;
        self.crashes += other.crashes;
    }

    fn count_fault(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Go => return,
            Outcome::Fail => &mut self.io_errors,
            Outcome::Full => &mut self.full,
            Outcome::Interrupt => &mut self.interrupts,
            Outcome::Short(_) => &mut self.shorts,
            Outcome::DropPages => &mut self.dropped_pages,
            Outcome::Lie => &mut self.lies,
        };
        *count += 1;
        self.faults += 1;
    }
}

/// A simulated disk with its machine. Clones share the machine; [`SimStorage::fork`] copies it. The root
/// of paths exists, and relative paths start there.
///
/// Give each opened store its own [`SimStorage::process`], so that a store or its background thread that
/// is used after a crash cannot change the disk of the next store.
#[derive(Clone)]
pub struct SimStorage {
    machine: Arc<Mutex<Machine>>,
    /// The only generation of processes that this handle works in; `None`: any.
    process: Option<u64>,
}

impl SimStorage {
    /// An empty disk whose names follow [`DirectoryModel::Strict`].
    pub fn new(seed: u64) -> Self {
        Self::with_directory_model(seed, DirectoryModel::Strict)
    }

    /// An empty disk.
    pub fn with_directory_model(seed: u64, model: DirectoryModel) -> Self {
        Self::of(Machine::new(seed, model))
    }

    /// Another machine with a copy of this disk, including unsynced changes, and of the clock and the
    /// random numbers. It has no faults, handles or locks, and its counters start at zero.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.machine.lock().fork())
    }

    fn of(machine: Machine) -> Self {
        Self { machine: Arc::new(Mutex::new(Rank::Machine, machine)), process: None }
    }

    /// The same machine as a process that starts now sees it: after the next crash or kill, operations
    /// on paths fail, as operations on open files do.
    #[must_use]
    pub fn process(&self) -> Self {
        let process = Some(self.machine.lock().generation());
        Self { machine: Arc::clone(&self.machine), process }
    }

    /// A power loss and a restart. Handles become invalid, locks are released, faults are removed.
    pub fn crash(&self, crash: Crash) {
        let mut machine = self.machine.lock();
        machine.end_processes();
        machine.disk.crash(&crash);
        machine.stats.crashes += 1;
    }

    /// Kills every process. Handles become invalid, locks are released, faults are removed; the
    /// disk keeps its state, unsynced changes included.
    pub fn kill(&self) {
        self.machine.lock().end_processes();
    }

    /// Arms a fault. Several can be armed, and each counts operations separately; if two apply to one
    /// operation, the earlier armed one takes effect and the later one applies to the next operation.
    pub fn inject(&self, fault: Fault) {
        self.inject_at("", fault);
    }

    /// Arms a fault for operations on paths that contain `path_part`, and counts only those operations.
    /// A file has the path that it was opened by, a rename that of its source.
    pub fn inject_at(&self, path_part: &str, fault: Fault) {
        self.machine.lock().faults.arm(fault, path_part);
    }

    /// After `operations` more changing operations every operation fails, until a crash, a
    /// kill or [`SimStorage::clear_faults`]: the moment to call [`SimStorage::crash`].
    pub fn fail_after_ops(&self, operations: u64) {
        self.machine.lock().faults.stop_after(operations);
    }

    /// Whether the point set by [`SimStorage::fail_after_ops`] was reached.
    pub fn is_stopped(&self) -> bool {
        self.machine.lock().faults.is_stopped()
    }

    /// Disarms all faults. The limit of free space is kept.
    pub fn clear_faults(&self) {
        self.machine.lock().faults.clear();
    }

    /// Sets the number of free bytes, or removes the limit. Writes and allocations beyond a file's
    /// allocated space use it up; a write that fits only in part is short. Without free bytes,
    /// files and directories cannot be created. Removing and cutting files frees space.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        self.machine.lock().disk.free = bytes;
    }

    /// From now on a file cannot be removed, replaced, or truncated below a mapping of it, while the
    /// mapping and its process exist, as on Windows.
    pub fn pin_mapped_files(&self) {
        self.machine.lock().pins.on = true;
    }

    /// The number of changing operations: creating, writing, resizing, syncing, renaming, removing.
    pub fn op_count(&self) -> u64 {
        self.machine.lock().stats.operations
    }

    /// The counters since the machine was created.
    pub fn stats(&self) -> SimStats {
        self.machine.lock().stats
    }

    /// Sets the clock, also backwards, without changing the monotonic clock. Each reading of the clock
    /// advances it by a microsecond.
    pub fn set_clock(&self, micros: u64) {
        self.machine.lock().set_clock(micros);
    }

    /// The time of the clock; this call does not advance it.
    pub fn clock(&self) -> u64 {
        self.machine.lock().clock()
    }

    /// Moves the clock, also backwards. A move forwards advances the monotonic clock too.
    pub fn advance_clock(&self, micros: i64) {
        self.machine.lock().advance_clock(micros);
    }

    /// Number of sectors of 512 bytes that a power loss may revert.
    pub fn unsynced_sectors(&self) -> usize {
        self.machine.lock().disk.unsynced_sectors()
    }

    /// Number of changes of names that a power loss may revert.
    pub fn unsynced_names(&self) -> usize {
        self.machine.lock().disk.unsynced_names()
    }

    /// The contents of a file that programs see. This call is not an operation, and faults do not apply
    /// to it.
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let machine = self.machine.lock();
        let node = machine.disk.find(path.as_ref(), View::Live)?;
        Ok(machine.disk.file(node)?.live().to_vec())
    }

    /// The durable contents of a file whose name is durable.
    pub fn read_durable(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let machine = self.machine.lock();
        let node = machine.disk.find(path.as_ref(), View::Durable)?;
        Ok(machine.disk.file(node)?.durable().to_vec())
    }

    /// Creates a file and the directories above it, or replaces its contents. All of it is durable at
    /// once, and so are earlier changes of names in these directories.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.machine.lock().disk.put_settled(path.as_ref(), Some(bytes))
    }

    /// Changes a file at rest: `change` gets the visible contents, and its result becomes both
    /// visible and durable.
    pub fn corrupt(
        &self,
        path: impl AsRef<Path>,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let mut bytes = self.read_file(path.as_ref())?;
        change(&mut bytes);
        self.write_file(path, &bytes)
    }

    /// Inverts one bit of a file at rest, in the visible and the durable contents.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u32) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let node = machine.disk.find(path.as_ref(), View::Live)?;
        let file = machine.disk.file_mut(node)?;
        if bit >= 8 || offset >= file.live().len() {
            return Err(ErrorKind::InvalidInput.into());
        }
        file.flip_bit(offset, bit);
        Ok(())
    }

    /// Restores the 512-byte sector at `offset` to its durable contents before its last sync: a write
    /// that the drive acknowledged and lost. Returns `false` if no sync has overwritten the sector.
    pub fn revert_sector(&self, path: impl AsRef<Path>, offset: u64) -> io::Result<bool> {
        let mut machine = self.machine.lock();
        let node = machine.disk.find(path.as_ref(), View::Live)?;
        Ok(machine.disk.file_mut(node)?.revert_sector(offset / SECTOR as u64))
    }

    /// The paths of all files that programs see, sorted, with `/` between names on every system.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect_files(&self.machine.lock().disk, disk::ROOT, "", &mut found);
        found.sort();
        found
    }

    fn handle(&self, machine: &Machine, node: NodeId, path: &Path, writable: bool) -> SimFile {
        SimFile {
            machine: Arc::clone(&self.machine),
            node,
            generation: machine.generation(),
            writable,
            path: path.to_owned(),
        }
    }

    /// Locks the machine for an operation on a path.
    fn enter(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine.lock();
        if let Some(process) = self.process {
            machine.check_generation(process)?;
        }
        Ok(machine)
    }
}

impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStorage").finish_non_exhaustive()
    }
}

impl Storage for SimStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut machine = self.enter()?;
        let create = mode == OpenMode::CreateNew;
        machine.start(Operation::Open, path, create)?.or_fail()?;
        let node = match (machine.disk.find_live(path)?, create) {
            (Some(_), true) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(node), false) => node,
            (None, true) => machine.disk.add_file(path)?,
            (None, false) => return Err(ErrorKind::NotFound.into()),
        };
        if machine.disk.is_directory(node) {
            return Err(ErrorKind::InvalidInput.into());
        }
        machine.stats.opens += 1;
        Ok(Arc::new(self.handle(&machine, node, path, mode != OpenMode::Read)))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let mut machine = self.enter()?;
        machine.start(Operation::Stat, path, false)?.or_fail()?;
        let node = machine.disk.find(path, View::Live)?;
        Ok(machine.disk.file(node)?.live().len())
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        let mut machine = self.enter()?;
        machine.start(Operation::Stat, path, false)?.or_fail()?;
        let node = machine.disk.find_live(path)?;
        Ok(node.map(|node| kind_of(&machine.disk, node)))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut machine = self.enter()?;
        machine.start(Operation::ReadDir, path, false)?.or_fail()?;
        let disk = &machine.disk;
        let names = disk.directory(disk.find(path, View::Live)?)?.names(View::Live);
        let entry = |(name, node): (&String, &NodeId)| DirEntry {
            name: name.clone(),
            kind: kind_of(disk, *node),
        };
        Ok(names.iter().map(entry).collect())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.enter()?;
        let found = machine.disk.find_live(path)?;
        machine.start(Operation::CreateDir, path, found.is_none())?.or_fail()?;
        match found {
            Some(node) if machine.disk.is_directory(node) => Ok(()),
            Some(_) => Err(ErrorKind::AlreadyExists.into()),
            None => machine.disk.add_directory(path).map(drop),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.enter()?;
        machine.start(Operation::Rename, from, true)?.or_fail()?;
        machine.check_pins(to, 0)?;
        machine.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.enter()?;
        machine.start(Operation::Remove, path, true)?.or_fail()?;
        machine.check_pins(path, 0)?;
        machine.disk.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.enter()?;
        let outcome = machine.start(Operation::SyncDir, path, true)?;
        outcome.or_fail()?;
        if outcome != Outcome::Lie {
            machine.disk.sync_directory(path)?;
        }
        machine.stats.dir_syncs += 1;
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        let mut machine = self.enter()?;
        let found = machine.disk.find_live(path)?;
        machine.start(Operation::Open, path, found.is_none())?.or_fail()?;
        let node = match found {
            Some(node) if machine.disk.is_directory(node) => {
                return Err(ErrorKind::InvalidInput.into());
            }
            Some(node) => node,
            None => machine.disk.add_file(path)?,
        };
        let Some(token) = machine.lock(node) else {
            return Ok(None);
        };
        let file = self.handle(&machine, node, path, true);
        Ok(Some(Arc::new(SimLock { file, token })))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let mut machine = self.enter()?;
        machine.start(Operation::Stat, path, false)?.or_fail()?;
        let node = machine.disk.find_live(path)?;
        Ok(node.is_some_and(|node| machine.is_locked(node)))
    }

    fn now_micros(&self) -> u64 {
        self.machine.lock().now()
    }

    fn monotonic_micros(&self) -> u64 {
        self.machine.lock().monotonic()
    }

    fn random_u64(&self) -> u64 {
        self.machine.lock().random()
    }
}

fn kind_of(disk: &Disk, node: NodeId) -> EntryKind {
    if disk.is_directory(node) { EntryKind::Directory } else { EntryKind::File }
}

fn collect_files(disk: &Disk, node: NodeId, path: &str, found: &mut Vec<PathBuf>) {
    match disk.directory(node) {
        Ok(directory) => {
            for (name, child) in directory.names(View::Live) {
                collect_files(disk, *child, &format!("{path}/{name}"), found);
            }
        }
        Err(_) => found.push(path.into()),
    }
}
