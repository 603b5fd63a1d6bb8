//! The toolkit beside bare loops, in turn within one run.
//!
//! `cargo bench -p annals-es` prints the times and their ratio; `-- load` runs the pairs whose name holds "load".
//! Times differ from machine to machine; ratios within one run are what to compare.

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use annals_es::blocking::{block_on, iter};
use annals_es::projection::{Memory, Projection, Runner};
use annals_es::{
    Aggregate, AnnalsStore, Event, EventStore, Events, Position, ReadStream, RecordedEvent,
    Repository, Schemas, SnapshotPolicy,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const REPETITIONS: usize = 7;

#[derive(Debug, Serialize, Deserialize, Event)]
enum AccountEvent {
    #[event(name = "MoneyDeposited")]
    Deposited { amount: u64, currency: String, memo: String },
}

/// An account whose state has about 20 KiB as JSON after a thousand deposits.
#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    amounts: Vec<(u64, String)>,
}

struct Deposit(u64);

impl Aggregate for Account {
    type Command = Deposit;
    type Event = AccountEvent;
    type Error = std::fmt::Error;
    const CATEGORY: &'static str = "account";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &Deposit) -> Result<Events<AccountEvent>, std::fmt::Error> {
        Ok(deposited(command.0).into())
    }

    fn evolve(&mut self, event: &AccountEvent) {
        let AccountEvent::Deposited { amount, memo, .. } = event;
        self.balance += amount;
        if self.amounts.len() < 1000 {
            self.amounts.push((*amount, memo.clone()));
        }
    }
}

fn deposited(amount: u64) -> AccountEvent {
    AccountEvent::Deposited { amount, currency: "EUR".into(), memo: "salary".into() }
}

fn open(durability: annals::Durability) -> (annals::Store, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = annals::Options::new().durability(durability);
    (options.open(dir.path().join("store")).expect("a new store"), dir)
}

fn buffered() -> annals::Durability {
    annals::Durability::Buffered { interval: Duration::from_secs(1) }
}

fn repository<S: EventStore>(store: &S) -> Repository<Account, S> {
    Repository::new(store.clone()).expect("one version")
}

fn time<T>(count: u32, mut call: impl FnMut() -> T) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        black_box(call());
    }
    started.elapsed() / count
}

/// Measures two workloads in turn and prints the medians of their times.
fn in_turn(name: &str, mut ours: impl FnMut() -> Duration, mut bare: impl FnMut() -> Duration) {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if filter.is_some_and(|filter| !name.contains(&filter)) {
        return;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for repetition in 0..=REPETITIONS {
        let times = (ours(), bare());
        // One run of each is not counted.
        if repetition > 0 {
            a.push(times.0);
            b.push(times.1);
        }
    }
    a.sort();
    b.sort();
    let (a, b) = (a[REPETITIONS / 2], b[REPETITIONS / 2]);
    println!("| {name} | {a:.1?} | {b:.1?} | {:.2} |", a.as_secs_f64() / b.as_secs_f64());
}

fn load(name: &str, of: fn(annals::Store) -> AnnalsStore) {
    let (engine, _dir) = open(buffered());
    let store = of(engine);
    let accounts = repository(&store);
    for amount in 0..1000 {
        block_on(accounts.execute(1, &Deposit(amount))).expect("it is accepted");
    }
    let schemas = Schemas::<AccountEvent>::new().expect("one version");
    let read = store.read_stream(ReadStream::of("account-1"));
    let recorded: Vec<RecordedEvent> = iter(read).map(|it| it.expect("a read")).collect();
    let decode = || {
        let mut account = Account::initial();
        for event in &recorded {
            schemas.decode(event, |event| account.evolve(&event)).expect("it is JSON");
        }
        account.balance
    };
    in_turn(
        name,
        || time(200, || block_on(accounts.load(1)).expect("it can be loaded").state.balance),
        || time(200, decode),
    );
    let with_snapshots = repository(&store).snapshots(SnapshotPolicy::events(1));
    block_on(with_snapshots.execute(1, &Deposit(1))).expect("it is accepted");
    let state = block_on(with_snapshots.load(1)).expect("it can be loaded").state;
    let bytes = serde_json::to_vec(&state).expect("JSON");
    in_turn(
        &format!("{name}, from a snapshot"),
        || time(500, || block_on(with_snapshots.load(1)).expect("it can be loaded").state.balance),
        || time(500, || serde_json::from_slice::<Account>(&bytes).expect("JSON").balance),
    );
}

fn command(
    name: &str,
    of: fn(annals::Store) -> AnnalsStore,
    durability: annals::Durability,
    count: u32,
) {
    let (engine, _dir) = open(durability);
    let (bare, _bare_dir) = open(durability);
    let accounts = repository(&of(engine));
    let tasks = matches!(name.split(' ').next(), Some("task:"));
    in_turn(
        name,
        || {
            time(count, || {
                block_on(accounts.execute(1, &Deposit(7))).expect("it is accepted").version
            })
        },
        || {
            time(count, || {
                let data = serde_json::to_vec(&Bare { amount: 7, currency: "EUR", memo: "salary" });
                let event = annals::NewEvent::new("MoneyDeposited", data.expect("JSON"));
                let any = annals::ExpectedVersion::Any;
                if tasks {
                    block_on(bare.append_async("account-1", any, [event]))
                } else {
                    bare.append("account-1", any, [event])
                }
                .expect("it is appended")
                .version
            })
        },
    );
}

#[derive(Serialize)]
struct Bare {
    amount: u64,
    currency: &'static str,
    memo: &'static str,
}

fn contention(name: &str, durability: annals::Durability) {
    let (engine, _dir) = open(durability);
    let accounts = repository(&AnnalsStore::new(engine));
    let execute = async |count: u32, id: u32| {
        for _ in 0..count {
            accounts.execute(id, &Deposit(7)).await.expect("it is accepted");
        }
    };
    in_turn(
        name,
        || time(1, || block_on(join_all((0..8).map(|_| execute(50, 1))))),
        || time(1, || block_on(execute(400, 2))),
    );
}

/// The sum of all deposits.
struct Total;

impl Projection for Total {
    type Event = AccountEvent;
    type Model = u64;
    type Error = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "total"
    }

    fn handle(
        &self,
        total: &mut u64,
        event: AccountEvent,
        _: &RecordedEvent,
    ) -> Result<(), Self::Error> {
        let AccountEvent::Deposited { amount, .. } = event;
        *total += amount;
        Ok(())
    }
}

