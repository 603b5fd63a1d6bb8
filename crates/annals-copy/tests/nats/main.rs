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

use annals_conformance::{AnySuite, run};
use annals_copy::{
    Directory, Error, Nats, PositionMap, Report, Settings, Source, Step, Target, Until, copy,
};
use annals_es::Position;

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
    let mut source = Nats::source(&without).unwrap();
    assert!(!source.name().contains(":app@"), "{}", source.name());
    let mut to = target(&places.new_place()).unwrap();
    let settings = Settings::default().until(Until::Switched);
    let refused = copy(&mut source, &mut to, &settings, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
}
