//! The store of the service: the one file that knows which it is.
//!
//! Owns its type, its opening and its end. Anything with positions, several streams in one commit and checkpoints that move
//! with a commit fits: the process and its commands are recorded together. A program of its own would have one of these
//! modules; the features of the example choose between them.

#[cfg(not(any(feature = "postgres", feature = "nats")))]
pub(crate) use in_directory::{Store, close, open};
#[cfg(all(feature = "nats", not(feature = "postgres")))]
pub(crate) use on_nats::{Store, close, open};
#[cfg(feature = "postgres")]
pub(crate) use on_postgres::{Store, close, open};

#[cfg(not(any(feature = "postgres", feature = "nats")))]
mod in_directory {
    use std::path::Path;

    use annals_es::Cause;

    /// The store. The other parts know it by this name alone.
    pub(crate) type Store = annals_es::AnnalsStore;

    /// Opens the store in a directory, and creates it if it does not exist.
    pub(crate) async fn open(directory: &Path) -> Result<Store, Cause> {
        let events = directory.join("events");
        let open = move || annals::Store::open(events);
        Ok(Store::new(tokio::task::spawn_blocking(open).await??))
    }

    /// Makes everything durable, so that the next opening is fast.
    pub(crate) async fn close(store: &Store) -> Result<(), Cause> {
        let engine = store.engine().clone();
        Ok(tokio::task::spawn_blocking(move || engine.close()).await??)
    }
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use std::path::Path;

    use annals_es::Cause;
    use annals_postgres::PostgresOptions;

    /// The store. The other parts know it by this name alone.
    pub(crate) type Store = annals_postgres::PostgresStore;

    /// Opens the store on the server that `ORDER_SERVICE_POSTGRES` names, such as `host=localhost user=app`, in a schema of
    /// the directory's own.
    pub(crate) async fn open(directory: &Path) -> Result<Store, Cause> {
        let server = std::env::var("ORDER_SERVICE_POSTGRES")?.parse()?;
        let options = PostgresOptions::new(server).schema(super::name(directory)?);
        let options = if super::accepts_loss() { options.accept_loss() } else { options };
        Ok(options.open().await?)
    }

    /// Commits are durable; connections end with the last handle.
    #[allow(clippy::unused_async, reason = "as for a directory")]
    pub(crate) async fn close(_: &Store) -> Result<(), Cause> {
        Ok(())
    }
}

#[cfg(all(feature = "nats", not(feature = "postgres")))]
mod on_nats {
    use std::path::Path;

    use annals_es::Cause;
    use annals_jetstream::{Durability, JetStreamOptions};

    /// The store. The other parts know it by this name alone.
    pub(crate) type Store = annals_jetstream::JetStreamStore;

    /// Opens the store on the servers that `ORDER_SERVICE_NATS` names, such as `nats://one:4222,nats://two:4222`, in streams
    /// of the directory's own. The servers have to wait for their disks.
    pub(crate) async fn open(directory: &Path) -> Result<Store, Cause> {
        let servers = std::env::var("ORDER_SERVICE_NATS")?;
        let servers: Vec<&str> = servers.split(',').collect();
        let options = JetStreamOptions::new(&servers[..])?.name(super::name(directory)?);
        let options = if super::accepts_loss() {
            options.durability(Durability::AcceptLoss).replicas(1)
        } else {
            options.durability(Durability::Synced)
        };
        Ok(options.open().await?)
    }

    /// Commits are durable; the connection ends with the last handle.
    #[allow(clippy::unused_async, reason = "as for a directory")]
    pub(crate) async fn close(_: &Store) -> Result<(), Cause> {
        Ok(())
    }
}

/// A name for the store on a server. The read model is in the directory, so each directory has a store of its own.
#[cfg(any(feature = "postgres", feature = "nats"))]
fn name(directory: &std::path::Path) -> std::io::Result<String> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    let mut hash = DefaultHasher::new();
    directory.canonicalize()?.hash(&mut hash);
    Ok(format!("orders_{:016x}", hash.finish()))
}

/// For tests, whose servers lose commits when power fails.
#[cfg(any(feature = "postgres", feature = "nats"))]
fn accepts_loss() -> bool {
    std::env::var_os("ORDER_SERVICE_ACCEPT_LOSS").is_some()
}
