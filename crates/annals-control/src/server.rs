//! The side of the service.
//!
//! Owns the socket and one thread. Must never let another user connect, keep more of a line than its limit, or wait for a
//! client for long.

#![allow(clippy::disallowed_methods, reason = "a socket is no file of the store")]

use std::fs::{DirBuilder, Permissions};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::Store;

use crate::error::{Error, Result};
use crate::line::{self, Line};
use crate::request::{Reply, Request};

/// How long a client may keep the thread waiting for a line.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a connection could not be accepted: the usual cause is too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest path of a socket that all Unix systems permit, in bytes.
const MAX_PATH: usize = 103;

/// A control socket that is offered until this is stopped or dropped.
///
/// It has a handle of the store: a store is closed when its last handle is dropped, so stop it first, or call
/// [`Store::close`].
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Offers a control socket for a store that is open for writing: `control/socket` in its directory.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::PathTooLong`], and [`Error::Io`] if the socket cannot be made.
    pub fn start(store: &Store) -> Result<Self> {
        // A reader must not take the place of the socket of the process that writes.
        if matches!(store.sync(), Err(annals::Error::ReadOnly)) {
            return Err(Error::ReadOnly);
        }
        let path = socket_path(store.path())?;
        let io = |source| Error::Io { path: path.clone(), source };
        let listener = bind(&path).map_err(io)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (store, ended) = (store.clone(), Arc::clone(&ends));
        let thread = std::thread::Builder::new()
            .name("annals-control".to_owned())
            .spawn(move || serve(&listener, &store, &ended))
            .map_err(io)?;
        Ok(Self { path, ends, thread: Some(thread) })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the service of requests, and removes the socket.
    pub fn stop(self) {}
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // A connection wakes the thread; without one it would wait for the next client.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _removed = std::fs::remove_file(&self.path);
        if woken && let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The path of the socket of a store.
pub(crate) fn socket_path(store: &Path) -> Result<PathBuf> {
    let path = store.join("control").join("socket");
    if path.as_os_str().len() > MAX_PATH {
        return Err(Error::PathTooLong { path });
    }
    Ok(path)
}

/// Makes the socket in a directory that only this user may enter. One that is there was left by a process that is gone: only
/// the process that has the store open for writing gets here.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
            }
            made => made?,
        }
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn serve(listener: &UnixListener, store: &Store, ends: &AtomicBool) {
    for connection in listener.incoming() {
        if ends.load(Ordering::Acquire) {
            return;
        }
        match connection {
            // A client that fails or stops is its own fault; the next one is served.
            Ok(connection) => drop(converse(&connection, store, ends)),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn converse(connection: &UnixStream, store: &Store, ends: &AtomicBool) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(connection);
    while !ends.load(Ordering::Acquire) {
        match line::read::<Request>(&mut lines)? {
            Line::Value(request) => line::write(&mut &*connection, &request.perform(store))?,
            Line::Bad(what) => {
                return line::write(
                    &mut &*connection,
                    &Reply::refused(format!("bad request: {what}")),
                );
            }
            Line::End => return Ok(()),
        }
    }
    Ok(())
}
