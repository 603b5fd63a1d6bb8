//! Compares the contents of a store with the model.

mod overview;
mod reads;

use std::fmt;

pub(super) use self::reads::read;

use super::metadata;
use super::model::{Model, ModelEvent, ModelState};
use super::operations::{PastChoice, ReadChoice, STREAMS};
use crate::error::{Error, FailedCheck, Result as StoreResult};
use crate::event::{Position, SharedStr, StreamHead, category_of};
use crate::read::StreamInfo;
use crate::read::event::{Event, EventRef};
use crate::store::Store;

/// A difference between a store and the model, in words.
#[derive(Debug)]
pub struct Mismatch {
    what: String,
    /// An operation failed, as is possible on a failing disk.
    pub(super) by_failure: bool,
}

impl Mismatch {
    /// Returns a difference with this description.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), by_failure: false }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl std::error::Error for Mismatch {}

pub(super) type Checked<T = ()> = Result<T, Mismatch>;

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::testing::compare::Mismatch::new(format!($($words)+)));
        }
    };
}
pub(super) use ensure;

/// Requires an answer.
pub(super) fn must<T>(what: &str, answer: StoreResult<T>) -> Checked<T> {
    answer.map_err(|error| Mismatch {
        what: format!("{what}: {error} ({error:?})"),
        by_failure: super::commits::is_failure(&error),
    })
}

/// Whether two errors are equal. Sizes that exceed a limit are measured by the engine alone.
pub(super) fn same_error(predicted: &Error, actual: &Error) -> bool {
    match (predicted, actual) {
        (Error::LimitExceeded { .. }, Error::LimitExceeded { .. }) => true,
        (Error::InvalidArgument { what, .. }, Error::InvalidArgument { what: actual, .. }) => {
            what == actual
        }
        (
            Error::Conflict { failed, visible_at },
            Error::Conflict { failed: actual, visible_at: given },
        ) => {
            // If a cursor was moved without events, a later position may be named.
            let of_a_cursor = |check: &FailedCheck| {
                !matches!(
                    check,
                    FailedCheck::WrongExpectedVersion { .. }
                        | FailedCheck::AppendConditionFailed { .. }
                        | FailedCheck::AlreadyExists { .. }
                        | FailedCheck::NewestMatchMoved { .. }
                )
            };
            let later = failed.iter().any(of_a_cursor) && given >= visible_at;
            failed == actual && (given == visible_at || later)
        }
        // The clock may advance meanwhile.
        (
            Error::RecordedTime { given: a, earliest: b, .. },
            Error::RecordedTime { given: c, earliest: d, .. },
        ) => (a, b) == (c, d),
        _ => format!("{predicted:?}") == format!("{actual:?}"),
    }
}

/// Compares an event with the model, which takes over its id and time; returns its position.
pub(super) fn event(model: &mut Model, found: &EventRef<'_>) -> Checked<u64> {
    let position = found.position().get();
    let learned = model.learn(position, found.id(), found.recorded_at());
    let Some(expected) = model.at(position) else {
        return Err(Mismatch::new(format!("an event that nobody appended: {found:?}")));
    };
    let contents = &expected.contents;
    let same = learned
        && found.stream() == expected.stream
        && found.version() == expected.version
        && found.event_type() == contents.event_type
        && found.data() == contents.data
        && found.metadata() == contents.metadata
        && found.tags().eq(contents.tags.iter().map(String::as_str))
        && found.schema_version() == contents.schema_version
        && found.content_type() == contents.content_type
        && found.id_given() == Some(contents.id.is_some())
        && found.commit().get() == expected.commit
        && found.is_last_in_commit() == expected.is_last;
    ensure!(same, "event {position} is {found:?}, the model has {}", brief(expected));
    Ok(position)
}

