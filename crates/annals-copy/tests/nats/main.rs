//! Copies between directories and NATS JetStream.
//!
//! They need servers: `ANNALS_JETSTREAM` has their addresses. Without it they are ignored. `.ci/nats` starts them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "JetStream is a name, and no item")]

#[path = "../copy/histories.rs"]
#[allow(dead_code, reason = "shared")]
mod histories;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals_conformance::{AnySuite, run};
use annals_copy::{
    Directory, Error, Nats, PositionMap, Report, Settings, Source, Step, Target, Until, copy,
};
use annals_es::blocking::block_on;
use annals_es::{
    AppendError, Commit, EventStore, Expected, NewEvent, OrderedStore, Position, StoreError,
};
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};

use histories::{Places, contents, fill, long_ago, target};

const TESTS: &[(&str, fn())] = &[
    (
        "history_is_the_same_after_a_way_there_and_back",
        history_is_the_same_after_a_way_there_and_back,
    ),
    (
        "copy_that_is_stopped_goes_on_and_doubles_nothing",
        copy_that_is_stopped_goes_on_and_doubles_nothing,
    ),
    ("what_is_not_offered_is_told", what_is_not_offered_is_told),
    ("programs_on_servers_are_switched_over", programs_on_servers_are_switched_over),
];

fn main() -> ExitCode {
    let missing = std::env::var("ANNALS_JETSTREAM").is_err();
    let missing =
        missing.then(|| "ANNALS_JETSTREAM names no servers; .ci/nats starts them".to_owned());
    run([AnySuite::tests(TESTS.to_vec(), missing)])
}

/// The address of a store of its own.
fn url(name: &str) -> String {
    let servers = std::env::var("ANNALS_JETSTREAM").unwrap();
    let number = std::process::id();
    format!("{servers}?name=copy_{name}_{number}&durability=accept-loss")
}

