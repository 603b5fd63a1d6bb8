//! Decisions over dynamic boundaries.

#![allow(missing_docs)]

#[path = "../examples/course_decisions.rs"]
#[allow(dead_code)]
mod course_decisions;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use annals_es::blocking::{block_on, iter};
use annals_es::testing::given_events;
use annals_es::{
    BlockingDecisions, Boundaries, Commit, Context, Decision, Decisions, Event, EventStore, Events,
    ExecuteError, Expected, Fold, LoadError, MemoryStore, Metadata, NewEvent, Query, ReadAll,
    Schema, SeveralStreams, StreamName, Tag, Upcasters,
};
use course_decisions::{Define, Enrol, Refusal, SchoolEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! with_each_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&annals_es::MemoryStore::new()); })*
        }
        mod annals_blocking {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::blocking(store));
            })*
        }
        mod annals_for_tasks {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::new(store));
            })*
        }
    };
}

with_each_store!(
    last_place_is_taken_once,
    decision_is_made_again_only_if_its_facts_change,
    repeated_decision_returns_its_first_outcome,
    events_go_to_the_streams_that_the_decision_names,
    fact_receives_events_of_the_types_that_it_names,
    event_that_cannot_be_read_is_an_error,
);

fn enrol(student: &str, course: &str) -> Enrol {
    Enrol { course: course.into(), student: student.into() }
}

fn defined(course: &str, capacity: usize) -> SchoolEvent {
    SchoolEvent::CourseDefined { course: course.into(), capacity }
}

fn enrolled(student: &str, course: &str) -> SchoolEvent {
    SchoolEvent::Enrolled { course: course.into(), student: student.into() }
}

fn school<S: Boundaries + SeveralStreams>(store: &S) -> BlockingDecisions<SchoolEvent, S> {
    with_attempts(store, 100)
}

fn with_attempts<S: Boundaries + SeveralStreams>(
    store: &S,
    attempts: u32,
) -> BlockingDecisions<SchoolEvent, S> {
    let decisions = Decisions::new(store.clone()).expect("all versions have a path");
    decisions.attempts(attempts).blocking()
}

#[test]
fn rules_are_tested_without_a_store() {
    given_events([defined("logic", 1)])
        .when(&enrol("ann", "logic"))
        .then([enrolled("ann", "logic")])
        .when(&enrol("bob", "logic"))
        .then_error(&Refusal("the course is full"));
    given_events::<SchoolEvent>([])
        .when(&enrol("ann", "logic"))
        .then_error(&Refusal("there is no such course"));
    let of_others = ["bob", "eve", "kim"].map(|it| enrolled(it, "music"));
    given_events([defined("logic", 9), defined("music", 9)])
        .and(of_others)
        .and(["a", "b"].map(|course| enrolled("ann", course)))
        .when(&enrol("ann", "logic"))
        .then([enrolled("ann", "logic")])
        .when(&enrol("ann", "music"))
        .then_error(&Refusal("the student takes three courses already"));
}

#[test]
fn example_prints_what_happens() {
    let mut out = Vec::new();
    course_decisions::run(&mut out).expect("it runs");
    let out = String::from_utf8(out).expect("it is text");
    assert!(
        out.contains("40 students want one of 10 places in logic at once: 10 get one"),
        "{out}"
    );
}

fn last_place_is_taken_once<S: Boundaries + SeveralStreams>(store: &S) {
    let school = school(store);
    school.execute(&Define { course: "logic".into(), capacity: 3 }).expect("it is new");
    let got: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let school = &school;
                scope.spawn(move || match school.execute(&enrol(&format!("s{number}"), "logic")) {
                    Ok(_) => 1,
                    Err(ExecuteError::Refused(Refusal("the course is full"))) => 0,
                    Err(error) => panic!("{error}"),
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().expect("no panic")).sum()
    });
    assert_eq!(got, 3);
    let events = iter(store.read_all(ReadAll::matching(Query::types(["Enrolled"]))));
    assert_eq!(events.count(), 3);
}

/// A decision during which another commit is recorded, once.
struct Disturbed<'a, S> {
    store: &'a S,
    by: SchoolEvent,
    decided: AtomicU32,
}

