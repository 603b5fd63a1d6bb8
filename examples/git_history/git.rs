//! The contents of a git repository, read through its plumbing with `-z`.
//!
//! One process lists the history (`rev-list`), one gives every change of every commit
//! (`diff-tree --stdin`), and one lists a tree (`ls-tree`); there is none per commit.
//!
//! `diff-tree` gets with each commit the parent to compare it with, so that a merge is its
//! difference from the first parent whatever the configuration is. It prints, in terms of fields
//! that end in NUL:
//!
//! ```text
//! commit <id>⏎ headers, among them `author …`⏎ ⏎ message, indented⏎ ⏎ :<entry>  NUL
//! <path> NUL    :<entry> NUL <path> NUL  …  NUL
//! ```
//!
//! where `:<entry>` is `:<old mode> <new mode> <old oid> <new oid> <status>`, the first of them
//! being the last line of the commit's field.
//!
//! Owns the git processes and the parsing of their output. Must never access the store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};

use crate::Result;
use crate::change::{Act, Author, Change, Entry, Metadata, Text};

/// Variables that would point git at another repository, or change its output. git sets some of
/// them itself for hooks and aliases.
const FOREIGN_VARIABLES: [&str; 13] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIFF_OPTS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Every path of a tree, and its entry.
pub(crate) type Tree = BTreeMap<Vec<u8>, Entry>;

/// A repository with at least one commit.
pub(crate) struct Repository {
    directory: PathBuf,
    head: String,
    object_format: String,
    shallow: bool,
}

/// A commit, and its changes against its first parent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) metadata: Metadata,
    pub(crate) changes: Vec<Change>,
}

impl Repository {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let about = ["rev-parse", "--show-object-format", "--is-shallow-repository"];
        let about = text_of(git(directory, about), "rev-parse")?;
        let (object_format, shallow) = about.split_once('\n').unwrap_or((&about, ""));

        let head = git(directory, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).output();
        let head = head.map_err(|error| format!("cannot run git: {error}"))?;
        if !head.status.success() && head.stderr.is_empty() {
            let directory = directory.display();
            return Err(format!("the repository {directory} has no commit at HEAD").into());
        }
        Ok(Self {
            directory: directory.to_owned(),
            head: text_in(head, "rev-parse")?,
            object_format: object_format.to_owned(),
            shallow: shallow == "true",
        })
    }

    pub(crate) fn object_format(&self) -> &str {
        &self.object_format
    }

    pub(crate) fn is_shallow(&self) -> bool {
        self.shallow
    }

    /// The first-parent history up to HEAD, oldest first.
    pub(crate) fn first_parents(&self) -> Result<Vec<String>> {
        let list = ["rev-list", "--first-parent", "--reverse", &self.head, "--"];
        let list = text_of(git(&self.directory, list), "rev-list")?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// What each commit of `history` from the index `start` on changed.
    pub(crate) fn changes(&self, history: &[String], start: usize) -> Result<Changes> {
        let mut command = git(
            &self.directory,
            [
                "diff-tree",
                "--stdin",
                "-r",
                "-z",
                "--root",
                "--always",
                "--raw",
                "--no-abbrev",
                "--no-renames",
                "--ignore-submodules=none",
                "--pretty=raw",
                "--encoding=UTF-8",
                "--no-notes",
            ],
        );
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run git: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("git diff-tree was started without pipes".into());
        };

        // A commit of `history` follows its first parent.
        let parent = start.checked_sub(1).map(|before| history[before].clone());
        let expected = history[start..].to_vec();
        let questions = expected.clone();
        let asking = thread::spawn(move || {
            let mut stdin = BufWriter::new(stdin);
            let mut parent = parent;
            for commit in questions {
                let asked = match &parent {
                    Some(parent) => writeln!(stdin, "{commit} {parent}"),
                    None => writeln!(stdin, "{commit}"),
                };
                // git has ended: its exit code gives the reason to the reader of the answers.
                if asked.is_err() {
                    return;
                }
                parent = Some(commit);
            }
            let _ = stdin.flush();
        });
        Ok(Changes {
            expected: expected.into_iter(),
            fields: Fields::new(stdout),
            begun: None,
            asking: Some(asking),
            child: Running { child, name: "diff-tree", waited_for: false },
        })
    }

    /// The tree of a commit, submodules included.
    pub(crate) fn tree(&self, commit: &str) -> Result<Tree> {
        let mut child = git(&self.directory, ["ls-tree", "-r", "-z", "--full-tree", commit])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run git: {error}"))?;
        let stdout = child.stdout.take().ok_or("git ls-tree was started without a pipe")?;
        let mut running = Running { child, name: "ls-tree", waited_for: false };
        let mut fields = Fields::new(stdout);
        let mut tree = Tree::new();
        while let Some(field) = fields.next()? {
            let (path, entry) = parse_tree_entry(field).ok_or_else(|| {
                format!("git ls-tree prints {:?}", String::from_utf8_lossy(field))
            })?;
            tree.insert(path, entry);
        }
        running.finish()?;
        Ok(tree)
    }
}

