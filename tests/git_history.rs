//! The example `git_history`, run as a process over repositories with everything odd that git
//! allows, and the rule by which it names streams.
//!
//! Repositories are made by `git fast-import`, because no work tree can hold most of these
//! paths. The example compares itself with `git ls-tree`; these tests hold what it recorded
//! against the histories as they are written down here, and it against what must fail.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use annals::{Event, ExpectedVersion, NewEvent, Options};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "../examples/git_history/paths.rs"]
mod paths;

// ---- naming streams ----------------------------------------------------------------------------

fn assert_reversible(path: &[u8]) -> String {
    let stream = paths::stream_of(path);
    assert!((1..=1_024).contains(&stream.len()), "{} bytes", stream.len());
    let carried = paths::is_carried_in_data(&stream).then(|| path.to_vec());
    assert_eq!(paths::path_of(&stream, carried).as_deref(), Some(path));
    stream
}

#[test]
fn a_path_is_named_by_the_first_rule_that_fits() {
    let long = |length: usize| "x".repeat(length).into_bytes();
    let cases: [(&[u8], &str); 8] = [
        (b"src/lib.rs", "file-src/lib.rs"),
        (b"with-dash and space", "file-with-dash and space"),
        ("æ/日本\n\"quoted\"".as_bytes(), "file-æ/日本\n\"quoted\""),
        (b"100%41", "file-100%41"),
        (b"caf\xe9", "escaped-caf%E9"),
        (b"\xff100% \n", "escaped-%FF100%25 %0A"),
        (&long(1_019), &format!("file-{}", "x".repeat(1_019))),
        // FNV-1a with 128 bits, of 1,020 times `x`, computed elsewhere.
        (&long(1_020), "hashed-22a67310b71f237d34d3bfe100b381fd"),
    ];
    for (path, stream) in cases {
        assert_eq!(assert_reversible(path), stream);
    }
    let escaped = [&[0xFF; 338][..], b"xx"].concat();
    assert_eq!(assert_reversible(&escaped).len(), 1_024);
    let hashed = [&[0xFF; 338][..], b"xxx"].concat();
    assert!(assert_reversible(&hashed).starts_with("hashed-"));
}

#[test]
fn a_name_that_no_path_gets_is_no_path() {
    let strays =
        ["", "other-x", "escaped-plain", "escaped-%ff", "escaped-%F", "escaped-%+1", "hashed-0"];
    for stray in strays {
        assert_eq!(paths::path_of(stray, None), None, "{stray}");
        assert_eq!(paths::path_of(stray, Some(b"x".to_vec())), None, "{stray}");
    }
}

/// Paths of every kind: text, near-text and bytes, around the lengths where the rules change.
fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(1..=255_u8, 1..40);
    let edge = prop_oneof![300..400_usize, 1_000..1_040_usize, 3_000..3_010_usize];
    prop_oneof![
        "\\PC{1,40}".prop_map(String::into_bytes),
        bytes(),
        (bytes(), edge.clone()).prop_map(|(unit, length)| {
            unit.iter().copied().cycle().take(length).collect::<Vec<_>>()
        }),
        ("[a-z%/]{1,9}", edge).prop_map(|(unit, length)| unit.repeat(length / unit.len()).into()),
    ]
}

proptest! {
    #[test]
    fn every_path_has_a_stream_and_back(path in any_path()) {
        assert_reversible(&path);
    }

    #[test]
    fn two_paths_have_two_streams(one in any_path(), other in any_path()) {
        prop_assume!(one != other);
        prop_assert_ne!(paths::stream_of(&one), paths::stream_of(&other));
    }

    #[test]
    fn only_what_names_a_path_is_read_as_one(stream in "(file-|escaped-|hashed-|)[ -~é]{0,9}") {
        if let Some(path) = paths::path_of(&stream, None) {
            prop_assert_eq!(paths::stream_of(&path), stream);
        }
    }
}

// ---- running -----------------------------------------------------------------------------------

