//! The container of derived files: sections in a file whose blocks are checksummed one by one.
//!
//! ```text
//!   0  magic                     8     32  payload length (bytes)    u64
//!   8  format version            u16   40  zero                      24
//!  10  minimum reader version    u16   64  section table: an entry is {kind u32, zero u32,
//!  12  section count             u32       offset u64, length u64}
//!  16  store id                  16    ..  sections, each at a multiple of 8
//! ```
//!
//! The payload ends at a multiple of 8. It is followed by the CRC-32 of each 4096-byte block of the
//! payload (the last may be shorter), seeded with the block's number, and a footer of 16 bytes:
//! block count `u32`, CRC-32 of the block checksums seeded with the block count, magic "ANNALBLK".
//! A reader checks a block at its first use, so opening reads four bytes per block and not the
//! block.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::crc32;
use super::{Defect, FORMAT_VERSION, align};

pub(crate) const BLOCK: usize = 4096;
pub(crate) const FOOTER_LEN: usize = 16;
pub(crate) const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 24;
const MAX_SECTIONS: u32 = 64;
const FOOTER_MAGIC: [u8; 8] = *b"ANNALBLK";

pub(crate) const INDEX_MAGIC: [u8; 8] = *b"ANNALIDX";
pub(crate) const LEVEL_MAGIC: [u8; 8] = *b"ANNALLVL";
/// A level file of snapshots.
pub(crate) const SNAPSHOTS_MAGIC: [u8; 8] = *b"ANNALSNL";
pub(crate) const CHECKPOINT_MAGIC: [u8; 8] = *b"ANNALCKP";

/// The version in which a kind of file is written, and the newest one that is read. A checkpoint of version
/// 2 has the heads of one segment's streams; one of version 1 has those of all streams.
fn version_of(magic: [u8; 8]) -> u16 {
    if magic == CHECKPOINT_MAGIC { 2 } else { FORMAT_VERSION }
}

/// A section: its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Section {
    /// The number of whole entries of `size` bytes in the section.
    pub(crate) fn count(self, size: usize) -> usize {
        usize::try_from(self.len).map_or(0, |len| len / size)
    }
}

/// The file's bytes, for sections in the order given.
pub(crate) fn encode(magic: [u8; 8], store_id: [u8; 16], sections: &[(u32, &[u8])]) -> Vec<u8> {
    let lengths: Vec<_> = sections.iter().map(|(kind, b)| (*kind, b.len() as u64)).collect();
    let (mut out, payload_len) = encode_front(magic, store_id, &lengths);
    let payload_len = usize::try_from(payload_len).unwrap_or(usize::MAX);
    out.reserve_exact(payload_len - out.len() + payload_len / BLOCK * 4 + 64);
    for (_, bytes) in sections {
        out.resize(align(out.len()), 0);
        out.extend_from_slice(bytes);
    }
    out.resize(payload_len, 0);
    append_checksums(&mut out);
    out
}

/// The header and the section table, padded, of a file with sections of these lengths, in this
/// order; and the length of its payload.
pub(crate) fn encode_front(
    magic: [u8; 8],
    store_id: [u8; 16],
    sections: &[(u32, u64)],
) -> (Vec<u8>, u64) {
    let table_end = align(HEADER_LEN + sections.len() * ENTRY_LEN);
    let payload: u64 = sections.iter().map(|(_, len)| len.next_multiple_of(8)).sum();
    let payload_len = table_end as u64 + payload;
    let mut out = vec![0; HEADER_LEN];
    out[..8].copy_from_slice(&magic);
    LE::write_u16(&mut out[8..], version_of(magic));
    LE::write_u16(&mut out[10..], version_of(magic));
    #[expect(clippy::cast_possible_truncation, reason = "a dozen sections at most")]
    LE::write_u32(&mut out[12..], sections.len() as u32);
    out[16..32].copy_from_slice(&store_id);
    LE::write_u64(&mut out[32..], payload_len);
    let mut at = table_end as u64;
    for (kind, len) in sections {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        at += len.next_multiple_of(8);
    }
    out.resize(table_end, 0);
    (out, payload_len)
}

