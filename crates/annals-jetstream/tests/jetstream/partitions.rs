//! A store over several streams of the servers.

use annals_conformance::Backend;
use annals_es::blocking::{block_on, iter};
use annals_es::{
    AppendError, Cause, Commit, CommitParts, EventStore, Expected, NewEvent, OrderedStore,
    Position, Query, ReadAll, StoreError, Subscribe,
};
use annals_jetstream::{Error, JetStreamStore, PartitionedStore};

use crate::support::{Name, Tests};

pub(crate) const TESTS: Tests = &[
    ("category_is_in_one_partition", category_is_in_one_partition),
    ("other_number_of_partitions_is_refused", other_number_of_partitions_is_refused),
    ("commit_to_another_partition_is_refused", commit_to_another_partition_is_refused),
];

const PARTITIONS: u32 = 3;

/// A name without a store, and those of its partitions.
pub(crate) struct Partitioned {
    name: Name,
    _partitions: Vec<Name>,
}

impl Partitioned {
    pub(crate) fn new() -> Self {
        let name = Name::single();
        let partition = |number| Name { name: format!("{}-{number}", name.name), replicas: 1 };
        let partitions = (1..=PARTITIONS).map(partition).collect();
        Self { name, _partitions: partitions }
    }

    pub(crate) fn store(&self) -> PartitionedStore {
        block_on(self.name.options().open_partitioned(PARTITIONS)).expect("the store opens")
    }
}

impl Backend for Partitioned {
    type Store = PartitionedStore;

    async fn open(&self) -> Result<PartitionedStore, Cause> {
        Ok(self.name.options().open_partitioned(PARTITIONS).await?)
    }
}

fn append(store: &PartitionedStore, stream: &str) -> Position {
    let commit = Commit::to(stream, Expected::Any, [NewEvent::new("A", "")]);
    block_on(store.append(commit)).expect("it is recorded").last_position
}

fn category_is_in_one_partition() {
    let name = Partitioned::new();
    let store = name.store();
    let mut positions = Vec::new();
    for number in 0..10 {
        positions.push(append(&store, &format!("account-{number}")));
        append(&store, &format!("order-{number}"));
    }
    let accounts = store.of_category("account");
    let subscribe = Subscribe::after(Position::START).matching(Query::category("account"));
    let mut found = Vec::new();
    for message in iter(accounts.subscribe(subscribe)) {
        let message = message.expect("no error");
        found.extend(message.events.iter().map(annals_es::RecordedEvent::position));
        if message.caught_up {
            break;
        }
    }
    assert_eq!(found, positions);
    let number = |store: &JetStreamStore| iter(store.read_all(ReadAll::new())).count();
    assert_eq!(store.partitions().iter().map(number).sum::<usize>(), 20);
}

fn other_number_of_partitions_is_refused() {
    let name = Partitioned::new();
    drop(name.store());
    let opened = block_on(name.name.options().open_partitioned(PARTITIONS - 1));
    assert!(matches!(opened, Err(Error::OtherPartition { .. })), "{opened:?}");
}

fn is_elsewhere<T: std::fmt::Debug>(done: &Result<T, AppendError>) -> bool {
    let Err(AppendError::Store(StoreError::Backend(cause))) = done else { return false };
    matches!(cause.downcast_ref(), Some(Error::ElsewhereStored { .. }))
}

fn commit_to_another_partition_is_refused() {
    let name = Partitioned::new();
    let store = name.store();
    // A category of each partition.
    let of = |index: usize| {
        let categories = (0..100).map(|number| format!("c{number}"));
        let mut here = categories.filter(|category| {
            std::ptr::eq(store.of_category(category), &raw const store.partitions()[index])
        });
        format!("{}-1", here.next().expect("a category"))
    };
    let (first, second) = (of(0), of(1));
    let event = || [NewEvent::new("A", "")];
    let both = Commit::<JetStreamStore>::to(&*first, Expected::Any, event());
    let both: CommitParts = both.and(&*second, Expected::Any, event()).into_parts();
    let done = block_on(store.append(Commit::from_parts(both)));
    assert!(is_elsewhere(&done), "{done:?}");
    let foreign = Commit::to(&*first, Expected::Any, event());
    let done = block_on(store.partitions()[1].append(foreign));
    assert!(is_elsewhere(&done), "{done:?}");
    let here = Commit::to(&*first, Expected::NoStream, event());
    block_on(store.append(here)).expect("nothing was recorded before");
}
