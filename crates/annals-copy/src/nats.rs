//! A store on NATS JetStream, as a source and as a target.
//!
//! Owns the parameters of its address: `name`, `replicas` and `durability`.

use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{
    EventStore as _, OrderedStore as _, Position, ReadAll, RecordedEvent, StoreError, StreamName,
    Timestamp, next,
};
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};

use crate::address::without_password;
use crate::place::not_before;
use crate::{Error, Events, Fence, Rest, Source, Target};

/// A store on NATS JetStream.
#[derive(Debug)]
pub struct Nats {
    name: String,
    store: JetStreamStore,
    /// The time of the last commit of a target.
    time: Timestamp,
}

impl Nats {
    /// Connects to a store to copy from it: `nats://user:password@host:4222?name=annals`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if there is no store, or if it cannot be used.
    pub fn source(url: &str) -> Result<Self, Error> {
        // What was read is compared with the copy: nothing depends on what the servers sync.
        Self::open(url, false, Some(Durability::AcceptLoss))
    }

    /// Connects to a store to copy to it, and creates it if it is missing. The address has to state what the servers do
    /// before they acknowledge: `&durability=synced`, `replicated` or `accept-loss`; see [`Durability`].
    ///
    /// # Errors
    ///
    /// Those of [`Nats::source`].
    pub fn target(url: &str) -> Result<Self, Error> {
        let mut target = Self::open(url, true, None)?;
        target.time = target.last()?.map_or(target.time, |event| event.recorded_at());
        Ok(target)
    }

    fn open(url: &str, creates: bool, durability: Option<Durability>) -> Result<Self, Error> {
        let name = without_password(url);
        let bad = |what: String| Error::Unsupported { place: name.clone(), what };
        let (servers, query) = url.split_once('?').unwrap_or((url, ""));
        let servers: Vec<&str> = servers.split(',').collect();
        let options = JetStreamOptions::new(&servers[..]);
        let options = options.map_err(|error| Error::failed(&name, error))?;
        // A source is only read, and its fence may be lifted.
        let mut options = options.create(creates).fenced(!creates);
        let mut durability = durability;
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let no_meaning = || bad(format!("the parameter {parameter:?} has no meaning"));
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("name", name) => options = options.name(name),
                ("replicas", number) => {
                    options = options.replicas(number.parse().map_err(|_| no_meaning())?);
                }
                ("durability", stated) => {
                    let stated = match stated {
                        "synced" => Durability::Synced,
                        "replicated" => Durability::Replicated,
                        "accept-loss" => Durability::AcceptLoss,
                        _ => return Err(no_meaning()),
                    };
                    durability.get_or_insert(stated);
                }
                _ => return Err(no_meaning()),
            }
        }
        let Some(durability) = durability else {
            return Err(bad("state what the servers do: add &durability=synced if they wait for their disks, or \
                            &durability=replicated if they do not and lose no power at once"
                .into()));
        };
        let store = block_on(options.durability(durability).open());
        let store = store.map_err(|error| Error::failed(&name, error))?;
        Ok(Self { name, store, time: Timestamp::default() })
    }

    fn checked<T>(&self, done: Result<T, StoreError>) -> Result<T, Error> {
        done.map_err(|error| Error::failed(&self.name, error))
    }
}

impl Source for Nats {
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

impl Target for Nats {
    /// One after the other: commits on their way together could be stored in another order, or with a gap.
    fn append(&mut self, commits: &[Vec<RecordedEvent>]) -> Result<u64, Error> {
        let mut raised = 0;
        for commit in commits {
            let (commit, is_raised) = not_before(commit, &mut self.time);
            raised += u64::from(is_raised);
            let done = block_on(self.store.import(&commit));
            done.map_err(|error| Error::failed(&self.name, error))?;
        }
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
