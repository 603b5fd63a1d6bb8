//! A control socket for a running [`annals`] store: cursors, streams and snapshots are changed from outside, while a service
//! has the store open for writing.
//!
//! [`Control::start`] opts a service in. [`Client::connect`] is the other side, which the command line uses. Requests and
//! replies are lines of JSON; see [`Request`].

mod client;
mod error;
#[cfg(unix)]
mod line;
mod request;
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod server;

pub use client::Client;
pub use error::{Error, Result};
pub use request::{LimitChange, Reply, Request};
pub use server::Control;
