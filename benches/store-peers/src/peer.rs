//! postgres-es: its repository of events, as its framework calls it.

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{Appends, DATA, Failure};

#[derive(Default, Serialize, Deserialize)]
struct Account;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deposited;

impl DomainEvent for Deposited {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = Deposited;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        (): (),
        (): &(),
        _: &EventSink<Self>,
    ) -> Result<(), std::convert::Infallible> {
        Ok(())
    }

    fn apply(&mut self, _: Deposited) {}
}

#[derive(Clone)]
pub struct Peer(std::sync::Arc<PostgresEventRepository>);

const TABLE: &str = "
    CREATE TABLE events (
        aggregate_type text NOT NULL,
        aggregate_id text NOT NULL,
        sequence bigint CHECK (sequence >= 0) NOT NULL,
        event_type text NOT NULL,
        event_version text NOT NULL,
        payload json NOT NULL,
        metadata json NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    )";

impl Peer {
    pub async fn open(server: &str, connections: u32) -> Result<Self, Failure> {
        let value = |name: &str| {
            let part = server.split(' ').find_map(|part| part.strip_prefix(name));
            part.unwrap_or_default().to_owned()
        };
        let options = PgConnectOptions::new().socket(value("host="));
        let options = options.username(&value("user=")).database(&value("dbname="));
        let pool = PgPoolOptions::new().max_connections(connections).connect_with(options).await?;
        sqlx::raw_sql("DROP TABLE IF EXISTS events").execute(&pool).await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        Ok(Self(PostgresEventRepository::new(pool).into()))
    }
}

impl Appends for Peer {
    async fn append(&self, stream: String, version: u64) -> Result<(), Failure> {
        let payload = serde_json::from_str(DATA)?;
        let sequence = usize::try_from(version)? + 1;
        let (event_type, event_version) = ("Deposited".to_owned(), "1.0".to_owned());
        let metadata = serde_json::Value::Object(serde_json::Map::new());
        let event = SerializedEvent::new(
            stream,
            sequence,
            Account::TYPE.to_owned(),
            event_type,
            event_version,
            payload,
            metadata,
        );
        self.0.persist::<Account>(&[event], None).await?;
        Ok(())
    }

    async fn load(&self, stream: String) -> Result<usize, Failure> {
        Ok(self.0.get_events::<Account>(&stream).await?.len())
    }
}
