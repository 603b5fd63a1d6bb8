//! The bank of factstr's example, retold: features that share nothing but the facts. Accounts are opened once, money is
//! deposited, withdrawn and transferred; balances are a read model that a stream feeds, histories are queries.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use adapter_tests::in_every_way;
use annals_factstr::FactStore;
use annals_factstr::factstr::{
    DurableStream, EventFilter, EventQuery, EventRecord, EventStore, EventStoreError, EventStream,
    HandleStream, NewEvent,
};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Exists,
    Unknown,
    Overdrawn,
    Store(EventStoreError),
}

impl From<EventStoreError> for Refused {
    fn from(error: EventStoreError) -> Self {
        Self::Store(error)
    }
}

type Result<T> = std::result::Result<T, Refused>;

const MOVEMENTS: [&str; 4] = ["deposited", "withdrawn", "transferred-out", "transferred-in"];

fn filter<const N: usize>(types: [&str; N], predicate: Value) -> EventFilter {
    EventFilter::for_event_types(types).with_payload_predicates([predicate])
}

fn opening_of(account: &str) -> EventQuery {
    EventQuery::all().with_filters([filter(["opened"], json!({ "account": account }))])
}

/// Opens an account if its context is empty.
fn open(store: &impl EventStore, account: &str, owner: &str) -> Result<u64> {
    let opened = NewEvent::new("opened", json!({ "account": account, "owner": owner }));
    match store.append_if(vec![opened], &opening_of(account), None) {
        Ok(done) => Ok(done.last_sequence_number),
        Err(EventStoreError::ConditionalAppendConflict { .. }) => Err(Refused::Exists),
        Err(error) => Err(error.into()),
    }
}

fn must_exist(store: &impl EventStore, account: &str) -> Result<()> {
    let version = store.query(&opening_of(account))?.current_context_version;
    version.map(|_| ()).ok_or(Refused::Unknown)
}

fn deposit(store: &impl EventStore, account: &str, amount: i64) -> Result<u64> {
    must_exist(store, account)?;
    let fact = NewEvent::new("deposited", json!({ "account": account, "amount": amount }));
    Ok(store.append(vec![fact])?.last_sequence_number)
}

/// The facts that move money of an account. A transfer names two accounts, each in a fact of its own.
fn movements_of(account: &str) -> EventQuery {
    EventQuery::all().with_filters([filter(MOVEMENTS, json!({ "account": account }))])
}

fn change(fact: &EventRecord) -> i64 {
    let amount = fact.payload["amount"].as_i64().unwrap();
    if matches!(fact.event_type.as_str(), "withdrawn" | "transferred-out") {
        -amount
    } else {
        amount
    }
}

/// Appends facts that take money from an account, if it has enough. The balance is the context: if another fact changes
/// it meanwhile, it is read again.
fn take(store: &impl EventStore, account: &str, amount: i64, facts: &[NewEvent]) -> Result<u64> {
    must_exist(store, account)?;
    loop {
        let context = movements_of(account);
        let found = store.query(&context)?;
        if found.event_records.iter().map(change).sum::<i64>() < amount {
            return Err(Refused::Overdrawn);
        }
        match store.append_if(facts.to_vec(), &context, found.current_context_version) {
            Err(EventStoreError::ConditionalAppendConflict { .. }) => {}
            done => return Ok(done?.last_sequence_number),
        }
    }
}

fn withdraw(store: &impl EventStore, account: &str, amount: i64) -> Result<u64> {
    let fact = NewEvent::new("withdrawn", json!({ "account": account, "amount": amount }));
    take(store, account, amount, &[fact])
}

/// One commit of two facts.
fn transfer(store: &impl EventStore, from: &str, to: &str, amount: i64) -> Result<u64> {
    must_exist(store, to)?;
    let fact = |event_type, account, with| {
        let payload = json!({ "account": account, "with": with, "amount": amount });
        NewEvent::new(event_type, payload)
    };
    let facts = [fact("transferred-out", from, to), fact("transferred-in", to, from)];
    take(store, from, amount, &facts)
}

