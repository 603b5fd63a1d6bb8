//! File names.
//!
//! Segments are named by number and not by base position: a segment without events has the same
//! base position as the next, and with a predictable name the next segment can be created and
//! synced ahead of time under its final name.

use std::path::{Path, PathBuf};

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const STATUS: &str = "STATUS";
/// Exists in a store that nothing is appended to any more.
pub(crate) const FENCE: &str = "FENCE";
/// The manifest of a backup.
pub(crate) const BACKUP: &str = "BACKUP";
pub(crate) const LOG_DIR: &str = "log";
pub(crate) const INDEX_DIR: &str = "index";
pub(crate) const CHECKPOINT_DIR: &str = "checkpoints";
pub(crate) const SNAPSHOT_DIR: &str = "snapshots";
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
/// All of a store's directories.
pub(crate) const DIRECTORIES: [&str; 5] =
    [LOG_DIR, INDEX_DIR, CHECKPOINT_DIR, SNAPSHOT_DIR, QUARANTINE_DIR];

pub(crate) const SEGMENT_SUFFIX: &str = ".seg";
/// Of the stub of a cold segment.
pub(crate) const STUB_SUFFIX: &str = ".cold";
pub(crate) const INDEX_SUFFIX: &str = ".idx";
pub(crate) const LEVEL_SUFFIX: &str = ".lvl";
pub(crate) const CHECKPOINT_SUFFIX: &str = ".ckp";
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snap";
pub(crate) const PACK_SUFFIX: &str = ".pack";
/// Written, synced and then renamed; a leftover one was never finished.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Larger numbers are foreign, so that the next number always exists.
const MAX_NUMBER: u64 = 1 << 56;

/// The name of the numbered file.
pub(crate) fn numbered(number: u64, suffix: &str) -> String {
    format!("{number:020}{suffix}")
}

/// The number in a name written by [`numbered`]; `None` for any other name.
pub(crate) fn parse_numbered(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&number| number <= MAX_NUMBER)
}

pub(crate) fn segment_path(root: &Path, number: u64) -> PathBuf {
    root.join(LOG_DIR).join(numbered(number, SEGMENT_SUFFIX))
}

/// The path of the stub of a cold segment.
pub(crate) fn stub_path(root: &Path, number: u64) -> PathBuf {
    root.join(LOG_DIR).join(numbered(number, STUB_SUFFIX))
}

pub(crate) fn index_path(root: &Path, number: u64) -> PathBuf {
    root.join(INDEX_DIR).join(numbered(number, INDEX_SUFFIX))
}

/// The name of the level file over these segments, or over these packs of snapshots.
pub(crate) fn level_name(first: u64, last: u64) -> String {
    format!("{first:020}-{last:020}{LEVEL_SUFFIX}")
}

/// The first and the last segment in a name written by [`level_name`]; `None` for any other name,
/// including a single segment, which has an index file.
pub(crate) fn parse_level(name: &str) -> Option<(u64, u64)> {
    parse_snapshot_level(name).filter(|(first, last)| first < last)
}

/// The first and the last pack in the name of a level file of snapshots; `None` for any other name.
pub(crate) fn parse_snapshot_level(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(LEVEL_SUFFIX)?.split_once('-')?;
    let (first, last) = (parse_numbered(first, "")?, parse_numbered(last, "")?);
    (first <= last).then_some((first, last))
}

pub(crate) fn level_path(root: &Path, first: u64, last: u64) -> PathBuf {
    root.join(INDEX_DIR).join(level_name(first, last))
}

pub(crate) fn checkpoint_path(root: &Path, number: u64) -> PathBuf {
    root.join(CHECKPOINT_DIR).join(numbered(number, CHECKPOINT_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_round_trip_and_other_names_are_refused() {
        assert_eq!(parse_numbered(&numbered(42, ".seg"), ".seg"), Some(42));
        assert_eq!(parse_numbered(&numbered(1 << 56, ".seg"), ".seg"), Some(1 << 56));
        assert_eq!(parse_numbered(&numbered(u64::MAX, ".seg"), ".seg"), None);
        for name in ["", ".seg", "42.seg", "0000000000000000004x.seg", "99999999999999999999.seg"] {
            assert_eq!(parse_numbered(name, ".seg"), None, "{name}");
        }
        assert_eq!(parse_level(&level_name(3, 42)), Some((3, 42)));
        for name in [
            &*level_name(4, 3),
            &*level_name(3, 3),
            &*numbered(3, LEVEL_SUFFIX),
            "3-4.lvl",
            "-.lvl",
        ] {
            assert_eq!(parse_level(name), None, "{name}");
        }
    }
}
