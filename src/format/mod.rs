//! The on-disk format as pure functions: bytes in, bytes out.
//!
//! `format-spec.md` specifies what this module implements; the two change together. Nothing here
//! does I/O, allocates by an unchecked length, or decides how a defect is handled: recovery and
//! verification do.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub(crate) mod checksum;
pub(crate) mod cold;
pub(crate) mod container;
pub(crate) mod frame;
pub(crate) mod hashes;
pub(crate) mod index_file;
pub(crate) mod level_file;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod seal;
pub(crate) mod segment_header;
pub(crate) mod snapshot;
pub(crate) mod snapshot_pack;
pub(crate) mod status;
pub(crate) mod tags;
pub(crate) mod varint;

use byteorder::{ByteOrder, LittleEndian as LE};

/// The format version this build writes.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// The largest position, version and count that is valid on disk, so that arithmetic on decoded ones
/// cannot overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// The alignment of frames and records.
pub(crate) const ALIGNMENT: usize = 8;

/// Why bytes are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Defect {
    #[error("all zero")]
    Zero,
    #[error("cut short")]
    TooShort,
    #[error("wrong magic number")]
    Magic,
    #[error("wrong checksum")]
    Checksum,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{0}")]
    Unsupported(String),
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// No damage: a block of a checkpoint that was not read so far, where nothing may be read. The
    /// range is that of the file.
    #[error("bytes {offset} to {} of checkpoint {checkpoint} are not read yet", offset + *len as u64)]
    Unread { checkpoint: u64, offset: u64, len: usize },
}

/// Checks the start of a small file, which has at least 12 bytes: the magic number, the checksum of the bytes from 8 on,
/// and at 10 the version that a reader needs, of which this one has `version`. `what` names the file in a refusal.
fn check_start(b: &[u8], magic: [u8; 4], version: u16, what: &str) -> Result<(), Defect> {
    if b[..4] != magic {
        return Err(Defect::Magic);
    }
    if checksum::crc32(0, &b[8..]) != LE::read_u32(&b[4..]) {
        return Err(Defect::Checksum);
    }
    let needs = LE::read_u16(&b[10..]);
    if needs > version {
        return Err(Defect::Unsupported(format!(
            "{what} needs a reader of version {needs}, this is {version}"
        )));
    }
    Ok(())
}

/// `len` rounded up to the alignment. A length from disk that would exceed the address space, which
/// is possible with 32 bits, gives the largest aligned number: no file and no buffer is that long.
pub(crate) const fn align(len: usize) -> usize {
    len.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// The length of `len` bytes in a file, rounded up to the alignment. Unlike [`align`] it can exceed
/// an address space of 32 bits.
pub(crate) fn align_in_file(len: u64) -> u64 {
    len.next_multiple_of(ALIGNMENT as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_beyond_the_address_space_is_rounded_without_overflow() {
        assert_eq!([0, 1, 8, 9].map(align), [0, 8, 8, 16]);
        assert_eq!(align(usize::MAX), usize::MAX & !(ALIGNMENT - 1));
        assert_eq!([0, 1, 8, 9].map(align_in_file), [0, 8, 8, 16]);
        assert_eq!(align_in_file(u64::from(u32::MAX)), 1 << 32);
        let longest = frame::FrameHeader { body_len: u32::MAX, ..frame::tests::sample() };
        assert_eq!(longest.frame_len(), (1 << 32) + frame::HEADER_LEN as u64);
        assert_eq!(seal::body_len(u32::MAX), (1 << 34) + seal::TRAILER_LEN as u64);
    }
}
