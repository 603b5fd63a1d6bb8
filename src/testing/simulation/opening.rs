//! What an opening may change, and what it must report.
//!
//! Compares the files before and after with the report of the store. It decodes nothing: all bytes
//! that an opening removes from the log must be in quarantine, unchanged, and be counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::format::segment_header::DATA_START;
use crate::recovery::Opened;
use crate::storage::SimStorage;
use crate::testing::compare::{Checked, Mismatch, ensure};

const LOG: &str = "/store/log";
const QUARANTINE: &str = "/store/quarantine";

/// The files before an opening, for comparison.
#[derive(Debug, Default)]
pub(super) struct FilesBefore {
    log: BTreeMap<PathBuf, Vec<u8>>,
    quarantine: Vec<PathBuf>,
}

impl FilesBefore {
    pub(super) fn of(sim: &SimStorage) -> Self {
        let mut before = Self::default();
        for path in sim.files() {
            if path.starts_with(QUARANTINE) {
                before.quarantine.push(path);
            } else if path.starts_with(LOG)
                && let Ok(bytes) = sim.read_file(&path)
            {
                before.log.insert(path, bytes);
            }
        }
        before
    }

    /// Checks an opening that succeeded.
    pub(super) fn check(&self, sim: &SimStorage, opened: &Opened, events: u64) -> Checked {
        let lost: Vec<_> =
            self.log.iter().filter_map(|(path, bytes)| Lost::of(sim, path, bytes)).collect();
        match opened {
            Opened::Created => {
                ensure!(events == 0, "a store with {events} events was created");
                ensure!(lost.is_empty(), "a store was created over the bytes of another: {lost:?}");
            }
            Opened::Clean => ensure!(lost.is_empty(), "nothing is reported, and cut: {lost:?}"),
            Opened::Recovered(recovery) => {
                let kept = self.quarantined(sim);
                let bytes: u64 = kept.iter().map(|(_, bytes)| bytes.len() as u64).sum();
                ensure!(
                    bytes == recovery.dropped_bytes,
                    "{} bytes are reported as dropped, {bytes} are in quarantine",
                    recovery.dropped_bytes
                );
                let first = kept.first().map(|(path, _)| path.as_path());
                let named = recovery.quarantined.as_deref();
                let right = if kept.is_empty() {
                    named.is_none()
                } else {
                    kept.iter().any(|(path, _)| Some(path.as_path()) == named)
                };
                ensure!(right, "quarantined {named:?} is reported, {first:?} is there");
                for lost in &lost {
                    let found = kept.iter().any(|(path, kept)| lost.is_kept(path, kept));
                    ensure!(found, "cut, and not kept: {lost:?}");
                }
                let cut = lost.len();
                ensure!(cut == kept.len(), "{cut} tails are cut, {} are kept", kept.len());
            }
            damaged @ Opened::Damaged { .. } => {
                return Err(Mismatch::new(format!("opened for writing: {damaged:?}")));
            }
        }
        Ok(())
    }

    /// The files that were added to quarantine since.
    fn quarantined(&self, sim: &SimStorage) -> Vec<(PathBuf, Vec<u8>)> {
        let new = sim.files().into_iter().filter(|path| path.starts_with(QUARANTINE));
        let new = new.filter(|path| !self.quarantine.contains(path));
        new.filter_map(|path| sim.read_file(&path).ok().map(|bytes| (path, bytes))).collect()
    }
}

/// Bytes of one file that are zero now.
struct Lost<'a> {
    path: &'a Path,
    before: &'a [u8],
    /// The first and the exclusive end of them.
    first: usize,
    end: usize,
}

impl<'a> Lost<'a> {
    fn of(sim: &SimStorage, path: &'a Path, before: &'a [u8]) -> Option<Self> {
        let after = sim.read_file(path).unwrap_or_default();
        let start = usize::try_from(DATA_START).unwrap_or(0).min(before.len());
        if after.get(start..before.len()) == Some(&before[start..]) {
            return None;
        }
        let is_lost = |at: &usize| before[*at] != 0 && after.get(*at).is_none_or(|byte| *byte == 0);
        let first = (start..before.len()).find(is_lost)?;
        let last = (start..before.len()).rfind(is_lost)?;
        Some(Self { path, before, first, end: last + 1 })
    }

    /// Whether this file holds its bytes. A file in quarantine is named after the number of its
    /// segment and the offset of its first byte.
    fn is_kept(&self, path: &Path, kept: &[u8]) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let segment = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut parts = name.split('-');
        let of_this = parts.next() == Some(&segment);
        let from = parts.next().and_then(|from| from.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let all = from <= self.first && from.saturating_add(kept.len()) == self.end;
        of_this && all && self.before[from..self.end] == *kept
    }
}

impl std::fmt::Debug for Lost<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}..{}", self.path.display(), self.first, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Recovery;

    const SEGMENT: &str = "/store/log/00000000000000000001.seg";
    const KEPT: &str = "/store/quarantine/00000000000000000001-0000008200-00.tail";

    /// A log of which an opening has cut 10 bytes at 8200.
    fn cut() -> (SimStorage, FilesBefore) {
        let sim = SimStorage::new(1);
        let mut bytes = vec![0; 9000];
        bytes[8192..8210].fill(7);
        sim.write_file(SEGMENT, &bytes).unwrap();
        let before = FilesBefore::of(&sim);
        sim.corrupt(SEGMENT, |bytes| bytes[8200..8210].fill(0)).unwrap();
        (sim, before)
    }

    fn recovered(dropped_bytes: u64) -> Opened {
        let quarantined = (dropped_bytes > 0).then(|| KEPT.into());
        Opened::Recovered(Recovery { dropped_bytes, quarantined, ..Recovery::default() })
    }

    #[test]
    fn cut_tail_must_be_reported_and_kept_in_quarantine() {
        let (sim, before) = cut();
        for silent in [Opened::Clean, Opened::Created, recovered(0), recovered(10)] {
            assert!(before.check(&sim, &silent, 0).is_err(), "{silent:?}");
        }
        sim.write_file(KEPT, &[7; 10]).unwrap();
        before.check(&sim, &recovered(10), 0).unwrap();
        for wrong in [Opened::Clean, recovered(0), recovered(9), recovered(11)] {
            assert!(before.check(&sim, &wrong, 0).is_err(), "{wrong:?}");
        }
        for kept in [&[7; 9][..], &[7; 11], &[8; 10]] {
            sim.write_file(KEPT, kept).unwrap();
            let reported = recovered(kept.len() as u64);
            assert!(before.check(&sim, &reported, 0).is_err(), "{kept:?}");
        }
    }

    #[test]
    fn opening_that_cuts_nothing_must_not_report_a_cut() {
        let (sim, _) = cut();
        let before = FilesBefore::of(&sim);
        before.check(&sim, &Opened::Clean, 5).unwrap();
        before.check(&sim, &recovered(0), 5).unwrap();
        assert!(before.check(&sim, &recovered(10), 5).is_err());
        assert!(before.check(&sim, &Opened::Created, 5).is_err(), "with events in it");
        sim.write_file(KEPT, &[7; 10]).unwrap();
        assert!(before.check(&sim, &recovered(10), 5).is_err(), "nothing was cut");
        crate::storage::Storage::remove_file(&sim, Path::new(SEGMENT)).unwrap();
        assert!(before.check(&sim, &Opened::Clean, 5).is_err(), "the log is gone");
    }
}
