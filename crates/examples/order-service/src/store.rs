//! The store of the service: the one file that knows which it is.
//!
//! Owns its type, its opening and its end. Anything with positions, several streams in one commit and checkpoints that move
//! with a commit fits: the process and its commands are recorded together.

use std::path::Path;

use annals_es::Cause;

/// The store. The other parts know it by this name alone.
#[cfg(not(feature = "postgres"))]
pub(crate) type Store = annals_es::AnnalsStore;
/// The store. The other parts know it by this name alone.
#[cfg(feature = "postgres")]
pub(crate) type Store = annals_postgres::PostgresStore;

/// Opens the store in a directory, and creates it if it does not exist.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn open(directory: &Path) -> Result<Store, Cause> {
    let events = directory.join("events");
    let open = move || annals::Store::open(events);
    Ok(Store::new(tokio::task::spawn_blocking(open).await??))
}

/// Opens the store on the server that `ORDER_SERVICE_POSTGRES` names, such as `host=localhost user=app`. The read model is in
/// the directory, so each directory has a schema of its own.
#[cfg(feature = "postgres")]
pub(crate) async fn open(directory: &Path) -> Result<Store, Cause> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    let mut hash = DefaultHasher::new();
    directory.canonicalize()?.hash(&mut hash);
    let server = std::env::var("ORDER_SERVICE_POSTGRES")?.parse()?;
    let options = annals_postgres::PostgresOptions::new(server);
    let options = options.schema(format!("orders_{:016x}", hash.finish()));
    // For tests, whose server loses commits when power fails.
    let accepts_loss = std::env::var_os("ORDER_SERVICE_ACCEPT_LOSS").is_some();
    let options = if accepts_loss { options.accept_loss() } else { options };
    Ok(options.open().await?)
}

/// Makes everything durable, so that the next opening is fast.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn close(store: &Store) -> Result<(), Cause> {
    let engine = store.engine().clone();
    Ok(tokio::task::spawn_blocking(move || engine.close()).await??)
}

/// Commits are durable; connections end with the last handle.
#[cfg(feature = "postgres")]
#[allow(clippy::unused_async, reason = "as for a directory")]
pub(crate) async fn close(_: &Store) -> Result<(), Cause> {
    Ok(())
}
