//! Look-ups in the catalog: begun under its lock, in memory, and ended without it, in files.
//!
//! A look-up that meets a damaged index file or checkpoint rebuilds it from the log and tries again.
//! One that needs a block of a checkpoint that was not read so far reads it, without the lock, and
//! tries again. Must never read a file while the catalog is locked.

use std::path::PathBuf;
use std::sync::Arc;

use super::Contents;
use super::heal::checkpoints_of;
use crate::catalog::{
    Begun, Catalog, Located, Lookup, LookupError, OlderHeads, Part, Reached, RecordPlace, head_in,
    id_candidates_in, limit_head_in, reach_in,
};
use crate::error::{Error, Result};
use crate::format::{Defect, names};
use crate::index::Head;
use crate::index::block_file::Reads;

/// Ends [`Catalog::head`].
fn end_head(begun: Begun<Head>, stream: &str) -> Lookup<Head> {
    match begun {
        Begun::Done(head) => Ok(head),
        Begun::InParts(parts, ()) => head_in(&parts, stream, Reads::Any),
    }
}

impl Contents {
    /// The stream's head, commits on their way to disk included.
    pub(crate) fn head(&self, stream: &str) -> Result<Head> {
        self.lookup(|catalog| catalog.head(stream), |begun| end_head(begun, stream))
    }

    /// The heads of those of a commit's streams that have no event in the active segment. `None`: a file
    /// would have to be read, and `reads` forbids that.
    pub(in crate::engine) fn older_heads<'a>(
        &self,
        streams: impl Iterator<Item = &'a str>,
        reads: Reads,
    ) -> Result<Option<OlderHeads>> {
        let (mut older, mut active) = (OlderHeads::default(), 0);
        for stream in streams {
            let begin = |catalog: &Catalog| match catalog.head(stream) {
                Err(LookupError::Heads(Defect::Unread { .. })) if reads == Reads::None => {
                    Ok((0, Begun::Done(Head::default())))
                }
                head => Ok((catalog.active.segment.number(), head?)),
            };
            let end = |(number, begun): (u64, Begun<Head>)| match begun {
                Begun::Done(_) => Ok((number, None)),
                Begun::InParts(parts, ()) => match head_in(&parts, stream, reads) {
                    Err(LookupError::Heads(Defect::Unread { .. })) => Ok((0, None)),
                    head => Ok((number, Some(head?))),
                },
            };
            let (number, head) = self.lookup(begin, end)?;
            if number == 0 {
                return Ok(None);
            }
            // What was found before another segment became active does not count.
            if number != active {
                (older, active) = (OlderHeads::new(number), number);
            }
            if let Some(head) = head {
                older.add(stream, head);
            }
        }
        Ok(Some(older))
    }

    /// The stream's head as a reader at `visible` sees it.
    pub(crate) fn head_at(&self, stream: &str, visible: u64) -> Result<Head> {
        self.lookup(
            |catalog| catalog.head_at(stream, visible),
            |begun| match begun {
                Begun::Done(head) => Ok(head),
                Begun::InParts(parts, head) => {
                    let newest = || head_in(&parts, stream, Reads::Any);
                    limit_head_in(&parts, stream, head.map_or_else(newest, Ok)?, visible)
                }
            },
        )
    }

    /// Replaces a head of a stream by the one at `visible`.
    pub(crate) fn limit_head(&self, head: Head, stream: &str, visible: u64) -> Result<Head> {
        self.lookup(
            |catalog| catalog.limit_head(head, visible),
            |begun| match begun {
                Begun::Done(head) => Ok(head),
                Begun::InParts(parts, head) => limit_head_in(&parts, stream, head, visible),
            },
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
            let active = &catalog.active;
            let head = active.heads.get(stream);
            head.and_then(|head| active.index.touch_shortcuts(head.unwrap_or_default()))
                .map_err(LookupError::Heads)
        };
        self.lookup(touch, Ok)
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
