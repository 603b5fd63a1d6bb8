//! What can go wrong between the two sides.
//!
//! Owns the texts, which name the next step.

use std::io;
use std::path::PathBuf;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a socket could not be offered, or a request was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process offers a control socket for this store.
    #[error("no service offers a control socket at {}: start one with annals_control::Control", path.display())]
    NotOffered {
        /// Where the socket would be.
        path: PathBuf,
    },
    /// The system has no Unix domain sockets.
    #[error(
        "control sockets are not supported on this system: change the store when the service is stopped"
    )]
    Unsupported,
    /// The store is open for reading only.
    #[error(
        "the store is open for reading only: start the control socket in the process that writes"
    )]
    ReadOnly,
    /// The path of the socket is longer than the system permits.
    #[error("the path {} is too long for a socket: open the store with a shorter path, such as a link", path.display())]
    PathTooLong {
        /// Where the socket would be.
        path: PathBuf,
    },
    /// The socket or the connection failed.
    #[error("the control socket at {} failed", path.display())]
    Io {
        /// Where the socket is.
        path: PathBuf,
        /// The failure of the system.
        source: io::Error,
    },
    /// The other side sent something else than a line of the protocol.
    #[error("the other side of the control socket sent no valid line: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
    },
    /// The service refused the request.
    #[error("the service refused it: {what}")]
    Refused {
        /// The service's reason.
        what: String,
    },
}
