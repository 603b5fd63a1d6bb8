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
    ("event::token", &["event"]),
    // Bytes in, bytes out.
    ("format", &["event"]),
    // What makes threads wait for each other, or its stand-in in a model checker.
    ("sync", &[]),
    // The seam to the world: no sibling but that.
    ("storage", &["sync"]),
    ("engine::ids", &["storage"]),
    ("options", &["error", "storage"]),
    ("index", &["event", "format", "storage", "sync"]),
    ("log", &["error", "event", "format", "index", "options", "storage", "sync"]),
    ("catalog", &["error", "format", "index", "log"]),
    ("read::event", &["event", "format", "log", "query"]),
    ("recovery", &["catalog", "error", "event", "format", "index", "log", "storage", "sync"]),
    ("directory", &["error", "event", "format", "log", "options", "recovery", "storage", "sync"]),
    // A list of those who wait, and nothing of what they wait for.
    ("sync::wait_list", &["sync"]),
    // One state in parts: `engine` owns it, each of the others implements one duty of it.
    ("engine::maintenance", RING),
    ("engine::errands", &["engine", "sync"]),
    ("engine", RING),
    ("engine::follower", RING),
    ("engine::commit", RING),
    ("engine::heal", RING),
    ("snapshot", RING),
    ("engine::stats", &["catalog", "engine", "event", "format"]),
    ("engine::history", &["engine", "error", "event", "format", "options", "event::token"]),
    (
        "engine::compaction",
        &[
            "catalog",
            "engine",
            "error",
            "format",
            "index",
            "log",
            "engine::heal",
            "recovery",
            "storage",
            "sync",
        ],
    ),
    // Which events a query matches: for reads and for the checks of a commit.
    (
        "engine::matching",
        &["catalog", "engine", "error", "event", "format", "index", "log", "query"],
    ),
    // What callers do with it.
    (
        "engine::append",
        &[
            "catalog",
            "engine",
            "error",
            "event",
            "format",
            "engine::commit",
            "index",
            "engine::matching",
            "options",
            "query",
            "recovery",
            "snapshot",
            "sync",
        ],
    ),
    (
        "read",
        &[
            "catalog",
            "engine",
            "error",
            "event",
            "format",
            "index",
            "log",
            "engine::matching",
            "options",
            "query",
            "event::token",
            "read::event",
        ],
    ),
    (
        "store::transaction",
        &[
            "engine::append",
            "engine",
            "error",
            "event",
            "format",
            "engine::commit",
            "options",
            "query",
            "snapshot",
        ],
    ),
    ("store::cursors", &["engine", "error", "event", "store::transaction"]),
    (
        "subscription",
        &[
            "engine",
            "engine::errands",
            "error",
            "event",
            "query",
            "read",
            "sync",
            "event::token",
            "read::event",
            "sync::wait_list",
        ],
    ),
    (
        "verify",
        &[
            "directory",
            "error",
            "event",
            "engine::follower",
            "format",
            "index",
            "log",
            "recovery",
            "snapshot",
            "engine::stats",
            "storage",
        ],
    ),
    // The only wiring.
    (
        "store",
        &[
            "engine::append",
            "engine::compaction",
            "store::cursors",
            "directory",
            "engine",
            "engine::errands",
            "error",
            "event",
            "engine::follower",
            "format",
            "index",
            "log",
            "options",
            "read",
            "recovery",
            "snapshot",
            "engine::stats",
            "storage",
            "subscription",
            "sync",
            "event::token",
            "store::transaction",
            "read::event",
            "sync::wait_list",
        ],
    ),
    // On top of the store, by its public API.
    (
        "consumer_group",
        &["error", "event", "query", "store", "subscription", "sync", "read::event"],
    ),
    // Beside it: what is done with a store that does not open.
    (
        "repair",
        &[
            "directory",
            "error",
            "event",
            "engine::follower",
            "format",
            "log",
            "options",
            "recovery",
            "storage",
            "verify",
        ],
    ),
];

const RING: &[&str] = &[
    "engine::maintenance",
    "catalog",
    "engine",
    "engine::errands",
    "error",
    "event",
    "engine::follower",
    "format",
    "engine::commit",
    "engine::ids",
    "index",
    "log",
    "engine::heal",
    "options",
    "recovery",
    "snapshot",
    "engine::stats",
    "storage",
    "sync",
    "sync::wait_list",
];

/// Not layers: they see everything.
const FREE: &[&str] = &["guide", "lib", "testing"];

#[test]
fn modules_use_only_what_lies_below_them() {
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
fn the_table_has_no_cycles_but_the_one_it_names() {
    let place = |name: &str| LAYERS.iter().position(|(module, _)| *module == name);
    let in_ring = |name: &str| name.starts_with("engine") || name == "snapshot";
    for (module, allowed) in LAYERS {
        for target in *allowed {
            let below = place(target) < place(module);
            assert!(below || in_ring(module) && in_ring(target), "{module} stands below {target}");
        }
    }
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

/// For each module of the table, the others that its files name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for_each_source(|inside, text| {
        let mut names = inside.components().map(|name| {
            let name = Path::new(&name).file_stem().unwrap();
            name.to_string_lossy().into_owned()
        });
        let (first, second) = (names.next().unwrap(), names.next());
        let module = module_of(&first, second.as_deref());
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
    for part in code.split("crate::").skip(1) {
        assert!(!part.starts_with('{'), "write one `use crate::module` a line");
        let mut names = part.split("::").map(|name| {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &name[..end.unwrap_or(name.len())]
        });
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        // Names at the root of the crate are re-exports of `error` and `event`.
        if !first.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.insert(module_of(first, second));
        }
    }
    found
}

#[test]
fn finds_what_it_looks_for() {
    let text = "use crate::a::B; // crate::no\n//! [crate::no]\nfn f() { crate::c::d() }\n\
                pub(crate) use crate::Result;\n#[cfg(test)]\nmod tests {\nuse crate::no;\n}";
    assert_eq!(modules_named_in(text), ["a", "c"].map(str::to_owned).into());
}