/// Where cargo puts examples: beside the directory of this test's own binary.
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

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn assert_match(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        assert!(self.stdout.ends_with("\nmatch\n"), "{}", self.stdout);
        assert_eq!(self.stderr, "");
    }

    #[track_caller]
    fn assert_refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(words), "{:?} is not in {}", words, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!self.stdout.lines().any(|line| line == "match"), "{}", self.stdout);
    }

    /// What stands behind a word at the beginning of a line.
    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let line = self.stdout.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {}", self.stdout))[name.len()..].trim()
    }
}

fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Ran {
    run_with(arguments, &[])
}

fn run_with<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &OsStr)]) -> Ran {
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

/// git, as if nobody had configured it.
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
fn git(directory: &Path, arguments: &[&str]) -> String {
    finished(git_command(directory, arguments).output())
}

/// A directory that holds a repository, and has room for stores beside it.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(init: &[&str]) -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        let arguments = [&["init", "--quiet", "--initial-branch=main"], init, &["repo"]].concat();
        git(place.directory.path(), &arguments);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    fn git(&self, arguments: &[&str]) -> String {
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
                // If git ends early, its exit code and message tell why.
                let _ = stdin.write_all(input);
            });
            finished(child.wait_with_output())
        })
    }

    /// Runs a script for `git fast-import`.
    fn import(&self, script: &[u8]) {
        let arguments = ["fast-import", "--quiet", "--force", "--date-format=raw-permissive"];
        self.git_with_input(&arguments, script);
    }

    /// Writes a commit that git would not make, and returns its hash.
    fn commit_object(&self, tree: &str, parent: &str, rest: &[u8]) -> String {
        let commit = [format!("tree {tree}\nparent {parent}\n").as_bytes(), rest].concat();
        let arguments = ["hash-object", "-t", "commit", "-w", "--stdin", "--literally"];
        self.git_with_input(&arguments, &commit)
    }

    /// The example over this repository into the store of this name.
    fn record(&self, store: &str) -> Ran {
        run(&[self.repo(), self.path(store)])
    }

    fn recorded(&self, store: &str) -> Vec<Recorded> {
        let store = Options::new().read_only(true).open(self.path(store)).expect("it was closed");
        store.read_all().into_iter().map(|event| Recorded::new(&event.expect("sound"))).collect()
    }
}

#[derive(Debug)]
struct Recorded {
    stream: String,
    version: u64,
    kind: String,
    data: Value,
    metadata: Value,
    in_commit: u64,
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

/// A script for `git fast-import`, with commits that follow one another on `main`.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    commits: usize,
}

impl Script {
    const AUTHOR: &'static [u8] = b"Ann <ann@example.org> 1700000000 +0530";

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
        self
    }

    fn commit(&mut self) -> &mut Self {
        self.commit_as(Self::AUTHOR, b"a message")
    }

    fn commit_as(&mut self, author: &[u8], message: &[u8]) -> &mut Self {
        self.commits += 1;
        self.raw(b"commit refs/heads/main");
        self.raw(format!("mark :{}", self.commits).as_bytes());
        self.raw(&[b"author ", author].concat());
        self.raw(b"committer Carl <carl@example.org> 1700000001 +0000");
        self.data(message);
        if self.commits > 1 {
            self.raw(format!("from :{}", self.commits - 1).as_bytes());
        }
        self
    }

    fn data(&mut self, data: &[u8]) -> &mut Self {
        self.raw(format!("data {}", data.len()).as_bytes()).raw(data)
    }

    fn put(&mut self, mode: &str, path: &[u8], contents: &str) -> &mut Self {
        let line = [format!("M {mode} inline ").as_bytes(), &quoted(path)].concat();
        self.raw(&line).data(contents.as_bytes())
    }

    fn submodule(&mut self, path: &[u8], digit: char) -> &mut Self {
        let oid = digit.to_string().repeat(40);
        self.raw(&[format!("M 160000 {oid} ").as_bytes(), &quoted(path)].concat())
    }

    fn delete(&mut self, path: &[u8]) -> &mut Self {
        self.raw(&[b"D ", &quoted(path)[..]].concat())
    }
}

/// A path as `git fast-import` takes every path.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = String::from("\"");
    for byte in path {
        write!(quoted, "\\{byte:03o}").expect("a string takes everything");
    }
    quoted.push('"');
    quoted.into_bytes()
}

