//! Which module may use which: the layers that `docs` describe, held to the sources.
//!
//! A module's paths that begin with `crate::` are read out of its files (tests and comments
//! aside) and compared with the table. A new dependency means a new entry here, and a reason.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "this reads the sources")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the bottom to the top: a module uses what stands before it, and of that, what is named.
const LAYERS: &[(&str, &[&str])] = &[
    // What goes in and out, without I/O.
    ("event", &[]),
    ("error", &["event"]),
    ("query", &["event"]),
    ("event::snapshot", &["event"]),
    ("event::token", &["event"]),
    // Bytes in, bytes out.
    ("format", &["event"]),
    // Locks and waits, or their stand-ins in a model checker.
    ("sync", &[]),
    ("sync::wait_list", &["sync"]),
    // The seam to the system.
    ("storage", &["sync"]),
    // The store's directory: names, listings, status.
    ("dir", &["error", "event", "format", "storage"]),
    ("options", &["error", "storage"]),
    ("index", &["event", "format", "storage", "sync"]),
    ("log", &["dir", "error", "event", "format", "index", "options", "storage", "sync"]),
    ("catalog", &["error", "format", "index", "log"]),
    ("read::event", &["event", "format", "log", "query"]),
    // Files that can be rebuilt from the log.
    ("derived", &["catalog", "dir", "error", "format", "index", "log", "storage"]),
    (
        "recovery",
        &[
            "catalog", "derived", "dir", "error", "event", "format", "index", "log", "storage",
            "sync",
        ],
    ),
    ("creation", &["dir", "error", "event", "format", "log", "options", "storage", "sync"]),
    // The open store: parts that own their state and locks.
    ("engine::counters", &[]),
    (
        "engine::shared",
        &["dir", "engine::counters", "error", "options", "recovery", "storage", "sync"],
    ),
    (
        "engine::positions",
        &["dir", "engine::shared", "error", "format", "storage", "sync", "sync::wait_list"],
    ),
    (
        "engine::contents",
        &[
            "catalog",
            "derived",
            "engine::positions",
            "engine::shared",
            "error",
            "event",
            "format",
            "index",
            "log",
            "options",
            "storage",
            "sync",
        ],
    ),
    (
        "engine::matching",
        &["catalog", "engine::contents", "error", "event", "format", "index", "log", "query"],
    ),
    ("engine::ids", &["storage"]),
    (
        "engine::commit",
        &[
            "catalog",
            "engine::contents",
            "engine::ids",
            "engine::positions",
            "engine::shared",
            "error",
            "event::snapshot",
            "format",
            "index",
            "log",
            "recovery",
            "storage",
            "sync",
        ],
    ),
    (
        "engine::snapshots",
        &[
            "catalog",
            "engine::commit",
            "engine::contents",
            "engine::positions",
            "engine::shared",
            "error",
            "event",
            "event::snapshot",
            "format",
            "storage",
            "sync",
        ],
    ),
    (
        "engine::compaction",
        &[
            "catalog",
            "derived",
            "engine::contents",
            "engine::shared",
            "error",
            "format",
            "index",
            "log",
            "storage",
            "sync",
        ],
    ),
    (
        "engine::maintenance",
        &[
            "catalog",
            "derived",
            "engine::commit",
            "engine::compaction",
            "engine::contents",
            "engine::positions",
            "engine::shared",
            "engine::snapshots",
            "error",
            "format",
            "index",
            "log",
            "recovery",
        ],
    ),
    (
        "engine::append",
        &[
            "catalog",
            "engine::commit",
            "engine::contents",
            "engine::maintenance",
            "engine::matching",
            "engine::positions",
            "engine::shared",
            "engine::snapshots",
            "error",
            "event",
            "event::snapshot",
            "format",
            "index",
            "log",
            "options",
            "query",
        ],
    ),
    (
        "engine::follower",
        &[
            "catalog",
            "derived",
            "dir",
            "engine::contents",
            "engine::positions",
            "engine::shared",
            "error",
            "event",
            "format",
            "index",
            "log",
            "recovery",
            "storage",
            "sync",
        ],
    ),
    ("engine::errands", &["sync"]),
    (
        "engine",
        &[
            "catalog",
            "dir",
            "engine::append",
            "engine::commit",
            "engine::compaction",
            "engine::contents",
            "engine::errands",
            "engine::follower",
            "engine::maintenance",
            "engine::positions",
            "engine::shared",
            "engine::snapshots",
            "error",
            "event",
            "event::token",
            "format",
            "options",
            "recovery",
            "storage",
            "sync",
        ],
    ),
    // What callers do with it.
    (
        "read",
        &[
            "catalog",
            "engine",
            "engine::matching",
            "error",
            "event",
            "event::token",
            "format",
            "index",
            "log",
            "options",
            "query",
            "read::event",
        ],
    ),
    (
        "store::transaction",
        &[
            "engine",
            "engine::append",
            "error",
            "event",
            "event::snapshot",
            "format",
            "options",
            "query",
        ],
    ),
    ("store::cursors", &["engine", "error", "event", "store::transaction"]),
    ("store::snapshots", &["engine", "engine::snapshots", "error", "event", "event::snapshot"]),
    (
        "subscription",
        &[
            "engine",
            "engine::errands",
            "engine::matching",
            "error",
            "event",
            "event::token",
            "query",
            "read",
            "read::event",
            "sync",
            "sync::wait_list",
        ],
    ),
    // The only wiring.
    (
        "store",
        &[
            "creation",
            "engine",
            "engine::append",
            "engine::compaction",
            "engine::errands",
            "engine::follower",
            "error",
            "event",
            "event::token",
            "index",
            "options",
            "read",
            "read::event",
            "recovery",
            "store::cursors",
            "store::snapshots",
            "store::transaction",
            "subscription",
            "sync",
            "sync::wait_list",
        ],
    ),
    // On top of the store, by its public API.
    (
        "consumer_group",
        &["error", "event", "query", "read::event", "store", "subscription", "sync"],
    ),
    // Beside it: what is done with a store that does not open.
    (
        "verify",
        &[
            "derived",
            "dir",
            "creation",
            "engine::snapshots",
            "error",
            "event",
            "format",
            "index",
            "log",
            "recovery",
            "storage",
        ],
    ),
    (
        "repair",
        &[
            "derived", "dir", "creation", "error", "event", "format", "log", "options", "recovery",
            "storage", "verify",
        ],
    ),
];

