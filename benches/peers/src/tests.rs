//! Appended events are read back, in order per stream and over all, also after a reopening; and
//! tests of the program's own parts.

use std::collections::HashMap;

use crate::input::{Corpus, Random, STREAMS};
use crate::peer::{About, Mode, Peer, Setup};
use crate::peers;
use crate::report::Results;

const EVENTS: u64 = 1_000;

fn open(about: &About, dir: &std::path::Path, mode: Mode, events: u64) -> Box<dyn Peer> {
    (about.open)(&Setup { dir, mode, threads: 1, events }).expect(about.name)
}

/// Appends singles, commits over many streams and commits of one stream; yields the events of each
/// stream and of all, in order.
fn append(peer: &dyn Peer, pipelined: bool) -> Vec<(usize, &'static [u8])> {
    let (corpus, mut random) = (Corpus::get(), Random::new(3));
    let mut expected = Vec::new();
    // Few streams, so that most have several events.
    let mut event = || {
        let number = random.below(40);
        let event = corpus.event_of(number, &mut random);
        expected.push((number, event.data));
        event
    };
    for _ in 0..EVENTS / 4 {
        peer.append(&[event()]).expect("append one");
    }
    for _ in 0..EVENTS / 4 / 10 {
        let events: Vec<_> = (0..10).map(|_| event()).collect();
        peer.append(&events).expect("append ten");
    }
    let mut left = EVENTS / 4;
    if pipelined {
        let mut next = || (left > 0).then(|| (left -= 1, event()).1);
        peer.pipeline(&mut next).expect("append a pipeline");
    } else {
        while left > 0 {
            left -= 1;
            peer.append(&[event()]).expect("append one");
        }
    }
    for turn in 0..EVENTS / 4 / 50 {
        let number = STREAMS - 1 - turn as usize;
        let events: Vec<_> = (0..50).map(|_| corpus.event_of(number, &mut random)).collect();
        expected.extend(events.iter().map(|event| (number, event.data)));
        peer.append(&events).expect("append fifty");
    }
    expected
}

fn check(about: &About, peer: &dyn Peer, expected: &[(usize, &[u8])]) {
    let corpus = Corpus::get();
    // A peer without an order over all streams yields each stream in order.
    let ordered = about.name != "raft-engine";
    let mut streams: HashMap<usize, Vec<&[u8]>> = HashMap::new();
    for (number, data) in expected {
        streams.entry(*number).or_default().push(data);
    }
    if about.can.scan {
        let mut count = 0;
        let mut last = 0;
        let mut unread: HashMap<Vec<u8>, i64> = HashMap::new();
        peer.scan(&mut |seen| {
            let (number, data) = expected[count];
            if ordered {
                assert_eq!(seen.data, data, "{}: event {count}", about.name);
                assert_eq!(seen.stream, corpus.streams[number], "{}", about.name);
                assert!(seen.position > last || (count == 0), "{}: order", about.name);
            }
            *unread.entry(data.to_vec()).or_default() += 1;
            *unread.entry(seen.data.to_vec()).or_default() -= 1;
            last = seen.position;
            count += 1;
        })
        .expect("scan");
        assert_eq!(count, expected.len(), "{}", about.name);
        assert!(unread.values().all(|&left| left == 0), "{}: other events", about.name);
    }
    if about.can.streams {
        for (number, events) in &streams {
            let mut seen_events = Vec::new();
            let mut last = None;
            peer.read_stream(&corpus.streams[*number], *number as u64, &mut |seen| {
                seen_events.push(seen.data.to_vec());
                if seen.version > 0 {
                    assert!(last.is_none_or(|last| seen.version == last + 1), "{}", about.name);
                    last = Some(seen.version);
                }
            })
            .expect("read a stream");
            assert_eq!(seen_events, *events, "{}: stream {number}", about.name);
        }
    }
    for (number, events) in streams.iter().filter(|_| about.can.streams) {
        check_lookups(about, peer, *number, events);
    }
    if about.can.queries {
        for (number, events) in &streams {
            let mut found = Vec::new();
            peer.query(&corpus.streams[*number], &mut |seen| found.push(seen.data.to_vec()))
                .expect("query");
            assert_eq!(found, *events, "{}: query for stream {number}", about.name);
        }
    }
    assert_eq!(peer.head().expect("head"), expected.len() as u64, "{}", about.name);
}

