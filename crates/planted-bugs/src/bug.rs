//! The definition of a bug: data, one file each in `bugs/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// A bug, and its detector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// The file's name without its number and extension.
    #[serde(skip)]
    pub name: String,
    /// What it breaks, in a sentence.
    pub breaks: String,
    /// The detector.
    pub caught_by: CaughtBy,
    /// What makes it.
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// The detector of a bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CaughtBy {
    /// A simulated life, from one of these seeds.
    Simulator {
        /// The first seed and the exclusive end.
        seeds: [u64; 2],
    },
    /// A test of the engine, or of another package.
    Test {
        /// The package; `annals` unless it is stated.
        #[serde(default = "engine")]
        package: String,
        /// The test binary.
        target: String,
        /// The test's whole name there.
        name: String,
        /// Why the simulator does not see it.
        because: String,
    },
}

fn engine() -> String {
    "annals".into()
}

/// A text in the source, and its replacement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the root of the repository.
    pub file: String,
    /// Is in the file exactly once.
    pub find: String,
    /// Takes its place.
    pub replace: String,
}

impl Bug {
    /// The files it changes, with their contents after the edits. `read` gives a file's contents.
    ///
    /// # Errors
    ///
    /// An edit whose text is not in its file exactly once, or that changes nothing.
    pub fn apply(
        &self,
        mut read: impl FnMut(&str) -> Result<String>,
    ) -> Result<BTreeMap<String, String>> {
        ensure!(!self.edits.is_empty(), "{}: there is no edit", self.name);
        let mut files = BTreeMap::new();
        for Edit { file, find, replace } in &self.edits {
            let text = match files.remove(file) {
                Some(text) => text,
                None => read(file)?,
            };
            let found = text.matches(find).count();
            ensure!(found == 1, "{}: in {file}, {found} times: {find:?}", self.name);
            ensure!(find != replace, "{}: changes nothing: {find:?}", self.name);
            files.insert(file.clone(), text.replacen(find, replace, 1));
        }
        Ok(files)
    }
}

/// All bugs, by the names of their files.
///
/// # Errors
///
/// A file that does not describe a bug, and two bugs of one name.
pub fn load_all(root: &Path) -> Result<Vec<Bug>> {
    let directory = root.join("crates/planted-bugs/bugs");
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut bugs: Vec<Bug> = Vec::with_capacity(files.len());
    for path in files {
        let context = || format!("{}", path.display());
        let text = fs::read_to_string(&path).with_context(context)?;
        let mut bug: Bug = toml::from_str(&text).with_context(context)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((number, name)) = name.strip_suffix(".toml").and_then(|n| n.split_once('-'))
        else {
            bail!("{}: the name is not like 07-what-it-does.toml", path.display());
        };
        ensure!(number.parse::<u32>().is_ok(), "{}: no number", path.display());
        ensure!(bugs.iter().all(|other| other.name != name), "two bugs are named {name}");
        name.clone_into(&mut bug.name);
        bugs.push(bug);
    }
    Ok(bugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(edits: &[(&str, &str)]) -> Bug {
        let edit = |&(find, replace): &(&str, &str)| Edit {
            file: "f".into(),
            find: find.into(),
            replace: replace.into(),
        };
        let caught_by = CaughtBy::Simulator { seeds: [0, 1] };
        let edits = edits.iter().map(edit).collect();
        Bug { name: "b".into(), breaks: String::new(), caught_by, edits }
    }

    #[test]
    fn edits_apply_one_after_the_other_and_exactly_once() {
        let apply = |edits: &[(&str, &str)]| bug(edits).apply(|_| Ok("one two two".into()));
        assert_eq!(apply(&[("one", "1"), ("1 two", "x")]).unwrap()["f"], "x two");
        assert!(apply(&[("two", "2")]).is_err(), "twice");
        assert!(apply(&[("three", "3")]).is_err(), "never");
        assert!(apply(&[("one", "one")]).is_err(), "nothing changes");
        assert!(apply(&[]).is_err(), "nothing to do");
    }
}
