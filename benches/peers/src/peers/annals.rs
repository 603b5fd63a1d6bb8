//! annals with its defaults.

use std::collections::VecDeque;
use std::time::Duration;

use annals::{
    Durability, EventRef, ExpectedVersion, MappedWrites, NewEvent, Options, Query, Store,
};

use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Mode, Next, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "annals",
    title: "annals",
    package: "annals",
    engine: None,
    can: Can { queries: true, ..Can::ALL },
    durable: "`Durability::Sync`",
    buffered: "`Durability::Buffered`, synced once an hour",
    layout: "defaults: segments of 128 MiB, buffered commits copied into a mapping, each record verified when first read",
    less: "",
    open,
};

/// The same store where buffered commits are written with system calls.
pub const CALLS: About = About {
    name: "annals-calls",
    title: "annals, calls",
    can: Can { buffered: true, ..Can::NONE },
    durable: "",
    buffered: "`Durability::Buffered`, synced once an hour, `MappedWrites::Never`",
    layout: "as annals, but for the mapping; only for the rows that differ by it",
    open: open_with_calls,
    ..ABOUT
};

/// How many tickets are kept before the oldest is waited for.
const IN_FLIGHT: usize = 10_000;

struct Annals(Store);

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    open_with(setup, MappedWrites::WhereSafe)
}

fn open_with_calls(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    open_with(setup, MappedWrites::Never)
}

fn open_with(setup: &Setup<'_>, mapped: MappedWrites) -> Result<Box<dyn Peer>> {
    let durability = match setup.mode {
        Mode::Durable => Durability::Sync,
        // Longer than a run: as for the other peers, the system decides when to sync.
        Mode::Buffered => Durability::Buffered { interval: Duration::from_secs(3600) },
    };
    let options = Options::new().durability(durability).mapped_writes(mapped);
    let store = options.open(setup.dir.join("store"))?;
    Ok(Box::new(Annals(store)))
}

fn event(new: &New<'_>) -> NewEvent {
    NewEvent::new(EVENT_TYPE, new.data)
}

fn seen(event: EventRef<'_>) -> Seen<'_> {
    Seen {
        position: event.position().get(),
        version: event.version(),
        stream: event.stream(),
        data: event.data(),
    }
}

impl Peer for Annals {
    fn append(&self, events: &[New<'_>]) -> Result {
        let Some(first) = events.first() else { return Ok(()) };
        if events.iter().all(|new| new.number == first.number) {
            self.0.append(first.stream, ExpectedVersion::Any, events.iter().map(event))?;
            return Ok(());
        }
        let mut transaction = self.0.transaction();
        for new in events {
            transaction = transaction.append(new.stream, ExpectedVersion::Any, [event(new)]);
        }
        transaction.commit()?;
        Ok(())
    }

    fn pipeline(&self, next: Next<'_>) -> Result {
        let mut tickets = VecDeque::new();
        while let Some(new) = next() {
            let transaction = self.0.transaction();
            let transaction = transaction.append(new.stream, ExpectedVersion::Any, [event(&new)]);
            tickets.push_back(transaction.submit()?);
            if tickets.len() > IN_FLIGHT
                && let Some(ticket) = tickets.pop_front()
            {
                ticket.wait()?;
            }
        }
        for ticket in tickets {
            ticket.wait()?;
        }
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(self.0.head().get())
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        // Readers see durable events by default; in a buffered store, written ones.
        self.0.read_all().include_unsynced().for_each(|event| visit(seen(event)))?;
        Ok(())
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.0.read_stream(stream).include_unsynced().for_each(|event| visit(seen(event)))?;
        Ok(())
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        Ok(self.0.stream_head(stream)?.map_or(0, |head| head.version))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let read = self.0.read_stream(stream).include_unsynced().backwards().limit(1);
        read.for_each(|event| visit(seen(event)))?;
        Ok(())
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let read = self.0.read_stream(stream).include_unsynced();
        read.from_version(after + 1).limit(limit).for_each(|event| visit(seen(event)))?;
        Ok(())
    }

    fn query(&self, stream: &str, visit: Visit<'_>) -> Result {
        let read = self.0.read_all().include_unsynced();
        read.matching(Query::stream(stream)).for_each(|event| visit(seen(event)))?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.0.close()?;
        Ok(())
    }
}
