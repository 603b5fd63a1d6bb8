//! The pages in `docs` name tests and planted bugs; this holds them to that.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "this reads the sources")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages that name tests in full.
const PAGES: [&str; 8] = [
    "boundaries.md",
    "cursors.md",
    "durability.md",
    "guarantees.md",
    "memory-model.md",
    "queries.md",
    "snapshots.md",
    "streams.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the page's tables whose first cell is a number: number, cells.
fn rows(page: &str) -> Vec<(u32, Vec<&str>)> {
    page.lines()
        .filter_map(|line| {
            let inner = line.strip_prefix('|')?.strip_suffix('|')?;
            let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
            Some((cells.first()?.parse().ok()?, cells))
        })
        .collect()
}

/// What stands between backticks and is a path of at least a binary and a function.
fn tests_named_in(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    quoted.filter(|it| it.contains("::") && it.split("::").all(is_name)).collect()
}

/// Where the source of `binary::module::…::function` may be.
fn sources_of(test: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = test.split("::").collect();
    let (binary, modules) = (parts[0], &parts[1..parts.len() - 1]);
    let mut places = Vec::new();
    for tests in ["tests", "crates/annals-cli/tests"] {
        let directory = root().join(tests).join(binary);
        if modules.is_empty() {
            places.push(directory.join("main.rs"));
            places.push(root().join(tests).join(format!("{binary}.rs")));
        } else {
            let path = modules.iter().fold(directory, |path, module| path.join(module));
            places.push(path.with_extension("rs"));
            places.push(path.join("mod.rs"));
        }
    }
    places
}

/// Whether a source has the function, as a test that is not ignored.
fn has_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let start = format!("fn {function}(");
    lines.iter().position(|line| line.starts_with(&start)).is_some_and(|at| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
        let attributes: Vec<&&str> = above.collect();
        attributes.iter().any(|line| **line == "#[test]")
            && !attributes.iter().any(|line| line.starts_with("#[ignore"))
    })
}

/// Whether there is a test of this name.
fn exists(test: &str) -> bool {
    let function = test.rsplit("::").next().unwrap_or(test);
    let mut found = sources_of(test).into_iter().filter_map(|path| fs::read_to_string(path).ok());
    found.any(|source| has_test(&source, function))
}

#[test]
fn every_test_that_the_table_names_exists() {
    let page = fs::read_to_string(root().join("docs/durability.md")).unwrap();
    let named: BTreeSet<&str> = tests_named_in(&page).into_iter().collect();
    assert!(named.len() > 60, "the page's tests were not found: {named:?}");
    let missing: Vec<&str> = named.into_iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "docs/durability.md names what does not exist: {missing:#?}");
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut all = 0;
    for page in PAGES {
        let path = root().join("docs").join(page);
        let page = fs::read_to_string(&path).unwrap();
        let named: BTreeSet<&str> = tests_named_in(&page).into_iter().collect();
        all += named.len();
        let missing: Vec<&str> = named.into_iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{} names what does not exist: {missing:#?}", path.display());
    }
    assert!(all > 150, "the pages' tests were not found: {all}");
}

#[test]
fn every_planted_bug_that_the_guarantees_name_exists() {
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let bugs: BTreeSet<String> = fs::read_dir(root().join("crates/planted-bugs/bugs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap()[..2].to_owned())
        .collect();
    let last_cells = page.lines().filter_map(|line| line.strip_suffix('|')?.rsplit('|').next());
    let named: BTreeSet<&str> = last_cells
        .flat_map(|cell| cell.split(',').map(str::trim))
        .filter(|it| it.len() == 2 && it.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    assert!(named.len() > 30, "the page's planted bugs were not found: {named:?}");
    let missing: Vec<&&str> = named.iter().filter(|it| !bugs.contains(**it)).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names what does not exist: {missing:?}");
}

#[test]
fn every_failure_mode_has_a_row_with_a_promise_and_a_test() {
    let page = fs::read_to_string(root().join("docs/durability.md")).unwrap();
    let rows = rows(&page);
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    let expected: Vec<u32> = (1..=u32::try_from(rows.len()).unwrap()).collect();
    assert_eq!(numbers, expected);
    assert!(rows.len() >= 25, "the design names 25");
    for (number, cells) in rows {
        let [_, failure, promise, tests, states] = cells[..] else {
            panic!("row {number} has {} cells", cells.len());
        };
        assert!(!failure.is_empty() && !promise.is_empty(), "row {number}");
        assert!(!tests_named_in(tests).is_empty(), "row {number} has no test");
        let counted = tests
            .split('(')
            .skip(1)
            .filter_map(|it| it.split(')').next()?.replace(',', "").parse::<u64>().ok());
        let counted: u64 = counted.sum();
        let said = states.replace(',', "").parse().unwrap_or(0_u64);
        assert_eq!(said, counted, "row {number}: the sum of its tests' states");
    }
}

#[test]
fn finds_what_it_looks_for() {
    assert_eq!(tests_named_in("| `a::b_c` (1)<br>`a::b::c` `Io` `x::Y` |"), ["a::b_c", "a::b::c"]);
    let source = "#[test]\nfn a() {\n}\n    #[test]\n    fn b(x: u8) {\nfn c() {\n#[test]\n#[ignore = \"\"]\nfn d() {";
    let found = ["a", "b", "c", "d", "e"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, false, false, false]);
    assert_eq!(rows("| # | x |\n|---|---|\n| 7 | y | z |"), [(7, vec!["7", "y", "z"])]);
}
