//! Conditional appends with tracking positions.
//!
//! Owns the order of the checks: the condition, the recognition of a repeated append, the tracking
//! position. Must never append outside the one commit that checks all of them.

use annals::{
    Error, ExpectedRecord, ExpectedVersion, FailedCheck, NewEvent, Query, Record, Store,
    Transaction,
};
use futures_util::TryStreamExt;
use umadb_dcb::{DcbAppendCondition, DcbError, DcbEvent, DcbResult, TrackingInfo};
use uuid::Uuid;

use crate::error::from_engine;
use crate::{MAX_SOURCE_LENGTH, STREAM, TRACKING_PREFIX, event};

pub(crate) fn tracking_key(source: &str) -> String {
    format!("{TRACKING_PREFIX}{source}")
}

/// The position in a source's record.
pub(crate) fn tracked(record: annals::Result<Option<Record>>) -> DcbResult<Option<u64>> {
    record.map_err(from_engine)?.as_ref().map(position_in).transpose()
}

fn position_in(record: &Record) -> DcbResult<u64> {
    let text = std::str::from_utf8(&record.value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        DcbError::DeserializationError(format!(
            "record {:?} is not a tracking position",
            record.key
        ))
    })
}

/// What one call of `append` asks for.
pub(crate) struct Request {
    events: Vec<NewEvent>,
    /// The ids of the events, if all have one: then a repeated append is recognised.
    ids: Option<Vec<Uuid>>,
    /// The query that must not match.
    condition: Option<Query>,
    /// The position after which it must not match.
    after: u64,
    tracking: Option<TrackingInfo>,
}

/// How an attempt ended.
enum Outcome {
    Done(u64),
    /// The condition failed, for the reason in the text.
    Matched(String),
    /// Another append moved the tracking position after it was read.
    Moved,
}

impl Request {
    pub(crate) fn new(
        events: Vec<DcbEvent>,
        condition: Option<DcbAppendCondition>,
        tracking: Option<TrackingInfo>,
    ) -> DcbResult<Self> {
        if let Some(TrackingInfo { source, .. }) = &tracking
            && source.len() > MAX_SOURCE_LENGTH
        {
            let length = source.len();
            let text =
                format!("the tracking source has {length} bytes, the limit is {MAX_SOURCE_LENGTH}");
            return Err(DcbError::InvalidArgument(text));
        }
        let ids = events.iter().map(|it| it.uuid).collect::<Option<Vec<_>>>();
        let encode = |it| event::encode(it, tracking.as_ref());
        let events = events.into_iter().map(encode).collect::<DcbResult<Vec<_>>>()?;
        let after = condition.as_ref().and_then(|it| it.after).unwrap_or(0);
        let condition = condition.map(|it| event::query(Some(it.fail_if_events_match)));
        Ok(Self { events, ids: ids.filter(|ids| !ids.is_empty()), condition, after, tracking })
    }

    pub(crate) fn append(self, store: &Store) -> DcbResult<u64> {
        if self.is_empty() {
            return Ok(0);
        }
        loop {
            let record = match self.key() {
                Some(key) => store.records().get(&key).map_err(from_engine)?,
                None => None,
            };
            let stale = self.stale(record.as_ref())?;
            let result =
                self.transaction(store, record.as_ref(), stale.is_some()).map(Transaction::commit);
            match self.outcome(result, stale)? {
                Outcome::Done(position) => return Ok(position),
                Outcome::Moved => {}
                Outcome::Matched(text) => {
                    let Some((ids, read)) = self.repetition(store) else {
                        return Err(DcbError::IntegrityError(text));
                    };
                    let found = read.into_iter().collect::<annals::Result<Vec<_>>>();
                    return repeated(ids, found.map_err(from_engine)?, text);
                }
            }
        }
    }

