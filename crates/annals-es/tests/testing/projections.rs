//! The checks of projections.

use std::collections::BTreeMap;

use annals_es::projection::{AsyncProjection, FailureCause, Projection};
use annals_es::testing::{GivenEvents, given_history};
use annals_es::{Cause, Event, NewEvent, Query, QueryItem, RecordedEvent, event_types};
use serde::{Deserialize, Serialize};

use crate::fails_with;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
enum AccountEvent {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

use AccountEvent::{Deposited, Withdrawn};

type Model = BTreeMap<String, u64>;

/// The balance of each account.
struct Balances;

impl Projection for Balances {
    type Event = AccountEvent;
    type Model = Model;
    type Error = Cause;

    fn name(&self) -> &'static str {
        "balances"
    }

    fn query(&self) -> Query {
        QueryItem::new().types(event_types::<AccountEvent>()).category("account").into()
    }

    fn prepare(&self, model: &mut Model) -> Result<(), Cause> {
        if model.contains_key("unprepared") {
            return Err("it is in use".into());
        }
        model.insert("bank".into(), 0);
        Ok(())
    }

    fn handle(
        &self,
        model: &mut Model,
        event: AccountEvent,
        recorded: &RecordedEvent,
    ) -> Result<(), Cause> {
        let balance = model.entry(recorded.stream().to_owned()).or_default();
        *balance = match event {
            Deposited { amount: 13 } => panic!("thirteen"),
            Deposited { amount } => *balance + amount,
            Withdrawn { amount } => balance.checked_sub(amount).ok_or("the balance is too low")?,
        };
        Ok(())
    }
}

/// The number of events, by a handler that waits.
struct Count;

impl AsyncProjection for Count {
    type Event = AccountEvent;
    type Model = u64;
    type Error = Cause;

    fn name(&self) -> &'static str {
        "count"
    }

    async fn handle(
        &self,
        count: &mut u64,
        _: AccountEvent,
        _: &RecordedEvent,
    ) -> Result<(), Cause> {
        let mut is_waiting = true;
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            let was_waiting = std::mem::take(&mut is_waiting);
            if was_waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        *count += 1;
        Ok(())
    }
}

fn history() -> GivenEvents {
    given_history([])
        .and_in("account-1", [Deposited { amount: 5 }, Withdrawn { amount: 2 }])
        .and_in("loan-1", [Deposited { amount: 9 }])
        .and_in("account-2", [Deposited { amount: 1 }])
}

fn model(balances: &[(&str, u64)]) -> Model {
    balances.iter().map(|(account, balance)| ((*account).to_owned(), *balance)).collect()
}

#[test]
fn events_of_the_query_are_projected() {
    let expected = model(&[("account-1", 3), ("account-2", 1), ("bank", 0)]);
    let projected = history().when_projected(Balances, Model::new());
    let projected = projected.then(&expected).then_handled(3);
    assert_eq!(projected.into_model(), expected);
    history().when_projected_async(Count, 0).then(&4).then_handled(4);
}

#[test]
fn failure_of_a_handler_is_checked() {
    let overdrawn = history().and_in("account-2", [Withdrawn { amount: 2 }]);
    overdrawn
        .when_projected(Balances, Model::new())
        .then_failed(|cause| matches!(cause, FailureCause::Handler(_)));
    history()
        .and_in("account-2", [Deposited { amount: 13 }])
        .when_projected(Balances, Model::new())
        .then_failed(
            |cause| matches!(cause, FailureCause::Panic { message } if message == "thirteen"),
        );
    given_history([NewEvent::new("Deposited", "?")])
        .when_projected_async(Count, 0)
        .then_failed(|cause| matches!(cause, FailureCause::Decode(_)));
    history()
        .when_projected(Balances, model(&[("unprepared", 1)]))
        .then_failed(|cause| matches!(cause, FailureCause::Handler(_)));
}

#[test]
fn projection_check_that_fails_shows_both_sides() {
    fails_with(
        &["the read model is another one", "expected: {}", "came: {", "\"account-1\": 3"],
        || {
            history().when_projected(Balances, Model::new()).then(&Model::new());
        },
    );
    fails_with(&["expected: 4", "came: 3"], || {
        history().when_projected(Balances, Model::new()).then_handled(4);
    });
    fails_with(&["all 3 events were handled"], || {
        history().when_projected(Balances, Model::new()).then_failed(|_| true);
    });
    let overdrawn = || history().and_in("account-2", [Withdrawn { amount: 2 }]);
    let place = "event 5 of the history cannot be handled";
    fails_with(&[place, "the balance is too low"], || {
        overdrawn().when_projected(Balances, Model::new()).then(&Model::new());
    });
    fails_with(&[place, "with another cause: the balance is too low"], || {
        overdrawn().when_projected(Balances, Model::new()).then_failed(|_| false);
    });
    fails_with(&["the read model cannot be prepared", "it is in use"], || {
        let used = model(&[("unprepared", 1)]);
        history().when_projected(Balances, used).then_model(|_| {});
    });
}
