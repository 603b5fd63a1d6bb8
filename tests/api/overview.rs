//! What is in the store: streams in pages and by size, types, categories and tags with counts, numbers of matches.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use annals::testing::SimStorage;
use annals::{ExpectedVersion, NewEvent, Query, QueryItem, Result, Store, StreamInfo, TermCount};

use crate::shared::{ROOT, simulated};

const EVENTS: u64 = 400;

/// The event with a number, of a stream that follows from it.
fn append(store: &Store, number: u64) {
    let stream = match number % 10 {
        0 => "audit".to_owned(),
        _ => format!("account-{:02}", number % 30),
    };
    let event = NewEvent::new(format!("T{}", number % 3), vec![7; 700]).tags([
        format!("of:{}", number % 7),
        "all".to_owned(),
        "all".to_owned(),
    ]);
    store.append(stream, ExpectedVersion::Any, [event]).unwrap();
}

/// A store of several sealed segments, some of them merged, and events in one that is not sealed.
fn sealed() -> (SimStorage, Store) {
    let sim = SimStorage::new(5);
    let store = simulated(&sim).open(ROOT).unwrap();
    for number in 1..=EVENTS / 2 {
        append(&store, number);
    }
    store.compact().unwrap();
    for number in EVENTS / 2 + 1..=EVENTS {
        append(&store, number);
    }
    store.sync().unwrap();
    assert!(store.stats().sealed_segments > 3);
    (sim, store)
}

fn counted(terms: impl IntoIterator<Item = Result<TermCount>>) -> Vec<(String, u64)> {
    terms.into_iter().map(|term| term.map(|t| (t.name, t.events)).unwrap()).collect()
}

fn named(streams: impl IntoIterator<Item = Result<StreamInfo>>) -> Vec<String> {
    streams.into_iter().map(|info| info.unwrap().name).collect()
}

fn numbers(wanted: impl Fn(u64) -> bool) -> u64 {
    (1..=EVENTS).filter(|&number| wanted(number)).count() as u64
}

#[test]
fn types_categories_and_tags_have_the_number_of_their_events() {
    let (_sim, store) = sealed();
    let types: Vec<_> = (0..3).map(|t| (format!("T{t}"), numbers(|n| n % 3 == t))).collect();
    assert_eq!(counted(store.event_types()), types);
    let audit = numbers(|n| n % 10 == 0);
    let categories = [("account".to_owned(), EVENTS - audit), ("audit".to_owned(), audit)];
    assert_eq!(counted(store.categories()), categories);
    let tags: Vec<_> = (0..7).map(|t| (format!("of:{t}"), numbers(|n| n % 7 == t))).collect();
    // An event that carries a tag twice counts once.
    assert_eq!(counted(store.tags()), [&[("all".to_owned(), EVENTS)], &tags[..]].concat());
    assert_eq!(counted(store.tags().prefix("of:")), tags);
    assert_eq!(counted(store.tags().prefix("of:").after("of:2").limit(2)), tags[3..5]);
    assert_eq!(counted(store.tags().after("of:5")), tags[6..]);
    assert_eq!(counted(store.tags().prefix("none")), []);
    let most = store.tags().most_frequent(2).unwrap();
    assert_eq!(counted(most.into_iter().map(Ok)), [("all".to_owned(), EVENTS), tags[1].clone()]);
    // Hidden events count.
    store.archive("audit").unwrap();
    assert_eq!(counted(store.categories()), categories);
}

#[test]
fn segments_that_are_sealed_during_a_list_count_once() {
    let (_sim, store) = sealed();
    let expected = counted(store.tags());
    // The segments that are not sealed are counted now, the others with the first name.
    let list = store.tags().into_iter();
    let sealed = store.stats().sealed_segments;
    for number in 1..=EVENTS {
        append(&store, number);
    }
    store.compact().unwrap();
    assert!(store.stats().sealed_segments > sealed);
    assert_eq!(counted(list), expected);
}

