//! The table `events` of the framework's PostgreSQL backend, imported.
//!
//! `events.copy` and `events.csv` were written by PostgreSQL 15. The rows are read here by the code of the command
//! line, whose own tests import both files with the command.

use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore};
use annals_lines::events_table::Form;
use cqrs_es::EventStore;
use cqrs_es::persist::PersistedEventRepository;
use serde_json::json;

use crate::bank::Account;
use crate::event_store::Sum;
use adapter_tests::Life;

#[tokio::test]
async fn imported_rows_are_the_aggregates_they_were() {
    for mut life in Life::each() {
        life.import(Form::Copy, include_bytes!("events.copy"));

        let accounts = AnnalsEventStore::<Account>::new(life.store().clone());
        let context = accounts.load_aggregate("A-1").await.unwrap();
        assert_eq!((context.aggregate.balance, context.current_sequence), (1000.0, 2));
        let events = accounts.load_events("A-1").await.unwrap();
        assert_eq!(events[1].metadata["by"], "ann \"the\" owner");

        let repository = AnnalsEventRepository::new(life.store().clone());
        let rows = repository.get_events::<Sum>("s").await.unwrap();
        let versions: Vec<_> = rows.iter().map(|row| row.event_version.as_str()).collect();
        assert_eq!(versions, ["1.0.1", "draft"]);
        assert_eq!(rows[1].payload, json!({"by": 3, "note": "tab\tand \\ and é"}));
        let sums = AnnalsEventStore::<Sum>::new(life.store().clone());
        let context = sums.load_aggregate("s").await.unwrap();
        assert_eq!(context.aggregate.total, 42);
        sums.commit(vec![crate::event_store::Added { by: 1 }], context, [].into()).await.unwrap();
    }
}
