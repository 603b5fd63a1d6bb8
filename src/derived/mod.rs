//! Files that can be rebuilt from the log: index files, level files, checkpoints.
//!
//! - [`enter`]: enters the contents of frames into memory.
//! - [`index_files`]: opens and builds the index of one segment.
//! - [`level_files`]: which level files stand for the indexes of several segments.
//! - [`checkpoint_files`]: finds, writes and removes checkpoints.
//! - [`rebuild`]: builds a damaged checkpoint again.
//!
//! Nothing here decides whether a store is damaged: a derived file that is missing or damaged costs time
//! and never data. Must never write to a segment.

mod checkpoint_files;
mod enter;
mod index_files;
mod level_files;
mod rebuild;

pub(crate) use checkpoint_files::{CheckpointImage, newest, sealed_segments, write_checkpoint};
pub(crate) use enter::{Contents, load_frame};
pub(crate) use index_files::{
    InMemory, build_index, index_for_later, index_in_memory, index_meta, meta_of, open_index,
    rebuild_index,
};
pub(crate) use level_files::{Levels, ListedIndexes, open_level, recorded_heads};
pub(crate) use rebuild::rebuild_checkpoint;

/// The destination of a rebuilt derived file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// To its place on disk.
    Disk,
    /// Into memory: the store is open for reading only.
    Memory,
}

impl Output {
    pub(crate) fn of(read_only: bool) -> Self {
        if read_only { Self::Memory } else { Self::Disk }
    }
}
