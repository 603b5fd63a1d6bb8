//! A container file, mapped, each block checked when first touched.
//!
//! First touch goes through a positional read, so that a media error is an error and not a signal;
//! checked blocks are served from the mapping. Must never return a byte of a block that was not
//! checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::format::Defect;
use crate::format::checksum::crc32;
use crate::format::container::{self, BLOCK, FOOTER_LEN, HEADER_LEN, Section};
use crate::storage::{File, Mapping, read_exact_at};

/// The size of a read of the table of block checksums.
const TABLE_PIECE: usize = 256 << 10;

/// Whether a look-up may read from the file. The bytes of a file that is in memory are never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Blocks are read and checked as needed.
    Any,
    /// Only blocks that were read before are used; any other gives [`Defect::Unread`].
    None,
}

#[derive(Debug)]
enum BlockSource {
    Mapped { file: Arc<dyn File>, mapping: Mapping },
    Heap(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct BlockFile {
    source: BlockSource,
    payload_len: u64,
    file_len: u64,
    blocks: u32,
    checked: Box<[AtomicU64]>,
    sections: Vec<Section>,
    store_id: [u8; 16],
}

impl BlockFile {
    /// Opens a container; checks its frame and the blocks that hold the section table.
    pub(crate) fn open(file: Arc<dyn File>, magic: [u8; 8]) -> Result<Self, Defect> {
        let file_len = file.len().map_err(|e| unreadable(&e))?;
        let footer_at = file_len.checked_sub(FOOTER_LEN as u64).ok_or(Defect::TooShort)?;
        let mut footer = [0; FOOTER_LEN];
        read(&*file, &mut footer, footer_at)?;
        let blocks = container::decode_footer(&footer, file_len)?;
        // The block count is bounded by the file's length. The checksums are not held in memory:
        // the table is read block by block.
        let payload_len = footer_at - u64::from(blocks) * 4;
        verify_table(&*file, payload_len, blocks, &footer)?;
        let source = match file.map(file_len, false).map_err(|e| unreadable(&e))? {
            Some(mapping) => BlockSource::Mapped { file, mapping },
            None => {
                let len = usize::try_from(file_len).map_err(|_| Defect::TooShort)?;
                let mut bytes = Vec::new();
                let reserved = bytes.try_reserve_exact(len);
                reserved.map_err(|e| Defect::Unreadable(e.to_string()))?;
                bytes.resize(len, 0);
                read(&*file, &mut bytes, 0)?;
                BlockSource::Heap(bytes)
            }
        };
        Self::finish(source, file_len, payload_len, blocks, magic)
    }

    /// Takes the bytes of a container that is in memory only.
    pub(crate) fn from_bytes(bytes: Vec<u8>, magic: [u8; 8]) -> Result<Self, Defect> {
        let file_len = bytes.len() as u64;
        let footer_at = bytes.len().checked_sub(FOOTER_LEN).ok_or(Defect::TooShort)?;
        let blocks = container::decode_footer(&bytes[footer_at..], file_len)?;
        let table_at = footer_at - blocks as usize * 4;
        let checksum = crc32(blocks, &bytes[table_at..footer_at]);
        container::verify_table(checksum, &bytes[footer_at..])?;
        Self::finish(BlockSource::Heap(bytes), file_len, table_at as u64, blocks, magic)
    }

    fn finish(
        source: BlockSource,
        file_len: u64,
        payload_len: u64,
        blocks: u32,
        magic: [u8; 8],
    ) -> Result<Self, Defect> {
        let words = (blocks as usize).div_ceil(64);
        let checked = (0..words).map(|_| AtomicU64::new(0)).collect();
        let mut this = Self {
            source,
            payload_len,
            file_len,
            blocks,
            checked,
            sections: Vec::new(),
            store_id: [0; 16],
        };
        let header = this.bytes(Reads::Any, 0, HEADER_LEN)?;
        let (count, store_id) = container::decode_header(header, magic, payload_len)?;
        let table = this.bytes(Reads::Any, HEADER_LEN as u64, container::table_len(count))?;
        this.sections = container::decode_sections(table, payload_len)?;
        this.store_id = store_id;
        Ok(this)
    }

    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The file it is mapped from; `None` if its bytes are in memory.
    pub(crate) fn mapped_from(&self) -> Option<&Arc<dyn File>> {
        match &self.source {
            BlockSource::Mapped { file, .. } => Some(file),
            BlockSource::Heap(_) => None,
        }
    }

    /// The size of the file in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The section of a kind; an absent one is empty.
    pub(crate) fn section(&self, kind: u32) -> Section {
        let found = self.sections.iter().find(|section| section.kind == kind);
        found.copied().unwrap_or(Section { kind, offset: 0, len: 0 })
    }

    /// `len` bytes of a section, counted from its start, checked.
    pub(crate) fn get(&self, section: Section, offset: u64, len: usize) -> Result<&[u8], Defect> {
        self.get_with(Reads::Any, section, offset, len)
    }

    /// Like [`BlockFile::get`].
    pub(crate) fn get_with(
        &self,
        reads: Reads,
        section: Section,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], Defect> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= section.len => self.bytes(reads, section.offset + offset, len),
            _ => Err(Defect::Invalid("points outside its section")),
        }
    }

