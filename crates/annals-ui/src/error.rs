//! Why the page cannot be served.
//!
//! Owns the errors of the library's callers. Faults of single requests are pages, and in `fault`.

use std::io;
use std::net::SocketAddr;

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address can be reached from other machines, and no token was set.
    #[error(
        "{address} can be reached from other machines: give a token that requests must carry, or listen on 127.0.0.1"
    )]
    TokenNeeded {
        /// The address.
        address: SocketAddr,
    },
    /// The token is empty.
    #[error("the token is empty: give a long random text")]
    EmptyToken,
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}; another program may use the port: give another one, or 0 for a free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server stopped, or could not start its threads.
    #[error("the server stopped")]
    Serve {
        /// Why.
        #[from]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] annals::Error),
}
