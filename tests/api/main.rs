//! The public API, over a real directory.

mod limits;
mod opening;
mod smoke;
mod snapshots;
mod tickets;
