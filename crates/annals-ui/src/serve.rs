//! A server of its own for the page.
//!
//! Owns the runtime and the socket. Must never listen on an address that other machines reach without a token.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use axum::Router;

use crate::error::Error;
use crate::options::Options;

/// How often it is asked whether to stop.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// How long reads of the store that are running are waited for after that. Connections end at once.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the page over the store in a directory, which is opened for reading, until `stop` returns true. Blocks the
/// calling thread; `stop` is called on it ten times a second.
///
/// `ready` is called with the address once connections are accepted: with port 0, the system chooses one.
///
/// ```no_run
/// use std::net::SocketAddr;
///
/// let address = SocketAddr::from(([127, 0, 0, 1], 7878));
/// let ready = |address| println!("http://{address}/");
/// annals_ui::serve("ledger", address, annals_ui::Options::new(), ready, || false)?;
/// # Ok::<(), annals_ui::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::TokenNeeded`] for an address that is not a loopback one, without a token; [`Error::EmptyToken`];
/// [`Error::Listen`]; [`Error::Store`] if the store cannot be opened; [`Error::Serve`].
pub fn serve(
    store: impl AsRef<Path>,
    listen: SocketAddr,
    mut options: Options,
    ready: impl FnOnce(SocketAddr),
    mut stop: impl FnMut() -> bool,
) -> Result<(), Error> {
    match options.token.as_deref() {
        None if !listen.ip().is_loopback() => return Err(Error::TokenNeeded { address: listen }),
        Some("") => return Err(Error::EmptyToken),
        // The names of the machine are not known here; a foreign page under a name of its own has no token.
        Some(_) if !listen.ip().is_loopback() && options.hosts.is_empty() => {
            options.any_host = true;
        }
        _ => {}
    }
    let router = crate::router_at(store, options)?;
    let failed = |source| Error::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.spawn(run(listener, router));
    ready(address);
    let done = loop {
        if served.is_finished() {
            break runtime.block_on(served);
        }
        if stop() {
            served.abort();
            break Ok(Ok(()));
        }
        std::thread::sleep(ASKED_EVERY);
    };
    runtime.shutdown_timeout(GRACE);
    done.unwrap_or_else(|e| Err(std::io::Error::other(e)))?;
    Ok(())
}

async fn run(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router).await
}