fn copy_all(from: &mut dyn Source, to: &mut dyn Target, settings: &Settings) -> Report {
    copy(from, to, settings, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn history_is_the_same_after_a_way_there_and_back() {
    let (places, url) = (Places::new(), url("back"));
    fill(&places.old(), 0..200);
    let store = long_ago().open(places.old()).unwrap();
    for (name, at) in [("a", 0), ("b.c ü", 1), ("c", 77), ("d", store.head().get())] {
        store.cursors().reset(name, at).unwrap();
    }
    store.close().unwrap();
    let mut nats = Nats::target(&url).unwrap();
    let mut source = Directory::source(places.old()).unwrap();
    let there = copy_all(&mut source, &mut nats, &Settings::default());
    assert!(there.positions_moved && there.times_raised == 0 && there.checkpoints == 4);
    drop(nats);
    let map = places.file("map");
    let mut back = target(&places.new_place()).unwrap();
    let mut source = Nats::source(&url).unwrap();
    let report = copy_all(&mut source, &mut back, &Settings::default().map(&map));
    back.close().unwrap();
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
    assert_eq!(report.events_compared, there.events_copied);
    let map = PositionMap::load(map).unwrap();
    assert_eq!(map.new_position(Position::MAX).get(), report.events_compared);
}

fn copy_that_is_stopped_goes_on_and_doubles_nothing() {
    let (places, url) = (Places::new(), url("stopped"));
    fill(&places.old(), 0..800);
    let mut stops = 0;
    loop {
        let mut source = Directory::source(places.old()).unwrap();
        let mut target = Nats::target(&url).unwrap();
        let done = copy(&mut source, &mut target, &Settings::default(), &mut |step| match step {
            Step::Copied { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        match done {
            Err(Error::Stopped) => stops += 1,
            done => break assert!(done.unwrap().events_compared > 800),
        }
    }
    assert!(stops > 1, "{stops}");
}

fn what_is_not_offered_is_told() {
    let (places, url) = (Places::new(), url("fence"));
    fill(&places.old(), 0..3);
    let without = url.replace("&durability=accept-loss", "");
    assert!(matches!(Nats::source(&url), Err(Error::Failed { .. })), "there is no store");
    assert!(matches!(Nats::target(&without), Err(Error::Unsupported { .. })));
    let mut source = Directory::source(places.old()).unwrap();
    copy_all(&mut source, &mut Nats::target(&url).unwrap(), &Settings::default());
    let source = Nats::source(&without).unwrap();
    assert!(!source.name().contains(":app@"), "{}", source.name());
}

fn open(url: &str) -> JetStreamStore {
    let (servers, query) = url.split_once('?').unwrap();
    let servers: Vec<&str> = servers.split(',').collect();
    let name = query.split('&').next().unwrap().strip_prefix("name=").unwrap();
    let options = JetStreamOptions::new(&servers[..]).unwrap().name(name);
    block_on(options.durability(Durability::AcceptLoss).open()).unwrap()
}

fn append(store: &JetStreamStore, stream: &str) -> Result<Position, AppendError> {
    let event = NewEvent::new("A", "{}");
    let commit =
        Commit::to(stream, Expected::Any, [event.clone()]).and("all-1", Expected::Any, [event]);
    block_on(store.append(commit)).map(|done| done.last_position)
}

/// Programs append until they are fenced off. Each acknowledged commit is in the directory, and the way back from there
/// to another store is complete as well.
fn programs_on_servers_are_switched_over() {
    let (places, url) = (Places::new(), url("switched"));
    drop(Nats::target(&url).unwrap());
    let store = open(&url);
    let first = append(&store, "first-1").unwrap();
    let second = append(&store, "first-1").unwrap();
    block_on(store.save_checkpoint("mailer", first)).unwrap();
    let moved = Commit::progress("process", second);
    block_on(store.append(moved)).unwrap();
    let may_fence = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let program = |number| {
            let (store, may_fence) = (open(&url), &may_fence);
            scope.spawn(move || {
                for count in 0_usize.. {
                    may_fence.fetch_or(count > 10, Ordering::Relaxed);
                    match append(&store, &format!("s-{number}")) {
                        Ok(_) => {}
                        Err(AppendError::Store(StoreError::Fenced { .. })) => return count,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                0
            })
        };
        let programs: Vec<_> = (0..3).map(program).collect();
        let mut target = target(&places.new_place()).unwrap();
        let settings = Settings::default().until(Until::Switched);
        let report = copy(&mut Nats::source(&url).unwrap(), &mut target, &settings, &mut |step| {
            while step == Step::Fencing && !may_fence.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            ControlFlow::Continue(())
        });
        assert!(report.unwrap().is_complete);
        target.close().unwrap();
        programs.into_iter().map(|it| it.join().unwrap()).sum::<usize>()
    });
    let found = contents(&places.new_place());
    assert_eq!(found.iter().filter(|line| line.contains(" all-1@")).count(), acknowledged + 2);
    assert!(found.contains(&"cursor mailer 2".to_owned()), "{found:?}");
    assert!(found.contains(&"cursor process 4".to_owned()), "{found:?}");
    assert!(matches!(Nats::target(&url), Err(Error::Failed { .. })), "it is fenced");

    let back_url = url.replace("switched", "switched_back");
    let mut back = Nats::target(&back_url).unwrap();
    let report = copy_all(
        &mut Directory::source(places.new_place()).unwrap(),
        &mut back,
        &Settings::default().until(Until::Switched),
    );
    assert!(report.is_complete && report.events_compared == 2 * (acknowledged as u64 + 2));
    append(&open(&back_url), "s-1").unwrap();
    // The move is given up.
    let mut source = Nats::source(&url).unwrap();
    let fence = source.find_fence().unwrap().expect("a fence");
    assert!(fence.is_complete);
    assert_eq!(source.lift_fence().unwrap(), Some(fence.to));
    append(&open(&url), "s-1").unwrap();
}
