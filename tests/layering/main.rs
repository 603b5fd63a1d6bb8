//! Which module may use which: the layers that `docs` describe, held to the sources.
//!
//! A module's paths that begin with `crate::` are read out of its files (tests and comments
//! aside) and compared with the table. A new dependency means a new entry here, and a reason.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "this reads the sources")]

mod layers;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use layers::LAYERS;
use sources::{
    code_of, defined_type, dependencies, for_each_source, inherent_impl, module_of_file,
    modules_named_in,
};

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
