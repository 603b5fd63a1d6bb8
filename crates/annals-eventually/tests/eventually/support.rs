//! The events of the tests, and brief forms of what is read.
//!
//! Owns no scenario.

use adapter_tests::Life;
use annals_eventually::{AnnalsStore, Error};
use eventually_core::store::{EventStore, EventStream, Persisted, Select};
use futures::executor::block_on;
use futures::stream::TryStreamExt;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Door {
    Opened,
    Closed,
    Locked,
}

pub(crate) type Doors = AnnalsStore<String, Door>;

/// Id, version, sequence number, event.
pub(crate) type Brief = (String, u32, u32, Door);

pub(crate) fn doors(store: &annals::Store) -> Doors {
    AnnalsStore::new(store.clone(), "front-door")
}

pub(crate) fn brief(event: &Persisted<String, Door>) -> Brief {
    let version = eventually_core::versioning::Versioned::version(event);
    (event.source_id().clone(), version, event.sequence_number(), **event)
}

pub(crate) fn events(id: &str, numbered: &[(u32, u32, Door)]) -> Vec<Brief> {
    numbered.iter().map(|it| (id.to_owned(), it.0, it.1, it.2)).collect()
}

async fn collect(events: EventStream<'_, Doors>) -> Result<Vec<Brief>, Error> {
    events.map_ok(|event| brief(&event)).try_collect().await
}

pub(crate) fn read(life: &Life, id: &str, select: Select) -> Result<Vec<Brief>, Error> {
    let doors = doors(life.store());
    block_on(async { collect(doors.stream(id.to_owned(), select).await?).await })
}

pub(crate) fn read_all(life: &Life, select: Select) -> Result<Vec<Brief>, Error> {
    let doors = doors(life.store());
    block_on(async { collect(doors.stream_all(select).await?).await })
}