    /// Entry `index` of a section whose entries have `size` bytes.
    pub(crate) fn entry(
        &self,
        section: Section,
        index: usize,
        size: usize,
    ) -> Result<&[u8], Defect> {
        self.entry_with(Reads::Any, section, index, size)
    }

    /// Like [`BlockFile::entry`].
    pub(crate) fn entry_with(
        &self,
        reads: Reads,
        section: Section,
        index: usize,
        size: usize,
    ) -> Result<&[u8], Defect> {
        self.get_with(reads, section, (index as u64).saturating_mul(size as u64), size)
    }

    /// Reads and checks the blocks that a look-up with [`Reads::None`] lacked.
    pub(crate) fn read_range(&self, offset: u64, len: usize) -> Result<(), Defect> {
        self.bytes(Reads::Any, offset, len).map(|_| ())
    }

    /// Checks every block.
    pub(crate) fn verify(&self) -> Result<(), Defect> {
        let len = usize::try_from(self.payload_len).map_err(|_| Defect::TooShort)?;
        self.bytes(Reads::Any, 0, len).map(|_| ())
    }

    fn bytes(&self, reads: Reads, offset: u64, len: usize) -> Result<&[u8], Defect> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.payload_len);
        let end = end.ok_or(Defect::TooShort)?;
        if len > 0 {
            let last = (end - 1) / BLOCK as u64;
            for block in offset / BLOCK as u64..=last {
                if !self.check_block(block, reads)? {
                    return Err(Defect::Unread { checkpoint: 0, offset, len });
                }
            }
        }
        let start = usize::try_from(offset).map_err(|_| Defect::TooShort)?;
        match &self.source {
            BlockSource::Mapped { mapping, .. } => mapping.get(offset, len),
            BlockSource::Heap(bytes) => bytes.get(start..start + len),
        }
        .ok_or(Defect::TooShort)
    }

    /// Prefetches mapped bytes. A hint: nothing is read or checked.
    pub(crate) fn prefetch(&self, offset: u64, len: usize) {
        if let BlockSource::Mapped { mapping, .. } = &self.source {
            mapping.prefetch(offset, len);
        }
    }

    /// The block's checksum, from the table that was read when the file was opened.
    fn expected(&self, number: u32) -> Result<u32, Defect> {
        if number >= self.blocks {
            return Err(Defect::TooShort);
        }
        let at = self.payload_len + u64::from(number) * 4;
        let bytes = match &self.source {
            BlockSource::Mapped { mapping, .. } => mapping.get(at, 4),
            BlockSource::Heap(bytes) => {
                usize::try_from(at).ok().and_then(|at| bytes.get(at..at + 4))
            }
        };
        bytes.map(LE::read_u32).ok_or(Defect::TooShort)
    }

    /// Checks a block the first time. Returns whether it is checked: not if that takes a read and
    /// none is permitted.
    fn check_block(&self, block: u64, reads: Reads) -> Result<bool, Defect> {
        let number = u32::try_from(block).map_err(|_| Defect::TooShort)?;
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        if self.checked[word].load(Ordering::Acquire) & bit != 0 {
            return Ok(true);
        }
        if reads == Reads::None && matches!(self.source, BlockSource::Mapped { .. }) {
            return Ok(false);
        }
        let start = block * BLOCK as u64;
        let len = BLOCK.min(usize::try_from(self.payload_len - start).unwrap_or(BLOCK));
        let expected = self.expected(number)?;
        match &self.source {
            BlockSource::Mapped { file, .. } => {
                let mut buffer = [0; BLOCK];
                read(&**file, &mut buffer[..len], start)?;
                container::verify_block(number, &buffer[..len], expected)?;
            }
            BlockSource::Heap(bytes) => {
                let at = number as usize * BLOCK;
                container::verify_block(number, &bytes[at..at + len], expected)?;
            }
        }
        self.checked[word].fetch_or(bit, Ordering::AcqRel);
        Ok(true)
    }
}