/// The commits of a history one by one.
pub(crate) struct Changes {
    expected: std::vec::IntoIter<String>,
    fields: Fields,
    begun: Option<Begun>,
    asking: Option<JoinHandle<()>>,
    child: Running,
}

/// A commit whose changes are not read yet; of the first one, all but the path is known.
struct Begun {
    metadata: Metadata,
    first: Option<Act>,
}

impl Iterator for Changes {
    type Item = Result<Commit>;

    fn next(&mut self) -> Option<Self::Item> {
        let expected = self.expected.next()?;
        Some(self.read(&expected))
    }
}

impl Changes {
    fn read(&mut self, expected: &str) -> Result<Commit> {
        let begun = match self.begun.take() {
            Some(begun) => begun,
            None => loop {
                match self.fields.next()? {
                    Some([]) => {}
                    Some(field) => break parse_commit(field)?,
                    None => return Err(self.ended_early(expected)),
                }
            },
        };
        if begun.metadata.commit != expected {
            let found = begun.metadata.commit;
            return Err(format!("git diff-tree gives {found} where {expected} is next").into());
        }
        let mut changes = Vec::new();
        if let Some(first) = begun.first {
            changes.push(self.change(first)?);
        }
        loop {
            match self.fields.next()? {
                Some([]) => {}
                Some(field @ [b':', ..]) => {
                    let act = parse_act(field)?;
                    changes.push(self.change(act)?);
                }
                Some(field) => {
                    self.begun = Some(parse_commit(field)?);
                    break;
                }
                None => {
                    self.finish()?;
                    break;
                }
            }
        }
        Ok(Commit { metadata: begun.metadata, changes })
    }

    fn change(&mut self, act: Act) -> Result<Change> {
        let path = self.fields.next()?.ok_or("git diff-tree ends before a path")?;
        Ok(Change { path: path.to_vec(), act })
    }

    fn ended_early(&mut self, expected: &str) -> Box<dyn std::error::Error> {
        match self.finish() {
            Ok(()) => format!("git diff-tree ends before {expected}").into(),
            Err(error) => error,
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.child.finish()?;
        if let Some(asking) = self.asking.take() {
            asking.join().map_err(|_| "the thread that asks git diff-tree panicked")?;
        }
        Ok(())
    }
}

/// `:<old mode> <new mode> <old oid> <new oid> <status>`
fn parse_act(line: &[u8]) -> Result<Act> {
    let parsed = std::str::from_utf8(line).ok().and_then(|line| {
        let mut words = line.strip_prefix(':')?.split(' ');
        let (old_mode, new_mode) = (words.next()?, words.next()?);
        let old = Entry { mode: old_mode.to_owned(), oid: words.next()?.to_owned() };
        let new = Entry { mode: new_mode.to_owned(), oid: words.next()?.to_owned() };
        let act = match words.next()? {
            "A" => Act::Added { new },
            "M" => Act::Modified { old, new },
            "D" => Act::Deleted { old },
            "T" => Act::TypeChanged { old, new },
            _ => return None,
        };
        words.next().is_none().then_some(act)
    });
    parsed.ok_or_else(|| {
        format!("git diff-tree prints {:?} for a change", String::from_utf8_lossy(line)).into()
    })
}

/// The field that begins a commit, with its first change if it has one.
fn parse_commit(field: &[u8]) -> Result<Begun> {
    let mut lines = field.split(|&byte| byte == b'\n');
    let id = lines.next().and_then(|line| line.strip_prefix(b"commit "));
    let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) else {
        let start = String::from_utf8_lossy(&field[..field.len().min(80)]);
        return Err(format!("git diff-tree prints {start:?} for a commit").into());
    };
    // An old or hand-made commit may lack the line, and has no author then.
    let author = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(b"author "))
        .unwrap_or_default();
    let last = field.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(Begun {
        metadata: Metadata { commit: id.to_owned(), author: parse_author(author) },
        first: last.starts_with(b":").then(|| parse_act(last)).transpose()?,
    })
}

