//! Every command, run as a process.

#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]

mod append;
mod backup;
mod bad_lines;
mod complete;
#[cfg(unix)]
mod control;
mod copy;
mod diff;
mod import;
mod inspect;
mod live;
mod migrate;
mod overview;
#[cfg(unix)]
mod pager;
mod pipes;
mod printing;
#[cfg(unix)]
mod pty;
mod query;
mod read;
mod records;
mod repeat;
mod rescue;
#[cfg(unix)]
mod running;
#[cfg(all(unix, feature = "serve"))]
mod serve;
#[cfg(feature = "backup")]
mod shipping;
mod state;
mod support;
#[cfg(feature = "top")]
mod top;
mod usage;
mod wait;
