//! Opens stores, and reports the result of opening.
//!
//! Owns the difference between commands that read and commands that write. Must never let a
//! reading command create or change anything.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use annals::cold::SegmentSource;
use annals::{Error, Opened, Options, Store};

use crate::args::Wait;
use crate::failure::{self, Failure};
use crate::interrupt;
use crate::progress::{note, warn};

/// How long one attempt waits for the lock, before signals are checked.
const SLICE: Duration = Duration::from_millis(200);
/// How long the command waits before it reports that it waits.
const SILENCE: Duration = Duration::from_secs(1);

/// Where cold segments are read from, if the command line names a place.
static COLD: OnceLock<Arc<dyn SegmentSource>> = OnceLock::new();

/// Has stores read their cold segments from a source; only the first call counts.
#[cfg(feature = "backup")]
pub(crate) fn read_cold_segments_from(source: Arc<dyn SegmentSource>) {
    let _ = COLD.set(source);
}

/// Where cold segments are read from, if that is known.
pub(crate) fn cold_segments() -> Option<Arc<dyn SegmentSource>> {
    COLD.get().cloned()
}

/// The options, with the source of cold segments.
pub(crate) fn with_cold_segments(options: Options) -> Options {
    match cold_segments() {
        Some(source) => options.cold_segments(source),
        None => options,
    }
}

/// Opens an existing store for reading, also beside its writer.
pub(crate) fn for_reading(path: &Path) -> Result<Store, Failure> {
    must_exist(path)?;
    Ok(with_cold_segments(Options::new().read_only(true)).open(path)?)
}

/// Ends a reading command with a failure if the store is damaged, because the output is incomplete.
pub(crate) fn must_be_whole(store: &Store) -> Result<(), Failure> {
    match store.opened() {
        Opened::Damaged { file, offset, expected_position, evidence, .. } => {
            Err(Failure::Damaged(format!(
                "the store is damaged, and only the events before position {expected_position} \
                 were read: {} at offset {offset}; {evidence}",
                file.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Opens a store for appending, and creates it if it is missing.
pub(crate) fn for_writing(
    path: &Path,
    options: Options,
    wait: Wait,
    quiet: bool,
) -> Result<Store, Failure> {
    let options = options.max_event_size(Options::MAX_EVENT_SIZE);
    let store = waiting(wait, quiet, |timeout| options.clone().lock_timeout(timeout).open(path))?;
    if let Opened::Recovered(recovery) = store.opened()
        && recovery.dropped_bytes > 0
        && !quiet
    {
        let kept = recovery.quarantined.as_ref();
        warn(format_args!(
            "the last writer did not close the store: {} bytes of unacknowledged commits were cut \
             off{}",
            recovery.dropped_bytes,
            kept.map(|path| format!(" and kept in {}", path.display())).unwrap_or_default()
        ));
    }
    Ok(store)
}

/// Opens an existing store to change something other than its events.
pub(crate) fn for_changing(path: &Path, wait: Wait, quiet: bool) -> Result<Store, Failure> {
    must_exist(path)?;
    for_writing(path, with_cold_segments(Options::new().create(false)), wait, quiet)
}

/// Repeats an attempt that needs the writer's lock until it succeeds, for the requested time. The
/// argument of `attempt` is the time that one attempt may wait.
pub(crate) fn waiting<T>(
    wait: Wait,
    quiet: bool,
    mut attempt: impl FnMut(Duration) -> annals::Result<T>,
) -> Result<T, Failure> {
    let (started, patience) = (Instant::now(), wait.wait.unwrap_or_default());
    let mut told = quiet;
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let (path, holder) = match attempt(left.min(SLICE)) {
            Err(Error::Locked { path, holder }) if !left.is_zero() => (path, holder),
            done => return done.map_err(Failure::from),
        };
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        if !told && started.elapsed() > SILENCE {
            told = true;
            let holder = failure::by_process(holder);
            note(format_args!("waiting for {} to be closed{holder}", path.display()));
        }
    }
}

/// Closes a changed store. Failed background work is not a failure of the command, whose changes are
/// durable.
pub(crate) fn close(store: Store) -> Result<(), Failure> {
    match store.close() {
        Err(Error::MaintenanceFailed { failed }) => {
            for undone in failed {
                warn(format_args!(
                    "everything is stored, but the store could not {}: {}",
                    undone.task,
                    failure::described(&undone.error)
                ));
            }
            Ok(())
        }
        closed => Ok(closed?),
    }
}

/// Whether the path exists, as far as that can be determined.
pub(crate) fn exists(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(e) if e.kind() == ErrorKind::NotFound)
}

/// Checks that the directory exists, because this message is clearer than the operating system's error.
pub(crate) fn must_exist(path: &Path) -> Result<(), Failure> {
    let what = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is not a directory, and so not a store".to_owned(),
        Err(e) if e.kind() == ErrorKind::NotFound => "does not exist".to_owned(),
        Err(e) => format!("cannot be read: {e}"),
    };
    Err(Failure::Fault(format!("{} {what}", path.display())))
}