/// `name <email> seconds offset`; whatever is missing is empty.
fn parse_author(line: &[u8]) -> Author {
    let position = |bytes: &[u8], wanted: u8| bytes.iter().position(|&byte| byte == wanted);
    let (name, rest) = match position(line, b'<') {
        Some(open) => (&line[..open], &line[open + 1..]),
        None => (line, &[][..]),
    };
    let email = position(rest, b'>').map_or(rest, |close| &rest[..close]);
    let time = match rest.iter().rposition(|&byte| byte == b'>') {
        Some(close) => &rest[close + 1..],
        None => &[],
    };
    Author {
        name: Text::new(name.trim_ascii()),
        email: Text::new(email),
        time: Text::new(time.trim_ascii()),
    }
}

/// `<mode> <type> <oid>⇥<path>`
fn parse_tree_entry(field: &[u8]) -> Option<(Vec<u8>, Entry)> {
    let tab = field.iter().position(|&byte| byte == b'\t')?;
    let mut words = std::str::from_utf8(&field[..tab]).ok()?.split(' ');
    let (mode, kind, oid) = (words.next()?, words.next()?, words.next()?);
    let expected_kind = if mode == "160000" { "commit" } else { "blob" };
    (kind == expected_kind && words.next().is_none())
        .then(|| (field[tab + 1..].to_vec(), Entry { mode: mode.to_owned(), oid: oid.to_owned() }))
}

/// The output of a process, cut at each NUL.
struct Fields {
    stdout: BufReader<ChildStdout>,
    field: Vec<u8>,
}

impl Fields {
    fn new(stdout: ChildStdout) -> Self {
        Self { stdout: BufReader::with_capacity(64 << 10, stdout), field: Vec::new() }
    }

    /// The next field without its NUL; `None` at the end.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.field.clear();
        if self.stdout.read_until(0, &mut self.field)? == 0 {
            return Ok(None);
        }
        Ok(Some(self.field.strip_suffix(&[0]).unwrap_or(&self.field)))
    }
}

/// A git process that is ended if it is not read to its end. Its messages go to this program's
/// standard error.
struct Running {
    child: Child,
    name: &'static str,
    waited_for: bool,
}

impl Running {
    fn finish(&mut self) -> Result<()> {
        self.waited_for = true;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(failed(self.name, status, b"").into()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited_for {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn git<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("git");
    for variable in FOREIGN_VARIABLES {
        command.env_remove(variable);
    }
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C")
        .arg("--no-replace-objects")
        .args(["-c", "core.quotePath=false", "-c", "diff.renames=false"])
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn text_of(mut command: Command, name: &str) -> Result<String> {
    let output = command.output().map_err(|error| format!("cannot run git: {error}"))?;
    text_in(output, name)
}

fn text_in(output: Output, name: &str) -> Result<String> {
    if !output.status.success() {
        return Err(failed(name, output.status, &output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn failed(name: &str, status: ExitStatus, complaint: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint.trim_ascii());
    let colon = if complaint.is_empty() { "" } else { ": " };
    format!("git {name} failed ({status}){colon}{complaint}")
}