fn small_history() -> Script {
    let mut script = Script::default();
    script.commit().put("644", b"a", "1").put("644", b"b", "1");
    script.commit().put("644", b"a", "2");
    script.commit().delete(b"b").put("644", b"c", "1");
    script
}

// ---- what is recorded --------------------------------------------------------------------------

#[test]
fn paths_of_every_kind() {
    let paths: Vec<Vec<u8>> = [
        &b"plain"[..],
        b"-dash",
        b":100644 100644 a b M",
        b"commit 0123456789012345678901234567890123456789",
        b"spaces  and\ttab",
        b"quote\"s and 'apostrophes' and \\backslash\\",
        b"line\nbreak\r\n",
        b"\n",
        b" ",
        b"*?[x]",
        "日本語/ünï/🦀".as_bytes(),
        b"\x01\x1b[31m\x7f",
        b"caf\xe9/\xff\xfe",
        b"\xed\xa0\x80",
        b"deep/",
        b"longest",
        b"too long",
        b"too long, and not text \xff",
    ]
    .into_iter()
    .map(|path| match path {
        b"deep/" => [&b"d/".repeat(200)[..], b"leaf"].concat(),
        b"longest" => b"n".repeat(1_019),
        b"too long" => b"n".repeat(1_020),
        b"too long, and not text \xff" => {
            [&[&[b'm'; 250][..], b"/"].concat().repeat(30)[..], b"\xff"].concat()
        }
        path => path.to_vec(),
    })
    .collect();

    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    for path in &paths {
        script.put("644", path, "1");
    }
    script.commit();
    for path in &paths {
        script.put("755", path, "2");
    }
    script.commit();
    for path in paths.iter().step_by(2) {
        script.delete(path);
    }
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("streams"), paths.len().to_string());

    let events = place.recorded("store");
    for (index, path) in paths.iter().enumerate() {
        let stream = paths::stream_of(path);
        let kinds: Vec<_> =
            events.iter().filter(|e| e.stream == stream).map(|e| e.kind.as_str()).collect();
        let expected = ["Added", "Modified", "Deleted"];
        let count = if index % 2 == 0 { 3 } else { 2 };
        assert_eq!(kinds, expected[..count], "{stream}");
    }
    let carried: Vec<_> = events.iter().filter(|e| e.data.get("path").is_some()).collect();
    assert!(carried.iter().all(|event| event.stream.starts_with("hashed-")));
    assert!(carried.iter().any(|event| event.data["path"].is_string()));
    assert!(carried.iter().any(|event| event.data["path"]["escaped"].is_string()));
}

#[test]
fn what_a_path_can_be_and_become() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    // A repository may ask git to show no change of a submodule; that is no reason to miss one.
    let modules = "[submodule \"m\"]\n\tpath = m\n\turl = ./m\n\tignore = all\n";
    script
        .commit()
        .put("644", b".gitmodules", modules)
        .put("644", b"f", "1")
        .put("755", b"x", "1")
        .put("120000", b"l", "f")
        .submodule(b"m", '1');
    script.commit().put("755", b"f", "1").submodule(b"m", '2');
    script.commit().put("120000", b"f", "x").put("644", b"l", "file").put("644", b"m", "was one");
    script.commit().submodule(b"f", '3').submodule(b"m", '4');
    // A file gives way to a directory, and comes back in its old stream.
    script.commit().delete(b"f").put("644", b"f/inside", "1").delete(b"l");
    script.commit().delete(b"f/inside").put("644", b"f", "2").put("120000", b"l", "x");
    place.import(&script.bytes);
    for (key, value) in [
        ("diff.ignoreSubmodules", "all"),
        ("diff.renames", "copies"),
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("core.abbrev", "4"),
        ("core.quotePath", "true"),
        ("log.showSignature", "true"),
        ("log.diffMerges", "combined"),
        ("i18n.logOutputEncoding", "UTF-16"),
    ] {
        place.git(&["config", key, value]);
    }
    place.record("store").assert_match();

    let events = place.recorded("store");
    let history = |path: &str| -> Vec<String> {
        let stream = paths::stream_of(path.as_bytes());
        let of_path = events.iter().filter(|event| event.stream == stream);
        of_path
            .zip(1..)
            .map(|(event, version)| {
                assert_eq!(event.version, version);
                let mode = |which: &str| event.data[which]["mode"].as_str().unwrap_or("-");
                format!("{} {} {}", event.kind, mode("old"), mode("new"))
            })
            .collect()
    };
    assert_eq!(
        history("f"),
        [
            "Added - 100644",
            "Modified 100644 100755",
            "TypeChanged 100755 120000",
            "TypeChanged 120000 160000",
            "Deleted 160000 -",
            "Added - 100644",
        ]
    );
    assert_eq!(
        history("m"),
        [
            "Added - 160000",
            "Modified 160000 160000",
            "TypeChanged 160000 100644",
            "TypeChanged 100644 160000",
        ]
    );
    let l = ["Added - 120000", "TypeChanged 120000 100644", "Deleted 100644 -", "Added - 120000"];
    assert_eq!(history("l"), l);
    assert_eq!(history("f/inside"), ["Added - 100644", "Deleted 100644 -"]);
    assert_eq!(history("x"), ["Added - 100755"]);
    assert!(events.iter().any(|event| event.data["new"]["oid"] == "4".repeat(40)));
}

