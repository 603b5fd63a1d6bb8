//! The side of the service on systems without Unix domain sockets: there is none.

use std::path::{Path, PathBuf};

use annals::Store;

use crate::error::{Error, Result};

/// A control socket; this system has none.
#[derive(Debug)]
pub struct Control(std::convert::Infallible);

impl Control {
    /// Refuses: this system has no Unix domain sockets.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`].
    pub fn start(_store: &Store) -> Result<Self> {
        Err(Error::Unsupported)
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        match self.0 {}
    }

    /// Ends the service of requests.
    pub fn stop(self) {}
}

/// There is no socket.
pub(crate) fn socket_path(_store: &Path) -> Result<PathBuf> {
    Err(Error::Unsupported)
}
