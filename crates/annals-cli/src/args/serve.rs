//! The command that serves a web page.
//!
//! Owns its words. Must never do work.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Serve a web page that shows what is in a store: streams, events, search, live tail, consumers, metrics
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals serve ledger
  annals serve ledger --listen 127.0.0.1:0
  ANNALS_TOKEN=$(openssl rand -hex 16) annals serve ledger --listen 0.0.0.0:7878

The page changes nothing, and works beside a running writer. Without a token it listens on this machine
alone. With one, open http://HOST:PORT/?token=TOKEN once; programs send the header Authorization: Bearer
TOKEN. The page has no encryption: for other machines, put a proxy with TLS in front of it.")]
pub(crate) struct ServeArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7878")]
    pub(crate) listen: SocketAddr,
    /// The token that requests must carry; from the variable ANNALS_TOKEN it is not in the list of processes
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Also answer requests to this host name; repeat it for more
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
}
