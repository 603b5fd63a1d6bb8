//! Reads the modules, types and methods out of the sources.
//!
//! Owns the parser. It handles the part of the language that the sources use, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::layers::{FREE, LAYERS};

/// The module of the table that a file or a path belongs to: that of its first two names, if it stands in
/// the table, else that of the first.
fn module_of(first: &str, second: Option<&str>) -> String {
    let nested = second.map(|second| format!("{first}::{second}"));
    let listed = nested.filter(|nested| LAYERS.iter().any(|(module, _)| module == nested));
    listed.unwrap_or_else(|| first.to_owned())
}

pub(crate) fn module_of_file(inside: &Path) -> String {
    let mut names = inside.components().map(|name| {
        let name = Path::new(&name).file_stem().unwrap();
        name.to_string_lossy().into_owned()
    });
    let (first, second) = (names.next().unwrap(), names.next());
    module_of(&first, second.as_deref())
}

/// The name of the type that a line begins to define.
pub(crate) fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = match line.strip_prefix("pub(") {
        Some(visibility) => visibility.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let rest = ["struct ", "enum "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    Some(name_at(rest))
}

/// The name of the type that a line begins to give methods of its own.
pub(crate) fn inherent_impl(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    if rest.contains(" for ") || rest.contains("for<") {
        return None;
    }
    let rest = match rest.strip_prefix('<') {
        // Bounds with generics of their own are not used here.
        Some(generics) => generics.split_once("> ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    Some(name_at(rest)).filter(|name| !name.is_empty())
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// For each module of the table, the others that its files name.
pub(crate) fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for_each_source(|inside, text| {
        let module = module_of_file(inside);
        if FREE.contains(&module.as_str()) {
            return;
        }
        let uses = found.entry(module.clone()).or_default();
        uses.extend(modules_named_in(text));
        uses.remove(&module);
    });
    assert!(found.len() > 10, "the sources were not found: {found:?}");
    found
}

/// Calls `look` with each source file but those of tests: its path within `src`, and its text.
pub(crate) fn for_each_source(mut look: impl FnMut(&Path, &str)) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut to_visit = vec![source.clone()];
    while let Some(path) = to_visit.pop() {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                to_visit.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            continue;
        }
        let inside = path.strip_prefix(&source).unwrap();
        if inside.file_stem().is_none_or(|it| it != "tests") {
            look(inside, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// A file's text without tests, which come last in it, and comments.
pub(crate) fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let code = code.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap_or(code);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names after `crate::` in the code of a file.
pub(crate) fn modules_named_in(text: &str) -> BTreeSet<String> {
    let code = code_of(text);
    let mut found = BTreeSet::new();
    // A visibility names a module and uses nothing of it.
    let code = code.replace("(in crate::", "(in ");
    for part in code.split("crate::").skip(1) {
        assert!(!part.starts_with('{'), "write one `use crate::module` a line");
        let mut names = part.split("::").map(name_at);
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        // Names at the root of the crate are re-exports of `error` and `event`.
        if !first.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.insert(module_of(first, second));
        }
    }
    found
}
