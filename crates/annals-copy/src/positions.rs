//! The table of old and new positions, for checkpoints that are kept outside of the stores.
//!
//! Owns the file. A line has an old position, the new one, and the number of events whose positions follow each other in
//! both places: a copy between two places without gaps has one line.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use annals_es::Position;

use crate::Error;

const HEADER: &str = "annals-positions 1";

/// A table of old and new positions that a copy has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionMap {
    /// Ascending.
    runs: Vec<Run>,
}

/// Positions that follow each other in both places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    old: u64,
    new: u64,
    count: u64,
}

impl PositionMap {
    /// Reads the table of a finished copy.
    ///
    /// # Errors
    ///
    /// [`Error::Map`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        read(path).map_err(|cause| Error::Map { path: path.into(), cause })
    }

    /// The position in the copy up to which it has the events up to an old position. [`Position::START`] for one before
    /// the first event.
    pub fn new_position(&self, old: Position) -> Position {
        let index = self.runs.partition_point(|run| run.old <= old.get());
        let Some(run) = index.checked_sub(1).map(|index| self.runs[index]) else {
            return Position::START;
        };
        Position::new(run.new + (old.get() - run.old).min(run.count - 1))
    }
}

fn read(path: &Path) -> io::Result<PositionMap> {
    let bad =
        |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is no entry"));
    let mut lines = BufReader::new(open(path)?).lines();
    match lines.next().transpose()? {
        Some(header) if header == HEADER => {}
        other => return Err(bad(&other.unwrap_or_default())),
    }
    let mut runs: Vec<Run> = Vec::new();
    for line in lines {
        let line = line?;
        let numbers: Vec<u64> =
            line.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad(&line))?;
        let [old, new, count] = numbers[..] else { return Err(bad(&line)) };
        let is_after = |run: &Run| run.old + run.count <= old && run.new + run.count <= new;
        let is_bounded = old.checked_add(count).is_some() && new.checked_add(count).is_some();
        if count == 0 || !is_bounded || !runs.last().is_none_or(is_after) {
            return Err(bad(&line));
        }
        runs.push(Run { old, new, count });
    }
    Ok(PositionMap { runs })
}

#[expect(clippy::disallowed_methods, reason = "the caller's own file, not a store's")]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Writes the table while positions are compared. It appears under its name when it is finished.
pub(crate) struct MapWriter {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    run: Option<Run>,
}

impl MapWriter {
    #[expect(clippy::disallowed_methods, reason = "the caller's own file, not a store's")]
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let made = File::create(&temporary).and_then(|file| {
            let mut out = BufWriter::new(file);
            writeln!(out, "{HEADER}")?;
            Ok(out)
        });
        match made {
            Ok(out) => Ok(Self { path: path.into(), temporary, out, run: None }),
            Err(cause) => Err(Error::Map { path: temporary, cause }),
        }
    }

    pub(crate) fn add(&mut self, old: Position, new: Position) -> Result<(), Error> {
        let (old, new) = (old.get(), new.get());
        if let Some(run) = &mut self.run
            && run.old + run.count == old
            && run.new + run.count == new
        {
            run.count += 1;
            return Ok(());
        }
        self.end_run()?;
        self.run = Some(Run { old, new, count: 1 });
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), Error> {
        let Some(Run { old, new, count }) = self.run.take() else { return Ok(()) };
        let written = writeln!(self.out, "{old} {new} {count}");
        written.map_err(|cause| Error::Map { path: self.temporary.clone(), cause })
    }

    #[expect(clippy::disallowed_methods, reason = "the caller's own file, not a store's")]
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.end_run()?;
        let done = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        let done = done.and_then(|()| fs::rename(&self.temporary, &self.path));
        done.map_err(|cause| Error::Map { path: self.path, cause })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)]) -> PositionMap {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        let mut writer = MapWriter::create(&path).unwrap();
        for &(old, new) in pairs {
            writer.add(Position::new(old), Position::new(new)).unwrap();
        }
        assert!(!path.exists(), "an unfinished table has another name");
        writer.finish().unwrap();
        PositionMap::load(&path).unwrap()
    }

    #[test]
    fn positions_of_a_table_are_those_of_the_last_event_at_or_before_them() {
        let pairs = [(10, 1), (11, 2), (20, 3), (31, 4), (32, 5)];
        let map = map(&pairs);
        assert_eq!(map.runs.len(), 3);
        for old in 0..40 {
            let expected = pairs.iter().rev().find(|pair| pair.0 <= old).map_or(0, |pair| pair.1);
            assert_eq!(map.new_position(Position::new(old)).get(), expected, "{old}");
        }
    }

    #[test]
    fn table_of_equal_positions_has_one_line() {
        let pairs: Vec<(u64, u64)> = (1..1000).map(|at| (at, at)).collect();
        let map = map(&pairs);
        assert_eq!(map.runs, [Run { old: 1, new: 1, count: 999 }]);
        assert_eq!(map.new_position(Position::new(500)).get(), 500);
    }

    #[test]
    fn files_that_are_no_tables_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        let lines =
            ["1 1", "1 1 0", "a b c", "1 1 1 1", "5 5 5\n6 20 1", "5 5 5\n20 6 1", "-1 1 1"];
        let lines = lines.map(|line| format!("{HEADER}\n{line}\n"));
        let overflow = format!("{HEADER}\n{} 1 2\n", u64::MAX);
        for text in lines.iter().map(String::as_str).chain(["", "annals-positions 2\n", &overflow])
        {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(PositionMap::load(&path), Err(Error::Map { .. })), "{text}");
        }
        assert!(PositionMap::load(dir.path().join("none")).is_err());
    }
}
