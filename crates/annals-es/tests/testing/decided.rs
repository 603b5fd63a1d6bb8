//! The checks of aggregates and decisions. That they pass is tested where aggregates and decisions are.

use annals_es::testing::{Recorded, given, given_events, given_history};
use annals_es::{Decision, Event, Events, Fold, Metadata, Query, Tag, Timestamp};
use serde::{Deserialize, Serialize};

use crate::booking::{Seat, SeatCommand, SeatEvent};
use crate::fails_with;

#[test]
fn aggregate_check_that_fails_shows_both_sides() {
    let ann = || SeatCommand::Reserve { customer: "ann".into() };
    fails_with(
        &["other events\nexpected:\n  Confirmed\ncame:\n  Reserved { customer: \"ann\" }"],
        || {
            given::<Seat>([]).when(&ann()).then([SeatEvent::Confirmed]);
        },
    );
    fails_with(&["expected:\n  nothing\ncame:\n  Reserved"], || {
        given::<Seat>([]).when(&ann()).then([]);
    });
    fails_with(&["was refused: the seat is not reserved\nexpected:\n  Confirmed"], || {
        given::<Seat>([]).when(&SeatCommand::Confirm).then([SeatEvent::Confirmed]);
    });
    fails_with(&["was not refused, and decided:\n  Reserved"], || {
        given::<Seat>([]).when(&ann()).then_refused(|_| true);
    });
    fails_with(&["another error: the seat is not reserved"], || {
        given::<Seat>([]).when(&SeatCommand::Confirm).then_refused(|_| false);
    });
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
struct Taken {
    #[tag]
    name: String,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the name is taken")]
struct NameTaken;

struct Take(&'static str);

impl Decision for Take {
    type Event = Taken;
    type Facts = Fold<Taken, bool>;
    type Error = NameTaken;
    const CATEGORY: &'static str = "name";

    fn facts(&self) -> Self::Facts {
        let query = Query::types(["Taken"]).and_tag(Tag::new("name", self.0));
        Fold::new(query, |taken, _| *taken = true)
    }

    fn decide(&self, taken: &Self::Facts) -> Result<Events<Taken>, NameTaken> {
        if **taken { Err(NameTaken) } else { Ok(Taken { name: self.0.into() }.into()) }
    }
}

fn taken(name: &str) -> Taken {
    Taken { name: name.into() }
}

#[test]
fn decision_check_that_fails_shows_both_sides() {
    given_events([taken("ann")]).when(&Take("bob")).then([taken("bob")]);
    given_events([taken("ann")]).when(&Take("ann")).then_refused(|error| *error == NameTaken);
    fails_with(&["other events\nexpected:\n  nothing\ncame:\n  Taken { name: \"bob\" }"], || {
        given_events([taken("ann")]).when(&Take("bob")).then([]);
    });
    fails_with(&["was refused: the name is taken\nexpected:\n  nothing"], || {
        given_events([taken("ann")]).when(&Take("ann")).then([]);
    });
    fails_with(&["was not refused, and decided:\n  Taken", "expected: NameTaken"], || {
        given_events([taken("ann")]).when(&Take("bob")).then_error(&NameTaken);
    });
    fails_with(&["another error: the name is taken"], || {
        given_events([taken("ann")]).when(&Take("ann")).then_refused(|_| false);
    });
}

#[test]
fn history_numbers_its_events() {
    let time = Timestamp::from_micros(9);
    let metadata = Metadata::new().user("ann");
    let history = given_history([])
        .and_in("name-1", [taken("a"), taken("b")])
        .and([taken("c")])
        .and_recorded(Recorded::of(&taken("d")).stream("name-1").at(time).metadata(&metadata));
    let places = history
        .events()
        .iter()
        .map(|event| (event.stream(), event.version().get(), event.position().get()));
    let expected = [("name-1", 1, 1), ("name-1", 2, 2), ("test-1", 1, 3), ("name-1", 3, 4)];
    assert!(places.eq(expected), "{history:?}");
    let last = history.events().last().expect("four events");
    assert_eq!(last.recorded_at(), time);
    assert_eq!(Metadata::of(last).expect("metadata").user.as_deref(), Some("ann"));
}
