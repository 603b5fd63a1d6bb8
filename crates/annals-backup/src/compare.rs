//! A backup beside its store, event by event.
//!
//! Owns the scratch directory, which is removed at the end. Must never change the store.

use std::path::{Path, PathBuf};

use annals::{EventRef, Options, Position, Store};
use sha2::{Digest, Sha256};

use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::restore::{RestoreOptions, restore};

/// Events that are compared at a time: memory is bounded.
const PART: u64 = 10_000;

struct Scratch(PathBuf);

impl Drop for Scratch {
    #[allow(clippy::disallowed_methods, reason = "it is a copy of the backup, made by this call")]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything of an event but its data and metadata, which are compared on their own.
fn described(event: &EventRef<'_>) -> impl PartialEq + use<> {
    (
        (event.position(), event.version(), event.id(), event.recorded_at(), event.commit()),
        (event.stream().to_owned(), event.event_type().to_owned()),
        (event.schema_version(), event.content_type(), event.is_last_in_commit()),
        event.tags().map(ToString::to_string).collect::<Vec<_>>(),
    )
}

/// Restores a branch into a directory of its own in `beside`'s parent, or `beside` itself without one, and compares every
/// event with those of a store, also hidden ones. Returns the number of events. The store may have more by now.
///
/// # Errors
///
/// [`Error::Differs`] at the first difference, and those of [`restore`](crate::restore()).
pub fn compare(from: &Destination, branch: u32, store: &Store, beside: &Path) -> Result<u64> {
    let parent = beside.parent().unwrap_or(beside);
    let name = format!(".annals-backup-compare-{}", std::process::id());
    let scratch = Scratch(parent.join(name));
    let restored =
        restore(from, &scratch.0, &RestoreOptions::new().branch(branch).verify(false), |_| {})?;
    let copy = Options::new().read_only(true).open(&scratch.0)?;
    let differs = |position| Error::Differs { position: Position::new(position) };
    let (mut next, mut difference) = (1, None);
    while next <= restored.position.get() && difference.is_none() {
        let last = (next + PART - 1).min(restored.position.get());
        let read = |store: &Store| -> Result<Vec<_>> {
            let mut events = Vec::new();
            let range = store
                .read_all()
                .include_hidden()
                .after(Position::new(next - 1))
                .up_to(Position::new(last));
            range.for_each(|event| {
                let contents = Sha256::new().chain_update(event.data()).chain_update([0]);
                let contents = contents.chain_update(event.metadata()).finalize();
                events.push((described(&event), contents));
            })?;
            Ok(events)
        };
        let (own, copied) = (read(store)?, read(&copy)?);
        let same = own.iter().zip(&copied).take_while(|(own, copied)| own == copied).count() as u64;
        if own.len() as u64 != last - next + 1 || same != own.len() as u64 {
            difference = Some(next + same);
        }
        next = last + 1;
    }
    difference.map_or(Ok(restored.position.get()), |position| Err(differs(position)))
}