#[test]
fn one_git_commit_is_one_commit_with_its_author() {
    let place = Place::new(&[]);
    let authors: [(&[u8], Value); 6] = [
        (b"Ann <a@x> 1700000000 +0530", json!(["Ann", "a@x", "1700000000 +0530"])),
        ("Zoë 日本 <z@x> 0 -1200".as_bytes(), json!(["Zoë 日本", "z@x", "0 -1200"])),
        // An unknown offset, one that does not exist, and a time beyond any calendar.
        (b"B <> 12 -0000", json!(["B", "", "12 -0000"])),
        (b"C <c@x> 99 +051800", json!(["C", "c@x", "99 +051800"])),
        (b"D <d@x> 99999999999 +0000", json!(["D", "d@x", "99999999999 +0000"])),
        (
            b"J\xf6rg <j\xf6@x> 5 +0100",
            json!([
                {"escaped": "J%F6rg"}, {"escaped": "j%F6@x"}, "5 +0100"
            ]),
        ),
    ];
    let messages: [&[u8]; 6] = [
        b"",
        b"commit 1234\nauthor Nobody <n@x> 1 +0000\n\n:100644 100644 a b M",
        b"one\n\n\n\n",
        b"\xff\xfe not text",
        b":000000 100644 0 1 A",
        b"last\n\n:000000 100644 0 1 A",
    ];
    let mut script = Script::default();
    for (number, ((author, _), message)) in authors.iter().zip(messages).enumerate() {
        script.commit_as(author, message);
        for path in [&b"a"[..], b"b", b"c/d"] {
            script.put("644", path, &number.to_string());
        }
    }
    place.import(&script.bytes);
    place.record("store").assert_match();

    let commits = place.git(&["rev-list", "--reverse", "main"]);
    let events = place.recorded("store");
    assert_eq!(events.len(), 3 * authors.len());
    for ((events, commit), (_, author)) in events.chunks(3).zip(commits.lines()).zip(&authors) {
        let streams: Vec<_> = events.iter().map(|event| event.stream.as_str()).collect();
        assert_eq!(streams, ["file-a", "file-b", "file-c/d"]);
        assert!(events.iter().all(|event| event.in_commit == events[0].in_commit));
        for event in events {
            let metadata = json!({
                "commit": commit,
                "author": {"name": author[0], "email": author[1], "time": author[2]},
            });
            assert_eq!(event.metadata, metadata);
        }
    }
}

