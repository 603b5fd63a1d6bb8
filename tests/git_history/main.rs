//! The example `git_history`, run as a process over repositories with everything odd that git
//! allows, and the rule by which it names streams.
//!
//! Repositories are made by `git fast-import`, because no work tree can hold most of these
//! paths. The example compares itself with `git ls-tree`; these tests hold what it recorded
//! against the histories as they are written down here, and it against what must fail.

mod continued;
mod naming;
mod recorded;
mod refused;
mod repositories;
mod script;
mod support;

#[path = "../../examples/git_history/paths.rs"]
mod paths;
