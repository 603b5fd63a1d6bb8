//! A level file of snapshots: what several packs had, by key.
//!
//! Must never be asked with a lock held: it reads a file. What is damaged in it counts as missing; what cannot be
//! read does not, see [`unless_damaged`].

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::format::Defect;
use crate::format::container::{SNAPSHOTS_MAGIC, Section};
use crate::format::snapshot::{HEADER_LEN, Packed, hash_key};
use crate::format::snapshot_pack::{
    DATA, ENTRIES, ENTRY_LEN, Kind, LevelEntry, META, META_LEN, decode_meta,
};
use crate::index::block_file::BlockFile;
use crate::storage::File;

/// `None` for what is damaged; an error for what cannot be read now, and may be intact.
pub(super) fn unless_damaged<T>(found: Result<T, Defect>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Defect::Unreadable(why)) => Err(io::Error::other(why)),
        Err(_) => Ok(None),
    }
}

#[derive(Debug)]
pub(crate) struct SnapshotLevel {
    file: BlockFile,
    packs: (u64, u64),
    entries: Section,
    data: Section,
}

/// What a level file has of a key.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those of other keys with the same hash included.
    pub(super) entries: Vec<LevelEntry>,
    /// Snapshots of earlier packs are deleted.
    pub(super) deleted: bool,
}

impl SnapshotLevel {
    /// Opens the level file of these packs.
    pub(crate) fn open(
        file: Arc<dyn File>,
        store_id: [u8; 16],
        packs: (u64, u64),
    ) -> Result<Self, Defect> {
        let file = BlockFile::open(file, SNAPSHOTS_MAGIC)?;
        let meta = file.get(file.section(META), 0, META_LEN)?;
        if file.store_id() != store_id || decode_meta(meta)? != packs {
            return Err(Defect::Invalid("it is of other packs, or of another store"));
        }
        let (entries, data) = (file.section(ENTRIES), file.section(DATA));
        Ok(Self { file, packs, entries, data })
    }

    /// The first and the last pack.
    pub(crate) fn packs(&self) -> RangeInclusive<u64> {
        self.packs.0..=self.packs.1
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file.file_len()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.count(ENTRY_LEN)
    }

    pub(crate) fn verify(&self) -> Result<(), Defect> {
        self.file.verify()
    }

    pub(crate) fn entry(&self, at: usize) -> Result<LevelEntry, Defect> {
        LevelEntry::decode(self.file.entry(self.entries, at, ENTRY_LEN)?)
    }

    /// Where the bytes of an entry begin in the file.
    pub(crate) fn offset(&self, entry: &LevelEntry) -> u64 {
        self.data.offset.saturating_add(entry.offset)
    }

    /// The bytes of an entry.
    pub(crate) fn data(&self, entry: &LevelEntry) -> Result<&[u8], Defect> {
        self.file.get(self.data, entry.offset, entry.len as usize)
    }

    /// The key of an entry.
    pub(super) fn key(&self, entry: &LevelEntry) -> Result<&[u8], Defect> {
        let header = self.file.get(self.data, entry.offset, HEADER_LEN)?;
        let len = Packed::key_len(header.first_chunk().ok_or(Defect::TooShort)?);
        self.file.get(self.data, entry.offset.saturating_add(HEADER_LEN as u64), len)
    }

    /// The first entry whose hash is not lower.
    fn lower_bound(&self, hash: u64) -> Result<usize, Defect> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.entry(middle)?.hash < hash { from = middle + 1 } else { to = middle }
        }
        Ok(from)
    }

    /// The entries of a key.
    pub(super) fn find(&self, key: &str) -> Result<Found, Defect> {
        let hash = hash_key(key);
        let mut found = Found::default();
        for at in self.lower_bound(hash)?..self.len() {
            let entry = self.entry(at)?;
            if entry.hash != hash {
                break;
            }
            if entry.kind == Kind::Deletion {
                found.deleted |= self.key(&entry)? == key.as_bytes();
            } else {
                found.entries.push(entry);
            }
        }
        Ok(found)
    }
}
