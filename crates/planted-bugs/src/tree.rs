//! A copy of the tree in a scratch directory, in which bugs are planted and taken back.
//!
//! Must never write outside the scratch directory. A file is written only where it differs, so
//! that a bug costs a build of what depends on it and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::bug::Bug;

/// The copy, with at most one bug in it.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// The files that the planted bug has changed, as they were.
    originals: BTreeMap<String, String>,
}

impl Tree {
    /// Makes the directory `copy` hold what `source` holds, apart from what git ignores.
    ///
    /// # Errors
    ///
    /// Files that cannot be listed, read or written.
    pub fn new(source: &Path, copy: &Path) -> Result<Self> {
        let mut kept = BTreeSet::new();
        for name in list(source)? {
            let from = source.join(&name);
            // Git still lists a file that was deleted and not committed.
            if !from.is_file() {
                continue;
            }
            let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
            write(&copy.join(&name), &bytes)?;
            kept.insert(copy.join(&name));
        }
        remove_others(copy, &kept)?;
        Ok(Self { root: copy.to_path_buf(), originals: BTreeMap::new() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Adds a file that the source does not have.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn add(&self, name: &str, text: &str) -> Result<()> {
        write(&self.root.join(name), text.as_bytes())
    }

    /// Takes the bug that is planted back, and plants another, or none.
    ///
    /// # Errors
    ///
    /// Edits that do not apply; then no bug is planted.
    pub fn plant(&mut self, bug: Option<&Bug>) -> Result<()> {
        for (name, text) in std::mem::take(&mut self.originals) {
            write(&self.root.join(name), text.as_bytes())?;
        }
        let Some(bug) = bug else { return Ok(()) };
        let mut originals = BTreeMap::new();
        let changed = bug.apply(|name| {
            let text = fs::read_to_string(self.root.join(name)).context(name.to_owned())?;
            originals.insert(name.to_owned(), text.clone());
            Ok(text)
        })?;
        self.originals = originals;
        for (name, text) in changed {
            write(&self.root.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// The files that are committed, or could be.
fn list(source: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = git.current_dir(source).output().context("git")?;
    ensure!(listed.status.success(), "git: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout)?;
    Ok(names.split_terminator('\0').map(PathBuf::from).collect())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || path.display().to_string();
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(context)?;
    }
    fs::write(path, bytes).with_context(context)
}

/// Removes what an earlier run has left.
fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name() != Some(OsStr::new("target")) {
            remove_others(&path, kept)?;
        } else if path.is_file() && !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bug::{CaughtBy, Edit};

    #[test]
    fn a_bug_is_planted_and_taken_back() {
        let root = std::env::temp_dir().join(format!("planted-bugs-{}", std::process::id()));
        let mut tree = Tree { root: root.clone(), originals: BTreeMap::new() };
        tree.add("src/a.rs", "one two").unwrap();
        let edit = Edit { file: "src/a.rs".into(), find: "two".into(), replace: "2".into() };
        let caught_by = CaughtBy::Simulator { seeds: [0, 1] };
        let bug = Bug { name: "b".into(), breaks: String::new(), caught_by, edits: vec![edit] };
        let read = || fs::read_to_string(root.join("src/a.rs")).unwrap();
        tree.plant(Some(&bug)).unwrap();
        assert_eq!(read(), "one 2");
        assert!(tree.plant(Some(&Bug { edits: Vec::new(), ..bug })).is_err());
        assert_eq!(read(), "one two");
        remove_others(&root, &BTreeSet::new()).unwrap();
        assert!(!root.join("src/a.rs").exists());
        fs::remove_dir_all(root).unwrap();
    }
}
