//! The distance of annals to the machine's limits: each workload beside a bare loop that frames,
//! checksums and writes (or maps, walks and verifies) the same bytes, in turn within one run.
//!
//! `cargo bench --bench limits` prints the medians and their ratio. Rates differ from machine to
//! machine and from hour to hour; ratios within one run are what to compare.

mod raw;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};

const PAYLOAD: usize = 256;
const STREAMS: usize = 10_000;
const REPETITIONS: usize = 5;

/// Incompressible data and stream names, the same for both sides.
struct Input {
    streams: Vec<String>,
    data: Vec<Vec<u8>>,
    state: u64,
}

impl Input {
    fn new() -> Self {
        let mut input = Self { streams: Vec::new(), data: Vec::new(), state: 7 };
        input.streams = (0..STREAMS).map(|i| format!("account-{i:08}")).collect();
        input.data = (0..64)
            .map(|_| (0..PAYLOAD / 8).flat_map(|_| input.next().to_le_bytes()).collect())
            .collect();
        input
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn pick(&mut self) -> (&str, &[u8]) {
        let random = self.next();
        let stream = usize::try_from(random % STREAMS as u64).unwrap_or(0);
        let data = usize::try_from((random >> 32) % 64).unwrap_or(0);
        (&self.streams[stream], &self.data[data])
    }
}

fn buffered() -> Options {
    // The interval is longer than a run: both sides leave syncing to the system.
    Options::new().durability(Durability::Buffered { interval: Duration::from_secs(3600) })
}

fn event(data: &[u8]) -> NewEvent {
    NewEvent::new("MoneyTransferred", data)
}

fn rate(count: u64, started: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    let count = count as f64;
    count / started.elapsed().as_secs_f64()
}

fn append_single(dir: &Path, count: u64) -> f64 {
    let store = buffered().open(dir.join("store")).expect("open");
    let mut input = Input::new();
    let started = Instant::now();
    for _ in 0..count {
        let (stream, data) = input.pick();
        store.append(stream, ExpectedVersion::Any, [event(data)]).expect("append");
    }
    rate(count, started)
}

fn append_batches(options: Options, dir: &Path, batch: usize, count: u64) -> f64 {
    let store = options.open(dir.join("store")).expect("open");
    let mut input = Input::new();
    let started = Instant::now();
    for _ in 0..count / batch as u64 {
        let stream = input.pick().0.to_owned();
        let events: Vec<_> = (0..batch).map(|_| event(input.pick().1)).collect();
        store.append(&stream, ExpectedVersion::Any, events).expect("append");
    }
    rate(count, started)
}

fn append_synced(dir: &Path, threads: usize, count: u64) -> f64 {
    let store = Store::open(dir.join("store")).expect("open");
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = store.clone();
            scope.spawn(move || {
                let mut input = Input::new();
                input.state = thread as u64 + 1;
                for _ in 0..count / threads as u64 {
                    let (stream, data) = input.pick();
                    store.append(stream, ExpectedVersion::Any, [event(data)]).expect("append");
                }
            });
        }
    });
    rate(count, started)
}

fn append_submitted(dir: &Path, count: u64) -> f64 {
    let store = Store::open(dir.join("store")).expect("open");
    let mut input = Input::new();
    let started = Instant::now();
    let mut tickets = std::collections::VecDeque::new();
    for _ in 0..count {
        let (stream, data) = input.pick();
        let transaction = store.transaction();
        let transaction = transaction.append(stream, ExpectedVersion::Any, [event(data)]);
        tickets.push_back(transaction.submit().expect("submit"));
        if tickets.len() > 10_000 {
            tickets.pop_front().expect("a ticket").wait().expect("wait");
        }
    }
    for ticket in tickets {
        ticket.wait().expect("wait");
    }
    rate(count, started)
}

fn scan(store: &Store) -> f64 {
    let started = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    let read = store.read_all().for_each(|event| {
        count += 1;
        bytes += event.data().len();
    });
    read.expect("scan");
    black_box(bytes);
    rate(count, started)
}

