//! Copies the events and the cursors of another executor.
//!
//! Owns the batches. Must never copy an event twice.

use evento_core::cursor::Args;
use evento_core::{Executor, TenantFilter, WriteError};
use ulid::Ulid;

use crate::{AnnalsExecutor, Error};

/// The largest number of events that one commit copies.
const BATCH: u16 = 1000;

/// Copies all events of `source` that come after the last one of `target`, and returns their number. Events keep their
/// ids, stamps and everything else, so that cursors stay valid. Interrupted, it is called again.
///
/// ```
/// use annals_evento::{AnnalsExecutor, copy};
///
/// # #[evento::aggregate]
/// # enum Account { Opened { owner: String } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// # let dir = tempfile::tempdir()?;
/// let source = AnnalsExecutor::open(dir.path().join("source"))?; // or any other executor
/// evento::create().event(&Opened { owner: "Ann".into() }).commit(&source).await?;
///
/// let target = AnnalsExecutor::open(dir.path().join("target"))?;
/// assert_eq!(copy(&source, &target).await?, 1);
/// assert_eq!(copy(&source, &target).await?, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of reading the source, and those of [`Executor::replicate`]. What was copied before an error stays copied.
pub async fn copy(source: &impl Executor, target: &AnnalsExecutor) -> anyhow::Result<u64> {
    let last = target.read(None, None, TenantFilter::All, Args::backward(1, None), None).await?;
    let (mut after, mut copied, mut batch) = (last.page_info.end_cursor, 0, BATCH);
    loop {
        let args = Args::forward(batch, after.clone());
        let page = source.read(None, None, TenantFilter::All, args, None).await?;
        let events: Vec<_> = page.edges.into_iter().map(|edge| edge.node).collect();
        if events.is_empty() {
            return Ok(copied);
        }
        let count = events.len() as u64;
        match target.replicate(events).await {
            Ok(()) => (after, copied) = (page.page_info.end_cursor, copied + count),
            // The commit may be too large, rather than an event.
            Err(error) if batch > 1 && is_over_limit(&error) => batch /= 2,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets the cursor of a subscription to the one that it has in `source`; returns whether it has one. The subscription must
/// not run. `key` is the name of the subscription, after the executor's default routing key and a dot if it has one.
///
/// # Errors
///
/// Those of the executors.
pub async fn copy_cursor(
    source: &impl Executor,
    target: &AnnalsExecutor,
    key: &str,
) -> anyhow::Result<bool> {
    let Some(cursor) = source.get_subscriber_cursor(key.to_owned()).await? else {
        return Ok(false);
    };
    let worker = Ulid::generate();
    target.upsert_subscriber(key.to_owned(), worker).await?;
    target.acknowledge(key.to_owned(), worker, cursor, 0).await
}

fn is_over_limit(error: &WriteError) -> bool {
    let WriteError::Unknown(error) = error else { return false };
    matches!(error.downcast_ref(), Some(Error::Store(annals::Error::LimitExceeded { .. })))
}
