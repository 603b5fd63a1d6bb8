//! Errors of the engine as those of the DCB interface.
//!
//! Owns the mapping. Must never drop the engine's error: it is the content of `DcbError::Io`.

use std::io::{Error as IoError, ErrorKind};

use annals::Error;
use umadb_dcb::DcbError;

/// `Io` is the only variant of [`DcbError`] that can carry another error.
pub(crate) fn from_engine(error: Error) -> DcbError {
    let kind = match &error {
        Error::LimitExceeded { .. } | Error::InvalidArgument { .. } => ErrorKind::InvalidInput,
        Error::DiskFull { .. } => ErrorKind::StorageFull,
        error if error.is_store_damage() => ErrorKind::InvalidData,
        _ => ErrorKind::Other,
    };
    DcbError::Io(IoError::new(kind, error))
}

/// The error of annals behind a [`DcbError`], if there is one.
///
/// ```
/// use annals_umadb::umadb_dcb::{DcbEvent, DcbEventStoreSync};
/// use annals_umadb::{UmaStore, annals, engine_error};
///
/// let dir = tempfile::tempdir()?;
/// let store = UmaStore::open(dir.path().join("ledger"))?;
/// let event = DcbEvent::default().event_type("x".repeat(256));
/// let refused = DcbEventStoreSync::append(&store, vec![event], None, None).unwrap_err();
/// assert!(matches!(engine_error(&refused), Some(annals::Error::LimitExceeded { max: 255, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn engine_error(error: &DcbError) -> Option<&Error> {
    match error {
        DcbError::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
