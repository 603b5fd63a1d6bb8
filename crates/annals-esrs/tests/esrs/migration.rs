//! The table of an aggregate of the crate's PostgreSQL backend, imported.
//!
//! `events.csv` was written by PostgreSQL 15 with the query of the README. The rows are read by the code of the command
//! line.

use adapter_tests::Life;
use annals_lines::events_table::Form;
use esrs::manager::AggregateManager;
use esrs::store::EventStore;

use crate::book::{Command, store};

#[tokio::test]
async fn imported_rows_are_the_aggregates_they_were() {
    for mut life in Life::each() {
        life.import(Form::Csv, include_bytes!("events.csv"));
        let id = "11111111-1111-4111-8111-111111111111".parse::<uuid::Uuid>().unwrap();
        let events = store(&life).by_aggregate_id(id).await.unwrap();
        assert_eq!(events[1].id.to_string(), "0190a5d0-0000-7000-8000-000000000003");
        let manager = AggregateManager::new(store(&life));
        let state = manager.load(id).await.unwrap().unwrap();
        assert_eq!((*state.inner(), *state.sequence_number()), (1, 2));
        assert_eq!(manager.handle_command(state, Command::Sell(1)).await.unwrap(), Ok(0));
    }
}
