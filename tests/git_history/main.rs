//! The example `git_history`, run as a process on repositories with everything unusual that git
//! permits, and the rule by which it names streams.
//!
//! Repositories are made by `git fast-import`, because no work tree can hold most of these paths.
//! The example compares itself with `git ls-tree`; these tests compare its records with the scripts
//! of the histories, and check what it refuses.

mod continued;
mod naming;
mod recorded;
mod refused;
mod repositories;
mod script;
mod support;

#[path = "../../examples/git_history/paths.rs"]
mod paths;
