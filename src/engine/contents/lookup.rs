//! Look-ups in the catalog: begun under its lock, in memory, and ended without it, in files.
//!
//! A look-up that meets a damaged index file or checkpoint rebuilds it from the log and tries again.
//! One that needs a block of a checkpoint that was not read so far reads it, without the lock, and
//! tries again. Must never read a file while the catalog is locked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Contents;
use super::heal::checkpoints_of;
use crate::catalog::{
    Begun, Catalog, Located, Lookup, LookupError, Part, Reached, RecordPlace, id_candidates_in,
    limit_head_in, reach_in,
};
use crate::error::{Error, Result};
use crate::format::{Defect, names};
use crate::index::Head;

/// Ends [`Catalog::limit_head`].
fn end_limit(begun: Begun<Head, Head>, stream: &str, visible: u64) -> Lookup<Head> {
    match begun {
        Begun::Done(head) => Ok(head),
        Begun::InParts(parts, head) => limit_head_in(&parts, stream, head, visible),
    }
}

impl Contents {
    /// The stream's head, commits on their way to disk included.
    pub(crate) fn head(&self, stream: &str) -> Result<Head> {
        self.lookup(|catalog| catalog.head(stream), Ok)
    }

    /// The stream's head as a reader at `visible` sees it.
    pub(crate) fn head_at(&self, stream: &str, visible: u64) -> Result<Head> {
        self.lookup(
            |catalog| catalog.head_at(stream, visible),
            |begun| end_limit(begun, stream, visible),
        )
    }

    /// Replaces a head of a stream by the one at `visible`.
    pub(crate) fn limit_head(&self, head: Head, stream: &str, visible: u64) -> Result<Head> {
        self.lookup(
            |catalog| catalog.limit_head(head, visible),
            |begun| end_limit(begun, stream, visible),
        )
    }

    /// Goes back from `end`, one of the stream's events, as [`Catalog::reach`] describes.
    pub(crate) fn reach(
        &self,
        stream: &str,
        end: Head,
        wanted: u64,
        range: (u64, u64),
    ) -> Result<Reached> {
        self.lookup(
            |catalog| catalog.reach(end, wanted, range),
            |begun| match begun {
                Begun::Done(reached) => Ok(reached),
                Begun::InParts(parts, ()) => reach_in(&parts, stream, end, wanted, range),
            },
        )
    }

    /// The segment that holds an event that is accepted, and the offset of its record; `None` if no
    /// segment holds it.
    pub(crate) fn find(&self, position: u64) -> Result<Option<RecordPlace>> {
        self.lookup(
            |catalog| catalog.locate(position),
            |located| located.map_or(Ok(None), Located::place),
        )
    }

    /// Reads all that an append to a stream needs of the checkpoints.
    pub(in crate::engine) fn read_for_append(&self, stream: &str) -> Result<()> {
        let touch = |catalog: &Catalog| {
            let head = catalog.head(stream)?;
            catalog.active.index.touch_shortcuts(head).map_err(LookupError::Heads)
        };
        self.lookup(touch, Ok)
    }

    /// All streams whose name begins with `prefix`, by name.
    pub(crate) fn list_streams(&self, prefix: &str) -> Result<BTreeMap<Box<str>, Head>> {
        self.lookup(
            |catalog| Ok(catalog.heads.list(prefix)),
            |listed| listed.read(prefix).map_err(LookupError::Heads),
        )
    }

    /// The positions of the events that may have this id; to be compared with the records.
    pub(crate) fn id_candidates(&self, id: &[u8; 16]) -> Result<Vec<u64>> {
        let most = self.most_asked_at_once();
        let (mut found, mut rest) = self.lookup(
            |catalog| catalog.find_id(id),
            |begun| match begun {
                Begun::Done(position) => Ok((vec![position], None)),
                Begun::InParts(parts, ()) => id_candidates_in(&parts, id, u64::MAX, most),
            },
        )?;
        while let Some(below) = rest {
            let in_parts = |parts: Arc<Vec<Part>>| id_candidates_in(&parts, id, below, most);
            let more = self.lookup(|catalog| Ok(Arc::clone(&catalog.parts)), in_parts)?;
            found.extend(more.0);
            rest = more.1;
        }
        Ok(found)
    }

    /// Runs a look-up: `locked` with the catalog locked, then `unlocked` without the lock. Where it meets a
    /// damaged index file or checkpoint, rebuilds that from the log and tries again.
    pub(crate) fn lookup<B, T>(
        &self,
        mut locked: impl FnMut(&Catalog) -> Lookup<B>,
        mut unlocked: impl FnMut(B) -> Lookup<T>,
    ) -> Result<T> {
        let (mut rebuilt, mut healed) = (0, false);
        loop {
            let begun = locked(&self.catalog.read());
            let failure = match begun.and_then(&mut unlocked) {
                Ok(answer) => {
                    // One look-up may have opened the indexes of many segments.
                    self.bound_mappings();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            match failure {
                LookupError::Store(error) => return Err(error),
                LookupError::Index(index) if rebuilt != *index.segments().start() => {
                    if self.rebuild_failed(&index)? {
                        rebuilt = *index.segments().start();
                    }
                }
                LookupError::Index(index) => {
                    return Err(self.index_error(
                        self.shared.dir().index_path(*index.segments().start()),
                        "the rebuilt index contradicts the stream heads".into(),
                    ));
                }
                LookupError::Heads(defect) => self.provide(defect, &mut healed)?,
            }
        }
    }

    /// Makes a look-up possible that found a checkpoint damaged or not read: reads what it needs, or
    /// rebuilds the checkpoint, once (`healed`). Several look-ups may meet the same damage; the first
    /// rebuilds.
    pub(in crate::engine) fn provide(&self, defect: Defect, healed: &mut bool) -> Result<()> {
        let defect = match defect {
            Defect::Unread { checkpoint, offset, len } => {
                match self.read_checkpoint(checkpoint, offset, len) {
                    Ok(()) => return Ok(()),
                    Err(defect) => defect,
                }
            }
            defect => defect,
        };
        if *healed {
            return Err(self.heads_error(&defect));
        }
        *healed = true;
        self.rebuild_checkpoints()
    }

    /// Reads and checks a range of a checkpoint, if it is still in use.
    fn read_checkpoint(
        &self,
        number: u64,
        offset: u64,
        len: usize,
    ) -> std::result::Result<(), Defect> {
        let in_use = self.with_catalog(checkpoints_of);
        let mut named = in_use.iter().filter(|table| table.number == number);
        named.try_for_each(|table| table.file().read_range(offset, len))
    }

    /// The error of a checkpoint that cannot be read although its file is not damaged.
    fn heads_error(&self, defect: &Defect) -> Error {
        let path = self.shared.dir().join(names::CHECKPOINT_DIR);
        match defect {
            Defect::Unreadable(why) => Error::io("read", path, std::io::Error::other(why.clone())),
            _ => self.index_error(path, defect.to_string()),
        }
    }

    fn index_error(&self, file: PathBuf, what: String) -> Error {
        let expected_position = self.positions.durable().into();
        Error::Corrupt { file, offset: 0, expected_position, what, evidence: None }
    }
}
