//! The error of a file whose bytes are elsewhere.
//!
//! Travels inside an [`io::Error`] from the storage to [`Error::io`](super::Error::io), which makes an
//! [`Error::ColdSegment`](super::Error::ColdSegment) of it.

use std::io;

/// A cold segment was not read back.
#[derive(Debug, thiserror::Error)]
#[error("segment {segment} is in cold storage: {why}")]
pub(crate) struct NotLocal {
    pub(crate) segment: u64,
    pub(crate) why: String,
    pub(crate) source: Option<io::Error>,
}
