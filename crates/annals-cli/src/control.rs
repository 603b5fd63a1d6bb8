//! Changes beside a live service: asked for on its control socket.
//!
//! Owns the choice between opening the store and asking. Must never ask while the store can be opened.

use std::path::Path;

use annals::Store;
use annals_control::{Client, Error, LimitChange, Request};

use crate::args::{Limit, Wait};
use crate::failure::Failure;
use crate::open;

/// How a change can be made.
pub(crate) enum Way {
    /// In the store, which is open for writing now.
    Open(Store),
    /// The service that has the store open has made it; whether what was deleted existed.
    Done { existed: bool },
}

/// Opens a store for a change; if a service has it open and offers a control socket, asks the service for the change.
pub(crate) fn open_or_ask(
    path: &Path,
    wait: Wait,
    quiet: bool,
    request: &Request,
) -> Result<Way, Failure> {
    match open::for_changing(path, Wait::default(), quiet) {
        Err(Failure::Store(annals::Error::Locked { .. })) => {}
        opened => return opened.map(Way::Open),
    }
    match Client::connect(path).and_then(|mut client| client.request(request)) {
        Ok(reply) => Ok(Way::Done { existed: reply.existed }),
        // Without a socket, the lock is what to report, or to wait for.
        Err(Error::NotOffered { .. } | Error::Unsupported | Error::PathTooLong { .. }) => {
            open::for_changing(path, wait, quiet).map(Way::Open)
        }
        Err(error) => Err(Failure::Fault(crate::failure::with_causes(&error))),
    }
}

/// Makes a change whose answer has no further information.
pub(crate) fn change(
    path: &Path,
    wait: Wait,
    quiet: bool,
    request: &Request,
    apply: impl FnOnce(&Store) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match open_or_ask(path, wait, quiet, request)? {
        Way::Done { .. } => Ok(()),
        Way::Open(store) => {
            apply(&store)?;
            open::close(store)
        }
    }
}

/// What becomes of a limit: `None` keeps it.
pub(crate) fn limit(given: Option<Limit<u64>>) -> LimitChange {
    match given {
        None => LimitChange::Keep,
        Some(Limit(None)) => LimitChange::Remove,
        Some(Limit(Some(value))) => LimitChange::Set(value),
    }
}
