//! Scripts of histories for `git fast-import`.

use std::fmt::Write as _;

/// A script for `git fast-import`, with commits that follow one another on `main`.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    commits: usize,
}

impl Script {
    const AUTHOR: &'static [u8] = b"Ann <ann@example.org> 1700000000 +0530";

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
        self
    }

    pub(crate) fn commit(&mut self) -> &mut Self {
        self.commit_as(Self::AUTHOR, b"a message")
    }

    pub(crate) fn commit_as(&mut self, author: &[u8], message: &[u8]) -> &mut Self {
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

    pub(crate) fn data(&mut self, data: &[u8]) -> &mut Self {
        self.raw(format!("data {}", data.len()).as_bytes()).raw(data)
    }

    pub(crate) fn put(&mut self, mode: &str, path: &[u8], contents: &str) -> &mut Self {
        let line = [format!("M {mode} inline ").as_bytes(), &quoted(path)].concat();
        self.raw(&line).data(contents.as_bytes())
    }

    pub(crate) fn submodule(&mut self, path: &[u8], digit: char) -> &mut Self {
        let oid = digit.to_string().repeat(40);
        self.raw(&[format!("M 160000 {oid} ").as_bytes(), &quoted(path)].concat())
    }

    pub(crate) fn delete(&mut self, path: &[u8]) -> &mut Self {
        self.raw(&[b"D ", &quoted(path)[..]].concat())
    }
}

/// A path, quoted for `git fast-import`.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = String::from("\"");
    for byte in path {
        write!(quoted, "\\{byte:03o}").expect("a string takes everything");
    }
    quoted.push('"');
    quoted.into_bytes()
}

pub(crate) fn small_history() -> Script {
    let mut script = Script::default();
    script.commit().put("644", b"a", "1").put("644", b"b", "1");
    script.commit().put("644", b"a", "2");
    script.commit().delete(b"b").put("644", b"c", "1");
    script
}
