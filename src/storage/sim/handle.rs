//! Open files and held locks of the simulated machine. A handle belongs to the process that opened it:
//! after a crash or a kill every operation on it fails.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::NodeId;
use super::fault::{Operation, Outcome, io_error};
use super::machine::Machine;
use super::stores::SimWriteMapping;
use crate::storage::{File, LockGuard, Mapping, WriteMapping};
use crate::sync::{Mutex, MutexGuard};

pub(super) struct SimFile {
    pub(super) machine: Arc<Mutex<Machine>>,
    pub(super) node: NodeId,
    pub(super) generation: u64,
    pub(super) writable: bool,
    /// The path that the file was opened by.
    pub(super) path: PathBuf,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimFile {
    fn machine(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.machine.lock();
        machine.check_generation(self.generation)?;
        Ok(machine)
    }

    pub(super) fn start(
        &self,
        operation: Operation,
        changes: bool,
    ) -> io::Result<(MutexGuard<'_, Machine>, Outcome)> {
        let mut machine = self.machine()?;
        if changes && !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let outcome = machine.start(operation, &self.path, changes)?;
        Ok((machine, outcome))
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut machine, outcome) = self.start(Operation::Read, false)?;
        outcome.or_fail()?;
        let limit = outcome.limit(buf.len());
        let count = machine.disk.file(self.node)?.live().read(offset, &mut buf[..limit]);
        machine.stats.reads += 1;
        machine.stats.bytes_read += count as u64;
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (mut machine, outcome) = self.start(Operation::Write, true)?;
        if i64::try_from(offset).is_err() || buf.len() as u64 > i64::MAX as u64 - offset {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let (count, result) = if outcome == Outcome::Fail {
            // Any part of a failed write may have been done.
            let count = machine.chance.index(buf.len() + 1);
            (count, Err(io_error()))
        } else {
            outcome.or_fail()?;
            let wanted = outcome.limit(buf.len());
            let count = machine.room_for(self.node, offset, wanted)?;
            if count == 0 && wanted > 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            (count, Ok(count))
        };
        machine.write(self.node, offset, &buf[..count])?;
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        // A file opened for reading can be synced too.
        let mut machine = self.machine()?;
        let outcome = machine.start(Operation::Sync, &self.path, true)?;
        match outcome {
            Outcome::Lie => {}
            Outcome::DropPages => {
                machine.disk.tick();
                machine.disk.file_mut(self.node)?.drop_unsynced();
                return Err(io_error());
            }
            Outcome::Full => {
                if machine.chance.percent(50) {
                    machine.disk.tick();
                    machine.disk.file_mut(self.node)?.drop_unsynced();
                }
                return Err(ErrorKind::StorageFull.into());
            }
            other => {
                other.or_fail()?;
                machine.disk.sync_file(self.node)?;
            }
        }
        machine.stats.syncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (machine, outcome) = self.start(Operation::Stat, false)?;
        outcome.or_fail()?;
        Ok(machine.disk.file(self.node)?.live().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut machine, outcome) = self.start(Operation::SetLen, true)?;
        outcome.or_fail()?;
        if i64::try_from(len).is_err() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if machine.pins.holds(self.node, len) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let at = machine.disk.tick();
        let file = machine.disk.file_mut(self.node)?;
        let backed = file.backed();
        file.set_len(at, len);
        let freed = backed - file.backed();
        if let Some(free) = &mut machine.disk.free {
            *free += freed;
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let (mut machine, outcome) = self.start(Operation::Allocate, true)?;
        outcome.or_fail()?;
        if i64::try_from(len).is_err() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let need = len.saturating_sub(machine.disk.file(self.node)?.backed());
        if let Some(free) = &mut machine.disk.free {
            *free = free.checked_sub(need).ok_or(ErrorKind::StorageFull)?;
        }
        let at = machine.disk.tick();
        machine.disk.file_mut(self.node)?.reserve(at, len);
        Ok(())
    }

    /// Never live: the engine then reads positionally, and every read can be made to fail.
    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        let (mut machine, outcome) = self.start(Operation::Map, false)?;
        outcome.or_fail()?;
        if len == 0 || live {
            return Ok(None);
        }
        let image = machine.disk.file(self.node)?.live();
        if image.len() < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?];
        image.read(0, &mut bytes);
        let bytes: Arc<[u8]> = bytes.into();
        machine.pins.add(self.node, &bytes);
        Ok(Some(Mapping::from_shared(bytes)))
    }

    fn map_for_writes(&self, len: u64, _always: bool) -> io::Result<Option<Box<dyn WriteMapping>>> {
        let mapping = SimWriteMapping::of_file(self, len)?;
        Ok(mapping.map(|mapping| Box::new(mapping) as Box<dyn WriteMapping>))
    }
}

#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) file: SimFile,
    pub(super) token: u64,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        // After a crash another handle may hold the lock: only this handle's own lock is released.
        self.file.machine.lock().unlock(self.file.node, self.token);
    }
}
