//! Corrects the checksums of damaged bytes, so that the code after the check is reached.
//!
//! Lengths are used as found, as far as there are bytes; nothing else is changed.

#![expect(clippy::ptr_arg, reason = "the patchers of all structures have one shape")]

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{OFFSET, POSITION, seed};
use crate::format::checksum::{Seed, crc32};
use crate::format::container::{self, BLOCK, FOOTER_LEN};
use crate::format::frame::{self, FrameKind};
use crate::format::record::RecordRef;
use crate::format::seal::TRAILER_LEN;
use crate::format::segment_header::{COPIES, DATA_START, HEADER_LEN};
use crate::format::status::STATUS_LEN;
use crate::format::{align, names};

const FOOTER_MAGIC: [u8; 8] = *b"ANNALBLK";

/// A segment's header.
pub fn segment_header(bytes: &mut Vec<u8>) {
    one_header(bytes);
}

fn one_header(bytes: &mut [u8]) {
    if let Some(header) = bytes.get_mut(..HEADER_LEN) {
        let checksum = crc32(0, &header[..124]);
        LE::write_u32(&mut header[124..], checksum);
    }
}

/// A frame and its records.
pub fn frame(bytes: &mut Vec<u8>) {
    one_frame(bytes, seed(), OFFSET);
}

/// A record.
pub fn record(bytes: &mut Vec<u8>) {
    one_record(bytes, seed(), POSITION);
}

/// A segment's trailer.
pub fn seal(bytes: &mut Vec<u8>) {
    one_trailer(bytes, seed());
}

/// A writer's status.
pub fn status(bytes: &mut Vec<u8>) {
    if let Some(status) = bytes.get_mut(..STATUS_LEN) {
        let checksum = crc32(0, &status[8..]);
        LE::write_u32(&mut status[4..], checksum);
    }
}

/// A snapshot file: its last four bytes.
pub fn snapshot(bytes: &mut Vec<u8>) {
    if let Some(covered) = bytes.len().checked_sub(4) {
        let checksum = crc32(0, &bytes[..covered]);
        LE::write_u32(&mut bytes[covered..], checksum);
    }
}

/// A container's payload: appends its checksums and length.
pub fn payload(bytes: &mut Vec<u8>) {
    bytes.resize(align(bytes.len().max(container::HEADER_LEN)), 0);
    let len = bytes.len() as u64;
    LE::write_u64(&mut bytes[32..], len);
    let mut table = Vec::new();
    for (number, block) in (0..).zip(bytes.chunks(BLOCK)) {
        table.extend_from_slice(&crc32(number, block).to_le_bytes());
    }
    let blocks = u32::try_from(table.len() / 4).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&table);
    bytes.extend_from_slice(&blocks.to_le_bytes());
    bytes.extend_from_slice(&crc32(blocks, &table).to_le_bytes());
    bytes.extend_from_slice(&FOOTER_MAGIC);
}

/// A whole file of a store, by its name. `link` is the checksum of the last frame, for the chain
/// across segments that are patched in order.
pub fn file(path: &Path, bytes: &mut Vec<u8>, link: &mut Option<u32>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(names::SEGMENT_SUFFIX) {
        segment(bytes, link);
    } else if [names::INDEX_SUFFIX, names::LEVEL_SUFFIX, names::CHECKPOINT_SUFFIX]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        // The part after the payload is rebuilt, so its length follows from the footer's count.
        let footer_at = bytes.len().saturating_sub(FOOTER_LEN);
        let blocks = container::decode_footer(&bytes[footer_at..], bytes.len() as u64).unwrap_or(0);
        bytes.truncate(footer_at.saturating_sub(blocks as usize * 4));
        payload(bytes);
    } else if name == names::STATUS {
        status(bytes);
    } else if name.ends_with(names::SNAPSHOT_SUFFIX) {
        snapshot(bytes);
    }
}

fn segment(bytes: &mut [u8], link: &mut Option<u32>) {
    for copy in COPIES {
        let copy = usize::try_from(copy).unwrap_or(usize::MAX);
        if let Some(header) = bytes.get_mut(copy..) {
            one_header(header);
        }
    }
    let Some(header) = bytes.get(..HEADER_LEN) else { return };
    let seed = Seed::of_salt(LE::read_u64(&header[56..]));
    let mut offset = DATA_START;
    while let Some(found) = usize::try_from(offset).ok().and_then(|at| bytes.get_mut(at..)) {
        if found.len() < frame::HEADER_LEN || found[..2] != frame::MAGIC {
            break;
        }
        if let Some(link) = *link {
            LE::write_u32(&mut found[12..], link);
        }
        let Some(len) = one_frame(found, seed, offset) else { break };
        if found[2] != FrameKind::Seal as u8 {
            *link = Some(LE::read_u32(&found[44..]));
        }
        offset += len as u64;
    }
}

/// Returns the frame's padded length, if there are as many bytes.
fn one_frame(bytes: &mut [u8], seed: Seed, offset: u64) -> Option<usize> {
    let header = bytes.get(..frame::HEADER_LEN)?;
    let (body_len, count) = (LE::read_u32(&header[4..]) as usize, LE::read_u32(&header[8..]));
    let (link, first) = (LE::read_u32(&header[12..]), LE::read_u64(&header[16..]));
    let is_seal = header[2] == FrameKind::Seal as u8;
    let mut body_checksum = None;
    if let Some(body) = bytes.get_mut(frame::HEADER_LEN..frame::HEADER_LEN + body_len) {
        if is_seal && let Some(table_len) = body.len().checked_sub(TRAILER_LEN) {
            let (table, trailer) = body.split_at_mut(table_len);
            LE::write_u32(&mut trailer[48..], link);
            LE::write_u32(&mut trailer[52..], crc32(seed.plain(), table));
            one_trailer(trailer, seed);
        }
        let (mut checksums, mut at) = (Vec::new(), 0);
        for index in 0..u64::from(count) {
            let Some(len) = one_record(&mut body[at..], seed, first.wrapping_add(index)) else {
                break;
            };
            checksums.extend_from_slice(&body[at..at + 4]);
            at += len;
        }
        body_checksum = Some(crc32(crc32(seed.plain(), &checksums), &body[at..]));
    }
    if let Some(checksum) = body_checksum {
        LE::write_u32(&mut bytes[40..], checksum);
    }
    let checksum = crc32(seed.at(offset), &bytes[..44]);
    LE::write_u32(&mut bytes[44..], checksum);
    body_checksum.map(|_| frame::HEADER_LEN + align(body_len))
}

/// Returns the record's padded length, if there are as many bytes.
fn one_record(bytes: &mut [u8], seed: Seed, position: u64) -> Option<usize> {
    let len = RecordRef::parse(bytes).ok()?.padded_len();
    let checksum = crc32(seed.at(position), &bytes[4..len]);
    LE::write_u32(bytes, checksum);
    Some(len)
}

fn one_trailer(bytes: &mut [u8], seed: Seed) {
    if let Some(trailer) = bytes.get_mut(..TRAILER_LEN) {
        let checksum = crc32(seed.plain(), &trailer[..60]);
        LE::write_u32(&mut trailer[60..], checksum);
    }
}
