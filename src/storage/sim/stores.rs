//! A file of the simulated machine mapped for writing.
//!
//! Owns what a store may do to the disk. Must never return an error from a store: what would be a signal on a real
//! machine is a panic, which fails the test.

use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::NodeId;
use super::fault::Operation;
use super::handle::SimFile;
use super::machine::Machine;
use crate::storage::WriteMapping;
use crate::sync::Mutex;

/// The size of a page of memory.
const PAGE: u64 = 4096;

/// See [`crate::storage::File::map_for_writes`].
pub(super) struct SimWriteMapping {
    machine: Arc<Mutex<Machine>>,
    node: NodeId,
    generation: u64,
    path: PathBuf,
    len: u64,
}

impl fmt::Debug for SimWriteMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWriteMapping").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SimWriteMapping {
    /// Reserves the space of the first `len` bytes and maps them; `None` if the disk lacks space.
    pub(super) fn of_file(file: &SimFile, len: u64) -> io::Result<Option<Self>> {
        let (mut machine, outcome) = file.start(Operation::Map, true)?;
        outcome.or_fail()?;
        let inode = machine.disk.file(file.node)?;
        let need = len.saturating_sub(inode.backed());
        if inode.live().len() < len {
            return Ok(None);
        }
        match &mut machine.disk.free {
            Some(free) if *free < need => return Ok(None),
            Some(free) => *free -= need,
            None => {}
        }
        let at = machine.disk.tick();
        machine.disk.file_mut(file.node)?.reserve(at, len);
        Ok(Some(Self {
            machine: Arc::clone(&file.machine),
            node: file.node,
            generation: file.generation,
            path: file.path.clone(),
            len,
        }))
    }
}

impl WriteMapping for SimWriteMapping {
    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.check_generation(self.generation)?;
        machine.start(Operation::Map, &self.path, false)?.or_fail()?;
        if from >= to || to > self.len || to > machine.disk.file(self.node)?.backed() {
            return Err(ErrorKind::InvalidInput.into());
        }
        machine.prepared.extend(pages(from, to).map(|page| (self.node, page)));
        Ok(())
    }

    /// A page may be written out in the middle of a copy, and a copy has no order: a part of the bytes is on the medium
    /// before the others.
    fn store(&self, bytes: &[u8], offset: u64) {
        let mut machine = self.machine.lock();
        // The process has ended, and this thread does not know yet.
        if machine.check_generation(self.generation).is_err() {
            return;
        }
        let end = offset + bytes.len() as u64;
        let faults = pages(offset, end).any(|page| !machine.prepared.contains(&(self.node, page)));
        assert!(!faults, "SIGBUS: a store into pages that are not prepared, {offset}..{end}");
        let cut = machine.chance.index(bytes.len() + 1);
        let (first, rest) = bytes.split_at(cut);
        let mut parts = [(offset, first), (offset + cut as u64, rest)];
        if machine.chance.percent(25) {
            parts.reverse();
        }
        for (offset, part) in parts {
            machine.store(self.node, offset, part);
        }
    }
}

/// The pages that a range touches.
fn pages(from: u64, to: u64) -> Range<u64> {
    from / PAGE..to.div_ceil(PAGE)
}