/// What no tool writes and a repository may hold all the same.
#[test]
fn commits_that_lack_what_every_commit_has() {
    let place = Place::new(&[]);
    let mut script = small_history();
    script.commit();
    place.import(&script.bytes);
    let tree = place.git(&["rev-parse", "main~1^{tree}"]);
    let other = place.git(&["rev-parse", "main~2^{tree}"]);
    let latin = b"author J\xf6rg <j@x> 7 +0000\ncommitter x <x> 7 +0000\nencoding ISO-8859-1\n\nm";
    let bodies: [(&str, &[u8]); 5] = [
        (&other, b"author nobody\n\nm"),
        (&tree, b"committer x <x> 1 +0000\n\n"),
        (&other, b"\n"),
        (&tree, b"author a\0b <x> 1 +0000\n\nmes\0sage"),
        (&other, latin),
    ];
    for (tree, body) in bodies {
        let parent = place.git(&["rev-parse", "main"]);
        let commit = place.commit_object(tree, &parent, body);
        place.git(&["update-ref", "refs/heads/main", &commit]);
    }
    place.record("store").assert_match();

    let events = place.recorded("store");
    let names: Vec<_> =
        events.iter().map(|event| event.metadata["author"]["name"].clone()).collect();
    // Three commits of two, one and two events; then five of two each.
    assert_eq!(names[5..].iter().step_by(2).collect::<Vec<_>>(), ["nobody", "", "", "a", "Jörg"]);
}

#[test]
fn a_merge_is_its_difference_from_the_first_parent() {
    let place = Place::new(&[]);
    let mut script = small_history();
    // Two branches from the first commit, merged together; one change is the merge's own.
    script
        .raw(b"commit refs/heads/side\nmark :91\ncommitter S <s@x> 3 +0000")
        .data(b"side")
        .raw(b"from :1")
        .put("644", b"side", "1")
        .raw(b"commit refs/heads/third\nmark :92\ncommitter S <s@x> 3 +0000")
        .data(b"third")
        .raw(b"from :1")
        .put("644", b"third", "1");
    script
        .commit()
        .raw(b"merge :91\nmerge :92")
        .put("644", b"side", "1")
        .put("644", b"third", "1")
        .put("644", b"a", "merged");
    // A merge that takes nothing from the other side changes nothing.
    script.commit().raw(b"merge :91");
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(
        ran.value("recorded"),
        "8 events of 4 commits (1 more without changes, 0 recorded before)"
    );

    let commits = place.git(&["rev-list", "--first-parent", "--reverse", "main"]);
    let merge = commits.lines().nth(3).unwrap();
    let events = place.recorded("store");
    let of_merge: Vec<_> = events
        .iter()
        .filter(|event| event.metadata["commit"] == merge)
        .map(|event| (event.stream.as_str(), event.kind.as_str()))
        .collect();
    assert_eq!(of_merge, [("file-a", "Modified"), ("file-side", "Added"), ("file-third", "Added")]);
}

#[test]
fn commits_without_changes_leave_nothing() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    script.commit();
    place.import(&script.bytes);
    let ran = place.record("empty");
    ran.assert_match();
    assert_eq!((ran.value("events"), ran.value("streams")), ("0", "0"));

    script.commit().put("644", b"a", "1");
    script.commit();
    script.commit().delete(b"a");
    script.commit();
    place.import(&script.bytes);
    let ran = place.record("empty");
    ran.assert_match();
    assert_eq!(ran.value("events"), "2");
    assert_eq!(place.recorded("empty")[1].kind, "Deleted");
}

#[test]
fn many_commits_and_a_large_one() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    for number in 0..10_000 {
        script.put("644", format!("large/{}/{number}", number % 100).as_bytes(), "1");
    }
    for number in 0..3_000_u32 {
        script.commit();
        for step in 0..4 {
            let path = format!("many/{}/{}", number % 7, (number * 31 + step) % 1_000);
            script.put("644", path.as_bytes(), &number.to_string());
        }
    }
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("events"), "22000");
    assert_eq!(
        ran.value("recorded"),
        "22000 events of 3001 commits (0 more without changes, 0 recorded before)"
    );
}

// ---- repositories of every kind ----------------------------------------------------------------

