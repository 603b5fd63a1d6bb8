//! The contents of a commit, derived from its number alone, so that a commit found in a store can
//! be checked, whichever process wrote it and whether or not it was acknowledged.

use annals::testing::random::Random;
use annals::{ContentType, Event, NewEvent, Uuid};

/// The key of a commit: the life of the process, the worker in it, and the worker's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// Workers from this number on write only commits that must be refused.
pub(crate) const REFUSED: u64 = 0x80;

impl Key {
    pub(crate) fn new(life: u64, worker: u64, count: u64) -> Self {
        Self((life << 32) | (worker << 24) | count)
    }

    /// The life and the worker: the author of the commit.
    pub(crate) fn author(self) -> u64 {
        self.0 >> 24
    }

    pub(crate) fn worker(self) -> u64 {
        self.author() & 0xff
    }

    pub(crate) fn life(self) -> u64 {
        self.0 >> 32
    }

    pub(crate) fn count(self) -> u64 {
        self.0 & 0xff_ffff
    }

    /// The stream of this worker alone.
    pub(crate) fn own_stream(self) -> String {
        format!("own-{}", self.worker() & !REFUSED)
    }
}

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) event_type: String,
    pub(crate) data: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) tags: Vec<String>,
    pub(crate) schema_version: u16,
    pub(crate) json: bool,
    /// The id, or `None` for a generated one.
    pub(crate) id: Option<Uuid>,
}

/// A commit to append.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) key: Key,
    pub(crate) operations: Vec<(String, Vec<Planned>)>,
}

impl Commit {
    /// A commit to one to four streams, of one to twenty events, of 0 bytes to some kilobytes.
    pub(crate) fn of(key: Key) -> Self {
        let mut random = Random::new(key.0 ^ 0x005e_ed0f_a11c_0de5);
        let streams = if random.percent(60) { 1 } else { 1 + random.below(4) };
        let given_ids = random.percent(50);
        let large = random.percent(6);
        let mut index = 0;
        let mut operations: Vec<(String, Vec<Planned>)> = Vec::new();
        for _ in 0..streams {
            let stream = match random.below(10) {
                0..4 => key.own_stream(),
                4..8 => format!("shared-{}", random.below(5)),
                _ => format!("many-{}", random.below(3_000)),
            };
            let events = if random.percent(60) { 1 } else { 1 + random.below(5) };
            let planned = (0..events).map(|_| {
                let most = if large && index == 0 { 3_000 } else { 200 };
                let planned = plan(&mut random, key, index, most, given_ids);
                index += 1;
                planned
            });
            let planned = planned.collect();
            operations.push((stream, planned));
        }
        let total = index;
        for event in operations.iter_mut().flat_map(|(_, events)| events) {
            event.metadata.extend(total.to_le_bytes());
        }
        Self { key, operations }
    }

    pub(crate) fn event_count(&self) -> usize {
        self.operations.iter().map(|(_, events)| events.len()).sum()
    }

    pub(crate) fn has_ids(&self) -> bool {
        self.operations[0].1[0].id.is_some()
    }

    /// The first difference between the events of a commit in the store and this one.
    pub(crate) fn differs(&self, events: &[Event]) -> Option<String> {
        let planned: Vec<_> = self
            .operations
            .iter()
            .flat_map(|(stream, events)| events.iter().map(move |event| (stream, event)))
            .collect();
        if planned.len() != events.len() {
            return Some(format!("{} events instead of {}", events.len(), planned.len()));
        }
        let mut pairs = planned.iter().zip(events);
        pairs.find_map(|((stream, planned), event)| {
            let same = event.stream() == *stream
                && event.event_type() == planned.event_type
                && event.data() == planned.data
                && event.metadata() == planned.metadata
                && event.tags().eq(planned.tags.iter().map(String::as_str))
                && event.schema_version() == planned.schema_version
                && (event.content_type() == ContentType::Json) == planned.json
                && planned.id.is_none_or(|id| id == event.id());
            (!same).then(|| format!("{event:?} is not {planned:?} in {stream}"))
        })
    }
}

fn plan(random: &mut Random, key: Key, index: u32, most: u64, given_ids: bool) -> Planned {
    let length = random.below(most + 1);
    let data = (0..length).map(|_| random.number() as u8).collect();
    let mut metadata = key.0.to_le_bytes().to_vec();
    metadata.extend(index.to_le_bytes());
    let mut tags = vec![format!("life:{}", key.life())];
    if random.percent(20) {
        tags.push(format!("odd:{}", random.below(9)));
    }
    Planned {
        event_type: format!("Happened{}", random.below(12)),
        data,
        metadata,
        tags,
        schema_version: random.below(3) as u16,
        json: random.percent(10),
        id: given_ids
            .then(|| Uuid::from_u128((u128::from(key.0) << 64) | u128::from(index) | 1 << 60)),
    }
}

impl Planned {
    pub(crate) fn event(&self) -> NewEvent {
        let mut event = NewEvent::new(&self.event_type, self.data.clone())
            .metadata(self.metadata.clone())
            .tags(self.tags.clone())
            .schema_version(self.schema_version);
        if self.json {
            event = event.content_type(ContentType::Json);
        }
        match self.id {
            Some(id) => event.id(id),
            None => event,
        }
    }
}

/// The key of the commit that an event records.
pub(crate) fn key_of(event: &Event) -> Option<Key> {
    let bytes = event.metadata().get(..8)?;
    Some(Key(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// The state that is saved as the snapshot of a stream at a version.
pub(crate) fn state_of(stream: &str, version: u64) -> Vec<u8> {
    let mut random = Random::new(version ^ stream.len() as u64);
    (0..random.below(2_000)).map(|_| random.number() as u8).chain(version.to_le_bytes()).collect()
}
