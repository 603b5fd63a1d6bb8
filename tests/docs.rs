//! Checks of the documentation: tests and planted bugs that it names exist, links resolve, and the guide
//! is complete on docs.rs. That its examples compile and run is checked by doctests.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "this reads the sources")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages outside `docs` whose links are checked as well.
const OTHER_PAGES: [&str; 6] = [
    "CONTRIBUTING.md",
    "SECURITY.md",
    "format-spec.md",
    "benches/adapter-peers/README.md",
    "benches/peers/README.md",
    "benches/toolkit-peers/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Markdown files in and below a directory of the repository.
fn pages_below(directory: &str) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut to_visit = vec![root().join(directory)];
    while let Some(path) = to_visit.pop() {
        if path.is_dir() {
            to_visit.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|it| it == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The test paths in backticks: `binary::module::test`, `binary::module`, `binary::module::{a, b}`.
fn tests_named_in(text: &str) -> Vec<String> {
    let mut tests = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        if let Some((module, list)) = quoted.split_once("::{") {
            let list = list.trim_end_matches('}').split(',').map(str::trim);
            tests.extend(list.map(|test| format!("{module}::{test}")));
        } else if quoted.contains("::") {
            tests.push(quoted.to_owned());
        }
    }
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    tests.retain(|test| test.split("::").all(is_name) && !test.starts_with("annals::"));
    tests
}

/// The files that may hold the module `binary::module::…`.
fn files_of(module: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for tests in ["tests", "crates/annals-cli/tests"] {
        let directory = root().join(tests).join(module[0]);
        if module.len() == 1 {
            files.push(directory.join("main.rs"));
            files.push(directory.with_extension("rs"));
        } else {
            let path = module[1..].iter().fold(directory, |path, module| path.join(module));
            files.push(path.with_extension("rs"));
            files.push(path.join("mod.rs"));
        }
    }
    files
}

/// Whether a source has the function as a test that is not ignored.
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

/// Whether there is a test of this name, or a module of this name with tests.
fn exists(test: &str) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let (function, module) = parts.split_last().unwrap();
    let sources = |module: &[&str]| -> Vec<String> {
        files_of(module).into_iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
    };
    sources(module).iter().any(|source| has_test(source, function))
        || sources(&parts).iter().any(|source| source.contains("#[test]"))
}

/// The rows of tables whose first cell is a number: number, cells.
fn numbered_rows(page: &str) -> Vec<(u32, Vec<&str>)> {
    page.lines()
        .filter_map(|line| {
            let inner = line.strip_prefix('|')?.strip_suffix('|')?;
            let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
            Some((cells.first()?.parse().ok()?, cells))
        })
        .collect()
}

#[test]
fn every_named_test_exists() {
    let mut all = BTreeSet::new();
    for path in pages_below("docs") {
        let named = tests_named_in(&read(&path));
        let missing: Vec<&String> = named.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{} names what does not exist: {missing:#?}", path.display());
        all.extend(named);
    }
    assert!(all.len() > 80, "the pages' tests were not found: {}", all.len());
}

#[test]
fn every_named_planted_bug_exists() {
    let page = read("docs/evidence.md");
    let bugs: BTreeSet<String> = fs::read_dir(root().join("crates/planted-bugs/bugs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split('-').next().unwrap().to_owned())
        .collect();
    let tables = page.split("\n## Fuzzing").next().unwrap();
    let last_cells = tables.lines().filter_map(|line| line.strip_suffix('|')?.rsplit('|').next());
    let named: BTreeSet<&str> = last_cells
        .flat_map(|cell| cell.split(',').map(str::trim))
        .filter(|it| (2..=3).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    assert!(named.len() > 60, "the page's planted bugs were not found: {named:?}");
    let missing: Vec<&&str> = named.iter().filter(|it| !bugs.contains(**it)).collect();
    assert!(missing.is_empty(), "docs/evidence.md names what does not exist: {missing:?}");
}

#[test]
fn every_failure_has_a_row_with_a_promise_and_a_test() {
    let page = read("docs/evidence.md");
    let rows = numbered_rows(&page);
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    let expected: Vec<u32> = (1..=u32::try_from(rows.len()).unwrap()).collect();
    assert_eq!(numbers, expected);
    assert!(rows.len() >= 25, "the design names 25 failure modes");
    for (number, cells) in rows {
        let [_, failure, promise, tests, states, _planted] = cells[..] else {
            panic!("row {number} has {} cells", cells.len());
        };
        assert!(!failure.is_empty() && !promise.is_empty(), "row {number}");
        assert!(!tests_named_in(tests).is_empty(), "row {number} has no test");
        let is_count = states.replace(',', "").parse::<u64>().is_ok();
        assert!(
            states.is_empty() || is_count,
            "row {number}: {states:?} is not a number of states"
        );
    }
}

/// The targets of links in a page: inline, and definitions.
fn links_in(page: &str) -> Vec<&str> {
    let inline = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = page.lines().filter_map(|line| {
        let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some(target)
    });
    inline.chain(defined).filter(|it| !it.contains("://") && !it.contains(' ')).collect()
}

/// The anchors of a page's headings, as GitHub and rustdoc derive them, and explicit ones.
fn anchors_of(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let derived = headings.map(|heading| {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    });
    let explicit = page.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    derived.chain(explicit.map(str::to_owned)).collect()
}

#[test]
fn every_link_resolves_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut links = 0;
    for path in pages_below("docs").into_iter().chain(OTHER_PAGES.map(|page| root().join(page))) {
        let page = read(&path);
        for link in links_in(&page) {
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let found = target.exists()
                && (anchor.is_empty() || anchors_of(&read(&target)).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(links > 100, "the pages' links were not found: {links}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_chapter_is_listed_and_part_of_the_api_documentation() {
    let (list, module) = (read("docs/README.md"), read("src/guide.rs"));
    let links = read("src/guide/links.md");
    for path in pages_below("docs/guide") {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("(guide/{name})")), "docs/README.md does not list {name}");
        assert!(module.contains(&format!("\"{name}\"")), "src/guide.rs does not include {name}");
        let page = read(&path);
        let relative = page
            .split("](")
            .skip(1)
            .find(|link| !link.starts_with("https://") && !link.starts_with('#'));
        assert_eq!(relative, None, "{name}: links need a definition, which rustdoc can replace");
        for line in page.lines().filter(|line| line.starts_with('[')) {
            let Some((label, _)) = line.split_once("]: ") else { continue };
            assert!(links.contains(&format!("{label}]: ")), "src/guide/links.md lacks {label}]");
        }
    }
}

/// An example that counts the items of a read would count an error as an event; `ReadAll::count` returns a result.
#[test]
fn examples_count_no_fallible_iterator() {
    for path in pages_below("docs").into_iter().chain([root().join("src/lib.rs")]) {
        let page = read(&path).replace(".count()?", "");
        assert!(!page.contains(".count()"), "{}: collect or check errors", path.display());
    }
}

#[test]
fn helpers_find_tests_rows_links_and_anchors() {
    let named = tests_named_in("| `a::b_c` (1), `a::b::{c, d}` `Io` `x::Y` `annals::x` |");
    assert_eq!(named, ["a::b_c", "a::b::c", "a::b::d"]);
    let source = "#[test]\nfn a() {\n}\n    #[test]\n    fn b(x: u8) {\nfn c() {\n#[test]\n#[ignore = \"\"]\nfn d() {";
    let found = ["a", "b", "c", "d", "e"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, false, false, false]);
    assert_eq!(numbered_rows("| # | x |\n|---|---|\n| 7 | y | z |"), [(7, vec!["7", "y", "z"])]);
    assert_eq!(links_in("[a](b.md#c) [d](https://e)\n[f]: g.md\n"), ["b.md#c", "g.md"]);
    let anchors = anchors_of("# A `b`, c-d\n<a id=\"e\"></a>\n");
    assert_eq!(anchors, ["a-b-c-d", "e"].map(str::to_owned).into());
}