fn history(store: &impl EventStore, account: &str) -> Vec<String> {
    let found = store.query(&movements_of(account)).unwrap().event_records;
    let line = |it: &EventRecord| {
        let with = it.payload["with"].as_str().map(|with| format!(" {with}")).unwrap_or_default();
        format!("{} {} {}{with}", it.sequence_number, it.event_type, it.payload["amount"])
    };
    found.iter().map(line).collect()
}

#[derive(Default)]
struct Model {
    balances: BTreeMap<String, i64>,
    applied: u64,
}

/// The read model of balances. A durable stream feeds it; its state outlives the store that is reopened.
#[derive(Clone, Default)]
struct Balances(Arc<(Mutex<Model>, Condvar)>);

impl Balances {
    fn follow(&self, store: &FactStore) -> EventStream {
        let model = Arc::clone(&self.0);
        let handle = HandleStream::new(move |commit: Vec<EventRecord>| {
            let mut state = model.0.lock().unwrap();
            // The last commit before a crash may be delivered again.
            for fact in
                commit.iter().filter(|it| it.sequence_number > state.applied).collect::<Vec<_>>()
            {
                let account = fact.payload["account"].as_str().unwrap().to_owned();
                *state.balances.entry(account).or_default() += change(fact);
            }
            let last = commit.last().map_or(0, |it| it.sequence_number);
            state.applied = state.applied.max(last);
            model.1.notify_all();
            async { Ok(()) }
        });
        let movements = EventQuery::all().with_filters([EventFilter::for_event_types(MOVEMENTS)]);
        store.stream_to_durable(&DurableStream::new("balances"), &movements, handle).unwrap()
    }

    /// The balance when a fact has been applied.
    fn after(&self, applied: u64, account: &str) -> i64 {
        let state = self.0.0.lock().unwrap();
        let limit = Duration::from_secs(30);
        let waited = self.0.1.wait_timeout_while(state, limit, |it| it.applied < applied);
        let (state, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "fact {applied} is not applied");
        state.balances.get(account).copied().unwrap_or(0)
    }
}

#[test]
fn bank_of_independent_features_keeps_its_rules_and_its_read_model() {
    in_every_way(|life| {
        let balances = Balances::default();
        let mut step = |work: &dyn Fn(&FactStore)| {
            life.step(|store| {
                let store = FactStore::new(store.clone());
                let _stream = balances.follow(&store);
                work(&store);
            });
        };
        step(&|store| {
            assert_eq!(open(store, "a", "Ann"), Ok(1));
            assert_eq!(open(store, "a", "Eve"), Err(Refused::Exists));
            assert_eq!(open(store, "b", "Bob"), Ok(2));
            assert_eq!(deposit(store, "c", 5), Err(Refused::Unknown));
        });
        step(&|store| {
            let last = deposit(store, "a", 100).unwrap();
            assert_eq!(balances.after(last, "a"), 100);
            assert_eq!(withdraw(store, "a", 101), Err(Refused::Overdrawn));
            let last = withdraw(store, "a", 30).unwrap();
            assert_eq!(balances.after(last, "a"), 70);
        });
        step(&|store| {
            assert_eq!(transfer(store, "a", "c", 1), Err(Refused::Unknown));
            assert_eq!(transfer(store, "b", "a", 1), Err(Refused::Overdrawn));
            assert_eq!(transfer(store, "a", "b", 50), Ok(6));
            assert_eq!((balances.after(6, "a"), balances.after(6, "b")), (20, 50));
        });
        step(&|store| {
            assert_eq!(
                history(store, "a"),
                ["3 deposited 100", "4 withdrawn 30", "5 transferred-out 50 b"]
            );
            assert_eq!(history(store, "b"), ["6 transferred-in 50 a"]);
            // Four clients want more than there is: none of it twice.
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope
                        .spawn(|| (0..10).filter(|_| transfer(store, "b", "a", 2).is_ok()).count());
                }
            });
            let last = store.store().head().get();
            assert_eq!((balances.after(last, "b"), balances.after(last, "a")), (0, 70));
        });
    });
}
