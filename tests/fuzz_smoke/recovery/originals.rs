//! The stores to damage: three golden ones, and one whose writer was killed.

use std::sync::{Arc, LazyLock};

use annals::testing::SimStorage;
use annals::{Durability, Event, EventRef, ExpectedVersion, NewEvent, Options, Store, Timestamp};

use super::WITH_CURSORS;

pub(super) const ROOT: &str = "/store";

/// The contents of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) position: u64,
    pub(super) commit: u64,
    pub(super) is_last: bool,
    pub(super) recorded_at: Timestamp,
    pub(super) stream: String,
    pub(super) version: u64,
    pub(super) event_type: String,
    pub(super) id: annals::Uuid,
    pub(super) contents: (Vec<u8>, Vec<u8>, u16, annals::ContentType),
    pub(super) tags: Vec<String>,
}

/// Both kinds of events have the same accessors.
macro_rules! see {
    ($event:ty) => {
        impl From<$event> for Seen {
            fn from(event: $event) -> Self {
                let (data, metadata) = (event.data().to_vec(), event.metadata().to_vec());
                Self {
                    position: event.position().get(),
                    commit: event.commit().get(),
                    is_last: event.is_last_in_commit(),
                    recorded_at: event.recorded_at(),
                    stream: event.stream().to_owned(),
                    version: event.version(),
                    event_type: event.event_type().to_owned(),
                    id: event.id(),
                    contents: (data, metadata, event.schema_version(), event.content_type()),
                    tags: event.tags().map(str::to_owned).collect(),
                }
            }
        }
    };
}

see!(Event);
see!(EventRef<'_>);

/// A store before its damage.
pub(super) struct Original {
    pub(super) disk: SimStorage,
    pub(super) events: Vec<Seen>,
    /// Whether every event was acknowledged as durable, and the store closed.
    pub(super) closed: bool,
}

/// Made once; every check uses a copy.
static ORIGINALS: LazyLock<[Original; 4]> =
    LazyLock::new(|| [golden(&BASIC), golden(&SEALED), killed(), golden(&CURSORS)]);

/// The store that a number of seven bits chooses.
pub(super) fn original(number: u8) -> &'static Original {
    let index = if number & WITH_CURSORS == 0 { usize::from(number) % 3 } else { 3 };
    &ORIGINALS[index]
}

macro_rules! golden_files {
    ($($path:literal),* $(,)?) => {
        [$((
            $path,
            include_bytes!(concat!("../../golden/v1/", $path)).as_slice(),
        )),*]
    };
}

static BASIC: [(&str, &[u8]); 3] = golden_files![
    "basic/checkpoints/00000000000000000002.ckp",
    "basic/checkpoints/00000000000000000003.ckp",
    "basic/log/00000000000000000001.seg",
];

static SEALED: [(&str, &[u8]); 7] = golden_files![
    "sealed/checkpoints/00000000000000000003.ckp",
    "sealed/checkpoints/00000000000000000004.ckp",
    "sealed/index/00000000000000000001.idx",
    "sealed/index/00000000000000000002.idx",
    "sealed/log/00000000000000000001.seg",
    "sealed/log/00000000000000000002.seg",
    "sealed/log/00000000000000000003.seg",
];

static CURSORS: [(&str, &[u8]); 6] = golden_files![
    "cursor-times/checkpoints/00000000000000000002.ckp",
    "cursor-times/checkpoints/00000000000000000003.ckp",
    "cursor-times/index/00000000000000000001.idx",
    "cursor-times/log/00000000000000000001.seg",
    "cursor-times/log/00000000000000000002.seg",
    "cursor-times/log/00000000000000000003.seg",
];

fn golden(files: &[(&str, &[u8])]) -> Original {
    let disk = SimStorage::new(1);
    for (path, bytes) in files {
        let (_, path) = path.split_once('/').expect("the store's name comes first");
        disk.write_file(format!("{ROOT}/{path}"), bytes).expect("a file");
    }
    disk.write_file(format!("{ROOT}/LOCK"), b"").expect("a file");
    let store = open(&disk.fork(), true).expect("a golden store opens");
    Original { events: all(&store), disk, closed: true }
}

/// Two sessions: one that was closed, and one whose last commits were written and not synced when
/// its process was killed.
fn killed() -> Original {
    let disk = SimStorage::new(1);
    let append = |store: &Store, from: u64, to: u64| {
        for i in from..to {
            let event =
                |len| NewEvent::new("Happened", vec![7; len]).tag(format!("part:{}", i % 3));
            let transaction = store.transaction();
            transaction
                .append(format!("user-{}", i % 5), ExpectedVersion::Any, [event(1000), event(0)])
                .append("audit", ExpectedVersion::Any, [event(2000)])
                .commit()
                .expect("a commit");
        }
    };
    let store = open(&disk, false).expect("a new store opens");
    append(&store, 0, 25);
    store.close().expect("it closes");
    let store = open(&disk, false).expect("it opens again");
    append(&store, 25, 35);
    store.sync().expect("it syncs");
    append(&store, 35, 40);
    let events = all(&store);
    disk.kill();
    Original { disk, events, closed: false }
}

pub(super) fn open(disk: &SimStorage, read_only: bool) -> annals::Result<Store> {
    Options::new()
        .storage(Arc::new(disk.process()))
        .background(false)
        // An interval longer than any check.
        .durability(Durability::Buffered { interval: std::time::Duration::from_secs(3600) })
        .segment_size(Options::MIN_SEGMENT_SIZE)
        .read_only(read_only)
        .open(ROOT)
}

fn all(store: &Store) -> Vec<Seen> {
    let mut events = Vec::new();
    store.read_all().for_each(|event| events.push(event.into())).expect("it can be read");
    events
}
