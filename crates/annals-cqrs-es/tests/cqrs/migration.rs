//! The table `events` of the framework's PostgreSQL backend, imported.
//!
//! `events.copy` and `events.csv` were written by PostgreSQL 15. The rows are read here by the code of the command
//! line, whose own tests import both files with the command.

use annals::ExpectedVersion;
use annals_cli::events_table::{Form, Table};
use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore};
use cqrs_es::EventStore;
use cqrs_es::persist::PersistedEventRepository;
use serde_json::json;

use crate::bank::Account;
use crate::event_store::Sum;
use adapter_tests::Life;

#[tokio::test]
async fn imported_rows_are_the_aggregates_they_were() {
    for mut life in Life::each() {
        let mut table = Table::new(Form::Copy);
        for row in include_bytes!("events.copy").split(|byte| *byte == b'\n') {
            if let Some(record) = table.decode(row).unwrap_or_else(|bad| panic!("{bad:?}")) {
                let last = record.number().unwrap().unwrap() - 1;
                let expected = ExpectedVersion::Exact(last);
                life.store().append(&record.stream, expected, [record.to_event()]).unwrap();
            }
            if row == b"\\." {
                break;
            }
        }
        life.end_step();

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
