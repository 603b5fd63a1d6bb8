//! The checks of upcasters.

use annals_es::testing::given_history;
use annals_es::{ContentType, Event, EventCause, NewEvent, Upcasters};
use serde::{Deserialize, Serialize};

use crate::fails_with;

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(version = 2, upcasters = upcasters)]
struct Deposited {
    cents: u64,
}

fn upcasters() -> Upcasters<Deposited> {
    Upcasters::new()
        .fields("Deposited", 1, |fields| {
            let euros = fields.remove("euros").and_then(|it| it.as_u64()).ok_or("no euros")?;
            fields.insert("cents".into(), (100 * euros).into());
            Ok(())
        })
        .ignore("InterestCalculated", 1)
}

fn old(data: &'static str) -> NewEvent {
    NewEvent::new("Deposited", data).content_type(ContentType::Json)
}

#[test]
fn history_is_read_as_present_events() {
    given_history([old(r#"{"euros":2}"#), NewEvent::new("InterestCalculated", "")])
        .and([Deposited { cents: 7 }])
        .when_read::<Deposited>()
        .then([Deposited { cents: 200 }, Deposited { cents: 7 }]);
    given_history([old("{}")])
        .when_read::<Deposited>()
        .then_failed(|error| matches!(*error.cause, EventCause::Step { .. }));
    let read = given_history([old("{}"), old(r#"{"euros":2}"#)]).when_read::<Deposited>().outcome();
    assert_eq!(read.expect_err("a step fails").position.get(), 1);
}

#[test]
fn upcaster_check_that_fails_shows_both_sides() {
    let two = || given_history([old(r#"{"euros":2}"#)]).when_read::<Deposited>();
    fails_with(&["expected:\n  Deposited { cents: 2 }\ncame:\n  Deposited { cents: 200 }"], || {
        two().then([Deposited { cents: 2 }]);
    });
    fails_with(&["all events were read:\n  Deposited { cents: 200 }"], || {
        two().then_failed(|_| true);
    });
    fails_with(&["cannot be read: ", "no euros", "expected:\n  nothing"], || {
        given_history([old("{}")]).when_read::<Deposited>().then([]);
    });
    fails_with(&["another error: ", "no euros"], || {
        given_history([old("{}")]).when_read::<Deposited>().then_failed(|_| false);
    });
}
