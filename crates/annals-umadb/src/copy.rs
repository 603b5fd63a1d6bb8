//! Copies the events of another store.
//!
//! Owns the position that was reached, as a tracking position in the target. Must never append an event twice, or at
//! another position than in the source.

use std::collections::BTreeSet;

use annals::{Error, ExpectedRecord, ExpectedVersion, NewEvent, Query};
use umadb_dcb::{DcbError, DcbEventStoreSync, DcbResult, DcbSequencedEvent};

use crate::append::tracking_key;
use crate::error::from_engine;
use crate::{STREAM, UmaStore, event};

/// The tracking source that holds the position in the other store.
pub const COPY_SOURCE: &str = "annals-umadb/copy";

/// The largest number of events that one commit copies.
const BATCH: u32 = 1000;

/// Appends all events of `source` that were not copied before, and returns their number. An event keeps its position,
/// type, data, tags, id, metadata and tracking information; the tracking position of each source that its events name is
/// copied too. Interrupted, it is called again.
///
/// ```
/// use annals_umadb::UmaStore;
/// use annals_umadb::umadb_dcb::{DcbEvent, DcbEventStoreSync};
///
/// let dir = tempfile::tempdir()?;
/// let client = UmaStore::open(dir.path().join("source"))?; // or a client of UmaDB
/// DcbEventStoreSync::append(&client, vec![DcbEvent::default().event_type("Opened")], None, None)?;
///
/// let store = UmaStore::open(dir.path().join("target"))?;
/// assert_eq!(annals_umadb::copy(&client, &store)?, 1);
/// assert_eq!(annals_umadb::copy(&client, &store)?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - Those of reading the source and appending to the target.
/// - [`DcbError::Corruption`] for a position that the source lacks: the events after it would move.
/// - [`DcbError::InvalidArgument`] if the source has more events and the target has events that were not copied.
///
/// What was copied before an error stays copied.
pub fn copy(source: &impl DcbEventStoreSync, target: &UmaStore) -> DcbResult<u64> {
    let (mut copied, mut batch) = (0, BATCH);
    loop {
        let reached = DcbEventStoreSync::get_tracking_info(target, COPY_SOURCE)?.unwrap_or(0);
        let start = reached.checked_add(1).ok_or_else(|| {
            DcbError::InvalidArgument(
                "the source has no position after the one that was reached".into(),
            )
        })?;
        let (events, _) = source.read_with_head(None, Some(start), false, Some(batch))?;
        if events.is_empty() {
            return Ok(copied);
        }
        for (expected, event) in (start..).zip(&events) {
            if event.position != expected {
                let found = event.position;
                return Err(DcbError::Corruption(format!(
                    "the source has no event at position {expected}, the next one is at {found}"
                )));
            }
        }
        let count = events.len() as u64;
        match append(source, target, reached, events) {
            Ok(()) => copied += count,
            // The commit may be too large, rather than an event.
            Err(Failure::Engine(Error::LimitExceeded { .. })) if batch > 1 => batch /= 2,
            Err(Failure::Engine(Error::Conflict { .. })) => {
                return Err(DcbError::InvalidArgument(format!(
                    "the target has events after position {reached} that were not copied"
                )));
            }
            Err(Failure::Engine(error)) => return Err(from_engine(error)),
            Err(Failure::Dcb(error)) => return Err(error),
        }
    }
}

enum Failure {
    Dcb(DcbError),
    Engine(Error),
}

impl From<DcbError> for Failure {
    fn from(error: DcbError) -> Self {
        Self::Dcb(error)
    }
}

/// One commit: events that follow `reached`, the position of the last one, and the tracking positions that the source
/// has for the sources that the events name.
fn append(
    source: &impl DcbEventStoreSync,
    target: &UmaStore,
    reached: u64,
    events: Vec<DcbSequencedEvent>,
) -> Result<(), Failure> {
    let last = reached + events.len() as u64;
    let named = events.iter().filter_map(|it| it.tracking_info.as_ref());
    let named: BTreeSet<String> = named.map(|it| it.source.clone()).collect();
    let encode = |it: DcbSequencedEvent| event::encode(it.event, it.tracking_info.as_ref());
    let events = events.into_iter().map(encode).collect::<DcbResult<Vec<NewEvent>>>()?;
    let mut transaction = target
        .store()
        .transaction()
        .expect_newest(Query::all(), reached)
        .append(STREAM, ExpectedVersion::Any, events)
        .put(tracking_key(COPY_SOURCE), last.to_string(), ExpectedRecord::Any);
    // A copy of a copy: the position in the first source is not one in this source.
    for name in named.iter().filter(|it| *it != COPY_SOURCE) {
        if let Some(position) = source.get_tracking_info(name)? {
            transaction =
                transaction.put(tracking_key(name), position.to_string(), ExpectedRecord::Any);
        }
    }
    transaction.commit().map(drop).map_err(Failure::Engine)
}
