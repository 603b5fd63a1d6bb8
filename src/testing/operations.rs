//! Operations on a store, as data.
//!
//! Actions are decoded from bytes, and every byte string is valid: property tests shrink the bytes,
//! simulations draw them from a seed, fuzzers mutate them. References of an action (to streams,
//! earlier commits, versions) are relative to the current state, so that most actions have an
//! effect in every history: distances before the last event are taken modulo the length.

mod source;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use super::choices::{CommitChoice, RequestChoice};
use super::groups::GroupChoice;
use super::model::{ModelQuery, content_type};
use super::side_operations::Aside;
use crate::event::NewEvent;
use crate::query::{Query, QueryItem};

pub use source::Source;

/// Stream names of actions: with and without a category, prefixes of each other, one long.
pub const STREAMS: [&str; 8] =
    ["account-1", "account-10", "account-2", "account", "order-7-b", "audit", "ü-é", "-"];
const TYPES: [&str; 4] = ["Opened", "Deposited", "", "Ω"];
const TAGS: [&str; 4] = ["red", "", "blue", "é"];
/// The number of tags of an event with many, more than earlier versions allowed.
const MANY_TAGS: u8 = 70;
/// The length of a tag that needs the wide form.
const LONG_TAG: usize = 300;
/// Data sizes: with segments of 64 KiB a dozen of the largest legal ones fill several segments.
const SIZES: [usize; 8] = [0, 1, 9, 100, 600, 2500, 6000, 12_000];
/// Above the limit of every used segment size.
const TOO_LARGE: usize = 70_000;
/// Segment sizes of reopenings.
const SEGMENT_SIZES: [u64; 4] = [64 << 10, 64 << 10, 128 << 10, 256 << 10];

/// All actions in a string of bytes, decoded by [`Action::decode`] or another way; what fuzz
/// targets start from.
pub fn decode_all(bytes: &[u8], decode: fn(&mut Source<'_>) -> Action) -> Vec<Action> {
    let mut source = Source::new(bytes);
    let mut actions = Vec::new();
    while !source.is_empty() {
        actions.push(decode(&mut source));
    }
    actions
}

/// Sequences of up to `count` actions of every kind.
pub fn actions(count: usize) -> impl Strategy<Value = Vec<Action>> {
    let decode = |bytes: Vec<u8>| Action::decode_every(&mut Source::new(&bytes));
    vec(vec(any::<u8>(), 0..96).prop_map(decode), 1..=count)
}

/// The expectation of an append, relative to the stream's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Anything.
    Any,
    /// No such stream.
    NoStream,
    /// Some events.
    Exists,
    /// The present version of the stream.
    Current,
    /// The present version and this many more.
    Off(u8),
    /// This version.
    Exact(u8),
}

/// The id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdChoice {
    /// None: the store generates one.
    Generated,
    /// An id that was not used before.
    Fresh,
    /// The id of the event with this distance before the last.
    Known(u16),
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct EventChoice {
    /// Which id.
    pub id: IdChoice,
    /// The whole commit.
    pub event: NewEvent,
}

/// One operation of a commit.
#[derive(Debug, Clone)]
pub struct OperationChoice {
    /// An index into [`STREAMS`].
    pub stream: usize,
    /// The expected state of the stream.
    pub expected: Expectation,
    /// The events to append.
    pub events: Vec<EventChoice>,
}

/// The difference between a commit and the earlier commit that it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatDifference {
    /// Nothing.
    Nothing,
    /// The data of its last event.
    Data,
    /// The order of its events.
    Order,
    /// One event more.
    More,
    /// One event less.
    Less,
    /// The stream.
    Stream,
    /// The id of its last event, to the nil UUID.
    Nil,
}

/// The call that makes a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// `Store::append` for one operation; otherwise like `Commit`.
    Append,
    /// `Transaction::commit`.
    Commit,
    /// `Transaction::commit`, buffered.
    Buffered,
    /// `Transaction::submit`; the ticket is kept.
    Submit,
    /// The change's own call, if there is one change; otherwise like `Commit`.
    Call,
}

/// A point in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastChoice {
    /// The present.
    Now,
    /// The position with this distance before the head.
    Position(u16),
    /// The time of the event with this distance before the head, less this number of µs.
    Time(u16, u8),
    /// This version.
    Version(u8),
}

