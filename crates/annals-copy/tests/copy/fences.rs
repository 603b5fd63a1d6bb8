//! Switching over: the source is followed, fenced, and complete in the target.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use annals::{Store, fence};
use annals_copy::{Error, Settings, Step, Until};

use crate::histories::{Places, commit, contents, fill, small};

/// A bound; every wait ends far earlier.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn switched_copy_has_every_event_that_the_source_acknowledged() {
    let places = Places::new();
    fill(&places.old(), 0..300);
    let store = small().open(places.old()).unwrap();
    let asked = AtomicBool::new(false);
    let settings = Settings::default().until(Until::Switched).wait(PATIENCE).place("the new place");
    thread::scope(|scope| {
        // The program appends until it is told to stop, and some more.
        scope.spawn(|| {
            let mut number = 300;
            while !asked.load(Ordering::Relaxed) {
                commit(&store, number);
                number += 1;
            }
            for number in number..number + 20 {
                commit(&store, number);
            }
            store.close().unwrap();
        });
        let report = places.copy_telling(&settings, &mut |step| {
            if step == Step::Fencing {
                asked.store(true, Ordering::Relaxed);
            }
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert!(report.is_complete && report.events_compared == report.events_copied);
    });
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
    let refused = Store::open(places.old());
    assert!(matches!(refused, Err(annals::Error::Fenced { to, .. }) if to == "the new place"));
    commit(&Store::open(places.new_place()).unwrap(), 10_000);
}

#[test]
fn following_copy_ends_once_the_source_is_fenced_and_closed() {
    let places = Places::new();
    let store = small().open(places.old()).unwrap();
    commit(&store, 0);
    let settings = Settings::default().until(Until::Fenced);
    let old = places.old();
    let (seen, fenced) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..100 {
                commit(&store, number);
            }
            while !seen.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            scope.spawn(|| {
                fence::raise(&old, "elsewhere", PATIENCE).unwrap();
                fenced.store(true, Ordering::Relaxed);
            });
            while fence::find(&old).unwrap().is_none() {
                thread::yield_now();
            }
            // The fence is raised and not complete.
            for number in 100..110 {
                commit(&store, number);
            }
            store.close().unwrap();
        });
        let report = places.copy_telling(&settings, &mut |step| {
            if matches!(step, Step::CaughtUp { .. }) {
                seen.store(true, Ordering::Relaxed);
            }
            ControlFlow::Continue(())
        });
        assert!(report.unwrap().is_complete);
    });
    assert!(fenced.load(Ordering::Relaxed));
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
}

#[test]
fn fence_that_a_program_does_not_make_way_for_is_given_up() {
    let places = Places::new();
    let store = small().open(places.old()).unwrap();
    commit(&store, 0);
    let refused = places.copy(&Settings::default().until(Until::Switched));
    assert!(matches!(refused, Err(Error::Failed { .. })), "{refused:?}");
    commit(&store, 1);
    store.close().unwrap();
    let report = places.copy(&Settings::default().until(Until::Switched)).unwrap();
    assert!(report.is_complete);
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
    // And back: the other direction is the same.
    fence::lift(places.old()).unwrap();
    fill(&places.old(), 2..3);
}
