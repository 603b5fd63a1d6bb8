//! The side of the service.
//!
//! Owns the socket and one thread. Must never let another user connect, keep more of a line than its limit, or wait for a
//! client for long.

#![allow(clippy::disallowed_methods, reason = "a socket is no file of the store")]

use std::fs::{DirBuilder, Permissions};
use std::io::{self, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::Store;
use rustix::event::{PollFd, PollFlags, poll};

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
    /// Distinguishes the socket from a later one at the same path.
    identity: Identity,
    ends: Arc<AtomicBool>,
    /// Wakes the thread when it is shut down.
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// The device and the number of a file. The system keeps both until the socket is closed.
type Identity = (u64, u64);

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
        let (wake, woken) = UnixStream::pair().map_err(io)?;
        let listener = bind(&path).map_err(io)?;
        let identity = identity(&path).map_err(io)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (store, ended) = (store.clone(), Arc::clone(&ends));
        let thread = std::thread::Builder::new()
            .name("annals-control".to_owned())
            .spawn(move || serve(&listener, &woken, &store, &ended))
            .map_err(io)?;
        Ok(Self { path, identity, ends, wake, thread: Some(thread) })
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
        // After `Store::close`, another process may have put its own socket in the place of this one.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _removed = std::fs::remove_file(&self.path);
        }
        let _woken = self.wake.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
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
    // The thread waits for clients and for its end at once.
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves one connection after another, until the other end of `woken` is shut down.
fn serve(listener: &UnixListener, woken: &UnixStream, store: &Store, ends: &AtomicBool) {
    while !ends.load(Ordering::Acquire) {
        let mut asked =
            [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::empty())];
        let accepted = match poll(&mut asked, None) {
            Ok(_) if asked[0].revents().is_empty() => continue,
            Ok(_) => listener.accept(),
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => Err(e.into()),
        };
        match accepted {
            // A client that fails or stops is its own fault; the next one is served.
            Ok((connection, _)) => drop(converse(&connection, store, ends)),
            // The client has gone.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn converse(connection: &UnixStream, store: &Store, ends: &AtomicBool) -> io::Result<()> {
    // Some systems pass the mode of the listener on.
    connection.set_nonblocking(false)?;
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
