//! What is refused before anything is sent.
//!
//! Owns the limits. Must never contact a server.

use std::collections::HashSet;

use annals_es::{AppendError, CommitParts, NewEvent, StoreError};

use crate::Error;
use crate::message::INDEX_BITS;

/// The longest name of a stream, type, tag, checkpoint or snapshot, in bytes. In a subject each byte may take three, and
/// servers accept about 4,096.
const MAX_NAME: u64 = 1024;
/// Number of events of one message whose positions differ.
const MAX_EVENTS: u64 = 1 << INDEX_BITS;
/// Number of messages that a server accepts in one batch.
const MAX_MESSAGES: u64 = 1000;
/// What is kept free for the headers of a message.
pub(crate) const HEADERS: u64 = 1024;

/// Refuses a commit that no server would accept.
pub(crate) fn commit(commit: &CommitParts, max_payload: u64) -> Result<(), AppendError> {
    if !commit.boundaries.is_empty() {
        return Err(not_offered("boundaries").into());
    }
    if commit.streams.is_empty() && commit.checkpoints.is_empty() {
        return Err(AppendError::Empty);
    }
    let mut ids = HashSet::new();
    for part in &commit.streams {
        if part.stream.as_str().is_empty() {
            return Err(invalid("stream", "the name of a stream is empty").into());
        }
        name("stream", part.stream.as_str())?;
        let events = part.events.len() as u64;
        if events > MAX_EVENTS {
            let hint = "append the events in several commits";
            return Err(too_large("number of events for a stream", events, MAX_EVENTS, hint));
        }
        let mut bytes = 0;
        for new in &part.events {
            let size = event(new)?;
            message(size, max_payload)?;
            bytes += size;
            if let Some(id) = new.id
                && !ids.insert(id)
            {
                return Err(AppendError::DuplicateId { id });
            }
        }
        message(bytes, max_payload)?;
    }
    for snapshot in &commit.snapshots {
        name("snapshot", &snapshot.key)?;
    }
    for checkpoint in &commit.checkpoints {
        name("checkpoint", &checkpoint.name)?;
    }
    let messages = (commit.streams.len() + commit.checkpoints.len() + ids.len()) as u64;
    if messages > MAX_MESSAGES {
        let what = "number of streams, checkpoints and given event ids in a commit";
        let hint = "append the events in several commits";
        return Err(too_large(what, messages, MAX_MESSAGES, hint));
    }
    Ok(())
}

pub(crate) fn not_offered(what: &'static str) -> StoreError {
    Error::NotOffered { what }.into()
}

/// Refuses a message with a payload of a size that the server does not accept.
pub(crate) fn message(size: u64, max_payload: u64) -> Result<(), AppendError> {
    let max = max_payload.saturating_sub(HEADERS);
    if size > max {
        let hint = "raise `max_payload` of the servers, append the events in several commits, or store large contents elsewhere";
        return Err(too_large("commit to a stream in bytes", size, max, hint));
    }
    Ok(())
}

/// The bytes of an event.
fn event(event: &NewEvent) -> Result<u64, AppendError> {
    if event.id.is_some_and(|id| id.is_nil()) {
        return Err(invalid("event id", "the nil UUID is no id").into());
    }
    name("event type", &event.event_type)?;
    for tag in &event.tags {
        name("tag", tag)?;
    }
    Ok((event.data.len() + event.metadata.len()) as u64)
}

pub(crate) fn name(what: &'static str, name: &str) -> Result<(), AppendError> {
    let size = name.len() as u64;
    if size > MAX_NAME {
        return Err(too_large(&format!("{what} in bytes"), size, MAX_NAME, "use a shorter one"));
    }
    Ok(())
}

pub(crate) fn invalid(what: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::InvalidArgument { what, why: why.into() }
}

fn too_large(what: &str, size: u64, max: u64, hint: &str) -> AppendError {
    AppendError::TooLarge { what: what.into(), size, max, hint: hint.into() }
}
