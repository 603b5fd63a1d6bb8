//! `compact`: merging index files by hand.
//!
//! Owns what is said about it. Must never create a store.

use annals::Options;

use crate::args::CompactArgs;
use crate::failure::Failure;
use crate::open;
use crate::progress::note;

/// `annals compact`
pub(crate) fn run(args: &CompactArgs, quiet: bool) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    // What it would do in the background is done here.
    let options = Options::new().create(false).compaction(false);
    let store = open::for_writing(&args.store, options, quiet)?;
    let done = store.compact()?;
    store.close()?;
    if !quiet {
        note(format_args!(
            "annals: {} index files merged into {}, {} bytes written",
            done.merged_files, done.merges, done.bytes_written
        ));
    }
    Ok(())
}