/// Not layers: they see everything.
const FREE: &[&str] = &["guide", "lib", "testing"];

#[test]
fn modules_use_only_the_modules_below_them() {
    let used = dependencies();
    let known: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    assert_eq!(known.len(), LAYERS.len(), "a module stands in the table twice");
    let mut wrong = Vec::new();
    for (module, uses) in &used {
        let Some(allowed) = known.get(module.as_str()) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        for target in uses {
            if !allowed.contains(&target.as_str()) {
                wrong.push(format!("{module} uses {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
    for (module, _) in LAYERS {
        assert!(used.contains_key(*module), "there is no module {module}");
    }
}

#[test]
fn table_of_layers_has_no_cycle() {
    let place = |name: &str| LAYERS.iter().position(|(module, _)| *module == name);
    for (module, allowed) in LAYERS {
        for target in *allowed {
            assert!(place(target) < place(module), "{module} stands below {target}");
        }
    }
}

/// A method of a type that another module defines is called without a path: the module that has the method
/// would be used without being named. So each type's methods stand in the module of the type. Only the wiring
/// adds one to a type of its own accord: nothing below it can call that.
#[test]
fn inherent_methods_stand_in_the_module_of_their_type() {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut methods = Vec::new();
    for_each_source(|inside, text| {
        let module = module_of_file(inside);
        for line in code_of(text).lines() {
            if let Some(name) = defined_type(line) {
                types.entry(name.to_owned()).or_default().insert(module.clone());
            } else if let Some(name) = inherent_impl(line) {
                methods.push((name.to_owned(), module.clone()));
            }
        }
    });
    assert!(methods.len() > 100, "the sources were not found");
    let elsewhere = |(name, module): &&(String, String)| {
        !types.get(name).is_some_and(|defined| defined.contains(module))
    };
    let found: Vec<_> = methods.iter().filter(elsewhere).collect();
    let wiring = ("Options".to_owned(), "store".to_owned());
    assert_eq!(found, [&wiring], "methods outside the modules of their types");
}

/// A lock that `sync` does not hand out has no rank, and its order is checked by nobody.
#[test]
fn locks_are_taken_from_sync_alone() {
    let mut wrong = Vec::new();
    let mut files = 0;
    for_each_source(|inside, text| {
        files += 1;
        if inside.starts_with("sync") {
            return;
        }
        for (line, number) in code_of(text).lines().zip(1..) {
            let names_a_lock = ["Mutex", "RwLock", "Condvar"].iter().any(|it| line.contains(it));
            if line.contains("parking_lot") || names_a_lock && line.contains("std::sync") {
                wrong.push(format!("{}:{number}", inside.display()));
            }
        }
    });
    assert!(files > 50, "the sources were not found");
    assert!(wrong.is_empty(), "locks without a rank: {}", wrong.join(", "));
}

/// The module of the table that a file or a path belongs to: that of its first two names, if it stands in
/// the table, else that of the first.
fn module_of(first: &str, second: Option<&str>) -> String {
    let nested = second.map(|second| format!("{first}::{second}"));
    let listed = nested.filter(|nested| LAYERS.iter().any(|(module, _)| module == nested));
    listed.unwrap_or_else(|| first.to_owned())
}

fn module_of_file(inside: &Path) -> String {
    let mut names = inside.components().map(|name| {
        let name = Path::new(&name).file_stem().unwrap();
        name.to_string_lossy().into_owned()
    });
    let (first, second) = (names.next().unwrap(), names.next());
    module_of(&first, second.as_deref())
}

/// The name of the type that a line begins to define.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = match line.strip_prefix("pub(") {
        Some(visibility) => visibility.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let rest = ["struct ", "enum "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    Some(name_at(rest))
}

/// The name of the type that a line begins to give methods of its own.
fn inherent_impl(line: &str) -> Option<&str> {
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
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
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
fn for_each_source(mut look: impl FnMut(&Path, &str)) {
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
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let code = code.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap_or(code);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names behind `crate::` in the code of a file.
fn modules_named_in(text: &str) -> BTreeSet<String> {
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

#[test]
fn reader_of_sources_finds_imports_types_and_methods() {
    assert_eq!(defined_type("    pub(in crate::engine) struct Writer {"), Some("Writer"));
    assert_eq!(defined_type("pub enum Mark {"), Some("Mark"));
    assert_eq!(defined_type("let struct_of = 1;"), None);
    assert_eq!(inherent_impl("impl<'a> Present<'a> {"), Some("Present"));
    assert_eq!(inherent_impl("impl Engine {"), Some("Engine"));
    assert_eq!(inherent_impl("impl fmt::Debug for Engine {"), None);
    let text = "use crate::a::B; // crate::no\n//! [crate::no]\nfn f() { crate::c::d() }\n\
                pub(in crate::no) fn g() {}\n\
                pub(crate) use crate::Result;\n#[cfg(test)]\nmod tests {\nuse crate::no;\n}";
    assert_eq!(modules_named_in(text), ["a", "c"].map(str::to_owned).into());
}
