//! Helpers of these tests.

use annals::{
    Durability, Event, ExpectedVersion, NewEvent, Options, Position, Query, QueryItem, Store,
    category_of,
    subscription::{Message, MessageKind, Subscription},
};

use crate::shared::small_segments;
pub(crate) use crate::shared::{LONG, Place};

impl Place {
    pub(crate) fn open(&self) -> Store {
        options().open(self.path()).unwrap()
    }
}

pub(crate) fn options() -> Options {
    small_segments().durability(Durability::BUFFERED)
}

pub(crate) const TYPES: [&str; 3] = ["Opened", "Changed", "Closed"];

/// The event with a number, from which all of its fields are derived.
pub(crate) fn event(number: u64) -> (String, NewEvent) {
    let stream = format!("{}-{}", ["account", "order"][(number % 2) as usize], number % 5);
    let size = (number * 37 % 700) as usize;
    let event =
        NewEvent::new(TYPES[(number % 7 % 3) as usize], vec![number.to_le_bytes()[0]; size]);
    (stream, event.tag(format!("n:{}", number % 11)).tag(format!("m:{}", number % 4)))
}

/// Appends a number of events after the head, in as few commits as possible.
pub(crate) fn append(store: &Store, count: u64) {
    let (mut next, last) = (store.head().get() + 1, store.head().get() + count);
    while next <= last {
        let mut transaction = store.transaction();
        let end = last.min(next + 19);
        for number in next..=end {
            let (stream, event) = event(number);
            transaction = transaction.append(stream, ExpectedVersion::Any, [event]);
        }
        assert_eq!(transaction.commit().unwrap().last_position.get(), end);
        next = end + 1;
    }
}

/// A naive form of a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) types: Vec<usize>,
    pub(crate) tag: Option<u64>,
    pub(crate) category: Option<usize>,
    pub(crate) stream: Option<u64>,
    pub(crate) after: Option<u64>,
}

impl Filter {
    pub(crate) fn matches(&self, event: &Event) -> bool {
        let has = |wanted: &str| event.tags().any(|tag| tag == wanted);
        (self.types.is_empty() || self.types.iter().any(|&it| TYPES[it] == event.event_type()))
            && self.tag.is_none_or(|tag| has(&format!("n:{tag}")))
            && self.category.is_none_or(|it| category_of(event.stream()) == CATEGORIES[it])
            && self.stream.is_none_or(|it| event.stream() == format!("account-{it}"))
            && self.after.is_none_or(|after| event.position().get() > after)
    }

    pub(crate) fn query(&self) -> Query {
        let mut item = QueryItem::new().types(self.types.iter().map(|&it| TYPES[it]));
        if let Some(tag) = self.tag {
            item = item.tag(format!("n:{tag}"));
        }
        if let Some(category) = self.category {
            item = item.category(CATEGORIES[category]);
        }
        if let Some(stream) = self.stream {
            item = item.stream(format!("account-{stream}"));
        }
        if let Some(after) = self.after {
            item = item.after(after);
        }
        item.into()
    }
}

const CATEGORIES: [&str; 2] = ["account", "order"];

/// What a consumer has seen; checks what every message promises.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) positions: Vec<u64>,
    pub(crate) scanned_through: u64,
    pub(crate) caught_up: usize,
    pub(crate) progress: usize,
}

impl Seen {
    pub(crate) fn take(&mut self, message: &Message, visible: Position) {
        let told = message.scanned_through;
        assert!(told.get() >= self.scanned_through, "{told} after {}", self.scanned_through);
        assert!(told <= visible, "told {told} of {visible}");
        match &message.kind {
            MessageKind::Events(events) => {
                assert!(!events.is_empty());
                for event in events {
                    assert!(event.position().get() > self.scanned_through, "{event:?} twice");
                    assert!(Some(&event.position().get()) > self.positions.last(), "{event:?}");
                    assert!(event.position() <= told);
                    self.positions.push(event.position().get());
                }
            }
            MessageKind::CaughtUp => self.caught_up += 1,
            MessageKind::Progress => {
                assert!(told.get() > self.scanned_through, "progress has to be some");
                self.progress += 1;
            }
            _ => panic!("an unknown message"),
        }
        self.scanned_through = told.get();
    }

    /// Takes every available message.
    pub(crate) fn take_all(&mut self, subscription: &mut Subscription, store: &Store) {
        while let Some(message) = subscription.try_next().unwrap() {
            self.take(&message, store.head());
        }
    }
}

/// The positions that match the filter, by a plain read.
pub(crate) fn expected(store: &Store, after: u64, filter: &Filter) -> Vec<u64> {
    let events = store.read_all().after(after).into_iter().map(|event| event.unwrap());
    events.filter(|event| filter.matches(event)).map(|event| event.position().get()).collect()
}