/// Compares an owned event with the model, and its parts with what its accessors return.
pub(super) fn owned_event(model: &mut Model, found: &Event) -> Checked<u64> {
    let position = event(model, &found.as_ref())?;
    let parts = found.clone().into_parts();
    let same = (parts.id, parts.id_given) == (found.id(), found.id_given())
        && parts.stream == found.stream()
        && (parts.version, parts.position) == (found.version(), found.position())
        && parts.event_type == found.event_type()
        && (&parts.data[..], &parts.metadata[..]) == (found.data(), found.metadata())
        && found.tags().eq(parts.tags.iter().map(SharedStr::as_str))
        && parts.schema_version == found.schema_version()
        && parts.content_type == found.content_type()
        && parts.recorded_at == found.recorded_at()
        && (parts.commit, parts.is_last_in_commit) == (found.commit(), found.is_last_in_commit());
    ensure!(same, "event {position} is {found:?}, and its parts are {parts:?}");
    Ok(position)
}

fn brief(event: &ModelEvent) -> String {
    let ModelEvent { stream, version, id, contents, commit, is_last, recorded_at, .. } = event;
    format!(
        "{stream}@{version} {} id {id:?} commit {commit} last {is_last} at {recorded_at:?}, {} bytes",
        contents.event_type,
        contents.data.len()
    )
}

/// Heads, single events and the position at a time, at and around a position.
pub(super) fn look(store: &Store, model: &mut Model, back: u16) -> StoreResult<Checked> {
    let head = store.read_all().start()?.head().get();
    let position = head.saturating_sub(u64::from(back) % (head + 1));
    let found = store.event_at(position.into())?;
    let checked = (|| {
        match (&found, position) {
            (None, 0) => {}
            (Some(found), 1..) => {
                owned_event(model, found)?;
            }
            _ => return Err(Mismatch::new(format!("event_at({position}) is {found:?}"))),
        }
        Ok(())
    })();
    if checked.is_err() {
        return Ok(checked);
    }
    let id = model.at(position).and_then(|event| event.id);
    if let Some(id) = id
        && store.event(id)?.map(|found| found.position().get()) != Some(position)
    {
        return Ok(Err(Mismatch::new(format!("event({id}) does not find position {position}"))));
    }
    let name = STREAMS[usize::from(back) % STREAMS.len()];
    let found = store.stream_head(name)?;
    let (version, last) = model.stream_head(name, head);
    let expected =
        (version > 0).then_some(StreamHead { version, last_position: Position::new(last) });
    let later = model.stream_head(name, u64::MAX).0;
    // Commits in flight may have become visible meanwhile.
    if found != expected && (later == version || store.head().get() == head) {
        return Ok(Err(Mismatch::new(format!(
            "the head of {name:?} is {found:?}, not {expected:?}"
        ))));
    }
    if let Some(time) = model.at(position).and_then(|event| event.recorded_at) {
        let found = store.position_at(time)?.get();
        let expected = model.position_at(time, head);
        if found != expected && store.head().get() == head {
            return Ok(Err(Mismatch::new(format!(
                "position_at({time:?}) is {found}, not {expected}"
            ))));
        }
    }
    Ok(Ok(()))
}

/// The info of a stream, according to the model.
pub(super) fn expected_info(
    model: &Model,
    state: &ModelState,
    name: &str,
    head: u64,
) -> Option<StreamInfo> {
    let (version, last_position) = model.stream_head(name, head);
    let rules = state.rules(name);
    (version > 0).then(|| StreamInfo {
        name: name.to_owned(),
        version,
        last_position: last_position.into(),
        first_version: rules.first_version(version),
        archived: rules.archived,
        metadata: metadata::limits(rules.max_age, rules.max_count),
    })
}

/// The listing of streams by prefix.
pub(super) fn list(store: &Store, model: &Model, prefix: &str) -> Checked<StoreResult<()>> {
    match list_all(store, model, prefix, None)? {
        Ok(()) => overview::terms(store, model, prefix),
        failed => Ok(failed),
    }
}

