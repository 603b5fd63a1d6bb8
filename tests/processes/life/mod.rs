//! A writer in a process of its own, and the record of its answers, for these tests and
//! `examples/torture`.
//!
//! - [`commits`]: what a commit holds, as a function of its number alone.
//! - [`writer`]: what the child does, until it is killed.
//! - [`child`]: starting it, hearing it, killing it.
//! - [`ledger`]: what it acknowledged, held against what the store holds.
//! - [`rounds`]: start, kill, reopen, check, on the same directory again and again.

pub(crate) mod child;
pub(crate) mod commits;
pub(crate) mod ledger;
pub(crate) mod rounds;
pub(crate) mod writer;