#[test]
fn streams_are_listed_in_pages_by_name_and_first_by_size_or_change() {
    let (_sim, store) = sealed();
    let all: Vec<StreamInfo> = store.streams().into_iter().collect::<Result<_>>().unwrap();
    assert_eq!(all.len(), 28);
    let names: Vec<String> = all.iter().map(|info| info.name.clone()).collect();
    assert_eq!(named(store.streams().limit(3)), names[..3]);
    assert_eq!(named(store.streams().after(&*names[2]).limit(5)), names[3..8]);
    assert_eq!(named(store.streams().after("account-02x").limit(1)), ["account-03"]);
    assert_eq!(named(store.streams().category("audit").after("account-29")), ["audit"]);
    assert_eq!(named(store.streams().category("account").after("account-28")), ["account-29"]);
    assert_eq!(named(store.streams().limit(0)), [""; 0]);
    let largest = store.streams().largest(2).unwrap();
    assert_eq!((largest[0].name.as_str(), largest[0].version), ("audit", EVENTS / 10));
    assert!(largest[1].version < largest[0].version && largest.len() == 2);
    let changed = store.streams().last_changed(3).unwrap();
    let positions: Vec<u64> = changed.iter().map(|info| info.last_position.get()).collect();
    assert_eq!(positions, [EVENTS, EVENTS - 1, EVENTS - 2]);
    assert_eq!(store.streams().largest(1000).unwrap().len(), 28);
}

/// Number `n` of streams whose names are not in the order of their first events.
fn scattered(n: u64) -> String {
    format!("{}-{:04}", ["a", "b"][usize::from(n.is_multiple_of(3))], n * 7919 % 2000)
}

#[test]
fn many_streams_that_are_not_sealed_are_listed_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut known: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut position = 0;
    // In memory; in a checkpoint; in both, of which memory has the newer heads.
    for round in 0..3 {
        for n in (0..2000).filter(|n| round == 0 || n % 7 == 0).chain([round + 2000]) {
            let name = if n < 2000 { scattered(n) } else { format!("c-{n}") };
            store.append(&name, ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
            position += 1;
            let known = known.entry(name).or_default();
            *known = (known.0 + 1, position);
        }
        let names: Vec<&String> = known.keys().collect();
        assert_eq!(named(store.streams()).iter().collect::<Vec<_>>(), names);
        for info in store.streams() {
            let info = info.unwrap();
            assert_eq!((info.version, info.last_position.get()), known[&info.name]);
        }
        for at in [0, 255, 256, 257, 1900] {
            let page = named(store.streams().after(names[at]).limit(300));
            let next = &names[at + 1..];
            assert_eq!(page.iter().collect::<Vec<_>>(), next[..next.len().min(300)]);
        }
        let of_b: Vec<_> = names.iter().filter(|name| name.starts_with("b-1")).collect();
        let found = named(store.streams().prefix("b-1"));
        assert_eq!(found.iter().collect::<Vec<_>>(), of_b.into_iter().copied().collect::<Vec<_>>());
        let by = |rank: fn(&(u64, u64)) -> u64| {
            let mut names = names.clone();
            names.sort_by_key(|name| Reverse(rank(&known[*name])));
            names.into_iter().take(300).cloned().collect::<Vec<_>>()
        };
        let listed = |infos: Vec<StreamInfo>| named(infos.into_iter().map(Ok));
        assert_eq!(listed(store.streams().largest(300).unwrap()), by(|known| known.0));
        assert_eq!(listed(store.streams().last_changed(300).unwrap()), by(|known| known.1));
        if round == 0 {
            store.close().unwrap();
            store = Store::open(dir.path()).unwrap();
        }
    }
    // A limit takes the first ones that are shown, whatever their rank.
    store.archive("a-0001").unwrap();
    let first = named(store.streams().limit(3).largest(2).unwrap().into_iter().map(Ok));
    let mut of_three = named(store.streams().limit(3));
    of_three.sort_by_key(|name| Reverse(known[name].0));
    assert_eq!(first, of_three[..2]);
}

#[test]
fn streams_that_are_sealed_during_a_list_of_parts_are_listed_once() {
    let sim = SimStorage::new(5);
    let store = simulated(&sim).segment_size(256 << 10).open(ROOT).unwrap();
    let append = |n: u64, len| {
        let event = NewEvent::new("T", vec![0; len]);
        store.append(scattered(n), ExpectedVersion::Any, [event]).unwrap();
    };
    (1000..1600).for_each(|n| append(n, 500));
    assert!(store.stats().sealed_segments > 0);
    (0..1000).for_each(|n| append(n, 0));
    let names = named(store.streams());
    assert_eq!(names.len(), 1600);
    let mut listed = store.streams().into_iter();
    let mut found = Vec::new();
    for (count, from) in [(100, 700), (150, 1300), (350, 200), (usize::MAX, 0)] {
        found.extend(named(listed.by_ref().take(count)));
        let before = store.stats().sealed_segments;
        (from..from + 600).for_each(|n| append(n, 500));
        assert!(store.stats().sealed_segments > before);
    }
    assert_eq!(found, names);
}