/// A read.
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone)]
pub struct ReadChoice {
    /// The stream, or all of them.
    pub stream: Option<usize>,
    /// Where it begins: the number of events from the beginning, modulo the length.
    pub from: u16,
    /// The maximum number of events.
    pub limit: Option<u8>,
    /// Newest first.
    pub backwards: bool,
    /// The query; without items it matches nothing.
    pub query: Option<Vec<ModelQuery>>,
    /// The past.
    pub past: PastChoice,
    /// By the borrowed path.
    pub borrowed: bool,
    /// Also events that are not durable.
    pub unsynced: bool,
    /// Also hidden events.
    pub hidden: bool,
}

/// The time that a commit sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChoice {
    /// The time of the previous commit.
    Last,
    /// This percentage of the way from there to the clock.
    Between(u8),
    /// The clock's time.
    Clock,
    /// This number of µs, and one, before the previous commit.
    Before(u8),
    /// This number of seconds, and one, ahead of the clock.
    Ahead(u8),
}

/// An operation on a store.
#[derive(Debug, Clone)]
pub enum Action {
    /// A commit.
    Commit(Vec<OperationChoice>, Via),
    /// Repeats the commit of the event with this distance before the last, with the same ids.
    Repeat(u16, RepeatDifference, Via),
    /// Waits for the oldest ticket, or drops it.
    Ticket {
        /// Whether to wait.
        wait: bool,
    },
    /// A read.
    Read(ReadChoice),
    /// Looks up single events and heads.
    Look(u16),
    /// Lists the streams that begin with this number of bytes of a stream's name.
    List(usize, u8),
    /// Makes everything durable.
    Sync,
    /// Closes the store and opens it again with segments of another size.
    Reopen {
        /// The new size.
        segment_size: u64,
        /// Drops the handle instead of closing it.
        by_drop: bool,
        /// Opens it read-only in between.
        read_only: bool,
    },
    /// Sets a simulated clock.
    Clock(i64),
    /// Merges index files.
    Compact,
    /// An operation that does not append: snapshots, a follower, verification.
    Aside(Aside),
    /// A commit with boundaries, cursors and hidden streams.
    Transaction(CommitChoice, Via),
    /// Repeats the commit of the event with this distance before the last, with another commit's
    /// changes other than events.
    RepeatWith(u16, RepeatDifference, CommitChoice, Via),
    /// One change, by its own call.
    Change(RequestChoice),
    /// Compares all cursors and streams.
    Metadata {
        /// Through the reader beside the writer.
        follower: bool,
    },
    /// A commit that sets its time, as in a migration.
    Migrate(Vec<OperationChoice>, TimeChoice, Via),
    /// Commits while a simulated clock shows an implausible time; then the clock is correct again.
    ClockFault(u8),
    /// Steps of a consumer group.
    Group(GroupChoice),
    /// Makes a token for the position with this distance before the head, and verifies all tokens.
    Token(u16),
    // A new kind of operation is added here, in `name`, in `Action::decode_every` and in the
    // harness: its module implements it, and holds its part of the model.
}

impl Action {
    /// The action of the next bytes.
    pub fn decode(source: &mut Source<'_>) -> Self {
        match source.below(32) {
            0..=7 => Self::Commit(vec![operation(source, false)], Via::Append),
            8..=13 => {
                let count = 1 + source.below(4);
                let via = source.pick(&[Via::Commit, Via::Commit, Via::Buffered, Via::Submit]);
                let operations = (0..count).map(|_| operation(source, true)).collect();
                Self::Commit(operations, via)
            }
            14 | 15 => Self::Commit(vec![operation(source, true)], Via::Submit),
            16..=18 => {
                let changes = [
                    RepeatDifference::Nothing,
                    RepeatDifference::Nothing,
                    RepeatDifference::Data,
                    RepeatDifference::Order,
                    RepeatDifference::More,
                    RepeatDifference::Less,
                    RepeatDifference::Stream,
                ];
                let change = source.pick(&changes);
                let via = source.pick(&[Via::Append, Via::Commit, Via::Submit]);
                Self::Repeat(source.word(), change, via)
            }
            19 | 20 => Self::Ticket { wait: source.below(4) > 0 },
            21..=25 => Self::Read(read(source)),
            26 => Self::Look(source.word()),
            27 => Self::List(usize::from(source.below(8)), source.below(10)),
            28 => Self::Sync,
            29 | 30 => Self::Reopen {
                segment_size: source.pick(&SEGMENT_SIZES),
                by_drop: source.flag(),
                read_only: source.below(4) == 0,
            },
            _ => Self::Clock(i64::from(source.word()) * 50 - 1_000_000),
        }
    }

