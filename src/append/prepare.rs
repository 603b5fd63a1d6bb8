//! What can be checked of a commit without a lock: limits, names, ids given twice.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::event::{ExpectedVersion, NewEvent};
use crate::format::record::{self, MAX_STREAM_LEN, MAX_TAG_LEN, MAX_TAGS, MAX_TYPE_LEN};
use crate::options::Options;

/// One operation of a commit: a check, and the events to append if it holds.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: ExpectedVersion,
    pub(crate) events: &'a [NewEvent],
}

/// A commit within its limits.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(super) operations: &'a [Operation<'a>],
    pub(super) body_len: usize,
    pub(super) event_count: u32,
    pub(super) has_ids: bool,
}

/// Checks everything about a commit that needs no lock.
pub(crate) fn prepare<'a>(
    operations: &'a [Operation<'a>],
    options: &Options,
) -> Result<Prepared<'a>> {
    let mut body_len = 0_usize;
    let mut event_count = 0_usize;
    let mut given_ids = 0_usize;
    for operation in operations {
        check_limit("a stream name in bytes", operation.stream.len(), MAX_STREAM_LEN)?;
        if operation.stream.is_empty() {
            return Err(empty("stream"));
        }
        for event in operation.events {
            check_event(event, options)?;
            body_len = body_len.saturating_add(record::encoded_len(operation.stream, event));
            given_ids += usize::from(event.id.is_some());
        }
        event_count += operation.events.len();
    }
    if operations.is_empty()
        || (event_count == 0 && operations.iter().all(|o| o.expected == ExpectedVersion::Any))
    {
        return Err(Error::EmptyCommit);
    }
    let max = options.segment_size / 4;
    check_limit("a commit in bytes", body_len, usize::try_from(max).unwrap_or(usize::MAX))?;
    if given_ids > 1 {
        let mut seen = HashSet::with_capacity(given_ids);
        let ids = operations.iter().flat_map(|o| o.events).filter_map(|event| event.id);
        if let Some(id) = ids.into_iter().find(|id| !seen.insert(*id)) {
            return Err(Error::DuplicateId { id });
        }
    }
    Ok(Prepared {
        operations,
        body_len,
        // Bounded by the commit's size.
        event_count: u32::try_from(event_count).unwrap_or(u32::MAX),
        has_ids: given_ids > 0,
    })
}

fn check_event(event: &NewEvent, options: &Options) -> Result<()> {
    check_limit("an event type in bytes", event.event_type.len(), MAX_TYPE_LEN)?;
    if event.event_type.is_empty() {
        return Err(empty("event type"));
    }
    check_limit("the number of tags", event.tags.len(), MAX_TAGS)?;
    for tag in &event.tags {
        check_limit("a tag in bytes", tag.len(), MAX_TAG_LEN)?;
        if tag.is_empty() {
            return Err(empty("tag"));
        }
    }
    let size = event.data.len().saturating_add(event.metadata.len());
    let max = usize::try_from(options.max_event_size).unwrap_or(usize::MAX);
    check_limit("data and metadata in bytes", size, max)
}

fn check_limit(what: &'static str, size: usize, max: usize) -> Result<()> {
    if size > max {
        return Err(Error::LimitExceeded { what, size: size as u64, max: max as u64 });
    }
    Ok(())
}

fn empty(what: &'static str) -> Error {
    Error::InvalidArgument { what, why: "must not be empty".into() }
}
