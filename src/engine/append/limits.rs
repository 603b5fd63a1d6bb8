//! The limits of a commit's parts by name, each with the next step for a caller who exceeds it.
//!
//! Owns the texts. Must never hold a maximum: those are the format's and the options'.

use crate::error::{Error, Result};

/// What a limit is about, and what to do about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    what: &'static str,
    hint: &'static str,
}

impl Limit {
    /// Refuses a size above `max`.
    pub(super) fn check(self, size: usize, max: usize) -> Result<()> {
        if size <= max {
            return Ok(());
        }
        let Self { what, hint } = self;
        Err(Error::LimitExceeded { what, size: size as u64, max: max as u64, hint })
    }
}

const SHORTER: &str = "use a shorter one, or a hash of it";
const ELSEWHERE: &str = "keep large data elsewhere and refer to it";

pub(super) const STREAM_NAME: Limit = Limit { what: "a stream name in bytes", hint: SHORTER };
pub(super) const CURSOR_NAME: Limit = Limit { what: "a cursor's name in bytes", hint: SHORTER };
pub(super) const EVENT_TYPE: Limit =
    Limit { what: "an event type in bytes", hint: "use a shorter one" };
pub(super) const TAGS: Limit = Limit {
    what: "the tags of an event in bytes, with their lengths,",
    hint: "use hashes of long values as tags",
};
pub(super) const EVENT: Limit = Limit {
    what: "an event's data and metadata in bytes",
    hint: "open the store with a larger Options::max_event_size, or keep large data elsewhere and \
        refer to it",
};
pub(super) const LARGEST_EVENT: Limit =
    Limit { what: "an event's data and metadata in bytes", hint: ELSEWHERE };
pub(super) const COMMIT: Limit = Limit {
    what: "a commit in bytes",
    hint: "split it, or open the store with a larger Options::segment_size: a quarter of it fits",
};
pub(super) const RECORD_KEY: Limit = Limit { what: "a record's key in bytes", hint: SHORTER };
pub(super) const RECORD_VALUE: Limit = Limit { what: "a record's value in bytes", hint: ELSEWHERE };