#[test]
fn bare_shallow_sha256_detached_and_from_within() {
    for init in [&["--bare"][..], &["--object-format=sha256"]] {
        let place = Place::new(init);
        place.import(&small_history().bytes);
        let ran = place.record("store");
        ran.assert_match();
        assert_eq!(ran.value("events"), "5");
        let sha256 = ran.stdout.contains("(sha256, 3 first-parent commits)");
        assert_eq!(sha256, init[0].ends_with("sha256"), "{}", ran.stdout);
    }

    let place = Place::new(&[]);
    let mut script = small_history();
    script.commit().put("644", b"dir/file", "1");
    place.import(&script.bytes);

    let url = format!("file://{}", place.repo().display());
    git(place.directory.path(), &["clone", "--quiet", "--depth=2", &url, "shallow"]);
    let ran = run(&[place.path("shallow"), place.path("of-shallow")]);
    ran.assert_match();
    assert!(ran.stdout.contains("2 first-parent commits, shallow"), "{}", ran.stdout);
    assert_eq!(ran.value("events"), "3");

    let within = place.path("shallow").join("dir");
    let ran = run(&[within, place.path("from-within")]);
    ran.assert_match();
    assert_eq!(ran.value("events"), "3");

    place.git(&["checkout", "--quiet", "--detach", "main~2"]);
    let ran = place.record("detached");
    ran.assert_match();
    assert_eq!(ran.value("events"), "3");
}

#[test]
fn the_environment_of_a_hook_does_not_lead_elsewhere() {
    let (place, other) = (Place::new(&[]), Place::new(&[]));
    place.import(&small_history().bytes);
    let git_dir = other.repo().join(".git");
    let variables = [
        ("GIT_DIR", git_dir.as_os_str()),
        ("GIT_WORK_TREE", other.directory.path().as_os_str()),
        ("GIT_INDEX_FILE", OsStr::new("nowhere")),
        ("GIT_OBJECT_DIRECTORY", OsStr::new("nowhere")),
        ("GIT_PREFIX", OsStr::new("nowhere/")),
    ];
    run_with(&[place.repo(), place.path("store")], &variables).assert_match();
}

#[test]
fn a_replaced_object_is_read_as_it_was() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    place.git(&["replace", "main~1", "main~2"]);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("events"), "5");
}

#[test]
fn without_arguments_it_is_this_repository_and_a_temporary_store() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let here = place.repo();
    let ran = run_with::<&str>(&[], &[("CARGO_MANIFEST_DIR", here.as_os_str())]);
    ran.assert_match();
    assert_eq!(ran.value("events"), "5");
}

// ---- a store that is not new -------------------------------------------------------------------

#[test]
fn a_store_is_continued() {
    let place = Place::new(&[]);
    let mut script = small_history();
    place.import(&script.bytes);
    place.record("store").assert_match();

    let again = place.record("store");
    again.assert_match();
    let nothing = "0 events of 0 commits (0 more without changes, 3 recorded before)";
    assert_eq!(again.value("recorded"), nothing);

    script.commit();
    script.commit().put("644", b"b", "back").put("644", b"a", "3");
    place.import(&script.bytes);
    let on = place.record("store");
    on.assert_match();
    let some = "2 events of 1 commits (1 more without changes, 3 recorded before)";
    assert_eq!(on.value("recorded"), some);
    assert_eq!(on.value("events"), "7");

    let events = place.recorded("store");
    let b: Vec<_> = events
        .iter()
        .filter(|event| event.stream == "file-b")
        .map(|event| (event.version, event.kind.as_str()))
        .collect();
    assert_eq!(b, [(1, "Added"), (2, "Deleted"), (3, "Added")]);
}

#[test]
fn a_store_of_something_else_is_refused_and_left_alone() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    place.record("store").assert_match();

    let mut rewritten = Script::default();
    rewritten.commit_as(b"Another <a@x> 1 +0000", b"").put("644", b"a", "1");
    place.import(&rewritten.bytes);
    place.record("store").assert_refused(1, "which is not in the first-parent history");
    assert_eq!(place.recorded("store").len(), 5);

    let other = Options::new().open(place.path("other")).unwrap();
    other.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Opened", b"")]).unwrap();
    other.close().unwrap();
    place.record("other").assert_refused(1, "other events than a git history's");

    let locked = Options::new().open(place.path("locked")).unwrap();
    place.record("locked").assert_refused(1, "open for writing elsewhere");
    locked.close().unwrap();
}