/// Checks the table of block checksums, which begins at `at`, against the footer, piece by piece.
fn verify_table(file: &dyn File, at: u64, blocks: u32, footer: &[u8]) -> Result<(), Defect> {
    let mut piece = vec![0; TABLE_PIECE.min((blocks as usize).saturating_mul(4))];
    let (mut state, mut offset) = (blocks, at);
    let end = at + u64::from(blocks) * 4;
    while offset < end {
        let len = usize::try_from(end - offset).unwrap_or(TABLE_PIECE).min(piece.len());
        read(file, &mut piece[..len], offset)?;
        state = crc32(state, &piece[..len]);
        offset += len as u64;
    }
    container::verify_table(state, footer)
}

fn unreadable(error: &std::io::Error) -> Defect {
    Defect::Unreadable(error.to_string())
}

fn read(file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<(), Defect> {
    read_exact_at(file, buffer, offset).map_err(|e| unreadable(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::container::INDEX_MAGIC;

    /// Miri is too slow to flip each byte.
    const STEP: usize = if cfg!(miri) { 499 } else { 1 };

    fn sample() -> Vec<u8> {
        let big = vec![7_u8; 10_000];
        container::encode(INDEX_MAGIC, [9; 16], &[(1, b"meta"), (2, &big), (3, b"")])
    }

    #[test]
    fn block_file_sections_round_trip() {
        let file = BlockFile::from_bytes(sample(), INDEX_MAGIC).unwrap();
        assert_eq!(file.store_id(), [9; 16]);
        assert_eq!(file.get(file.section(1), 0, 4), Ok(&b"meta"[..]));
        assert_eq!(file.get(file.section(2), 9_000, 1_000).map(<[u8]>::len), Ok(1_000));
        assert!(file.get(file.section(1), 1, 4).is_err());
        assert!(file.get(file.section(3), 0, 1).is_err());
        assert!(file.get(file.section(2), u64::MAX, 2).is_err());
        file.verify().unwrap();
    }

    #[test]
    fn block_file_with_any_flipped_byte_is_refused() {
        let bytes = sample();
        for at in (0..bytes.len()).step_by(STEP) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let seen = BlockFile::from_bytes(bad, INDEX_MAGIC).and_then(|f| f.verify()).is_err();
            assert!(seen, "byte {at}");
        }
    }

    #[test]
    fn block_file_that_is_cut_is_refused() {
        let bytes = sample();
        for len in (0..bytes.len()).step_by(STEP) {
            assert!(BlockFile::from_bytes(bytes[..len].to_vec(), INDEX_MAGIC).is_err(), "{len}");
        }
    }
}