impl<S: EventStore> Decision for Disturbed<'_, S> {
    type Event = SchoolEvent;
    type Facts = <Enrol as Decision>::Facts;
    type Error = Refusal;
    const CATEGORY: &'static str = "school";

    fn facts(&self) -> Self::Facts {
        enrol("ann", "logic").facts()
    }

    fn decide(&self, facts: &Self::Facts) -> Result<Events<SchoolEvent>, Refusal> {
        if self.decided.fetch_add(1, Ordering::SeqCst) == 0 {
            let other = annals_es::encode(&self.by).expect("JSON");
            let commit = Commit::to("other", Expected::Any, [other]);
            block_on(self.store.append(commit)).expect("it is recorded");
        }
        enrol("ann", "logic").decide(facts)
    }
}

fn decision_is_made_again_only_if_its_facts_change<S: Boundaries + SeveralStreams>(store: &S) {
    for (by, times, succeeds) in [
        (enrolled("bob", "music"), 1, true),
        (defined("rhetoric", 5), 1, true),
        (enrolled("bob", "logic"), 2, true),
        (enrolled("ann", "music"), 2, true),
        (defined("logic", 0), 2, false),
    ] {
        // Each case has a history of its own.
        let memory = MemoryStore::new();
        school(&memory)
            .execute(&Define { course: "logic".into(), capacity: 2 })
            .expect("it is new");
        let decision = Disturbed { store: &memory, by, decided: AtomicU32::new(0) };
        let done = school(&memory).execute(&decision);
        assert_eq!(
            (decision.decided.into_inner(), done.is_ok()),
            (times, succeeds),
            "{:?}",
            decision.by
        );
    }
    // With one attempt, the conflict is returned.
    school(store).execute(&Define { course: "logic".into(), capacity: 2 }).expect("new");
    let by = enrolled("bob", "logic");
    let decision = Disturbed { store, by, decided: AtomicU32::new(0) };
    let done = with_attempts(store, 1).execute(&decision);
    assert!(matches!(done, Err(ExecuteError::Contended { attempts: 1, .. })), "{done:?}");
}

fn repeated_decision_returns_its_first_outcome<S: Boundaries + SeveralStreams>(store: &S) {
    let school = school(store);
    school.execute(&Define { course: "logic".into(), capacity: 1 }).expect("it is new");
    let context = Context::new().command_id(Uuid::from_u128(7));
    let first = school.execute_with(&enrol("ann", "logic"), &context).expect("a place");
    assert!(!first.already_recorded);
    let other = context.clone().metadata(Metadata::new().user("ann"));
    for context in [&context, &other] {
        let again = school.execute_with(&enrol("ann", "logic"), context);
        let again = again.expect("it was accepted");
        assert!(again.already_recorded);
        assert_eq!((&again.events, again.position), (&first.events, first.position));
    }
    // At once, from several threads.
    let context = Context::new().command_id(Uuid::from_u128(8));
    school.execute(&Define { course: "music".into(), capacity: 9 }).expect("it is new");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let done = school.execute_with(&enrol("ann", "music"), &context);
                assert_eq!(done.expect("one of them is the first").events.len(), 1);
            });
        }
    });
    let events = iter(store.read_all(ReadAll::matching(Query::types(["Enrolled"]))));
    assert_eq!(events.count(), 2);
    let at = Context::new().if_match(1.into());
    assert!(school.execute_with(&enrol("ann", "music"), &at).is_err());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(upcasters = renamed)]
enum Transfer {
    Debited {
        #[tag]
        account: u32,
        amount: u64,
    },
    Credited {
        #[tag]
        account: u32,
        amount: u64,
    },
}

fn renamed() -> Upcasters<Transfer> {
    Upcasters::new().rename("MoneyIn", 1, Schema::new("Credited", 1)).typed(
        "FeeTaken",
        1,
        |(account, amount)| Ok(Transfer::Debited { account, amount }.into()),
    )
}

struct Move {
    from: u32,
    to: u32,
    amount: u64,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the account has only {0}")]
struct Has(u64);

impl Decision for Move {
    type Event = Transfer;
    type Facts = Fold<Transfer, u64>;
    type Error = Has;
    const CATEGORY: &'static str = "account";

    fn facts(&self) -> Self::Facts {
        let of = Query::types(["Credited", "Debited"]).and_tag(Tag::new("account", self.from));
        Fold::new(of, |balance: &mut u64, event| match event {
            Transfer::Debited { amount, .. } => *balance -= amount,
            Transfer::Credited { amount, .. } => *balance += amount,
        })
    }