/// The footer after the checksums of this number of blocks, at the end of the file.
pub(crate) fn encode_footer(blocks: u32, table: &[u8]) -> [u8; FOOTER_LEN] {
    let mut footer = [0; FOOTER_LEN];
    LE::write_u32(&mut footer, blocks);
    LE::write_u32(&mut footer[4..], crc32(blocks, table));
    footer[8..].copy_from_slice(&FOOTER_MAGIC);
    footer
}

fn append_checksums(out: &mut Vec<u8>) {
    let mut count = 0_u32;
    let mut table = Vec::new();
    for block in out.chunks(BLOCK) {
        table.extend_from_slice(&crc32(count, block).to_le_bytes());
        count += 1;
    }
    let footer = encode_footer(count, &table);
    out.append(&mut table);
    out.extend_from_slice(&footer);
}

/// The number of blocks a file of `file_len` bytes with this footer has, checked against each
/// other. The payload then ends at `file_len - 16 - 4 * blocks`.
pub(crate) fn decode_footer(footer: &[u8], file_len: u64) -> Result<u32, Defect> {
    let footer = footer.get(..FOOTER_LEN).ok_or(Defect::TooShort)?;
    if footer[8..] != FOOTER_MAGIC {
        return Err(Defect::Magic);
    }
    let blocks = LE::read_u32(footer);
    let payload =
        file_len.checked_sub(FOOTER_LEN as u64 + 4 * u64::from(blocks)).ok_or(Defect::TooShort)?;
    if payload < HEADER_LEN as u64 || payload.div_ceil(BLOCK as u64) != u64::from(blocks) {
        return Err(Defect::Invalid("block count contradicts the file's length"));
    }
    Ok(blocks)
}

/// Checks the checksum of the table of block checksums, which starts from the block count, against
/// the footer.
pub(crate) fn verify_table(checksum: u32, footer: &[u8]) -> Result<(), Defect> {
    if checksum != LE::read_u32(&footer[4..]) {
        return Err(Defect::Checksum);
    }
    Ok(())
}

/// Checks one block against its entry of the table.
pub(crate) fn verify_block(number: u32, block: &[u8], expected: u32) -> Result<(), Defect> {
    if crc32(number, block) != expected {
        return Err(Defect::Checksum);
    }
    Ok(())
}

/// The header's section count and store id; `payload_len` is derived from the footer.
pub(crate) fn decode_header(
    header: &[u8],
    magic: [u8; 8],
    payload_len: u64,
) -> Result<(u32, [u8; 16]), Defect> {
    let header = header.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
    if header[..8] != magic {
        return Err(Defect::Magic);
    }
    if LE::read_u16(&header[10..]) > version_of(magic) {
        return Err(Defect::Unsupported("a newer version of the file format".into()));
    }
    let count = LE::read_u32(&header[12..]);
    if count > MAX_SECTIONS || LE::read_u64(&header[32..]) != payload_len {
        return Err(Defect::Invalid("header contradicts the file"));
    }
    let mut store_id = [0; 16];
    store_id.copy_from_slice(&header[16..32]);
    Ok((count, store_id))
}

/// The length of the section table.
pub(crate) fn table_len(count: u32) -> usize {
    count as usize * ENTRY_LEN
}

/// Decodes the section table; every section is within the payload.
pub(crate) fn decode_sections(table: &[u8], payload_len: u64) -> Result<Vec<Section>, Defect> {
    table
        .chunks_exact(ENTRY_LEN)
        .map(|entry| {
            let section = Section {
                kind: LE::read_u32(entry),
                offset: LE::read_u64(&entry[8..]),
                len: LE::read_u64(&entry[16..]),
            };
            match section.offset.checked_add(section.len) {
                Some(end) if end <= payload_len => Ok(section),
                _ => Err(Defect::Invalid("a section lies outside the file")),
            }
        })
        .collect()
}