#[test]
fn matches_of_a_query_are_counted_as_reads_show_them() {
    let (_sim, store) = sealed();
    let item = QueryItem::new;
    let queries = [
        Query::all(),
        Query::none(),
        Query::types(["T1"]),
        Query::types(["T1", "T2", "T1", "none"]),
        Query::tagged(["all"]),
        Query::tagged(["all", "of:3"]),
        Query::none().or(item().stream("audit")),
        Query::none().or(item().category("account").types(["T0"]).tags(["of:1"])),
        Query::none().or(item().types(["T0"])).or(item().tags(["of:2"])).or(item().stream("audit")),
        Query::none().or(item().after(150_u64)).or(item().types(["T2"])),
        Query::types(["T0"]).after(333_u64),
        Query::tagged(["none"]),
    ];
    let shown = |read: annals::ReadAll| read.into_iter().map(Result::unwrap).count() as u64;
    let mut found = 0;
    for archived in [false, true] {
        for query in &queries {
            for (after, upto) in [(0, EVENTS), (77, 340), (200, 201), (399, 400), (50, 3)] {
                let read = store.read_all().matching(query.clone()).after(after).up_to(upto);
                let expected = shown(read.clone());
                found += expected;
                assert_eq!(read.clone().count().unwrap(), expected, "{query} {after} to {upto}");
                assert_eq!(read.clone().limit(9).count().unwrap(), expected.min(9), "{query}");
                let with_hidden = read.include_hidden().backwards();
                let expected = shown(with_hidden.clone());
                assert_eq!(with_hidden.count().unwrap(), expected, "{query} {after} to {upto}");
            }
        }
        assert_eq!(store.read_all().count().unwrap(), shown(store.read_all()));
        if !archived {
            store.archive("account-01").unwrap();
        }
    }
    assert!(found > 5000, "{found}");
    assert!(store.read_all().as_of(annals::AsOf::Version(1)).count().is_err());
}

/// A damaged index is built again in memory: its segment is not sealed then, and may be before sealed ones.
#[test]
fn lists_and_counts_are_right_with_damaged_indexes() {
    let (sim, store) = sealed();
    let told = |store: &Store| {
        let streams = store.streams().into_iter().map(|info| info.map(|it| (it.name, it.version)));
        let streams: Vec<_> = streams.collect::<Result<_>>().unwrap();
        let matches = store.read_all().matching(Query::tagged(["of:3"])).count().unwrap();
        (counted(store.event_types()), counted(store.tags()), streams, matches)
    };
    let before = told(&store);
    store.close().unwrap();
    let is_index = |path: &std::path::PathBuf| path.to_string_lossy().contains("/index/");
    let indexes: Vec<_> = sim.files().into_iter().filter(is_index).collect();
    assert!(indexes.len() > 3, "{indexes:?}");
    for (damaged, path) in indexes.iter().enumerate() {
        for byte in [0, 500] {
            let sim = sim.fork();
            sim.corrupt(path, |bytes| bytes[byte..].fill(0x55)).unwrap();
            let reader = simulated(&sim).read_only(true).open(ROOT).unwrap();
            assert_eq!(told(&reader), before, "index {damaged} from {byte} on");
        }
    }
}

#[test]
fn counts_of_sealed_segments_need_no_record() {
    let (sim, store) = sealed();
    let before = (counted(store.event_types()), counted(store.tags()), named(store.streams()));
    let query = || Query::tagged(["of:3"]).or(QueryItem::new().types(["T1"]).stream("audit"));
    let matches = store.read_all().matching(query()).count().unwrap();
    store.close().unwrap();
    // Every record of a sealed segment is damaged; the header, the seal and the trailer are not.
    let logs = sim.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg"));
    let mut damaged = 0;
    for path in logs {
        let bytes = sim.read_file(&path).unwrap();
        if bytes.len() < 100 || &bytes[bytes.len() - 64..bytes.len() - 56] != b"ANNALEND" {
            continue;
        }
        sim.corrupt(&path, |bytes| {
            let end = bytes.windows(4).rposition(|at| at == [0xAF, 0x4E, 4, 0]).unwrap();
            bytes[8192 + 48..end].fill(0x55);
        })
        .unwrap();
        damaged += 1;
    }
    assert!(damaged > 3, "{damaged}");
    let store = simulated(&sim).read_only(true).open(ROOT).unwrap();
    assert!(store.read_all().into_iter().any(|event| event.is_err()), "nothing is damaged");
    let after = (counted(store.event_types()), counted(store.tags()), named(store.streams()));
    assert_eq!(after, before);
    assert_eq!(store.read_all().matching(query()).count().unwrap(), matches);
}
