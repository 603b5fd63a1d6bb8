//! A classic table of events in PostgreSQL, as a source.
//!
//! Must never change the table: it belongs to another program.

use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::{Position, ReadAll, RecordedEvent, StoreError, StreamName, next};
use annals_postgres::{ClassicTable, PostgresOptions};

use crate::address::without_password;
use crate::postgres::Parameters;
use crate::{Error, Events, Fence, Rest, Source};

/// A classic table of events in a PostgreSQL database; see [`ClassicTable`].
#[derive(Debug)]
pub struct Classic {
    name: String,
    table: ClassicTable,
}

impl Classic {
    /// Connects to a table: `postgres://user@host/database?table=public.events`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] for a table that is not a classic one, with the column because of which it is not.
    pub fn source(url: &str) -> Result<Self, Error> {
        let parameters = Parameters::of(url)?;
        let name = without_password(url);
        let table = parameters.table.as_deref().unwrap_or("events");
        let open =
            PostgresOptions::new(parameters.config.clone()).connections(4).open_classic(table);
        let table = block_on(open).map_err(|error| Error::failed(&name, error))?;
        Ok(Self { name, table })
    }

    fn checked<T>(&self, done: Result<T, StoreError>) -> Result<T, Error> {
        done.map_err(|error| Error::failed(&self.name, error))
    }

    fn no_fence(&self) -> Error {
        Error::Unsupported {
            place: self.name.clone(),
            what: "a table of another program cannot be fenced: stop what writes to it, or revoke INSERT, \
                   and copy once more"
                .into(),
        }
    }
}

impl Source for Classic {
    fn name(&self) -> &str {
        &self.name
    }

    fn last(&mut self) -> Result<Option<RecordedEvent>, Error> {
        self.checked(block_on(self.table.last()))
    }

    fn read(&mut self, after: Position, up_to: Position) -> Result<Events<'_>, Error> {
        let events = iter(self.table.read_all(ReadAll::new().after(after).up_to(up_to)));
        Ok(Box::new(events.map(|event| self.checked(event))))
    }

    fn same(&mut self, other: &RecordedEvent) -> Result<Option<RecordedEvent>, Error> {
        let stream = StreamName::from(other.stream());
        let found = self.checked(block_on(self.table.find_event(&stream, other.version())))?;
        Ok(found.filter(|event| event.id() == other.id()))
    }

    fn at_or_before(&mut self, position: Position) -> Result<Option<RecordedEvent>, Error> {
        let read = ReadAll::new().up_to(position).backwards().limit(1);
        let mut events = self.table.read_all(read);
        self.checked(block_on(next(&mut events)).transpose())
    }

    fn checkpoints(&mut self) -> Result<Vec<(String, Position)>, Error> {
        Ok(Vec::new())
    }

    fn rest(&mut self) -> Result<Rest, Error> {
        Ok(Rest::default())
    }

    fn find_fence(&mut self) -> Result<Option<Fence>, Error> {
        Ok(None)
    }

    fn raise_fence(&mut self, _to: &str, _wait: Duration) -> Result<(), Error> {
        Err(self.no_fence())
    }

    fn lift_fence(&mut self) -> Result<Option<String>, Error> {
        Err(self.no_fence())
    }

    fn wait(&mut self, _after: Position, at_most: Duration) -> Result<(), Error> {
        std::thread::sleep(at_most);
        Ok(())
    }
}
