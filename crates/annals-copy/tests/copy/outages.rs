//! Places that cannot be reached for a time while the source is followed.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use annals::fence;
use annals_copy::{
    Directory, Error, Events, Fence, Rest, Settings, Source, Step, Target, Until, copy,
};
use annals_es::{Position, RecordedEvent};

use crate::histories::{Places, contents, fill, target};

/// A directory whose calls fail while it is out, which begins by itself after a number of calls.
struct Outage {
    place: Directory,
    /// Number of calls until it is out.
    left: u32,
    is_out: Rc<Cell<bool>>,
}

impl Outage {
    fn meet(&mut self) -> Result<(), Error> {
        if self.left == 0 && !self.is_out.get() {
            self.is_out.set(true);
            self.left = 25;
        }
        if self.is_out.get() {
            let place = self.place.name().to_owned();
            return Err(Error::Unreachable { place, cause: "it is out".into() });
        }
        self.left -= 1;
        Ok(())
    }
}

impl Source for Outage {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn last(&mut self) -> Result<Option<RecordedEvent>, Error> {
        self.meet()?;
        self.place.last()
    }

    fn read(&mut self, after: Position, up_to: Position) -> Result<Events<'_>, Error> {
        self.meet()?;
        self.place.read(after, up_to)
    }

    fn same(&mut self, other: &RecordedEvent) -> Result<Option<RecordedEvent>, Error> {
        self.place.same(other)
    }

    fn at_or_before(&mut self, position: Position) -> Result<Option<RecordedEvent>, Error> {
        self.place.at_or_before(position)
    }

    fn checkpoints(&mut self) -> Result<Vec<(String, Position)>, Error> {
        self.place.checkpoints()
    }

    fn rest(&mut self) -> Result<Rest, Error> {
        self.place.rest()
    }

    fn find_fence(&mut self) -> Result<Option<Fence>, Error> {
        self.meet()?;
        self.place.find_fence()
    }

    fn raise_fence(&mut self, to: &str, wait: Duration) -> Result<(), Error> {
        self.place.raise_fence(to, wait)
    }

    fn lift_fence(&mut self) -> Result<Option<String>, Error> {
        self.place.lift_fence()
    }

    fn wait(&mut self, _: Position, _: Duration) -> Result<(), Error> {
        self.meet()
    }
}

impl Target for Outage {
    /// The first half is recorded also when the place is out then.
    fn append(&mut self, commits: &[Vec<RecordedEvent>]) -> Result<u64, Error> {
        // A directory would take it for a repetition; other places may refuse it.
        assert!(self.place.same(&commits[0][0])?.is_none(), "it is recorded already");
        let (first, second) = commits.split_at(commits.len() / 2);
        let raised = self.place.append(first)?;
        self.meet()?;
        Ok(raised + self.place.append(second)?)
    }

    fn set_checkpoint(&mut self, name: &str, to: Position) -> Result<(), Error> {
        self.place.set_checkpoint(name, to)
    }

    fn keeps_rest(&self) -> bool {
        self.place.keeps_rest()
    }

    fn keep(&mut self, rest: &Rest) -> Result<(), Error> {
        self.place.keep(rest)
    }

    fn close(&mut self) -> Result<(), Error> {
        self.place.close()
    }
}

/// Copies while each place is out now and then. Returns how often the target and the source were.
fn copy_in_outages(places: &Places, until: Until) -> Result<[u32; 2], Error> {
    let (is_out, mut outages) = (Rc::new(Cell::new(false)), [0, 0]);
    let outage = |place, left| Outage { place, left, is_out: Rc::clone(&is_out) };
    let mut source = outage(Directory::source(places.old())?, 7);
    let mut to = outage(target(&places.new_place())?, 2);
    let old = places.old();
    let mut more = 0;
    let done = copy(&mut source, &mut to, &Settings::default().until(until), &mut |step| {
        match step {
            Step::Unreachable { is_source, pause } => {
                assert!(!pause.is_zero());
                if is_out.replace(false) {
                    outages[usize::from(is_source)] += 1;
                }
            }
            Step::CaughtUp { .. } if more < 20 => {
                fill(&old, 500 + more..501 + more);
                more += 1;
            }
            Step::CaughtUp { .. } if fence::find(&old).unwrap().is_none() => {
                fence::raise(&old, "elsewhere", Duration::ZERO).unwrap();
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let report = done?;
    assert!(report.is_complete);
    to.close()?;
    Ok(outages)
}

#[test]
fn following_copy_waits_for_places_that_are_out() {
    let places = Places::new();
    fill(&places.old(), 0..500);
    let [of_target, of_source] = copy_in_outages(&places, Until::Fenced).unwrap();
    assert!(of_target > 0 && of_source > 0, "{of_target}, {of_source}");
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
}

#[test]
fn copy_that_follows_nothing_ends_with_an_outage() {
    let places = Places::new();
    fill(&places.old(), 0..50);
    let done = copy_in_outages(&places, Until::CaughtUp);
    assert!(matches!(done, Err(Error::Unreachable { .. })), "{done:?}");
}

#[test]
fn copy_that_waits_can_be_stopped() {
    let places = Places::new();
    fill(&places.old(), 0..5);
    let is_out = Rc::new(Cell::new(false));
    let place = Directory::source(places.old()).unwrap();
    let mut source = Outage { place, left: 3, is_out };
    let settings = Settings::default().until(Until::Fenced);
    let mut to = target(&places.new_place()).unwrap();
    let done = copy(&mut source, &mut to, &settings, &mut |step| match step {
        Step::Unreachable { is_source: true, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(done, Err(Error::Stopped)), "{done:?}");
}
