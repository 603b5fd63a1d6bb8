//! A database of its own for each test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

pub(crate) fn config() -> Option<Config> {
    let parameters = std::env::var("ANNALS_ES_POSTGRES").ok()?;
    Some(parameters.parse().expect("ANNALS_ES_POSTGRES has the parameters of a connection"))
}

pub(crate) struct Database {
    pub(crate) host: PathBuf,
    pub(crate) user: String,
    pub(crate) name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let config = config().expect("a server");
        let host = match &config.get_hosts()[0] {
            Host::Unix(path) => path.clone(),
            Host::Tcp(name) => name.into(),
        };
        let user = config.get_user().expect("a user").to_owned();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("annals_migration_{}_{number}", std::process::id());
        let database = Self { host, user, name };
        let create = format!("CREATE DATABASE {}", database.name);
        connect(&config).await.batch_execute(&create).await.unwrap();
        database
    }

    pub(crate) async fn client(&self) -> Client {
        connect(config().expect("a server").dbname(&self.name)).await
    }

    pub(crate) async fn remove(&self) {
        let remove = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connect(&config().expect("a server")).await.batch_execute(&remove).await.unwrap();
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Runs a test with a runtime and a database.
pub(crate) fn on_database<F: Future<Output = ()>>(test: impl FnOnce(Arc<Database>) -> F) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Arc::new(Database::create().await);
        test(Arc::clone(&database)).await;
        database.remove().await;
    });
}
