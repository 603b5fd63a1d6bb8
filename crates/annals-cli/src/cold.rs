//! `make-cold` and `make-local`, and the backup that cold segments are read from.
//!
//! Owns what is printed of them. Must never decide which segments may go.

use std::path::PathBuf;
use std::sync::Arc;

use annals::cold::SegmentSource;
use annals::{Options, Store};
use annals_backup::{ColdBackup, keep_local};

use crate::args::{ColdSource, KeyFile, MakeColdArgs, MakeLocalArgs, Wait};
use crate::failure::Failure;
use crate::open;
use crate::progress::note;
use crate::shipping::place;

/// Has every store that is opened from now on read its cold segments from the place that the arguments or the
/// environment name.
pub(crate) fn use_source(args: &ColdSource) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(url) = args.cold.clone().or_else(|| variable("ANNALS_COLD")) else { return Ok(()) };
    let keys = args.cold_keys.clone();
    let keys = KeyFile { keys: keys.or_else(|| variable("ANNALS_COLD_KEYS").map(PathBuf::from)) };
    open::read_cold_segments_from(source(&url, &keys)?);
    Ok(())
}

fn source(url: &str, keys: &KeyFile) -> Result<Arc<dyn SegmentSource>, Failure> {
    Ok(ColdBackup::new(place(url, keys)?).shared())
}

fn open_with(
    store: &std::path::Path,
    source: Arc<dyn SegmentSource>,
    wait: Wait,
    quiet: bool,
) -> Result<Store, Failure> {
    open::must_exist(store)?;
    open::for_writing(store, Options::new().create(false).cold_segments(source), wait, quiet)
}

/// `annals make-cold`
pub(crate) fn make_cold(args: &MakeColdArgs, quiet: bool) -> Result<(), Failure> {
    let store = open_with(&args.store, source(&args.url, &args.keys)?, args.wait, quiet)?;
    let freed = keep_local(&store, args.keep)?;
    let cold = store.cold_segments()?.len();
    open::close(store)?;
    if !quiet {
        note(format_args!("{freed} bytes are free; {cold} segments are in the backup alone"));
    }
    Ok(())
}

/// `annals make-local`
pub(crate) fn make_local(args: &MakeLocalArgs, quiet: bool) -> Result<(), Failure> {
    let store = open_with(&args.store, source(&args.url, &args.keys)?, args.wait, quiet)?;
    let cold = store.cold_segments()?;
    for &number in &cold {
        if crate::interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        store.make_local(number)?;
    }
    open::close(store)?;
    if !quiet {
        note(format_args!("{} segments are back", cold.len()));
    }
    Ok(())
}