/// Streams of about 100 events each, one after another in no order that the log has.
fn read_streams(store: &Store, names: &[&str]) -> f64 {
    let started = Instant::now();
    let mut bytes = 0;
    for name in names {
        let read = store.read_stream(*name).for_each(|event| bytes += event.data().len());
        read.expect("read");
    }
    black_box(bytes);
    rate(names.len() as u64, started)
}

fn read_raw_streams(file: &[u8], streams: &[&Vec<usize>]) -> f64 {
    let started = Instant::now();
    let bytes: usize = streams.iter().map(|records| raw::read(file, records)).sum();
    black_box(bytes);
    rate(streams.len() as u64, started)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn in_turn(
    name: &str,
    target: f64,
    mut ours: impl FnMut(&Path) -> f64,
    mut theirs: impl FnMut(&Path) -> f64,
) {
    // `cargo bench --bench limits -- scan` runs the workloads whose name holds "scan".
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if filter.is_some_and(|filter| !name.contains(&filter)) {
        return;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        b.push(theirs(dir.path()));
        drop(dir);
        let dir = tempfile::tempdir().expect("a temporary directory");
        a.push(ours(dir.path()));
    }
    let (a, b) = (median(a), median(b));
    let ratio = a / b;
    report(&format!("| {name} | {a:.0} | {b:.0} | {ratio:.2} | {target:.2} |"));
}

#[expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
fn report(line: &str) {
    println!("{line}");
}

fn main() {
    // `cargo test --benches` runs this with `--test`: once, small, for its errors alone.
    let quick = std::env::args().any(|arg| arg == "--test");
    let scale = |count: u64| if quick { count / 100 } else { count };
    report("| workload, 256-byte events | annals/s | against/s | ratio | target |");
    report("|---|---|---|---|---|");
    in_turn(
        "unsynced, 1 event, against a bare loop",
        0.7,
        |dir| append_single(dir, scale(400_000)),
        |dir| raw::append(dir, scale(400_000), 1, &mut Input::new()),
    );
    in_turn(
        "unsynced, batches of 1,000, against a bare loop",
        0.6,
        |dir| append_batches(buffered(), dir, 1000, scale(1_000_000)),
        |dir| raw::append(dir, scale(1_000_000), 1000, &mut Input::new()),
    );
    in_turn(
        "synced, 64 threads, against 1 thread",
        10.0,
        |dir| append_synced(dir, 64, scale(64_000)),
        |dir| append_synced(dir, 1, scale(4_000)),
    );
    in_turn(
        "synced, submitted by 1 thread, against waiting each time",
        10.0,
        |dir| append_submitted(dir, scale(200_000)),
        |dir| append_synced(dir, 1, scale(4_000)),
    );
    // Over more than a segment, so that the spare is used.
    let filled = |fill| Options::new().zero_fill(fill).segment_size(32 << 20);
    in_turn(
        "synced, batches of 100, into zero-filled space, against space only allocated",
        1.0,
        |dir| append_batches(filled(true), dir, 100, scale(400_000)),
        |dir| append_batches(filled(false), dir, 100, scale(400_000)),
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let count = scale(1_000_000);
    append_single(dir.path(), count);
    let store = buffered().open(dir.path().join("store")).expect("open");
    let file = raw::prepare(dir.path(), count, &mut Input::new());
    scan(&store);
    raw::scan(&file);
    in_turn(
        "scan, verified once, against a bare loop that verifies",
        0.6,
        |_| scan(&store),
        |_| raw::scan(&file),
    );
    let by_stream = raw::by_stream(&file);
    let names: Vec<_> = by_stream.keys().map(|name| String::from_utf8_lossy(name)).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let records: Vec<_> = by_stream.values().collect();
    in_turn(
        "streams of 100 scattered events, against verified records at known places",
        0.5,
        |_| read_streams(&store, &names),
        |_| read_raw_streams(&file, &records),
    );
    let always = buffered().checksums(annals::Checksums::Always);
    drop(store);
    let store = always.open(dir.path().join("store")).expect("open");
    in_turn(
        "scan, verified each time, against a bare loop that verifies",
        0.6,
        |_| scan(&store),
        |_| raw::scan(&file),
    );
}
