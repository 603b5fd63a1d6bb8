//! Runs the example and git, and holds the directories that they use.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use annals::{Event, Options};
use serde_json::Value;
use tempfile::TempDir;

/// The directory of examples, next to the one of this test binary.
fn example() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let example = profile.join("examples").join(format!("git_history{}", env::consts::EXE_SUFFIX));
    assert!(
        example.exists(),
        "{} is missing: `cargo test` builds it, `cargo test --test git_history` does not; \
         run `cargo build --example git_history` first",
        example.display()
    );
    example
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn assert_match(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        assert!(self.stdout.ends_with("\nmatch\n"), "{}", self.stdout);
        assert_eq!(self.stderr, "");
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(words), "{:?} is not in {}", words, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!self.stdout.lines().any(|line| line == "match"), "{}", self.stdout);
    }

    /// The rest of the line that begins with a word.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> &str {
        let line = self.stdout.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {}", self.stdout))[name.len()..].trim()
    }
}

pub(crate) fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Ran {
    run_with(arguments, &[])
}

pub(crate) fn run_with<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &OsStr)]) -> Ran {
    let output = Command::new(example())
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the example can be run");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("the output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("the errors are UTF-8"),
    }
}

/// A git command without any configuration.
fn git_command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", if cfg!(windows) { "NUL" } else { "/dev/null" })
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn finished(output: io::Result<Output>) -> String {
    let output = output.expect("these tests need the command `git`");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git prints UTF-8").trim_end().to_owned()
}

#[track_caller]
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    finished(git_command(directory, arguments).output())
}

/// A directory with a repository and room for stores.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new(init: &[&str]) -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let arguments = [&["init", "--quiet", "--initial-branch=main"], init, &["repo"]].concat();
        git(place.directory.path(), &arguments);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.repo(), arguments)
    }

    fn git_with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = git_command(&self.repo(), arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need the command `git`");
        let mut stdin = child.stdin.take().expect("a pipe");
        thread::scope(|scope| {
            scope.spawn(move || {
                // If git ends early, its exit code and message show why.
                let _ = stdin.write_all(input);
            });
            finished(child.wait_with_output())
        })
    }

    /// Runs a script for `git fast-import`.
    pub(crate) fn import(&self, script: &[u8]) {
        let arguments = ["fast-import", "--quiet", "--force", "--date-format=raw-permissive"];
        self.git_with_input(&arguments, script);
    }

    /// Writes a commit that git itself would not make, and returns its hash.
    pub(crate) fn commit_object(&self, tree: &str, parent: &str, rest: &[u8]) -> String {
        let commit = [format!("tree {tree}\nparent {parent}\n").as_bytes(), rest].concat();
        let arguments = ["hash-object", "-t", "commit", "-w", "--stdin", "--literally"];
        self.git_with_input(&arguments, &commit)
    }

    /// A command that runs the example on this repository, with the store of this name.
    pub(crate) fn record(&self, store: &str) -> Ran {
        run(&[self.repo(), self.path(store)])
    }

    pub(crate) fn recorded(&self, store: &str) -> Vec<Recorded> {
        let store = Options::new().read_only(true).open(self.path(store)).expect("it was closed");
        store.read_all().into_iter().map(|event| Recorded::new(&event.expect("sound"))).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) metadata: Value,
    pub(crate) in_commit: u64,
}

impl Recorded {
    fn new(event: &Event) -> Self {
        Self {
            stream: event.stream().to_owned(),
            version: event.version(),
            kind: event.event_type().to_owned(),
            data: serde_json::from_slice(event.data()).expect("the data is JSON"),
            metadata: serde_json::from_slice(event.metadata()).expect("the metadata is JSON"),
            in_commit: event.commit().get(),
        }
    }
}
