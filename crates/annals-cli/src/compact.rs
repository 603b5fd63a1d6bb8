//! `compact`: merges index files in the foreground.
//!
//! Owns the messages about it. Must never create a store.

use annals::Options;

use crate::args::{CompactArgs, Format};
use crate::failure::Failure;
use crate::open;
use crate::output::Output;

/// `annals compact`
pub(crate) fn run(args: &CompactArgs, quiet: bool) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    // This command does the work of the background threads.
    let options = Options::new().create(false).compaction(false);
    let store = open::for_writing(&args.store, options, args.wait, quiet)?;
    let done = store.compact()?;
    open::close(store)?;
    if !quiet {
        let mut out = Output::new(Format::Text);
        out.line(format_args!(
            "{} index files merged into {}, {} bytes written",
            done.merged_files, done.merges, done.bytes_written
        ))?;
        out.flush()?;
    }
    Ok(())
}