    /// The action of the next bytes, including those that do not append. Kept seeds and inputs rely
    /// on the meaning of bytes in [`Action::decode`]; later actions have a byte in front.
    pub fn decode_any(source: &mut Source<'_>) -> Self {
        match source.byte() {
            0..=31 => Self::Aside(Aside::decode(source)),
            _ => Self::decode(source),
        }
    }

    /// The action of the next bytes, of all kinds. Kept seeds rely on the meaning of bytes in
    /// [`Action::decode_any`].
    pub fn decode_every(source: &mut Source<'_>) -> Self {
        match source.byte() {
            0..=31 => Self::Aside(Aside::decode(source)),
            32..=91 => {
                let via = [Via::Commit, Via::Commit, Via::Buffered, Via::Submit];
                let via = source.pick(&via);
                Self::Transaction(CommitChoice::decode(source), via)
            }
            92..=123 => Self::Change(RequestChoice::decode(source)),
            124..=135 => Self::Metadata { follower: source.below(3) == 0 },
            136..=141 => Self::Compact,
            142..=153 => {
                let via = [Via::Commit, Via::Commit, Via::Buffered, Via::Submit];
                let (back, via) = (source.word() % 16, source.pick(&via));
                let change = if source.below(16) == 0 {
                    RepeatDifference::Nil
                } else {
                    RepeatDifference::Nothing
                };
                Self::RepeatWith(back, change, CommitChoice::decode(source), via)
            }
            154..=161 => {
                let count = 1 + source.below(2);
                let operations = (0..count).map(|_| operation(source, true)).collect();
                let time = match source.below(8) {
                    0 | 1 => TimeChoice::Last,
                    2..=4 => TimeChoice::Between(source.below(101)),
                    5 => TimeChoice::Clock,
                    6 => TimeChoice::Before(source.byte()),
                    _ => TimeChoice::Ahead(source.byte()),
                };
                let via = source.pick(&[Via::Commit, Via::Buffered, Via::Submit]);
                Self::Migrate(operations, time, via)
            }
            162..=166 => Self::Token(source.word()),
            167..=170 => Self::ClockFault(source.below(4)),
            171..=182 => {
                let via = [Via::Commit, Via::Commit, Via::Buffered, Via::Submit];
                let via = source.pick(&via);
                Self::Transaction(CommitChoice::decode_records(source), via)
            }
            183..=186 => Self::Change(RequestChoice::decode_record(source)),
            187..=190 => {
                let (back, via) = (source.word() % 16, source.pick(&[Via::Commit, Via::Submit]));
                let choice = CommitChoice::decode_records(source);
                Self::RepeatWith(back, RepeatDifference::Nothing, choice, via)
            }
            191..=206 => Self::Group(GroupChoice::decode(source)),
            // Later kinds use the next bytes from here.
            _ => Self::decode(source),
        }
    }

    /// Its name in the counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Commit(_, Via::Append | Via::Call) => "append",
            Self::Commit(_, Via::Commit) => "commit",
            Self::Commit(_, Via::Buffered) => "buffered commit",
            Self::Commit(_, Via::Submit) => "submit",
            Self::Repeat(..) => "repeat",
            Self::Ticket { .. } => "ticket",
            Self::Read(_) => "read",
            Self::Look(_) => "look",
            Self::List(..) => "list",
            Self::Sync => "sync",
            Self::Reopen { .. } => "reopen",
            Self::Clock(_) => "clock",
            Self::Compact => "compact",
            Self::Aside(aside) => aside.name(),
            Self::Transaction(_, Via::Submit) => "submit transaction",
            Self::Transaction(..) => "transaction",
            Self::RepeatWith(..) => "repeat with changes",
            Self::Change(_) => "change",
            Self::Migrate(..) => "migrate",
            Self::Token(_) => "tokens",
            Self::Group(GroupChoice { transactional: false, .. }) => "group",
            Self::Group(_) => "transactional group",
            Self::ClockFault(_) => "clock fault",
            Self::Metadata { follower: false } => "look at metadata",
            Self::Metadata { follower: true } => "follower looks at metadata",
        }
    }
}

