//! Opening stores, and saying what opening found.
//!
//! Owns the difference between commands that read and commands that write. Must never let a
//! reading command create or change anything.

use std::path::Path;

use annals::{Opened, Options, Store};

use crate::failure::Failure;
use crate::progress::warn;

/// Opens a store that exists, for reading, also beside its writer.
pub(crate) fn for_reading(path: &Path) -> Result<Store, Failure> {
    must_exist(path)?;
    Ok(Options::new().read_only(true).open(path)?)
}

/// Ends a reading command with a failure if the store is damaged: what was printed is not all.
pub(crate) fn must_be_whole(store: &Store) -> Result<(), Failure> {
    match store.opened() {
        Opened::Damaged { file, offset, expected_position, evidence, .. } => {
            Err(Failure::Fault(format!(
                "the store is damaged, and only what lies before position {expected_position} was \
                 read: {} at offset {offset}; {evidence}",
                file.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Opens a store for appending, and creates it if it is missing.
pub(crate) fn for_writing(path: &Path, options: Options, quiet: bool) -> Result<Store, Failure> {
    let store = options.max_event_size(Options::MAX_EVENT_SIZE).open(path)?;
    if let Opened::Recovered(recovery) = store.opened()
        && recovery.dropped_bytes > 0
        && !quiet
    {
        let kept = recovery.quarantined.as_ref();
        warn(format_args!(
            "the last writer was cut off: {} bytes that it had not acknowledged were \
             taken out{}",
            recovery.dropped_bytes,
            kept.map(|path| format!(" and kept in {}", path.display())).unwrap_or_default()
        ));
    }
    Ok(store)
}

/// Opens a store that exists, for changing something beside its events.
pub(crate) fn for_changing(path: &Path, quiet: bool) -> Result<Store, Failure> {
    must_exist(path)?;
    for_writing(path, Options::new().create(false), quiet)
}

/// Checks that there is a directory, for a clearer answer than an error of the system's.
pub(crate) fn must_exist(path: &Path) -> Result<(), Failure> {
    let what = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is not a directory, and so not a store".to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(e) => format!("cannot be read: {e}"),
    };
    Err(Failure::Fault(format!("{} {what}", path.display())))
}
