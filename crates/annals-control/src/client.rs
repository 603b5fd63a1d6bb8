//! The side of the operator.
//!
//! Owns one connection. Must never wait for ever.

#[cfg(unix)]
use std::io::{BufReader, ErrorKind};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::time::Duration;

use crate::error::{Error, Result};
use crate::request::{Reply, Request};
use crate::server::socket_path;

/// How long a service may take to answer: a change waits for a sync, and for other clients.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a service that has a store open for writing.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    #[cfg(unix)]
    connection: UnixStream,
}

impl Client {
    /// Connects to the control socket of the store in this directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotOffered`] if no process offers one, [`Error::Unsupported`], [`Error::PathTooLong`], [`Error::Io`].
    pub fn connect(store: impl AsRef<Path>) -> Result<Self> {
        let path = socket_path(store.as_ref())?;
        #[cfg(unix)]
        {
            let connected = UnixStream::connect(&path).and_then(|connection| {
                connection.set_read_timeout(Some(PATIENCE))?;
                connection.set_write_timeout(Some(PATIENCE))?;
                Ok(connection)
            });
            match connected {
                Ok(connection) => Ok(Self { path, connection }),
                Err(e)
                    if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
                {
                    Err(Error::NotOffered { path })
                }
                Err(source) => Err(Error::Io { path, source }),
            }
        }
        #[cfg(not(unix))]
        Err(Error::NotOffered { path })
    }

    /// Has a request done. When it returns, the change is durable as an append of the store is.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the service's reason, [`Error::Protocol`], and [`Error::Io`] if no answer came: the change may
    /// have been made.
    pub fn request(&mut self, request: &Request) -> Result<Reply> {
        #[cfg(unix)]
        {
            use crate::line::{self, Line};
            let io = |source| Error::Io { path: self.path.clone(), source };
            line::write(&mut &self.connection, request).map_err(io)?;
            match line::read::<Reply>(&mut BufReader::new(&self.connection)).map_err(io)? {
                Line::Value(Reply { refused: Some(what), .. }) => Err(Error::Refused { what }),
                Line::Value(reply) => Ok(reply),
                Line::Bad(what) => Err(Error::Protocol { what }),
                Line::End => Err(Error::Protocol { what: "it ended the connection".to_owned() }),
            }
        }
        #[cfg(not(unix))]
        {
            let (_, _) = (&self.path, request);
            Err(Error::Unsupported)
        }
    }
}
