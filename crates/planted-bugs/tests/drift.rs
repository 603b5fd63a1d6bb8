//! Planted bugs against the present source: every edit applies, every named test exists.

#![allow(clippy::disallowed_methods, reason = "tests read the repository's files")]

use std::fs;
use std::path::Path;

use planted_bugs::bug::{CaughtBy, load_all};
use planted_bugs::repository;

#[test]
fn every_edit_applies_to_the_source_exactly_once() {
    let root = repository();
    let bugs = load_all(&root).unwrap();
    let failed: Vec<String> = bugs
        .iter()
        .filter_map(|bug| bug.apply(|name| Ok(fs::read_to_string(root.join(name))?)).err())
        .map(|error| format!("{error:#}"))
        .collect();
    assert!(failed.is_empty(), "adapt these to the source:\n{}", failed.join("\n"));
    assert!(bugs.len() >= 25, "only {} bugs", bugs.len());
}

#[test]
fn every_catcher_is_there() {
    let root = repository();
    for bug in load_all(&root).unwrap() {
        match &bug.caught_by {
            CaughtBy::Simulator { seeds: [from, to] } => assert!(from < to, "{}", bug.name),
            CaughtBy::Test { package, target, name, because } => {
                let function = format!("fn {}(", name.rsplit("::").next().unwrap_or(name));
                let of_package = root.join("crates").join(package);
                let of_package = if package == "annals" { root.clone() } else { of_package };
                let directory = of_package.join("tests").join(target);
                assert!(holds(&directory, &function), "{}: {target} has no {name}", bug.name);
                assert!(!because.is_empty(), "{}: why not the simulator?", bug.name);
            }
        }
    }
}

/// Whether a file in a directory holds a text.
fn holds(directory: &Path, text: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            holds(&path, text)
        } else {
            fs::read_to_string(&path).is_ok_and(|held| held.contains(text))
        }
    })
}
