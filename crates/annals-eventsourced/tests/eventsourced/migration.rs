//! The table `events` of the crate's PostgreSQL backend, imported.
//!
//! `events.csv` was written by PostgreSQL 15 with the query of the README. The rows are read by the code of the command
//! line.

use adapter_tests::Life;
use annals_lines::events_table::Form;
use uuid::Uuid;

use crate::counter::{Add, spawn};

#[tokio::test]
async fn imported_rows_are_the_entities_they_were() {
    for mut life in Life::each() {
        life.import(Form::Csv, include_bytes!("events.csv"));
        for (id, expected) in [("7", 43), ("8", 8)] {
            let id = format!("01890a5d-ac96-774b-bcce-b302099a805{id}").parse::<Uuid>().unwrap();
            let counter = spawn(life.store(), id, 1).await.unwrap();
            assert_eq!(counter.handle_command(Add(1)).await.unwrap(), Ok(expected));
        }
    }
}