/// The version of a stream, its newest event, and all of it in pages.
fn check_lookups(about: &About, peer: &dyn Peer, number: usize, events: &[&[u8]]) {
    let (name, key) = (&Corpus::get().streams[number], number as u64);
    if about.can.heads {
        assert_eq!(
            peer.version(name, key).expect("version"),
            events.len() as u64,
            "{}",
            about.name
        );
    }
    let mut newest = Vec::new();
    peer.newest(name, key, &mut |seen| newest.push(seen.data.to_vec())).expect("newest");
    assert_eq!(newest, events[events.len() - 1..], "{}: newest of {number}", about.name);
    let (mut seen_events, mut after) = (Vec::new(), 0);
    for page in events.chunks(3) {
        let before = seen_events.len();
        peer.page(name, key, after, 3, &mut |seen| {
            after = if seen.version > 0 { seen.version } else { seen.position };
            seen_events.push(seen.data.to_vec());
        })
        .expect("page");
        assert_eq!(seen_events.len() - before, page.len(), "{}: page of {number}", about.name);
    }
    assert_eq!(seen_events, events, "{}: pages of {number}", about.name);
    peer.page(name, key, after, 3, &mut |_| panic!("{}: after the end", about.name)).expect("end");
}

fn round_trip(about: &About, mode: Mode) {
    let dir = tempfile::tempdir().expect("a directory");
    let peer = open(about, dir.path(), mode, EVENTS * 2);
    let expected = append(&*peer, about.can.pipeline && mode == Mode::Durable);
    assert_eq!(expected.len() as u64, EVENTS, "{}", about.name);
    check(about, &*peer, &expected);
    peer.close().expect("close");
    if about.can.opens {
        let peer = open(about, dir.path(), mode, 0);
        check(about, &*peer, &expected);
        peer.close().expect("close again");
    }
}

#[test]
fn durable_events_come_back() {
    for about in peers::all().into_iter().filter(|about| about.can.durable) {
        round_trip(about, Mode::Durable);
    }
}

#[test]
fn buffered_events_come_back() {
    for about in peers::all().into_iter().filter(|about| about.can.buffered) {
        round_trip(about, Mode::Buffered);
    }
}

#[test]
fn threads_lose_nothing() {
    const THREADS: u64 = 8;
    let corpus = Corpus::get();
    for about in peers::all().into_iter().filter(|about| about.can.threads && about.can.scan) {
        let dir = tempfile::tempdir().expect("a directory");
        let setup =
            Setup { dir: dir.path(), mode: Mode::Durable, threads: 8, events: THREADS * 100 };
        let peer = (about.open)(&setup).expect(about.name);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let peer = &*peer;
                scope.spawn(move || {
                    let mut random = Random::new(thread + 1);
                    for _ in 0..50 {
                        let number = random.below(5);
                        let event = corpus.event_of(number, &mut random);
                        peer.append(&[event]).expect(about.name);
                    }
                });
            }
        });
        let mut count = 0;
        peer.scan(&mut |_| count += 1).expect("scan");
        assert_eq!(count, THREADS * 50, "{}", about.name);
        peer.close().expect("close");
    }
}

#[test]
fn a_group_layer_writes_what_a_bare_loop_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let grouped = peers::find("raw-grouped").expect("a peer");
    let peer = open(grouped, dir.path(), Mode::Durable, EVENTS * 2);
    let expected = append(&*peer, false);
    peer.close().expect("close");
    let raw = peers::find("raw").expect("a peer");
    let peer = open(raw, dir.path(), Mode::Durable, 0);
    check(raw, &*peer, &expected);
}

#[test]
fn every_peer_has_a_version() {
    for about in peers::all().into_iter().filter(|about| !about.package.is_empty()) {
        assert!(crate::versions::of(about.package).is_some(), "{}", about.name);
    }
}

#[test]
fn results_become_a_table_and_a_plot() {
    let lines = r#"{"machine":{"kernel":"6"},"scale":{"reps":3}}
{"calm":{"load":0.1,"loop_ms":50.0,"sync_us":40.0},"when":"before"}
{"peer":"annals","workload":"durable-1","rep":0,"figures":{"rate":19000.0}}
{"peer":"annals","workload":"durable-1","rep":1,"figures":{"rate":10.0}}
{"peer":"annals","workload":"durable-1","rep":2,"figures":{"rate":21000.0}}
{"peer":"raw","workload":"durable-1","rep":0,"figures":{"rate":20000.0}}
{"peer":"raw","workload":"paced","rep":0,"figures":{"rate":99990.0,"held":1.0,"p50":1.5}}
{"peer":"sqlite","workload":"paced","rep":0,"figures":{"rate":31000.0,"held":0.0}}
{"peer":"sqlite","workload":"durable-1","rep":0,"error":"no"}"#;
    let results = Results::parse(lines).expect("results");
    let table = results.markdown();
    assert!(table.contains("| durable, 1 event, 1 thread | 19.0 k | 20.0 k | – |"), "{table}");
    assert!(table.contains("| 0.95 | ≥ 0.97 | **missed** |"), "{table}");
    assert!(table.contains("| 100,000/s, buffered, p50 | – | 1.50 µs | only 31.0 k |"), "{table}");
    assert!(table.contains("failed: sqlite, durable-1: no"), "{table}");
    assert!(crate::plot::svg(&results).contains("19.0 k"));
}
