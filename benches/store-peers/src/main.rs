//! Appends, loads, catching up and the way to a subscriber: the embedded store, PostgreSQL with both kinds of positions,
//! postgres-es on the same server, JetStream with one replica and with three, and bare publishes to it. Every commit is one
//! event of 100 bytes, on a stream of its client, with the expected version. Arguments name the parts to run: embedded,
//! postgres, jetstream; without one, all.

mod bare;
mod peer;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_es::{
    AnnalsStore, Commit, EventStore, Expected, NewEvent, OrderedStore, Position, ReadStream,
    Subscribe, next,
};
use annals_jetstream::{Durability, JetStreamOptions};
use annals_postgres::{Positions, PostgresOptions};
use bare::Bare;
use peer::Peer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TIME: Duration = Duration::from_secs(4);
const DATA: &str = "{\"amount\": 123456, \"text\": \"a hundred bytes of data, which is what an event often has at the least\"}";

/// The part of a store that postgres-es has as well.
pub trait Appends: Clone + Send + Sync + 'static {
    fn append(
        &self,
        stream: String,
        version: u64,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    fn load(&self, stream: String) -> impl Future<Output = Result<usize, Failure>> + Send;
}

#[derive(Clone)]
struct Annals<S>(S);

fn event() -> NewEvent {
    NewEvent::new("Deposited", DATA)
}

impl<S: EventStore> Appends for Annals<S> {
    async fn append(&self, stream: String, version: u64) -> Result<(), Failure> {
        let commit = Commit::to(stream, Expected::Exact(version.into()), [event()]);
        self.0.append(commit).await?;
        Ok(())
    }

    async fn load(&self, stream: String) -> Result<usize, Failure> {
        let mut events = self.0.read_stream(ReadStream::of(stream));
        let mut number = 0;
        while let Some(event) = next(&mut events).await {
            event?;
            number += 1;
        }
        Ok(number)
    }
}

async fn appends<S: Appends>(store: &S, name: &str, clients: u64) -> Result<f64, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            let stream = format!("{name}{clients}-{client}");
            tokio::spawn(async move {
                let mut version = 0;
                while !stop.load(Ordering::Relaxed) {
                    store.append(stream.clone(), version).await?;
                    version += 1;
                }
                Ok::<u64, Failure>(version)
            })
        })
        .collect();
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

async fn load<S: Appends>(store: &S) -> Result<f64, Failure> {
    for version in 0..100 {
        store.append("load-1".into(), version).await?;
    }
    let (began, mut loads) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(store.load("load-1".into()).await?, 100);
        loads += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(loads))
}

async fn both<S: Appends>(store: &S) -> Result<String, Failure> {
    let one = appends(store, "s", 1).await?;
    let many = appends(store, "s", 64).await?;
    let load = load(store).await?;
    Ok(format!(
        "{one:.0} appends/s with 1 client, {many:.0} with 64; load of 100 events {load:.0} µs"
    ))
}

/// Events a second of a subscription that catches up.
async fn catch_up<S: OrderedStore>(store: &S) -> Result<(f64, u64), Failure> {
    let mut subscription = store.subscribe(Subscribe::after(Position::START).batch_size(512));
    let (began, mut number) = (Instant::now(), 0_u64);
    while let Some(message) = next(&mut subscription).await {
        let message = message?;
        number += message.events.len() as u64;
        if message.caught_up {
            break;
        }
    }
    Ok((number as f64 / began.elapsed().as_secs_f64(), number))
}

/// Microseconds from the call of an append to the delivery of its event, in the middle and at most for 99 of 100.
async fn latency<S: OrderedStore>(writer: &S, reader: &S) -> Result<(u128, u128), Failure> {
    let after = writer.head().await?;
    let mut subscription = reader.subscribe(Subscribe::after(after));
    let first = next(&mut subscription).await.ok_or("the subscription ends")??;
    assert!(first.caught_up);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut times = Vec::new();
    for _ in 0..300 {
        let began = Instant::now();
        let commit = Commit::to("latency", Expected::Any, [event()]);
        let writer = writer.clone();
        let append = tokio::spawn(async move { writer.append(commit).await });
        loop {
            let message = next(&mut subscription).await.ok_or("the subscription ends")??;
            if !message.events.is_empty() {
                break;
            }
        }
        times.push(began.elapsed().as_micros());
        append.await??;
    }
    times.sort_unstable();
    Ok((times[150], times[297]))
}

async fn ordered<S: OrderedStore>(name: &str, store: S, other: &S) -> Result<(), Failure> {
    let rates = both(&Annals(store.clone())).await?;
    let (rate, number) = catch_up(&store).await?;
    let (here, here_99) = latency(&store, &store).await?;
    let (there, there_99) = latency(&store, other).await?;
    println!(
        "{name}: {rates}; catches up {rate:.0} events/s of {number}; to a subscriber of the same handle {here} µs \
         (99 %: {here_99}), of another {there} µs (99 %: {there_99})"
    );
    Ok(())
}

async fn embedded() -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(".")?;
    let store = AnnalsStore::new(annals::Store::open(directory.path().join("store"))?);
    ordered("embedded", store.clone(), &store).await
}

async fn postgres() -> Result<(), Failure> {
    let server =
        std::env::var("ANNALS_ES_POSTGRES").map_err(|_| "ANNALS_ES_POSTGRES names no server")?;
    for (name, positions) in [("dense", Positions::Dense), ("fast", Positions::Fast)] {
        let options = PostgresOptions::new(server.parse()?).schema(format!("bench_{name}"));
        let options = options.positions(positions).connections(8);
        let (store, other) = (options.clone().open().await?, options.open().await?);
        ordered(name, store, &other).await?;
    }
    for connections in [16, 64] {
        let peer = Peer::open(&server, connections).await?;
        let rates = both(&peer).await?;
        println!("postgres-es, {connections} connections: {rates}");
    }
    Ok(())
}

async fn jetstream() -> Result<(), Failure> {
    let servers =
        std::env::var("ANNALS_JETSTREAM").map_err(|_| "ANNALS_JETSTREAM names no servers")?;
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    for replicas in [3, 1] {
        let name = format!("bench_{replicas}");
        let options = || -> Result<JetStreamOptions, Failure> {
            let options = JetStreamOptions::new(&servers[..])?.name(&*name).replicas(replicas);
            Ok(options.durability(Durability::Synced))
        };
        let (store, other) = (options()?.open().await?, options()?.open().await?);
        let bare = Bare::open(&servers, replicas).await?;
        // In turn, because the time of a wait for the disk differs from minute to minute.
        for turn in 0..3 {
            for clients in [1, 64] {
                let rate = appends(&bare, &format!("b{turn}"), clients).await?;
                let own = appends(&Annals(store.clone()), &format!("t{turn}"), clients).await?;
                println!(
                    "{replicas} replicas, {clients} clients: bare {rate:.0} publishes/s, {own:.0} appends/s"
                );
            }
        }
        ordered(&format!("{replicas} replicas"), store, &other).await?;
    }
    Ok(())
}

async fn run() -> Result<(), Failure> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|it| it == part);
    if is_wanted("embedded") {
        embedded().await?;
    }
    if is_wanted("postgres") {
        postgres().await?;
    }
    if is_wanted("jetstream") {
        jetstream().await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}