/// The listings of streams by prefix and category, with and without hidden ones.
pub(super) fn list_all(
    store: &Store,
    model: &Model,
    prefix: &str,
    category: Option<&str>,
) -> Checked<StoreResult<()>> {
    for hidden in [false, true] {
        let before = metadata::visible(store);
        if hidden && before.changes == 0 {
            break;
        }
        let mut listing = store.streams().prefix(prefix);
        if let Some(category) = category {
            listing = listing.category(category);
        }
        if hidden {
            listing = listing.include_hidden();
        }
        let found: Vec<StreamInfo> = match listing.clone().into_iter().collect() {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let point = metadata::visible(store);
        let state = model.state(point.changes);
        let wanted = |name: &String| category.is_none_or(|it| it == category_of(name));
        let names = model.streams(prefix, point.events).into_iter().map(|(name, ..)| name);
        let infos = names
            .filter(wanted)
            .filter_map(|name| expected_info(model, &state, &name, point.events));
        let shows = |info: &StreamInfo| !info.archived && info.first_version <= info.version;
        let expected: Vec<_> = infos.filter(|info| hidden || shows(info)).collect();
        ensure!(
            point != before || found == expected,
            "streams with {prefix:?}, {category:?}, hidden {hidden}, at {point:?}: {found:?}, not \
             {expected:?}"
        );
        let unchanged = || metadata::visible(store) == before;
        if let Err(error) = overview::pages(&listing, &found, unchanged)? {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// Everything a store shows, by every kind of read. No commit is in flight.
pub(super) fn contents(store: &Store, model: &mut Model) -> Checked {
    let head = must("head", store.read_all().start().map(|events| events.head().get()))?;
    ensure!(head == model.head(), "the head is {head}, not {}", model.head());
    let stats = store.stats();
    let streams = model.streams("", head);
    let expected = (head, head, streams.len() as u64, model.commits());
    let found = (stats.head.get(), stats.events, stats.streams, stats.commits);
    ensure!(found == expected, "head, events, streams, commits: {found:?}, not {expected:?}");
    let all = |backwards, borrowed, from| ReadChoice {
        stream: None,
        from,
        limit: None,
        backwards,
        query: None,
        past: PastChoice::Now,
        borrowed,
        unsynced: false,
        hidden: false,
    };
    // No event is hidden in a store without changes.
    let changed = model.end().changes > 0;
    for hidden in [true, false].into_iter().filter(|hidden| changed || !hidden) {
        for choice in [all(false, false, 0), all(true, false, 0), all(false, true, 0)] {
            must("a full read", read(store, model, &ReadChoice { hidden, ..choice })?)?;
        }
        for index in 0..STREAMS.len() {
            let stream = Some(index);
            for (backwards, from) in [(false, 0), (true, 2)] {
                let choice = ReadChoice { stream, from, hidden, ..all(backwards, backwards, 0) };
                must("a stream's read", read(store, model, &choice)?)?;
            }
        }
    }
    for name in STREAMS.iter().chain([&""]) {
        must("list", list(store, model, name)?)?;
    }
    if changed {
        let shown = must("metadata", metadata::compare(store, model)?)?;
        ensure!(shown == model.end(), "readers are at {shown:?}, not {:?}", model.end());
    }
    let step = usize::try_from(head / 40).unwrap_or(0).max(1);
    for back in (0..=head).step_by(step) {
        let back = u16::try_from(back).unwrap_or(u16::MAX);
        must("look", look(store, model, back))??;
        must(
            "a read from the middle",
            read(store, model, &ReadChoice { limit: Some(3), ..all(false, false, back) })?,
        )?;
    }
    for id in model.events().iter().filter_map(|event| event.id) {
        let found = must("event", store.event(id))?.map(|event| event.position().get());
        ensure!(found == model.find(id), "event({id}) is at {found:?}, not {:?}", model.find(id));
    }
    let unknown = must("event", store.event(uuid::Uuid::from_u128(1)))?;
    ensure!(unknown.is_none(), "an id that nobody gave: {unknown:?}");
    Ok(())
}
