//! What is refused before a commit is sent.
//!
//! Owns the limits. Must never contact the server.

use std::collections::HashSet;

use annals_es::{AppendError, CommitParts, NewEvent, StoreError};

use crate::Positions;

/// The largest event: data and metadata, in bytes.
const MAX_EVENT: u64 = 16 << 20;
/// The largest commit, in bytes of data and metadata.
const MAX_COMMIT: u64 = 64 << 20;
/// The longest name of a stream, type, tag, checkpoint or snapshot, in bytes: what an index can hold.
const MAX_NAME: u64 = 1024;
/// Number of events of one transaction whose positions differ in a fast store.
pub(crate) const MAX_FAST: u64 = 1 << crate::sql::INDEX_BITS;

/// Bytes of data and metadata of a commit, if it keeps the limits.
pub(crate) fn commit(commit: &CommitParts, positions: Positions) -> Result<u64, AppendError> {
    if commit.streams.is_empty() && commit.checkpoints.is_empty() && commit.boundaries.is_empty() {
        return Err(AppendError::Empty);
    }
    let mut ids = HashSet::new();
    let (mut total, mut events) = (0_u64, 0_u64);
    for part in &commit.streams {
        if part.stream.as_str().is_empty() {
            return Err(invalid("stream", "the name of a stream is empty").into());
        }
        name("stream", part.stream.as_str())?;
        for new in &part.events {
            total += event(new)?;
            events += 1;
            if let Some(id) = new.id
                && !ids.insert(id)
            {
                return Err(AppendError::DuplicateId { id });
            }
        }
    }
    for checkpoint in &commit.checkpoints {
        name("checkpoint", &checkpoint.name)?;
    }
    for snapshot in &commit.snapshots {
        name("snapshot", &snapshot.key)?;
    }
    if total > MAX_COMMIT {
        let hint = "append the events in several commits";
        return Err(too_large("commit in bytes", total, MAX_COMMIT, hint));
    }
    if positions == Positions::Fast && events > MAX_FAST {
        let hint = "append the events in several commits";
        return Err(too_large("number of events in a commit", events, MAX_FAST, hint));
    }
    Ok(total)
}

fn event(event: &NewEvent) -> Result<u64, AppendError> {
    let size = (event.data.len() + event.metadata.len()) as u64;
    if size > MAX_EVENT {
        let hint = "store large contents elsewhere, and their address in the event";
        return Err(too_large("event in bytes", size, MAX_EVENT, hint));
    }
    if event.id.is_some_and(|id| id.is_nil()) {
        return Err(invalid("event id", "the nil UUID is no id").into());
    }
    name("event type", &event.event_type)?;
    for tag in &event.tags {
        name("tag", tag)?;
    }
    Ok(size)
}

pub(crate) fn name(what: &'static str, name: &str) -> Result<(), AppendError> {
    let size = name.len() as u64;
    if size > MAX_NAME {
        return Err(too_large(&format!("{what} in bytes"), size, MAX_NAME, "use a shorter one"));
    }
    if name.contains('\0') {
        return Err(invalid(what, "PostgreSQL cannot store the character NUL").into());
    }
    Ok(())
}

pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::InvalidArgument { what, why: why.into() }
}

pub(crate) fn too_large(what: &str, size: u64, max: u64, hint: &str) -> AppendError {
    AppendError::TooLarge { what: what.into(), size, max, hint: hint.into() }
}
