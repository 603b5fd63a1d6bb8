//! A schema of its own on the server for each test.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use annals_conformance::Backend;
use annals_es::Cause;
use annals_es::blocking::block_on;
use annals_postgres::tokio_postgres::{Client, Config, NoTls};
use annals_postgres::{Positions, PostgresOptions, PostgresStore};
use tokio::runtime::Runtime;

pub(crate) type Tests = &'static [(&'static str, fn())];

/// Drives the connections of the tests themselves.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

pub(crate) fn server() -> Option<Config> {
    let server = std::env::var("ANNALS_ES_POSTGRES").ok()?;
    Some(server.parse().expect("ANNALS_ES_POSTGRES has the parameters of a connection"))
}

pub(crate) fn config() -> Config {
    server().expect("a server")
}

pub(crate) fn connect(config: &Config) -> Client {
    RUNTIME.block_on(async {
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    })
}

/// A schema without a store.
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) positions: Positions,
}

impl Schema {
    pub(crate) fn dense() -> Self {
        Self::of(Positions::Dense)
    }

    pub(crate) fn fast() -> Self {
        Self::of(Positions::Fast)
    }

    pub(crate) fn of(positions: Positions) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("annals_store_{}_{number}", std::process::id()), positions }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        let options = PostgresOptions::new(config()).schema(self.name.as_str());
        options.positions(self.positions).connections(6).accept_loss()
    }

    pub(crate) fn store(&self) -> PostgresStore {
        block_on(self.options().open()).expect("the store opens")
    }

    pub(crate) fn execute(&self, sql: &str) {
        let client = connect(&config());
        let sql = sql.replace("{schema}", &self.name);
        RUNTIME.block_on(client.batch_execute(&sql)).expect("it is executed");
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        let client = connect(&config());
        let sql = sql.replace("{schema}", &self.name);
        RUNTIME.block_on(client.query_one(&sql, &[])).expect("a row").get(0)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.execute("DROP SCHEMA IF EXISTS {schema} CASCADE");
    }
}

impl Backend for Schema {
    type Store = PostgresStore;

    async fn open(&self) -> Result<PostgresStore, Cause> {
        Ok(self.options().open().await?)
    }
}