    pub(crate) async fn append_async(self, store: &Store) -> DcbResult<u64> {
        if self.is_empty() {
            return Ok(0);
        }
        loop {
            let record = match self.key() {
                Some(key) => store.records().get_async(&key).await.map_err(from_engine)?,
                None => None,
            };
            let stale = self.stale(record.as_ref())?;
            let commit = self
                .transaction(store, record.as_ref(), stale.is_some())
                .map(Transaction::commit_async);
            let result = match commit {
                Some(commit) => Some(commit.await),
                None => None,
            };
            match self.outcome(result, stale)? {
                Outcome::Done(position) => return Ok(position),
                Outcome::Moved => {}
                Outcome::Matched(text) => {
                    let Some((ids, read)) = self.repetition(store) else {
                        return Err(DcbError::IntegrityError(text));
                    };
                    let found = read.into_stream().try_collect().await.map_err(from_engine)?;
                    return repeated(ids, found, text);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.condition.is_none() && self.tracking.is_none()
    }

    fn key(&self) -> Option<String> {
        self.tracking.as_ref().map(|it| tracking_key(&it.source))
    }

    /// The recorded position, if the new one does not exceed it.
    fn stale(&self, record: Option<&Record>) -> DcbResult<Option<u64>> {
        let (Some(tracking), Some(record)) = (&self.tracking, record) else { return Ok(None) };
        let recorded = position_in(record)?;
        Ok((tracking.position <= recorded).then_some(recorded))
    }

    /// The commit. With a stale tracking position it only checks the condition, whose failure comes first;
    /// `None` if there is no condition.
    fn transaction<'a>(
        &self,
        store: &'a Store,
        record: Option<&Record>,
        stale: bool,
    ) -> Option<Transaction<'a>> {
        let mut transaction = store.transaction();
        if let Some(query) = &self.condition {
            transaction = transaction.fail_if(query.clone().after(self.after));
        }
        if stale {
            return self.condition.is_some().then_some(transaction);
        }
        if !self.events.is_empty() {
            transaction = transaction.append(STREAM, ExpectedVersion::Any, self.events.clone());
        }
        if let Some(tracking) = &self.tracking {
            let expected =
                record.map_or(ExpectedRecord::NoRecord, |it| ExpectedRecord::Exact(it.version));
            let position = tracking.position.to_string();
            transaction = transaction.put(tracking_key(&tracking.source), position, expected);
        }
        Some(transaction)
    }

    fn outcome(
        &self,
        result: Option<annals::Result<annals::Committed>>,
        stale: Option<u64>,
    ) -> DcbResult<Outcome> {
        match (result, stale, &self.tracking) {
            (Some(Err(error @ Error::Conflict { .. })), ..) => {
                let is_boundary =
                    |it: &FailedCheck| matches!(it, FailedCheck::AppendConditionFailed { .. });
                match error.failed_checks().iter().find(|it| is_boundary(it)) {
                    Some(failed) => Ok(Outcome::Matched(failed.to_string())),
                    None => Ok(Outcome::Moved),
                }
            }
            (Some(Err(error)), ..) => Err(from_engine(error)),
            (_, Some(recorded), Some(tracking)) => Err(DcbError::IntegrityError(format!(
                "non-increasing tracking position for source '{}': {} <= {recorded}",
                tracking.source, tracking.position
            ))),
            // Without events there is no position of a last event.
            (Some(Ok(_)), ..) if self.events.is_empty() => Ok(Outcome::Done(0)),
            (Some(Ok(done)), ..) => Ok(Outcome::Done(done.last_position.get())),
            (None, ..) => Ok(Outcome::Done(0)),
        }
    }

    /// The ids of the events, and the read that finds them if they were appended before: the first
    /// matches of the condition, as in UmaDB.
    fn repetition(&self, store: &Store) -> Option<(&[Uuid], annals::ReadAll)> {
        let (ids, query) = (self.ids.as_deref()?, self.condition.clone()?);
        let read = store.read_all().matching(query).after(self.after).limit(ids.len() as u64);
        Some((ids, read))
    }
}

/// The last position of the earlier append, if the first matches of the condition are its events.
fn repeated(ids: &[Uuid], found: Vec<annals::Event>, text: String) -> DcbResult<u64> {
    let found = found.into_iter().map(event::decode).collect::<DcbResult<Vec<_>>>()?;
    match found.last() {
        Some(last) if found.iter().map(|it| it.event.uuid).eq(ids.iter().copied().map(Some)) => {
            Ok(last.position)
        }
        _ => Err(DcbError::IntegrityError(text)),
    }
}