    fn decide(&self, balance: &Self::Facts) -> Result<Events<Transfer>, Has> {
        if **balance < self.amount {
            return Err(Has(**balance));
        }
        let debited = Transfer::Debited { account: self.from, amount: self.amount };
        Ok([debited, Transfer::Credited { account: self.to, amount: self.amount }].into())
    }

    fn stream(&self, event: &Transfer) -> StreamName {
        match event {
            Transfer::Debited { account, .. } | Transfer::Credited { account, .. } => {
                StreamName::new(Self::CATEGORY, account)
            }
        }
    }
}

fn events_go_to_the_streams_that_the_decision_names<S: Boundaries + SeveralStreams>(store: &S) {
    // Recorded under the name that the event had earlier.
    let earlier = NewEvent::new("MoneyIn", r#"{"account":1,"amount":10}"#).tag("account:1");
    block_on(store.append(Commit::to("account-1", Expected::Any, [earlier]))).expect("recorded");
    let accounts = Decisions::<Transfer, _>::new(store.clone());
    let accounts = accounts.expect("all versions have a path").blocking();
    let done = accounts.execute(&Move { from: 1, to: 2, amount: 7 }).expect("it has 10");
    assert_eq!(done.events.len(), 2);
    let refused = accounts.execute(&Move { from: 1, to: 2, amount: 7 });
    assert_eq!(refused.expect_err("3 are left").refused(), Some(&Has(3)));
    let all = iter(store.read_all(ReadAll::new()));
    let streams: Vec<_> = all.map(|it| it.expect("a read").stream().to_owned()).collect();
    assert_eq!(streams, ["account-1", "account-1", "account-2"]);
    let facts = Move { from: 2, to: 1, amount: 0 }.facts();
    let (balance, head) = accounts.facts(facts).expect("they can be read");
    assert_eq!((*balance, head), (7, done.position.expect("two events")));
}

/// A query for one type also finds what is recorded under an earlier name; the fact receives only that type.
fn fact_receives_events_of_the_types_that_it_names<S: Boundaries + SeveralStreams>(store: &S) {
    let fee = NewEvent::new("FeeTaken", "[1,2]").tag("account:1");
    let income = NewEvent::new("MoneyIn", r#"{"account":1,"amount":10}"#).tag("account:1");
    block_on(store.append(Commit::to("account-1", Expected::Any, [fee, income]))).expect("ok");
    let accounts = Decisions::<Transfer, _>::new(store.clone());
    let accounts = accounts.expect("all versions have a path").blocking();
    let of = |event_type| {
        let query = Query::types([event_type]).and_tag(Tag::new("account", 1));
        Fold::new(query, |found: &mut Vec<Transfer>, event: &Transfer| found.push(event.clone()))
    };
    let ((debited, credited), _) = accounts.facts((of("Debited"), of("Credited"))).expect("ok");
    assert_eq!(*debited, [Transfer::Debited { account: 1, amount: 2 }]);
    assert_eq!(*credited, [Transfer::Credited { account: 1, amount: 10 }]);
}

fn event_that_cannot_be_read_is_an_error<S: Boundaries + SeveralStreams>(store: &S) {
    let broken = NewEvent::new("CourseDefined", "{}").tag("course:logic");
    block_on(store.append(Commit::to("school", Expected::Any, [broken]))).expect("any bytes");
    let done = school(store).execute(&enrol("ann", "logic"));
    assert!(matches!(done, Err(ExecuteError::Load(LoadError::Event(_)))), "{done:?}");
}

#[test]
fn query_for_a_type_that_the_events_do_not_have_is_refused() {
    struct Misspelt;

    impl Decision for Misspelt {
        type Event = SchoolEvent;
        type Facts = Fold<SchoolEvent, u8>;
        type Error = Refusal;
        const CATEGORY: &'static str = "school";

        fn facts(&self) -> Self::Facts {
            Fold::new(Query::types(["Enroled"]), |_, _| {})
        }

        fn decide(&self, _: &Self::Facts) -> Result<Events<SchoolEvent>, Refusal> {
            Ok(Events::none())
        }
    }

    let done = school(&MemoryStore::new()).execute(&Misspelt);
    let Err(ExecuteError::Load(LoadError::UnknownType { event_type })) = done else {
        panic!("{done:?}")
    };
    assert_eq!(event_type, "Enroled");
}
