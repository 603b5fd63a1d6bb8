//! Decodes bytes as damage: a list of changes to files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use annals::testing::decode::patch;
use annals::testing::{SimStorage, Storage};

use super::originals::ROOT;

const MAX_CHANGES: usize = 40;
/// The largest length that a file grows to.
const MAX_LEN: usize = 256 << 10;
/// Values at which lengths, counts and positions are likely to fail.
const NUMBERS: [u64; 12] =
    [0, 1, 7, 8, 0x7F, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, u64::MAX - 1, u64::MAX];
/// File names that have a meaning in a store.
const NAMES: [&str; 10] = [
    "log/00000000000000000002.seg",
    "log/00000000000000000004.seg",
    "log/18446744073709551615.seg",
    "log/00000000000000000004.seg/inside",
    "log/foreign",
    "index/00000000000000000003.idx",
    "checkpoints/00000000000000000005.ckp",
    "checkpoints/18446744073709551615.ckp",
    "checkpoints/00000000000000000005.ckp.tmp",
    "STATUS",
];

/// Choices from bytes; after their end, zeros.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn file(&mut self, disk: &SimStorage) -> PathBuf {
        let files = disk.files();
        let index = usize::from(self.byte());
        files.get(index % files.len().max(1)).cloned().unwrap_or_default()
    }

    /// An offset within the used bytes of a file or just after them; counted from the end on
    /// request.
    fn place(&mut self, bytes: &[u8], from_end: bool) -> usize {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let places = (used + 8).min(bytes.len());
        let place = self.word() % places.max(1);
        if from_end { places.saturating_sub(1 + place) } else { place }
    }
}

/// Applies the damage; returns the changed files.
pub(super) fn inflict(disk: &SimStorage, input: &[u8]) -> BTreeSet<PathBuf> {
    let mut source = Source(input);
    let mut changed = BTreeSet::new();
    for _ in 0..MAX_CHANGES {
        if source.0.is_empty() {
            break;
        }
        let kind = source.byte();
        let path = match kind % 16 {
            12 => Path::new(ROOT).join(NAMES[usize::from(source.byte()) % NAMES.len()]),
            _ => source.file(disk),
        };
        if change(disk, &mut source, kind, &path).is_ok() {
            changed.insert(path);
        }
    }
    changed
}

fn change(
    disk: &SimStorage,
    source: &mut Source<'_>,
    kind: u8,
    path: &Path,
) -> std::io::Result<()> {
    match kind % 16 {
        10 => return disk.remove_file(path),
        // The contents of another file, under this name or a new one.
        11 | 12 => {
            let other = source.file(disk);
            return disk.write_file(path, &disk.read_file(other)?);
        }
        _ => {}
    }
    let mut bytes = disk.read_file(path)?;
    let at = source.place(&bytes, kind & 0x80 != 0);
    match kind % 16 {
        8 => bytes.truncate(at),
        9 => {
            let len = (bytes.len() + source.word()).min(MAX_LEN);
            bytes.resize(len, source.byte());
        }
        13..=15 => {
            let other = disk.read_file(source.file(disk))?;
            let from = source.place(&other, false);
            let len = source.word().min(other.len() - from.min(other.len()));
            overwrite(&mut bytes, at, &other[from..from + len]);
        }
        _ => in_place(&mut bytes, source, kind, at),
    }
    disk.write_file(path, &bytes)
}

fn in_place(bytes: &mut [u8], source: &mut Source<'_>, kind: u8, at: usize) {
    match kind % 16 {
        0 | 1 => {
            let bit = source.byte() % 8;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        2 | 3 => {
            let len = usize::from(source.byte() % 16) + 1;
            overwrite(bytes, at, source.take(len));
        }
        4 | 5 => {
            let (len, byte) = (source.word(), source.byte());
            let end = bytes.len().min(at + len);
            bytes[at.min(end)..end].fill(byte);
        }
        _ => {
            // Structures are aligned.
            let width = source.byte();
            let number = NUMBERS[usize::from(source.byte()) % NUMBERS.len()].to_le_bytes();
            let (at, len) = if width.is_multiple_of(2) { (at & !3, 4) } else { (at & !7, 8) };
            overwrite(bytes, at, &number[..len]);
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    let len = new.len().min(bytes.len().saturating_sub(at));
    if let Some(place) = bytes.get_mut(at..at + len) {
        place.copy_from_slice(&new[..len]);
    }
}

/// Recomputes all checksums, and the chain through the segments.
pub(super) fn patch_all(disk: &SimStorage) {
    let mut link = None;
    for path in disk.files() {
        let patched = disk.corrupt(&path, |bytes| patch::file(&path, bytes, &mut link));
        patched.expect("a file that is there can be changed");
    }
}
