//! Decodes bytes as a read with a query, as a boundary and as a query's text, and compares the
//! results with a scan. Most of the store is in sealed segments, so that their postings are used.

use std::sync::{Arc, LazyLock};

use annals::testing::SimStorage;
use annals::{
    Error, Event, ExpectedVersion, FailedCheck, NewEvent, Options, Position, Query, QueryItem,
    Store, category_of,
};

const STREAMS: [&str; 8] = ["a-1", "a-2", "a", "b-1", "b-22", "ab-1", "-", "ü-1"];
const TYPES: [&str; 5] = ["Opened", "Closed", "Open", "Ω", "Rare"];
const TAGS: [&str; 6] = ["red", "blue", "re", "owner:1", "owner:10", "é"];
/// Names that no event has.
const ABSENT: [&str; 4] = ["", "zzz", "A-1", "a-"];
const EVENTS: u64 = 300;

struct Filled {
    disk: SimStorage,
    events: Vec<Event>,
}

/// Filled once; every check opens a copy of its own.
static STORE: LazyLock<Filled> = LazyLock::new(|| {
    let disk = SimStorage::new(1);
    let store = options(&disk).open("/store").expect("a new store opens");
    for i in 0..EVENTS {
        let pick = |by: u64, of: &[&'static str]| of[usize::try_from(i / by).unwrap() % of.len()];
        let event_type = if i % 97 == 5 { "Rare" } else { pick(2, &TYPES[..4]) };
        let tags = TAGS.iter().zip(0..).filter(|(_, bit)| ((i * 5) >> bit) & 1 == 1);
        let event = NewEvent::new(event_type, vec![0; 600 + usize::try_from(i % 7).unwrap() * 100]);
        let event = event.tags(tags.map(|(tag, _)| *tag));
        let more = (i % 5 == 0).then(|| NewEvent::new("Opened", "").tag(pick(5, &TAGS)));
        let stream = pick(3, &STREAMS);
        store.append(stream, ExpectedVersion::Any, [event].into_iter().chain(more)).expect(stream);
    }
    let events = store.read_all().into_iter().collect::<Result<_, _>>().expect("it can be read");
    assert!(store.stats().sealed_segments >= 3, "{:?}", store.stats());
    store.close().expect("it closes");
    Filled { disk, events }
});

fn options(disk: &SimStorage) -> Options {
    Options::new()
        .storage(Arc::new(disk.process()))
        .background(false)
        .segment_size(Options::MIN_SEGMENT_SIZE)
}

/// Choices from bytes; after their end, zeros.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A position within or after those of the store.
    fn position(&mut self) -> u64 {
        let number = u64::from(u16::from_le_bytes([self.byte(), self.byte()]));
        if number == u64::from(u16::MAX) { u64::MAX } else { number % (EVENTS * 2) }
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        let index = usize::from(self.byte()) % (from.len() + ABSENT.len());
        from.get(index).copied().unwrap_or_else(|| ABSENT[index - from.len()])
    }

    fn picks(&mut self, from: &[&'static str], most: u8) -> Vec<&'static str> {
        (0..self.byte() % (most + 1)).map(|_| self.pick(from)).collect()
    }
}

/// A query item in the form of the naive matcher.
#[derive(Debug)]
struct Item {
    types: Vec<&'static str>,
    tags: Vec<&'static str>,
    stream: Option<&'static str>,
    category: Option<&'static str>,
    after: Option<u64>,
}

impl Item {
    fn choose(source: &mut Source<'_>) -> Self {
        let which = source.byte();
        Self {
            types: if which & 1 == 1 { source.picks(&TYPES, 3) } else { Vec::new() },
            tags: if which & 2 == 2 { source.picks(&TAGS, 3) } else { Vec::new() },
            stream: (which & 4 == 4).then(|| source.pick(&STREAMS)),
            category: (which & 8 == 8).then(|| category_of(source.pick(&STREAMS))),
            after: (which & 16 == 16).then(|| source.position()),
        }
    }

    fn matches(&self, event: &Event) -> bool {
        let mut all_tags = self.tags.iter();
        (self.types.is_empty() || self.types.contains(&event.event_type()))
            && all_tags.all(|tag| event.tags().any(|it| it == *tag))
            && self.stream.is_none_or(|stream| event.stream() == stream)
            && self.category.is_none_or(|category| category_of(event.stream()) == category)
            && self.after.is_none_or(|after| event.position().get() > after)
    }

    fn to_query_item(&self) -> QueryItem {
        let mut item = QueryItem::new().types(self.types.clone()).tags(self.tags.clone());
        if let Some(stream) = self.stream {
            item = item.stream(stream);
        }
        if let Some(category) = self.category {
            item = item.category(category);
        }
        if let Some(after) = self.after {
            item = item.after(after);
        }
        item
    }
}

/// A read chosen by bytes yields what a walk over all events yields; a boundary fails where that
/// finds something; what is a query in text is the same one when it is shown.
///
/// # Panics
///
/// Where it does not.
pub(crate) fn check(input: &[u8]) {
    check_text(&String::from_utf8_lossy(input));
    let mut source = Source(input);
    let options = source.byte();
    let after = if options & 1 == 1 { source.position() } else { 0 };
    let limit = if options & 2 == 2 { u64::from(source.byte()) } else { u64::MAX };
    let as_of = (options & 4 == 4).then(|| source.position());
    let query_after = (options & 8 == 8).then(|| source.position());
    let (backwards, borrowed) = (options & 16 == 16, options & 32 == 32);
    let items: Vec<Item> = (0..source.byte() % 6).map(|_| Item::choose(&mut source)).collect();

    let mut expected: Vec<u64> = STORE
        .events
        .iter()
        .filter(|event| items.iter().any(|item| item.matches(event)))
        .map(|event| event.position().get())
        .filter(|position| *position > after && as_of.is_none_or(|as_of| *position <= as_of))
        .filter(|position| query_after.is_none_or(|after| *position > after))
        .collect();
    if backwards {
        expected.reverse();
    }
    expected.truncate(usize::try_from(limit).unwrap_or(usize::MAX));

    let query = items.iter().fold(Query::none(), |query, item| query.or(item.to_query_item()));
    let query = query_after.into_iter().fold(query, |query: Query, after| query.after(after));
    check_shown(&query);
    if options & 64 == 64 {
        check_boundary(&query, &items, query_after);
    }
    let store = self::options(&STORE.disk.fork()).read_only(true).open("/store").expect("opens");
    let mut read = store.read_all().after(after).limit(limit).matching(query);
    if let Some(as_of) = as_of {
        read = read.as_of(Position::new(as_of));
    }
    if backwards {
        read = read.backwards();
    }
    let mut found = Vec::new();
    if borrowed {
        read.for_each(|event| found.push(event.position().get())).expect("it can be read");
    } else {
        found.extend(read.into_iter().map(|event| event.expect("a good event").position().get()));
    }
    assert_eq!(found, expected, "{input:?}: {items:#?}");
}

/// Parses any text without a panic; a text that is a query is printed as an equal one.
fn check_text(text: &str) {
    match text.parse::<Query>() {
        Ok(query) => assert_eq!(query.to_string().parse(), Ok(query), "{text:?}"),
        Err(error) => {
            assert!(error.at <= text.len() && text.is_char_boundary(error.at), "{text:?}");
        }
    }
}

/// A query equals the one parsed from its text, unless one of its values is empty, which has no
/// text. An item without conditions is printed as one after position 0.
fn check_shown(query: &Query) {
    let text = query.to_string();
    match text.parse::<Query>() {
        Ok(again) if text.contains("after:0") => assert_eq!(again.to_string(), text),
        Ok(again) => assert_eq!(again, *query, "{text:?}"),
        Err(error) => assert!(text.contains("\"\""), "{text:?}: {error}"),
    }
}

fn check_boundary(query: &Query, items: &[Item], after: Option<u64>) {
    let store = options(&STORE.disk.fork()).open("/store").expect("opens");
    let matches = |item: &Item, event: &Event, anywhere: bool| {
        let position = event.position().get();
        let lifted =
            Item { after: None, types: item.types.clone(), tags: item.tags.clone(), ..*item };
        if anywhere {
            return lifted.matches(event);
        }
        item.matches(event) && after.is_none_or(|after| position > after)
    };
    let newest = |anywhere: bool| {
        let found = STORE.events.iter().rfind(|e| items.iter().any(|it| matches(it, e, anywhere)));
        found.map(Event::position)
    };
    let ask = |store: &Store, anywhere: bool| {
        let transaction = store.transaction();
        let asked = if anywhere {
            transaction.fail_if_exists(query.clone())
        } else {
            transaction.fail_if(query.clone())
        };
        match asked.commit() {
            Ok(_) => None,
            Err(Error::Conflict { failed, .. }) => match failed[..] {
                [FailedCheck::AppendConditionFailed { query: 0, position }] if !anywhere => {
                    Some(position)
                }
                [FailedCheck::AlreadyExists { query: 0, position }] if anywhere => Some(position),
                _ => panic!("{failed:?}"),
            },
            Err(error) => panic!("{error:?}"),
        }
    };
    for anywhere in [false, true, false] {
        assert_eq!(ask(&store, anywhere), newest(anywhere), "{anywhere}: {query}: {items:#?}");
    }
}
