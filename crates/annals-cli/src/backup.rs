//! `backup`: copies a store that may be in use.
//!
//! Owns the messages about it. Must never open a store for writing.

use annals::verify::Progress as Done;

use crate::args::{BackupArgs, Format};
use crate::failure::{self, Failure};
use crate::interrupt;
use crate::open;
use crate::output::Output;
use crate::progress::{Progress, Unit};

/// `annals backup`
pub(crate) fn run(args: &BackupArgs, quiet: bool) -> Result<(), Failure> {
    #[cfg(feature = "backup")]
    if let Some(command) = &args.remote {
        return crate::shipping::run(command, quiet);
    }
    // The definition requires both.
    let (Some(store), Some(to)) = (&args.store, &args.to) else { return Ok(()) };
    let store = open::for_reading(store)?;
    open::must_be_whole(&store)?;
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let done = store.backup_to(to, |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
        if interrupt::requested() {
            // The earlier backup is whole, and the next one continues.
            progress.finish();
            std::process::exit(failure::INTERRUPTED.into());
        }
    });
    progress.finish();
    let done = done?;
    if !quiet {
        let mut out = Output::new(Format::Text);
        out.line(format_args!(
            "backup up to position {}: {} segments; {} bytes copied, {} linked, {} there already",
            done.position, done.segments, done.copied_bytes, done.linked_bytes, done.kept_bytes
        ))?;
        out.flush()?;
    }
    Ok(())
}
