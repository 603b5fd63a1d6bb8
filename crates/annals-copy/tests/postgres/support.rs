//! A schema of its own on the server for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use annals_copy::Postgres;
use annals_es::blocking::block_on;
use annals_es::{OrderedStore as _, Position};
use annals_postgres::tokio_postgres::{Config, NoTls};
use annals_postgres::{PostgresOptions, PostgresStore};
use futures_util::TryStreamExt as _;

pub(crate) fn server() -> Option<Config> {
    let server = std::env::var("ANNALS_ES_POSTGRES").ok()?;
    Some(server.parse().expect("ANNALS_ES_POSTGRES has the parameters of a connection"))
}

/// The server as an address: `host` is the directory of a socket there.
fn address() -> String {
    use annals_postgres::tokio_postgres::config::Host;
    let server = server().unwrap();
    let host = match &server.get_hosts()[0] {
        Host::Tcp(host) => host.clone(),
        Host::Unix(path) => path.to_str().unwrap().replace('/', "%2F"),
    };
    let user = server.get_user().unwrap_or("postgres");
    let database = server.get_dbname().unwrap_or("postgres");
    format!("postgres://{user}@{host}/{database}?accept_loss=1")
}

pub(crate) struct Schema {
    name: String,
    positions: &'static str,
}

impl Schema {
    pub(crate) fn new(positions: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("annals_copy_{}_{number}", std::process::id()), positions }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}&schema={}", address(), self.name)
    }

    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}&table={}.{name}", address(), self.name)
    }

    pub(crate) fn target(&self) -> Postgres {
        Postgres::target(&format!("{}&positions={}", self.url(), self.positions)).unwrap()
    }

    pub(crate) fn source(&self) -> Postgres {
        Postgres::source(&self.url()).unwrap()
    }

    pub(crate) fn store(&self) -> PostgresStore {
        let positions = match self.positions {
            "fast" => annals_postgres::Positions::Fast,
            _ => annals_postgres::Positions::Dense,
        };
        let options = PostgresOptions::new(server().unwrap()).schema(self.name.as_str());
        block_on(options.positions(positions).connections(2).accept_loss().open()).unwrap()
    }

    pub(crate) fn head(&self) -> Position {
        block_on(self.store().head()).unwrap()
    }

    /// The rows of a query as CSV with a header.
    pub(crate) fn csv(&self, query: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let query = query.replace("{schema}", &self.name);
        runtime.block_on(async {
            let (client, connection) = server().unwrap().connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("SET timezone = 'UTC'").await.unwrap();
            let copy = format!("COPY ({query}) TO STDOUT CSV HEADER");
            let parts: Vec<_> = client.copy_out(&copy).await.unwrap().try_collect().await.unwrap();
            String::from_utf8(parts.concat()).unwrap()
        })
    }

    pub(crate) fn execute(&self, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = server().unwrap().connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&sql.replace("{schema}", &self.name)).await.unwrap();
        });
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.execute("DROP SCHEMA IF EXISTS {schema} CASCADE");
    }
}
