//! Copies the events of another store.
//!
//! Owns the position that was reached, as a tracking position in the target. Must never append an event twice.

use umadb_dcb::{DcbError, DcbEventStoreSync, DcbResult, TrackingInfo};

use crate::append::Request;
use crate::{UmaStore, engine_error};

/// The tracking source that holds the position in the other store.
pub const COPY_SOURCE: &str = "annals-umadb/copy";

/// The largest number of events that one commit copies.
const BATCH: u32 = 1000;

/// Appends all events of `source` that were not copied before, and returns their number. An event keeps its
/// type, data, tags, id, metadata and tracking information. Interrupted, it is called again.
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
/// Those of reading the source and appending to the target. What was copied before an error stays copied.
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
        let Some(last) = events.last() else { return Ok(copied) };
        let position = TrackingInfo { source: COPY_SOURCE.into(), position: last.position };
        let count = events.len() as u64;
        match Request::of_recorded(events, position)?.append(target.store()) {
            Ok(_) => copied += count,
            // The commit may be too large, rather than an event.
            Err(error) if batch > 1 && is_over_limit(&error) => batch /= 2,
            Err(error) => return Err(error),
        }
    }
}

fn is_over_limit(error: &DcbError) -> bool {
    matches!(engine_error(error), Some(annals::Error::LimitExceeded { .. }))
}
