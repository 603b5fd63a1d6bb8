//! Clients use the store at random while servers are killed, paused and restarted and leaders change; what they saw is
//! explained. Consumers of one name react to each event once meanwhile.
//!
//! `.ci/nats` starts three servers for it, and sets `ANNALS_JETSTREAM_CONTROL` to a program that strikes them. Other
//! tests must not use those servers at the same time. `ANNALS_HISTORY_OPERATIONS` sets the number of operations.

#![allow(missing_docs, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use annals_conformance::AnySuite;
use annals_conformance::history::{History, Load, Log, check_with_stale_reads, run, stored};
use annals_es::blocking::{block_on, iter};
use annals_es::{
    Commit, EventStore, Expected, NewEvent, OrderedStore, Position, Query, ReadAll, RecordedEvent,
    StoreError,
};
use annals_jetstream::async_nats::{Client, ConnectOptions};
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};
use serde_json::Value;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let missing = std::env::var_os("ANNALS_JETSTREAM_CONTROL").is_none();
    let missing =
        missing.then(|| "ANNALS_JETSTREAM_CONTROL strikes no servers; .ci/nats sets it".into());
    let tests: [(&'static str, fn()); 2] = [
        ("struck_servers_are_explained", explained),
        ("struck_servers_keep_reactions_single", reactions_are_single),
    ];
    annals_conformance::run([AnySuite::tests(tests, missing)])
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

fn servers() -> Vec<String> {
    let servers = std::env::var("ANNALS_JETSTREAM").expect("servers");
    servers.split(',').map(str::to_owned).collect()
}

fn control(command: &str, server: u32) {
    let control = std::env::var_os("ANNALS_JETSTREAM_CONTROL").expect("a program");
    let done = Command::new(control).arg(command).arg(server.to_string()).status();
    assert!(done.expect("it runs").success(), "{command} {server}");
}

/// One test strikes the servers at a time.
static SERVERS: Mutex<()> = Mutex::new(());

/// The handles of three programs, each of which prefers another server.
fn handles(name: &str) -> Vec<JetStreamStore> {
    let handles = (0..3).map(|first| {
        let mut servers = servers();
        servers.rotate_left(first);
        let options = JetStreamOptions::new(&servers[..]).expect("addresses").name(name);
        block_on(options.durability(Durability::Replicated).open()).expect("it opens")
    });
    handles.collect()
}

/// The faults, and what they need to know of the servers.
struct Faults {
    client: Client,
    stream: String,
    /// Faults that last longer than the servers take to elect a leader.
    are_long: bool,
    /// The servers are connected by links that can be cut.
    have_links: bool,
}

impl Faults {
    fn of(stream: &str, are_long: bool) -> Self {
        let user = ConnectOptions::with_user_and_password("app".into(), "app".into());
        let client = RUNTIME.block_on(user.connect(&servers()[..])).expect("a connection");
        let have_links = std::env::var("ANNALS_NATS_LINKS").is_ok_and(|it| it == "1");
        Self { client, stream: stream.into(), are_long, have_links }
    }

    fn ask(&self, subject: String) -> Option<Value> {
        let answer = self.client.request(subject, "".into());
        let answer = RUNTIME.block_on(async {
            tokio::time::timeout(Duration::from_secs(2), answer).await.ok()?.ok()
        });
        serde_json::from_slice(&answer?.payload).ok()
    }

    /// The number of the server that leads the stream, and whether the others follow it.
    fn leader(&self) -> Option<(u32, bool)> {
        let info = self.ask(format!("$JS.API.STREAM.INFO.{}", self.stream))?;
        let cluster = info.get("cluster")?;
        let number = cluster.get("leader")?.as_str()?.strip_prefix("server-")?.parse().ok()?;
        let replicas = cluster.get("replicas")?.as_array()?;
        let is_current = |it: &Value| it.get("current").and_then(Value::as_bool) == Some(true);
        Some((number, replicas.len() == 2 && replicas.iter().all(is_current)))
    }

    /// Waits until the stream has a leader that all servers follow, and returns its number.
    fn settle(&self) -> u32 {
        let began = Instant::now();
        loop {
            if let Some((leader, true)) = self.leader() {
                return leader;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "the servers do not find together");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn strike(&self, number: u64) -> String {
        let leader = self.settle();
        let follower = leader % 3 + 1;
        let pause = Duration::from_millis(if self.are_long { 14_000 } else { 700 });
        let faults = if self.have_links { 10 } else { 8 };
        let struck = match number % faults {
            0 => {
                self.ask(format!("$JS.API.STREAM.LEADER.STEPDOWN.{}", self.stream));
                "the leader steps down"
            }
            1 => {
                control("kill", leader);
                thread::sleep(Duration::from_millis(500));
                control("start", leader);
                "the leader is killed"
            }
            2 => {
                control("pause", follower);
                thread::sleep(pause);
                control("resume", follower);
                "a follower is paused"
            }
            3 => {
                control("pause", leader);
                thread::sleep(pause);
                control("resume", leader);
                "the leader is paused"
            }
            4 => {
                control("kill", follower);
                thread::sleep(Duration::from_millis(500));
                control("start", follower);
                "a follower is killed"
            }
            5 => {
                control("restart", leader);
                "the leader is restarted"
            }
            6 => {
                (1..=3).for_each(|server| control("kill", server));
                (1..=3).for_each(|server| control("start", server));
                "all servers are killed"
            }
            8 => {
                control("cut", leader);
                thread::sleep(pause);
                control("join", leader);
                "the leader is cut off from the others"
            }
            9 => {
                control("cut", follower);
                thread::sleep(pause);
                control("join", follower);
                "a follower is cut off from the others"
            }
            _ => {
                for server in 1..=3 {
                    control("restart", server);
                    self.settle();
                }
                "the servers are restarted one after the other"
            }
        };
        self.settle();
        let _ = writeln!(std::io::stderr(), "{number}: {struck}");
        struck.into()
    }
}

/// The least number of faults.
const FAULTS: u64 = 5;

fn explained() {
    let operations = std::env::var("ANNALS_HISTORY_OPERATIONS").ok();
    let operations = operations.map_or(4_000, |it| it.parse().expect("a number of operations"));
    let are_long = operations >= 100_000;
    let _alone = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (stores, faults) = (handles("history"), Faults::of("history", are_long));
    let store = &stores[0];
    let spacing = operations / if are_long { 25 } else { FAULTS };
    let mut load = Load::new(operations, 11);
    (load.clients, load.faults) = (16, FAULTS);
    let log = Log::new();
    let last = AtomicU64::new(0);
    run(&stores, &load, &log, |number| {
        // Spread over the operations.
        let next = last.load(Ordering::Relaxed) + spacing;
        let began = Instant::now();
        while log.operations() < next && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        last.store(log.operations(), Ordering::Relaxed);
        (number < FAULTS || log.operations() < operations).then(|| faults.strike(number))
    });
    let done = Commit::to("end", Expected::Any, [NewEvent::new("T", "end")]);
    block_on(store.append(done)).expect("it is recorded");
    let found = stored(store).expect("the store is read");
    // A leader that was paused or cut off may answer a read for some seconds.
    let summary = check_with_stale_reads(&History { lines: log.into_lines(), stored: found });
    let summary = summary.unwrap_or_else(|violations| {
        let all: Vec<_> = violations.iter().map(ToString::to_string).collect();
        panic!("{} violations:\n{}", violations.len(), all.join("\n"))
    });
    let tagged = store.read_all(ReadAll::matching(Query::tagged(["t"])));
    assert_eq!(iter(tagged).count() as u64 + 1, summary.stored);
    let _ = writeln!(std::io::stderr(), "{summary}");
    assert!(summary.faults >= FAULTS && summary.acknowledged > 0, "{summary}");
}

/// Reacts to events with commits that move the checkpoint of all consumers, until there are no more. Returns the positions
/// whose reactions were acknowledged.
fn consume(store: &JetStreamStore, consumer: usize, is_over: &AtomicBool) -> Vec<Position> {
    let next = || -> Result<Vec<Position>, StoreError> {
        let at = block_on(store.checkpoint("consumers"))?.unwrap_or_default();
        let read = ReadAll::matching(Query::category("cause")).after(at).limit(20);
        iter(store.read_all(read)).map(|event| Ok(event?.position())).collect()
    };
    let mut acknowledged = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::SeqCst);
        // Another attempt follows an outage.
        let Ok(found) = next() else { continue };
        if found.is_empty() && was_over {
            return acknowledged;
        }
        for to in found {
            let effect = NewEvent::new("Effect", to.to_string());
            let commit = Commit::to(format!("effect-{consumer}"), Expected::Any, [effect]);
            match block_on(store.append(commit.checkpoint("consumers", to))) {
                Ok(_) => acknowledged.push(to),
                // Another consumer was first, or the outcome is shown by the checkpoint.
                Err(_) => break,
            }
        }
    }
}

fn reactions_are_single() {
    /// The least number of causes, however slow the machine is.
    const CAUSES: usize = 101;
    let _alone = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (stores, faults) = (handles("consumers"), Faults::of("consumers", false));
    let is_over = AtomicBool::new(false);
    let acknowledged: Vec<Position> = thread::scope(|scope| {
        let consumer = |(number, store)| {
            scope.spawn({
                let is_over = &is_over;
                move || consume(store, number, is_over)
            })
        };
        let consumers: Vec<_> = stores.iter().enumerate().map(consumer).collect();
        let struck = scope.spawn(|| {
            for number in [0, 1, 3, 4, 5, 6, 0] {
                faults.strike(number);
                thread::sleep(Duration::from_millis(300));
            }
        });
        let mut recorded = 0;
        while recorded < CAUSES || !struck.is_finished() {
            let cause = Commit::to("cause-1", Expected::Any, [NewEvent::new("Cause", "")]);
            // One that fails may be recorded, and is a cause like the others then.
            recorded += usize::from(block_on(stores[0].append(cause)).is_ok());
            thread::sleep(Duration::from_millis(5));
        }
        let struck = struck.join();
        // Nothing is appended any more: consumers end when they have everything.
        is_over.store(true, Ordering::SeqCst);
        struck.expect("no panic");
        consumers.into_iter().flat_map(|it| it.join().expect("no panic")).collect()
    });
    let all = |category| -> Vec<RecordedEvent> {
        let read = ReadAll::matching(Query::category(category));
        iter(stores[0].read_all(read)).map(|event| event.expect("an event")).collect()
    };
    let causes: Vec<Position> = all("cause").iter().map(RecordedEvent::position).collect();
    let reacted = |effect: &RecordedEvent| {
        let text = String::from_utf8_lossy(effect.data()).into_owned();
        Position::new(text.parse().expect("a position"))
    };
    let effects: Vec<Position> = all("effect").iter().map(reacted).collect();
    // Each cause has one effect, in their order.
    assert_eq!(effects, causes);
    assert!(acknowledged.iter().all(|it| effects.contains(it)));
    let last = block_on(stores[1].checkpoint("consumers")).expect("no error");
    assert_eq!(last, causes.last().copied());
    let (causes, acknowledged) = (causes.len(), acknowledged.len());
    let _ = writeln!(std::io::stderr(), "{causes} causes, {acknowledged} effects acknowledged");
    assert!(causes >= CAUSES && acknowledged > causes / 2);
}
