//! The log: numbered segment files that hold every commit, in order.
//!
//! - [`segment`]: one segment, its header, its bytes for reading.
//! - [`lazy_file`]: a sealed segment's file, opened when it is first needed.
//! - [`scan`]: walks frames and proves each one; used wherever the log's contents are not proven
//!   yet.
//! - [`cursor`]: walks frames that were proven before; the hot loop of reads.
//! - [`verified_events`]: which events reads have proven one by one.
//! - [`rotation`]: creates segments ahead of need and seals full ones.
//! - [`mapped`]: writes frames through a mapping.
//! - [`partial_reads`]: reads the readable parts of a damaged medium.
//! - [`writer`]: the end of the log, and the bytes that wait to be written there.
//! - [`zeros`]: fills segments ahead of their use.

pub(crate) mod cursor;
pub(crate) mod lazy_file;
pub(crate) mod mapped;
pub(crate) mod partial_reads;
pub(crate) mod rotation;
pub(crate) mod scan;
pub(crate) mod segment;
mod verified_events;
pub(crate) mod writer;
pub(crate) mod zeros;
