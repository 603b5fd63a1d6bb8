//! Writes a container from front to back, without holding it in memory.
//!
//! The lengths of all sections are known before the first byte. Must never make an incomplete file
//! look complete: the footer comes last, and only after the announced number of payload bytes.

use std::io;
use std::ops::ControlFlow;

use crate::format::Defect;
use crate::format::checksum::crc32;
use crate::format::container::{self, BLOCK};
use crate::storage::{File, write_all_at};

/// The size of a write.
const PIECE: usize = 16 * BLOCK;
/// The bytes between two syncs: a single sync at the end would delay the syncs of appends until
/// everything is written.
const SYNC_EVERY: u64 = 4 << 20;

/// The reason why a level file was not written.
#[derive(Debug)]
pub(crate) enum MergeError {
    /// This input is damaged, or contradicts its predecessor.
    Input {
        at: usize,
        defect: Defect,
    },
    Io(io::Error),
    /// The pacer requested a stop.
    Stopped,
}

impl From<io::Error> for MergeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) type Merged<T> = Result<T, MergeError>;

/// Called between small pieces of work, with the number of bytes written since the last call; may
/// block, or cancel the work.
pub(crate) type Pace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

pub(crate) struct LevelWriter<'a> {
    file: &'a dyn File,
    pace: &'a mut Pace<'a>,
    buffer: Vec<u8>,
    /// The checksums of the written blocks.
    table: Vec<u8>,
    blocks: u32,
    written: u64,
    unsynced: u64,
    payload_len: u64,
}

impl<'a> LevelWriter<'a> {
    pub(crate) fn new(
        file: &'a dyn File,
        magic: [u8; 8],
        store_id: [u8; 16],
        sections: &[(u32, u64)],
        pace: &'a mut Pace<'a>,
    ) -> Self {
        let (buffer, payload_len) = container::encode_front(magic, store_id, sections);
        Self {
            file,
            pace,
            buffer,
            table: Vec::new(),
            blocks: 0,
            written: 0,
            unsynced: 0,
            payload_len,
        }
    }

    /// Adds to the current section.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Merged<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.write_blocks(self.buffer.len() / BLOCK * BLOCK)?;
        }
        Ok(())
    }

    /// Ends the current section.
    pub(crate) fn end_section(&mut self) -> Merged<()> {
        // The written part consists of whole blocks.
        let padded = self.buffer.len().next_multiple_of(8);
        self.buffer.resize(padded, 0);
        self.push(&[])
    }

    fn write_blocks(&mut self, len: usize) -> Merged<()> {
        for block in self.buffer[..len].chunks(BLOCK) {
            self.table.extend_from_slice(&crc32(self.blocks, block).to_le_bytes());
            self.blocks += 1;
        }
        write_all_at(self.file, &self.buffer[..len], self.written)?;
        self.buffer.drain(..len);
        self.written += len as u64;
        self.unsynced += len as u64;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        self.pause_after(len as u64)
    }

    /// Called between pieces of work that write nothing.
    pub(crate) fn pause(&mut self) -> Merged<()> {
        self.pause_after(0)
    }

    fn pause_after(&mut self, written: u64) -> Merged<()> {
        match (self.pace)(written) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(MergeError::Stopped),
        }
    }

    /// Ends the file and makes it durable.
    pub(crate) fn finish(mut self) -> Merged<()> {
        self.write_blocks(self.buffer.len())?;
        if self.written != self.payload_len {
            // Two reads of an input gave different contents, as on a failing disk.
            let defect =
                Defect::Invalid("an index file gave different contents when it was read again");
            return Err(MergeError::Input { at: 0, defect });
        }
        let footer = container::encode_footer(self.blocks, &self.table);
        self.table.extend_from_slice(&footer);
        write_all_at(self.file, &self.table, self.written)?;
        self.file.sync_data()?;
        Ok(())
    }
}
