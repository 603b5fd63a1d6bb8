//! The table of an aggregate of the crate's PostgreSQL backend, imported.
//!
//! `events.csv` was written by PostgreSQL 15 with the query of the README. The rows are read by the code of the command
//! line.

use adapter_tests::Life;
use annals::ExpectedVersion;
use annals_cli::events_table::{Form, Table};
use esrs::manager::AggregateManager;
use esrs::store::EventStore;

use crate::book::{Command, store};

#[tokio::test]
async fn imported_rows_are_the_aggregates_they_were() {
    for mut life in Life::each() {
        let mut table = Table::new(Form::Csv);
        for row in include_str!("events.csv").lines() {
            if let Some(record) =
                table.decode(row.as_bytes()).unwrap_or_else(|bad| panic!("{bad:?}"))
            {
                let expected = ExpectedVersion::Exact(record.number().unwrap().unwrap() - 1);
                life.store().append(&record.stream, expected, [record.to_event()]).unwrap();
            }
        }
        life.end_step();
        let id = "11111111-1111-4111-8111-111111111111".parse::<uuid::Uuid>().unwrap();
        let events = store(&life).by_aggregate_id(id).await.unwrap();
        assert_eq!(events[1].id.to_string(), "0190a5d0-0000-7000-8000-000000000003");
        let manager = AggregateManager::new(store(&life));
        let state = manager.load(id).await.unwrap().unwrap();
        assert_eq!((*state.inner(), *state.sequence_number()), (1, 2));
        assert_eq!(manager.handle_command(state, Command::Sell(1)).await.unwrap(), Ok(0));
    }
}
