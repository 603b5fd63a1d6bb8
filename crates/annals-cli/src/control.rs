//! Changes beside a live service: asked for on its control socket.
//!
//! Owns the choice between opening the store and asking. Must never ask while the store can be opened.

use std::path::Path;

use annals::FailedCheck;
use annals_control::{Client, Error, LimitChange, Request};

use crate::args::{Limit, Wait};
use crate::failure::{self, Failure};
use crate::open;

/// Makes a change, itself or by the service that has the store open and offers a control socket. Returns whether what was
/// deleted existed.
pub(crate) fn change(
    path: &Path,
    wait: Wait,
    quiet: bool,
    request: &Request,
) -> Result<bool, Failure> {
    let store = match open::for_changing(path, Wait::default(), quiet) {
        Err(Failure::Store(annals::Error::Locked { .. })) => {
            match Client::connect(path).and_then(|mut client| client.request(request)) {
                Ok(reply) => return Ok(reply.existed),
                // Without a socket, the lock is what to report, or to wait for.
                Err(Error::NotOffered { .. } | Error::Unsupported | Error::PathTooLong { .. }) => {
                    open::for_changing(path, wait, quiet)?
                }
                Err(error) => return Err(Failure::Fault(failure::with_causes(&error))),
            }
        }
        opened => opened?,
    };
    let existed = request.apply(&store).map_err(|error| match error.failed_checks() {
        [FailedCheck::CursorNotForward { .. }] => {
            Failure::Fault(format!("{error} (use --reset to allow it)"))
        }
        _ => error.into(),
    })?;
    open::close(store)?;
    Ok(existed)
}

/// What becomes of a limit: `None` keeps it.
pub(crate) fn limit(given: Option<Limit<u64>>) -> LimitChange {
    match given {
        None => LimitChange::Keep,
        Some(Limit(None)) => LimitChange::Remove,
        Some(Limit(Some(value))) => LimitChange::Set(value),
    }
}
