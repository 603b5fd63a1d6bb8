//! Running the tool, and the inputs it is given.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory that lives as long as its test.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A store's path, as an argument.
    pub(crate) fn store(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_owned()
    }
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code, not a signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, message: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(message), "{message:?} is not in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// The tool with these arguments, not yet started.
pub(crate) fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(args: &[&str]) -> Done {
    Done::of(tool(args).output().expect("the tool runs"))
}

pub(crate) fn run_with(args: &[&str], input: impl AsRef<[u8]>) -> Done {
    let mut child = tool(args).stdin(Stdio::piped()).spawn().expect("the tool runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.as_ref().to_vec();
    // The tool may stop before it has read everything.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = Done::of(child.wait_with_output().expect("the tool ends"));
    feed.join().expect("feeding ends");
    done
}

/// Imports `input` into `store`.
pub(crate) fn import(store: &str, input: impl AsRef<[u8]>) -> Done {
    run_with(&["import", store], input)
}

/// How many events `store` holds.
#[track_caller]
pub(crate) fn count(store: &str) -> usize {
    run(&["export", store]).ok().lines().len()
}

/// The export without what an import gives anew.
#[track_caller]
pub(crate) fn exported(store: &str) -> Vec<String> {
    run(&["export", store]).ok().lines().into_iter().map(without_time).collect()
}

/// A line out without the time of recording.
pub(crate) fn without_time(line: &str) -> String {
    without(line, "recorded_at")
}

/// A line out without a key, whose value holds no comma; everything else byte for byte.
pub(crate) fn without(line: &str, key: &str) -> String {
    let key = format!("\"{key}\":");
    let start = line.find(&key).expect("the key is there");
    let end = start + line[start..].find(',').expect("another key follows") + 1;
    format!("{}{}", &line[..start], &line[end..])
}

/// The raw value of a key that comes before the data.
pub(crate) fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let key = format!("\"{key}\":");
    let start = line.find(&key).unwrap_or_else(|| panic!("no {key} in {line}")) + key.len();
    let end = line[start..].find([',', '}']).expect("the value ends");
    line[start..start + end].trim_matches('"')
}

/// An event's line with an id made from `number`.
pub(crate) fn line(number: u64) -> String {
    let stream = number % 7;
    format!(
        "{{\"stream\":\"s-{stream}\",\"type\":\"T\",\"data\":{number},\"id\":\"{}\"}}\n",
        id(number)
    )
}

pub(crate) fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(line).collect()
}

/// An event's line without id, of a commit.
pub(crate) fn of_commit(commit: u64, data: &str) -> String {
    format!("{{\"stream\":\"s\",\"type\":\"T\",\"data\":{data},\"commit\":{commit}}}\n")
}

/// Every file below a directory, with its contents.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a readable file");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// A JSON string's source text.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

pub(crate) fn join(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut all, line| {
        writeln!(all, "{line}").expect("a String takes it");
        all
    })
}
