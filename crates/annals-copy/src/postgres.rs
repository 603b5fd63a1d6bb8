//! A store in PostgreSQL, as a source and as a target.
//!
//! Owns the parameters that this crate adds to the address of a server: `schema`, `positions` and `accept_loss`.

use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{
    EventStore as _, OrderedStore as _, Position, ReadAll, RecordedEvent, StoreError, StreamName,
    Timestamp, next,
};
use annals_postgres::tokio_postgres::Config;
use annals_postgres::{Positions, PostgresOptions, PostgresStore};

use crate::address::without_password;
use crate::place::not_before;
use crate::{Error, Events, Fence, Rest, Source, Target};

/// A store in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    store: PostgresStore,
    /// The time of the last commit of a target.
    time: Timestamp,
}

impl Postgres {
    /// Connects to a store to copy from it: `postgres://user@host/database?schema=annals`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if there is no store, or if it cannot be used.
    pub fn source(url: &str) -> Result<Self, Error> {
        let parameters = Parameters::of(url)?;
        let name = without_password(url);
        let open = parameters.options().create(false).open();
        let store = block_on(open).map_err(|error| Error::failed(&name, error))?;
        Ok(Self { name, store, time: Timestamp::default() })
    }

    /// Connects to a store to copy to it, and creates it if it is missing, with the positions of the address:
    /// `&positions=fast`.
    ///
    /// # Errors
    ///
    /// Those of [`Postgres::source`].
    pub fn target(url: &str) -> Result<Self, Error> {
        let parameters = Parameters::of(url)?;
        let name = without_password(url);
        let mut options = parameters.options();
        if let Some(positions) = parameters.positions {
            options = options.positions(positions);
        }
        let store = block_on(options.open()).map_err(|error| Error::failed(&name, error))?;
        let mut target = Self { name, store, time: Timestamp::default() };
        target.time = target.last()?.map_or(target.time, |event| event.recorded_at());
        Ok(target)
    }

    fn failed(&self, error: StoreError) -> Error {
        Error::failed(&self.name, error)
    }

    fn checked<T>(&self, done: Result<T, StoreError>) -> Result<T, Error> {
        done.map_err(|error| self.failed(error))
    }
}

/// The parameters of an address.
pub(crate) struct Parameters {
    pub(crate) config: Config,
    pub(crate) schema: Option<String>,
    pub(crate) table: Option<String>,
    positions: Option<Positions>,
    accepts_loss: bool,
}

impl Parameters {
    pub(crate) fn of(url: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::Unsupported { place: without_password(url), what };
        let (server, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut schema, mut table, mut positions, mut accepts_loss) = (None, None, None, false);
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("schema", name) if !name.is_empty() => schema = Some(name.to_owned()),
                ("table", name) if !name.is_empty() => table = Some(name.to_owned()),
                ("positions", "dense") => positions = Some(Positions::Dense),
                ("positions", "fast") => positions = Some(Positions::Fast),
                ("accept_loss", "1") => accepts_loss = true,
                ("schema" | "table" | "positions" | "accept_loss", _) => {
                    return Err(bad(format!("the parameter {parameter:?} has no meaning")));
                }
                _ => others.push(parameter),
            }
        }
        let server = if others.is_empty() {
            server.to_owned()
        } else {
            format!("{server}?{}", others.join("&"))
        };
        // The text of the error names the parameter, and no password.
        let mut config: Config = server.parse().map_err(|error| bad(format!("{error}")))?;
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        Ok(Self { config, schema, table, positions, accepts_loss })
    }

    fn options(&self) -> PostgresOptions {
        let mut options = PostgresOptions::new(self.config.clone()).connections(4);
        if let Some(schema) = &self.schema {
            options = options.schema(schema.as_str());
        }
        if self.accepts_loss { options.accept_loss() } else { options }
    }
}

impl Source for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn last(&mut self) -> Result<Option<RecordedEvent>, Error> {
        self.at_or_before(Position::MAX)
    }

    fn read(&mut self, after: Position, up_to: Position) -> Result<Events<'_>, Error> {
        let events = iter(self.store.read_all(ReadAll::new().after(after).up_to(up_to)));
        Ok(Box::new(events.map(|event| self.checked(event))))
    }

    fn same(&mut self, other: &RecordedEvent) -> Result<Option<RecordedEvent>, Error> {
        let stream = StreamName::from(other.stream());
        self.checked(block_on(self.store.find_event(&stream, other.id())))
    }

    fn at_or_before(&mut self, position: Position) -> Result<Option<RecordedEvent>, Error> {
        let read = ReadAll::new().up_to(position).backwards().limit(1);
        let mut events = self.store.read_all(read);
        self.checked(block_on(next(&mut events)).transpose())
    }

    fn checkpoints(&mut self) -> Result<Vec<(String, Position)>, Error> {
        self.checked(block_on(self.store.checkpoints()))
    }

    fn rest(&mut self) -> Result<Rest, Error> {
        Ok(Rest::default())
    }

    fn find_fence(&mut self) -> Result<Option<Fence>, Error> {
        let fence = self.checked(block_on(self.store.fence()))?;
        Ok(fence.map(|to| Fence::new(to, true)))
    }

    fn raise_fence(&mut self, to: &str, _wait: Duration) -> Result<(), Error> {
        self.checked(block_on(self.store.raise_fence(to)))
    }

    fn lift_fence(&mut self) -> Result<Option<String>, Error> {
        self.checked(block_on(self.store.lift_fence()))
    }

    fn wait(&mut self, after: Position, at_most: Duration) -> Result<(), Error> {
        let next = Position::new(after.get() + 1);
        let waited = block_on_timeout(self.store.wait_for(next), at_most);
        waited.map_or(Ok(()), |done| self.checked(done))
    }
}

impl Target for Postgres {
    fn append(&mut self, commits: &[Vec<RecordedEvent>]) -> Result<u64, Error> {
        let (mut raised, mut time) = (0, self.time);
        let timed = commits.iter().map(|commit| {
            let (commit, is_raised) = not_before(commit, &mut time);
            raised += u64::from(is_raised);
            commit
        });
        let timed = timed.collect();
        let done = block_on(self.store.import(timed));
        let done = done.map_err(|error| Error::failed(&self.name, error))?;
        self.time = time;
        // A fast store shows commits once older transactions of the cluster have ended.
        let last = done.last().map_or(Position::START, |done| done.last_position);
        self.checked(block_on(self.store.wait_for(last)))?;
        Ok(raised)
    }

    fn set_checkpoint(&mut self, name: &str, to: Position) -> Result<(), Error> {
        let found = self.checked(block_on(self.store.checkpoint(name)))?;
        if found == Some(to) {
            return Ok(());
        }
        let set = block_on(self.store.reset_checkpoint(name, to));
        set.map_err(|error| Error::failed(&self.name, error))
    }

    fn keeps_rest(&self) -> bool {
        false
    }

    fn keep(&mut self, _rest: &Rest) -> Result<(), Error> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
