//! Reads of tasks.

use std::sync::Arc;

use annals::testing::SimStorage;
use annals::{Error, EventStream, Events, Options, Position, Query};
use futures::StreamExt;
use futures::stream::FusedStream;

use super::super::shared::ROOT;
use super::{Taken, block_on, disk, fill, options, run};

/// Reads a stream of events to its end.
fn drain(mut stream: EventStream) -> (Vec<(Position, usize)>, Taken) {
    let read = async move {
        let mut all = Vec::new();
        while let Some(event) = stream.next().await {
            let event = event.unwrap();
            all.push((event.position(), event.data().len()));
        }
        assert!(stream.is_terminated());
        all
    };
    run(read, || {})
}

#[test]
fn read_of_a_task_returns_what_the_iterator_returns_and_reads_no_file() {
    const EVENTS: u64 = 20_000;
    let disk = disk(&SimStorage::new(1));
    let options = || Options::new().segment_size(1 << 18).storage(Arc::new(disk.clone()));
    let store = options().open(ROOT).unwrap();
    fill(&store, EVENTS);
    store.close().unwrap();
    let store = options().open(ROOT).unwrap();
    let plain = |events: Events| -> Vec<(Position, usize)> {
        events.map(Result::unwrap).map(|e| (e.position(), e.data().len())).collect()
    };
    // Each pair is read by the task first, while files are not open.
    let none = || Query::from(Query::types(["Happened"]).items()[0].clone().tag("unknown"));
    let all: [annals::ReadAll; 6] = [
        store.read_all(),
        store.read_all().backwards().limit(5_000),
        store.read_all().after(7).limit(3),
        store.read_all().matching(Query::types(["Happened"])).up_to(9_000),
        store.read_all().matching(none()),
        store.read_all().after(EVENTS),
    ];
    for read in all {
        let (events, taken) = drain(read.clone().into_stream());
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert!(taken.polls >= events.len() as u64 / 1_025, "{taken:?} for {}", events.len());
        assert_eq!(events, plain(read.start().unwrap()));
    }
    for read in [
        store.read_stream("filled"),
        store.read_stream("filled").backwards().limit(100),
        store.read_stream("filled").matching(none()),
        store.read_stream("unknown"),
    ] {
        let (events, taken) = drain(read.clone().into_stream());
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert_eq!(events, plain(read.start().unwrap()));
    }
    // A read that has started goes on.
    let mut started = store.read_all().start().unwrap();
    assert_eq!(started.next().unwrap().unwrap().position(), Position::new(1));
    let stream = started.into_stream();
    assert_eq!(stream.head(), Some(Position::new(EVENTS)));
    assert_eq!(drain(stream).0.len() as u64, EVENTS - 1);
}

#[test]
fn read_of_a_task_ends_after_its_error_or_a_close() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    fill(&store, 1_000);
    let mut wrong = store.read_all().as_of(annals::AsOf::Version(1)).into_stream();
    assert!(matches!(block_on(wrong.next()), Some(Err(Error::InvalidArgument { .. }))));
    assert!(block_on(wrong.next()).is_none());
    let mut failed = store.read_all().as_of(annals::AsOf::Version(1)).into_iter().into_stream();
    assert!(matches!(block_on(failed.next()), Some(Err(Error::InvalidArgument { .. }))));
    assert!(block_on(failed.next()).is_none());
    let mut stream = store.read_all().into_stream();
    assert!(block_on(stream.next()).unwrap().is_ok());
    store.close().unwrap();
    let (rest, _) = run(stream.collect::<Vec<_>>(), || {});
    let (last, before) = rest.split_last().unwrap();
    assert!(matches!(last, Err(Error::Closed)), "{last:?}");
    assert!(before.iter().all(Result::is_ok));
}

#[test]
fn read_of_a_task_without_threads_yields_too() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).background(false).open(ROOT).unwrap();
    fill(&store, 10_000);
    let (events, taken) = drain(store.read_all().into_stream());
    assert_eq!(events.len(), 10_000);
    assert!(taken.polls >= 10, "{taken:?}");
}
