//! Every command, run as a process.

#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]

mod append;
mod backup;
mod bad_lines;
mod copy;
mod import;
mod inspect;
mod live;
mod migrate;
mod overview;
mod pipes;
mod query;
mod read;
mod records;
mod repeat;
mod rescue;
mod state;
mod support;
mod usage;
mod wait;