pub(super) fn operation(source: &mut Source<'_>, may_be_check: bool) -> OperationChoice {
    let stream = usize::from(source.below(8));
    let expected = match source.below(12) {
        0..=4 => Expectation::Any,
        5..=8 => Expectation::Current,
        9 => source.pick(&[Expectation::NoStream, Expectation::Exists]),
        10 => Expectation::Off(1 + source.below(2)),
        _ => Expectation::Exact(source.below(5)),
    };
    let events = match source.below(8) {
        0 if may_be_check => 0,
        0..=4 => 1,
        5 | 6 => 2,
        _ => 4,
    };
    let events = (0..events).map(|_| event(source, events)).collect();
    OperationChoice { stream, expected, events }
}

fn event(source: &mut Source<'_>, of: u8) -> EventChoice {
    let id = match source.below(16) {
        0..=7 => IdChoice::Generated,
        8..=14 => IdChoice::Fresh,
        _ => IdChoice::Known(source.word()),
    };
    let shape = source.byte();
    let size = match shape {
        255 => TOO_LARGE,
        // A commit of many events has small ones, so that its size is not near a limit.
        _ if of > 2 => SIZES[usize::from(shape) % 6],
        _ => SIZES[usize::from(shape) % SIZES.len()],
    };
    let fill = source.byte();
    // Half of the data looks like the format's own bytes.
    let pattern: &[u8] =
        if fill.is_multiple_of(2) { &[fill] } else { &[0xAF, 0x4E, 1, 0, fill, 0, 0, 0] };
    let data: Vec<u8> = pattern.iter().copied().cycle().take(size).collect();
    let more = source.byte();
    let tags = TAGS.iter().enumerate().filter(|(i, _)| more >> i & 1 == 1).map(|(_, tag)| *tag);
    let more_tags: Vec<String> = match fill % 16 {
        3 => (0..MANY_TAGS).map(|number| format!("n{number}")).collect(),
        5 => vec!["t".repeat(LONG_TAG)],
        _ => Vec::new(),
    };
    let event_type = TYPES[usize::from(fill) % TYPES.len()];
    let event = NewEvent::new(event_type, data)
        .tags(tags)
        .tags(more_tags)
        .metadata(vec![more; usize::from(more >> 6)])
        .schema_version(u16::from(more >> 4 & 3))
        .content_type(content_type(more >> 5 & 1 == 1));
    EventChoice { id, event }
}

pub(super) fn read(source: &mut Source<'_>) -> ReadChoice {
    let stream = source.below(10);
    let past = match source.below(8) {
        0 => PastChoice::Position(source.word()),
        1 => PastChoice::Time(source.word(), source.below(4)),
        2 => PastChoice::Version(source.byte()),
        _ => PastChoice::Now,
    };
    let query = match source.below(3) {
        0 => Some((0..source.below(3)).map(|_| query_item(source)).collect()),
        _ => None,
    };
    let options = source.byte();
    ReadChoice {
        stream: (stream < 5).then_some(usize::from(stream)),
        from: source.word(),
        limit: options.is_multiple_of(4).then(|| source.byte()),
        backwards: options & 4 != 0,
        query,
        past,
        borrowed: options & 8 != 0,
        unsynced: options & 0x30 == 0,
        // Has no effect if nothing is hidden.
        hidden: options & 0x40 != 0,
    }
}

pub(super) fn query_item(source: &mut Source<'_>) -> ModelQuery {
    let pick = |bits: u8, from: &[&str]| -> Vec<String> {
        let chosen = from.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        chosen.map(|(_, it)| (*it).to_owned()).collect()
    };
    let (bits, place) = (source.byte(), source.byte());
    let stream = STREAMS[usize::from(place >> 4) % STREAMS.len()];
    ModelQuery {
        types: pick(bits & 15 & place, &TYPES),
        tags: pick(bits >> 4 & (place >> 2), &TAGS),
        stream: (place & 3 == 1).then(|| stream.to_owned()),
        category: (place & 3 == 2).then(|| crate::event::category_of(stream).to_owned()),
        after: (place & 0xC == 0).then(|| u64::from(source.byte())),
    }
}

/// The query for the engine.
pub(super) fn to_query(items: &[ModelQuery]) -> Query {
    items.iter().fold(Query::none(), |query, item| {
        let mut new = QueryItem::new().types(item.types.clone()).tags(item.tags.clone());
        if let Some(stream) = &item.stream {
            new = new.stream(stream.clone());
        }
        if let Some(category) = &item.category {
            new = new.category(category.clone());
        }
        if let Some(after) = item.after {
            new = new.after(after);
        }
        query.or(new)
    })
}
