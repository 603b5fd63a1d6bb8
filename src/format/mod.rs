//! The on-disk format as pure functions: bytes in, bytes out.
//!
//! `format-spec.md` is the law this module implements; the two change together. Nothing here does
//! I/O, allocates by a length it has not checked, or decides what a defect means: that is for
//! recovery and verification.

pub(crate) mod checkpoint;
pub(crate) mod checksum;
pub(crate) mod container;
pub(crate) mod frame;
pub(crate) mod index_file;
pub(crate) mod level_file;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod seal;
pub(crate) mod segment_header;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod varint;

/// The format version this build writes.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// The largest position, version and count that is valid on disk, so that arithmetic on decoded ones
/// cannot overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Frames and records start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// Why bytes are not what they should be.
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
}

/// `len` rounded up to the alignment.
pub(crate) const fn align(len: usize) -> usize {
    (len + ALIGNMENT - 1) & !(ALIGNMENT - 1)
}