/// The last commit is recorded here in place of the example, with `forge` applied to its data.
fn forged(forge: impl Fn(&mut Value)) -> Ran {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let head = place.git(&["rev-parse", "main"]);
    place.record("sound").assert_match();
    place.git(&["update-ref", "refs/heads/main", "main~1"]);
    place.record("forged").assert_match();
    place.git(&["update-ref", "refs/heads/main", &head]);

    let store = Options::new().open(place.path("forged")).expect("it was closed");
    let mut transaction = store.transaction();
    for event in place.recorded("sound").iter().filter(|e| e.metadata["commit"] == head) {
        let mut data = event.data.clone();
        forge(&mut data);
        let new = NewEvent::json(&event.kind, &data).expect("JSON");
        let new = new.metadata(event.metadata.to_string());
        let expected = ExpectedVersion::Exact(event.version - 1);
        transaction = transaction.append(&event.stream, expected, [new]);
    }
    transaction.commit().expect("the versions are right");
    store.close().expect("it can be synced");
    place.record("forged")
}

#[test]
fn a_difference_is_told_and_exits_1() {
    forged(|_| {}).assert_match();

    let ran = forged(|data| {
        if let Some(new) = data.get_mut("new") {
            new["mode"] = json!("100755");
        }
    });
    ran.assert_refused(1, "");
    assert!(
        ran.stdout.contains("streams alone, DIFFERENT\n  c: git has 100644 "),
        "{}",
        ran.stdout
    );
    // Only HEAD differs: the past is as it was.
    let past = ran.stdout.lines().filter(|line| line.contains(" as of position "));
    let same: Vec<_> = past.map(|line| line.ends_with("streams alone, same")).collect();
    assert_eq!(same, [false, true, true], "{}", ran.stdout);

    let ran = forged(|data| {
        if let Some(old) = data.get_mut("old") {
            old["oid"] = json!("0".repeat(40));
        }
    });
    ran.assert_refused(1, "position 4: b is not what the event says it was");
}

// ---- what cannot work --------------------------------------------------------------------------

#[test]
fn what_is_no_history_is_said() {
    let place = Place::new(&[]);
    place.record("store").assert_refused(1, "has no commit at HEAD");

    let no_repository = tempfile::tempdir().unwrap();
    run(&[no_repository.path(), &place.path("store")]).assert_refused(1, "not a git repository");
    run(&[place.path("missing"), place.path("store")]).assert_refused(1, "missing");
    assert!(!place.path("store").exists(), "nothing is created for what cannot be read");

    place.import(&small_history().bytes);
    // A file where the store should be.
    let file = place.repo().join(".git").join("config");
    run(&[place.repo(), file]).assert_refused(1, "");
}

/// Refused, and not recorded as if the history ended there.
#[test]
fn a_history_with_a_hole_is_an_error() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let tree = place.git(&["rev-parse", "main^{tree}"]);
    let head = place.git(&["rev-parse", "main"]);
    let nowhere = "1".repeat(40);

    let without_tree = place.commit_object(&nowhere, &head, b"\n");
    let behind_it = place.commit_object(&tree, &without_tree, b"\n");
    place.git(&["update-ref", "refs/heads/main", &behind_it]);
    place.record("store").assert_refused(1, "git diff-tree failed");

    let without_parent = place.commit_object(&tree, &nowhere, b"\n");
    place.git(&["update-ref", "refs/heads/main", &without_parent]);
    place.record("other").assert_refused(1, "git rev-list failed");
}

#[test]
fn wrong_arguments_exit_2() {
    run(&["a", "b", "c"]).assert_refused(2, "one argument too many: c");
    run(&["--frobnicate"]).assert_refused(2, "unknown option --frobnicate");
    run(&["--frobnicate"]).assert_refused(2, "Usage: git_history [REPO] [STORE]");
    run(&[""]).assert_refused(2, "an argument is empty");
    run(&["--", "--no-such-repository"]).assert_refused(1, "--no-such-repository");

    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Usage: git_history [REPO] [STORE]"), "{}", help.stdout);
}