fn projection(name: &str, of: fn(annals::Store) -> AnnalsStore) {
    const EVENTS: u64 = 1_000_000;
    let (engine, _dir) = open(buffered());
    for first in (0..EVENTS).step_by(1000) {
        let events = (first..first + 1000).map(|amount| {
            let data = serde_json::to_vec(&Bare { amount, currency: "EUR", memo: "salary" });
            annals::NewEvent::new("MoneyDeposited", data.expect("JSON"))
                .content_type(annals::ContentType::Json)
                .schema_version(1)
        });
        let stream = format!("account-{}", first / 1000 % 100);
        engine.append(stream, annals::ExpectedVersion::Any, events).expect("an append");
    }
    let store = of(engine.clone());
    let schemas = Schemas::<AccountEvent>::new().expect("one version");
    let project = || {
        let mut runner = Runner::new(store.clone());
        let handle = runner.add(Total, Memory::new(0)).expect("one version");
        let running = runner.spawn_thread().expect("a thread");
        block_on(handle.wait_for(Position::new(EVENTS))).expect("it runs");
        running.stop().expect("it ends");
    };
    let scan = || {
        let mut total = 0;
        for event in engine.read_all() {
            let event = RecordedEvent::from(event.expect("a read"));
            schemas
                .decode(&event, |AccountEvent::Deposited { amount, .. }| total += amount)
                .expect("it is JSON");
        }
        total
    };
    in_turn(name, || time(1, project), || time(1, scan));
}

fn main() {
    println!("| pair | toolkit | bare | ratio of times |\n|---|---|---|---|");
    load("blocking: load 1000 events beside decoding them", AnnalsStore::blocking);
    load("task: load 1000 events beside decoding them", AnnalsStore::new);
    command(
        "blocking: command on a cached aggregate beside an append, buffered",
        AnnalsStore::blocking,
        buffered(),
        20_000,
    );
    command(
        "task: command on a cached aggregate beside an append, buffered",
        AnnalsStore::new,
        buffered(),
        2_000,
    );
    command(
        "blocking: command on a cached aggregate beside an append, durable",
        AnnalsStore::blocking,
        annals::Durability::Sync,
        200,
    );
    projection(
        "blocking: projection of 1000000 events beside scan and decode",
        AnnalsStore::blocking,
    );
    projection("task: projection of 1000000 events beside scan and decode", AnnalsStore::new);
    contention(
        "8 tasks with 50 commands each on one aggregate beside 400 in turn, durable",
        annals::Durability::Sync,
    );
    contention(
        "8 tasks with 50 commands each on one aggregate beside 400 in turn, buffered",
        buffered(),
    );
}
