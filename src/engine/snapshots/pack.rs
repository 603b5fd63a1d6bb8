//! One pack: snapshots one after the other in a file, and where each of them is.
//!
//! Owns the places of its entries by key, in memory, and the walk over its file. Must never trust a byte that was
//! not verified: the first entry that is not whole ends the pack.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::format::Defect;
use crate::format::snapshot::{HEADER_LEN, Packed};
use crate::format::snapshot_pack::{self, Kind, PackHeader};
use crate::storage::{File, read_exact_at};

/// The size of a read.
const PIECE: u64 = 256 << 10;

/// An entry of a pack, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Zero for a deletion.
    pub(super) mark: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// The entries of a key.
#[derive(Debug, Clone, Default)]
pub(super) struct OfKey {
    /// The last deletion, which is one of the snapshots of earlier packs.
    pub(super) deletion: Option<Entry>,
    /// The snapshots after it, by kind and mark.
    pub(super) found: Vec<Entry>,
}

impl OfKey {
    /// Adds a snapshot in the place of one of the same mark. Of those with this mark and lower ones, `kept` stay.
    fn insert(&mut self, entry: Entry, kept: usize) {
        let order = |known: &Entry| (known.kind, known.mark);
        match self.found.binary_search_by_key(&order(&entry), order) {
            Ok(at) => self.found[at] = entry,
            Err(at) => {
                self.found.insert(at, entry);
                let first = self.found.partition_point(|known| known.kind < entry.kind);
                let superseded = (at + 1 - first).saturating_sub(kept.max(1));
                self.found.drain(first..first + superseded);
            }
        }
    }
}

pub(super) type Keys = HashMap<SmolStr, OfKey, foldhash::fast::RandomState>;

#[derive(Debug)]
pub(super) struct Pack {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    /// The end of its last entry.
    pub(super) end: u64,
    /// The number of snapshots of a key and kind that are kept.
    kept: usize,
    /// Shared only once nothing is appended any more.
    pub(super) keys: Arc<Keys>,
}

impl Pack {
    /// Takes a pack file; `None` if it is not one of this store. A reader of the store keeps what the pack's writer
    /// kept.
    pub(super) fn open(
        file: Arc<dyn File>,
        number: u64,
        store_id: [u8; 16],
        kept: Option<usize>,
    ) -> io::Result<Option<Self>> {
        let mut header = [0; snapshot_pack::HEADER_LEN];
        if file.len()? < header.len() as u64 {
            return Ok(None);
        }
        read_exact_at(&*file, &mut header, 0)?;
        let header = match PackHeader::decode(&header) {
            Ok(header) if (header.store_id, header.number) == (store_id, number) => header,
            _ => return Ok(None),
        };
        let kept = kept.unwrap_or(header.kept as usize);
        let mut pack = Self::new(file, number, kept);
        let (entries, end) = entries_from(&*pack.file, pack.end)?;
        pack.add(entries, end);
        Ok(Some(pack))
    }

    /// A pack without entries.
    pub(super) fn new(file: Arc<dyn File>, number: u64, kept: usize) -> Self {
        let end = snapshot_pack::HEADER_LEN as u64;
        Self { number, file, end, kept, keys: Arc::default() }
    }

    /// Adds entries, the last of which ends at `end`. Of each kind of mark, the highest marks up to the one that is
    /// added are kept. A higher mark stays too: it may belong to another history.
    pub(super) fn add(&mut self, entries: impl IntoIterator<Item = (SmolStr, Entry)>, end: u64) {
        let keys = Arc::make_mut(&mut self.keys);
        for (key, entry) in entries {
            let of_key = keys.entry(key).or_default();
            if entry.kind == Kind::Deletion {
                *of_key = OfKey { deletion: Some(entry), found: Vec::new() };
                continue;
            }
            of_key.insert(entry, self.kept);
        }
        self.end = end;
    }
}

/// The whole entries from an offset on, and where the last of them ends.
pub(super) fn entries_from(
    file: &dyn File,
    offset: u64,
) -> io::Result<(Vec<(SmolStr, Entry)>, u64)> {
    let mut walk = PackWalk::new(file, offset)?;
    let mut entries = Vec::new();
    while let Some((offset, len, packed)) = walk.next()? {
        let (key, kind, mark) = match &packed {
            Packed::Snapshot(it) => (it.key, Kind::of_mark(it.is_position), it.mark),
            Packed::Deletion { key, .. } => (*key, Kind::Deletion, 0),
        };
        // The length of a state is limited.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        entries.push((SmolStr::new(key), Entry { kind, mark, offset, len }));
    }
    Ok((entries, walk.at))
}

