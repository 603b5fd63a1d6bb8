//! The same events for every peer: incompressible data, ten thousand streams, seeded choices.
//!
//! Owns the appended contents, and must never depend on the peer.

/// Bytes of data in an event.
pub const PAYLOAD: usize = 256;
/// How many streams appends are spread over.
pub const STREAMS: usize = 10_000;
/// The type of every event, of 16 bytes.
pub const EVENT_TYPE: &str = "MoneyTransferred";

/// An event that is to be appended.
#[derive(Clone, Copy)]
pub struct New<'a> {
    /// The stream's name, of 16 bytes.
    pub stream: &'a str,
    /// The same stream as a number, for peers whose streams have no names.
    pub number: u64,
    /// Random; peers that make ids of their own do not take it.
    pub id: [u8; 16],
    pub data: &'a [u8],
}

/// An event that was read.
pub struct Seen<'a> {
    /// Its position in the store; 0 if the peer has none.
    pub position: u64,
    /// Its version in its stream; 0 if the peer has none.
    pub version: u64,
    /// The stream, empty where the peer does not keep its name.
    pub stream: &'a str,
    pub data: &'a [u8],
}

/// A sequence of choices.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 16) % bound as u64).unwrap_or(0)
    }
}

/// The names and the bytes that events are made of.
pub struct Corpus {
    pub streams: Vec<String>,
    data: Vec<Vec<u8>>,
}

impl Corpus {
    /// Lives as long as the process: events in flight borrow from it.
    pub fn get() -> &'static Self {
        static CORPUS: std::sync::OnceLock<Corpus> = std::sync::OnceLock::new();
        CORPUS.get_or_init(|| {
            let mut random = Random::new(7);
            let payload = |_| (0..PAYLOAD / 8).flat_map(|_| random.next().to_le_bytes()).collect();
            Self {
                streams: (0..STREAMS).map(|i| format!("account-{i:08}")).collect(),
                data: (0..64).map(payload).collect(),
            }
        })
    }

    /// An event of a stream at random.
    pub fn event(&'static self, random: &mut Random) -> New<'static> {
        let stream = random.below(STREAMS);
        self.event_of(stream, random)
    }

    /// An event of one stream.
    pub fn event_of(&'static self, stream: usize, random: &mut Random) -> New<'static> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next().to_le_bytes());
        id[8..].copy_from_slice(&random.next().to_le_bytes());
        let data = &self.data[random.below(self.data.len())];
        New { stream: &self.streams[stream], number: stream as u64, id, data }
    }

    /// `count` events of one stream at random.
    pub fn batch(&'static self, count: usize, random: &mut Random) -> Vec<New<'static>> {
        let stream = random.below(STREAMS);
        (0..count).map(|_| self.event_of(stream, random)).collect()
    }

    /// `count` events, each of a stream at random.
    pub fn scattered(&'static self, count: usize, random: &mut Random) -> Vec<New<'static>> {
        (0..count).map(|_| self.event(random)).collect()
    }
}