/// A walk over the entries of a pack.
pub(crate) struct PackWalk<'a> {
    file: &'a dyn File,
    len: u64,
    /// Where the next entry begins.
    pub(crate) at: u64,
    buffer: Vec<u8>,
    /// The offset of the buffer.
    from: u64,
    /// Why the walk ended before the end of the file.
    pub(crate) defect: Option<Defect>,
}

impl<'a> PackWalk<'a> {
    pub(crate) fn new(file: &'a dyn File, at: u64) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, len, at, buffer: Vec::new(), from: at, defect: None })
    }

    /// The next entry that is whole, with its offset and length; `None` after the last one.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, u64, Packed<'_>)>> {
        let at = self.at;
        if at >= self.len || self.defect.is_some() {
            return Ok(None);
        }
        let Some(header) = self.bytes(HEADER_LEN as u64)?.and_then(|b| b.first_chunk()) else {
            return Ok(self.end(Defect::TooShort));
        };
        let len = match Packed::len(header) {
            Ok(len) => len,
            Err(defect) => return Ok(self.end(defect)),
        };
        if self.bytes(len)?.is_none() {
            return Ok(self.end(Defect::TooShort));
        }
        let range = self.range(len);
        // Checked before the entry is lent out, so that a defect can be kept.
        if let Err(defect) = Packed::decode(&self.buffer[range.clone()]) {
            return Ok(self.end(defect));
        }
        self.at += len;
        let packed = Packed::decode(&self.buffer[range]);
        Ok(packed.ok().map(|packed| (at, len, packed)))
    }

    fn end<T>(&mut self, defect: Defect) -> Option<T> {
        self.defect = Some(defect);
        None
    }

    fn range(&self, len: u64) -> std::ops::Range<usize> {
        let start = usize::try_from(self.at - self.from).unwrap_or(usize::MAX);
        start..start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// `len` bytes from `at` on; `None` if the file ends before.
    fn bytes(&mut self, len: u64) -> io::Result<Option<&[u8]>> {
        if self.at.checked_add(len).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        if self.buffer.get(self.range(len)).is_none() {
            let wanted = len.max(PIECE).min(self.len - self.at);
            // An entry has a bounded length.
            self.buffer.resize(usize::try_from(wanted).unwrap_or(0), 0);
            self.from = self.at;
            read_exact_at(self.file, &mut self.buffer, self.at)?;
        }
        Ok(self.buffer.get(self.range(len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_marks_up_to_the_added_one_are_kept() {
        let mut of_key = OfKey::default();
        let mut add = |kind, mark, offset| {
            of_key.insert(Entry { kind, mark, offset, len: 1 }, 2);
            let found = of_key.found.iter().filter(|entry| entry.kind == kind);
            found.map(|entry| (entry.mark, entry.offset)).collect::<Vec<_>>()
        };
        assert_eq!(add(Kind::Version, 10, 1), [(10, 1)]);
        assert_eq!(add(Kind::Version, 20, 2), [(10, 1), (20, 2)]);
        assert_eq!(add(Kind::Position, 7, 3), [(7, 3)]);
        assert_eq!(add(Kind::Version, 30, 4), [(20, 2), (30, 4)]);
        assert_eq!(add(Kind::Version, 30, 5), [(20, 2), (30, 5)]);
        // The higher ones may be of another history.
        assert_eq!(add(Kind::Version, 15, 6), [(15, 6), (20, 2), (30, 5)]);
        assert_eq!(add(Kind::Version, 16, 7), [(15, 6), (16, 7), (20, 2), (30, 5)]);
        assert_eq!(add(Kind::Version, 17, 8), [(16, 7), (17, 8), (20, 2), (30, 5)]);
        assert_eq!(add(Kind::Version, 40, 9), [(30, 5), (40, 9)]);
        assert_eq!(add(Kind::Position, 6, 10), [(6, 10), (7, 3)]);
    }
}
