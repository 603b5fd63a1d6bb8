//! The figures of a backup: what it costs the writer, its lag, how fast it and a restore are, how small it
//! is, and what cold segments cost. `cargo bench -p annals-backup`; `ANNALS_BACKUP_GB=10` for a larger store,
//! `ANNALS_BACKUP_TO=DIRECTORY` for another place than the temporary directory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints its results"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};
use annals_backup::{
    ColdBackup, Destination, RestoreOptions, ShipOptions, Shipper, keep_local, list, restore,
};

/// The length of an event's data.
const DATA: usize = 256;
const TURNS: u32 = 9;
const TURN: Duration = Duration::from_secs(3);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// An event as an application writes it: JSON with a few names and changing values.
fn json(random: &mut Random) -> NewEvent {
    let (account, amount, reference) =
        (random.next() % 100_000, random.next() % 1_000_000, random.next());
    let mut text = format!(
        "{{\"account\":\"account-{account}\",\"amount\":{amount},\"currency\":\"EUR\",\"reference\":\"{reference:016x}\",\
         \"description\":\"monthly payment\",\"channel\":\"web\",\"approved\":true"
    );
    while text.len() < DATA - 1 {
        text.push_str(",\"note\":\"none\"");
    }
    text.truncate(DATA - 1);
    text.push('}');
    NewEvent::new("PaymentReceived", text).tag(format!("account:{account}"))
}

fn noise(random: &mut Random) -> NewEvent {
    let data: Vec<u8> = (0..DATA / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    NewEvent::new("PaymentReceived", data)
}

/// Appends buffered batches until the log has this many bytes.
fn fill(path: &Path, bytes: u64, event: fn(&mut Random) -> NewEvent) -> Store {
    let options = Options::new().durability(Durability::BUFFERED);
    let (store, mut random) = (options.clone().open(path).unwrap(), Random(7));
    while store.stats().log_bytes < bytes {
        for _ in 0..100 {
            let stream = format!("account-{}", random.next() % 100_000);
            let events: Vec<_> = (0..100).map(|_| event(&mut random)).collect();
            store.append(&stream, ExpectedVersion::Any, events).unwrap();
        }
    }
    store.close().unwrap();
    options.open(path).unwrap()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn rate(bytes: u64, time: Duration) -> f64 {
    megabytes(bytes) / time.as_secs_f64()
}

fn size_and_speed(dir: &Path, name: &str, bytes: u64, event: fn(&mut Random) -> NewEvent) {
    let store = fill(&dir.join("store"), bytes, event);
    let place = dir.join("backups");
    let to = Destination::open(place.to_str().unwrap()).unwrap();
    let begun = Instant::now();
    let mut shipper = Shipper::new(store.clone(), to.clone(), ShipOptions::new()).unwrap();
    let first = shipper.ship().unwrap();
    let took = begun.elapsed();
    let branch = list(&to).unwrap().branches.remove(0);
    println!(
        "{name}: {:.0} MB of log shipped at {:.0} MB/s, stored in {:.0} MB: {:.3} of it",
        megabytes(first.log_bytes),
        rate(first.log_bytes, took),
        megabytes(branch.stored_bytes),
        branch.stored_bytes as f64 / branch.log_bytes as f64,
    );
    // One per cent more.
    let before = store.stats().log_bytes;
    drop((store, shipper));
    let store = fill(&dir.join("store"), before + before / 100, event);
    let begun = Instant::now();
    let mut shipper = Shipper::new(store.clone(), to.clone(), ShipOptions::new()).unwrap();
    let more = shipper.ship().unwrap();
    println!(
        "{name}, after 1 % more: {:.1} MB read, {:.1} MB stored, {:.2} s",
        megabytes(more.log_bytes),
        megabytes(more.sent_bytes),
        begun.elapsed().as_secs_f64()
    );
    let (begun, copy) = (Instant::now(), dir.join("restored"));
    let options = RestoreOptions::new().verify(false);
    let restored = restore(&to, &copy, &options, |_| {}).unwrap();
    let took = begun.elapsed();
    let opened = Options::new().read_only(true).open(&copy).unwrap();
    let mut last = 0;
    opened.read_all().backwards().limit(1).for_each(|_| last += 1).unwrap();
    println!(
        "{name}: restored at {:.0} MB/s; {:.2} s until {last} event is read",
        rate(restored.log_bytes, took),
        begun.elapsed().as_secs_f64()
    );
    drop(opened);
    std::fs::remove_dir_all(&copy).unwrap();
    for (name, to) in places(dir) {
        let begun = Instant::now();
        let Ok(done) = store.backup_to(&to, |_| {}) else { continue };
        println!(
            "backup_to, {name}: {:.0} MB copied, {:.0} MB linked, {:.2} s",
            megabytes(done.copied_bytes),
            megabytes(done.linked_bytes),
            begun.elapsed().as_secs_f64()
        );
        let _ = std::fs::remove_dir_all(&to);
    }
    drop(shipper);
    store.close().unwrap();
    copy_beside_a_writer(&dir.join("store"), dir);
    cold(&dir.join("store"), &to, name);
}

fn places(dir: &Path) -> [(&'static str, PathBuf); 2] {
    [("same file system", dir.join("copy")), ("memory", "/dev/shm/annals-backup-copy".into())]
}

/// How fast a store is copied beside a durable writer, and what that costs the writer.
fn copy_beside_a_writer(path: &Path, dir: &Path) {
    let store = Options::new().open(path).unwrap();
    let (commits, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let rate_while = |work: &mut dyn FnMut()| {
        let (begun, before) = (Instant::now(), commits.load(Ordering::Relaxed));
        work();
        let took = begun.elapsed().as_secs_f64();
        ((commits.load(Ordering::Relaxed) - before) as f64 / took, took)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(11);
            while !done.load(Ordering::Relaxed) {
                let stream = format!("account-{}", random.next() % 10_000);
                store.append(&stream, ExpectedVersion::Any, [json(&mut random)]).unwrap();
                commits.fetch_add(1, Ordering::Relaxed);
            }
        });
        for (name, to) in places(dir) {
            let (mut alone, mut beside, mut rates) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..TURNS {
                alone.push(rate_while(&mut || std::thread::sleep(TURN)).0);
                let mut bytes = 0;
                let (commits, took) = rate_while(&mut || {
                    let copied = store.backup_to(&to, |_| {}).unwrap();
                    bytes = copied.copied_bytes + copied.linked_bytes;
                });
                beside.push(commits);
                rates.push(megabytes(bytes) / took);
                std::fs::remove_dir_all(&to).unwrap();
            }
            let (alone, beside) = (median(alone), median(beside));
            println!(
                "backup_to beside a durable writer, {name}: {:.0} MB/s; {alone:.0} commits/s alone, {beside:.0} beside it: \
                 {:.3} of it",
                median(rates),
                beside / alone
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    store.close().unwrap();
}

/// The time until the first event of a store is read, and the rate of a read of everything.
fn read(store: &Store, bytes: u64) -> (Duration, f64) {
    let begun = Instant::now();
    store.read_all().limit(1).for_each(|_| {}).unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    let mut sum = 0_u64;
    store
        .read_all()
        .for_each(|event| sum += event.data().iter().map(|it| u64::from(*it)).sum::<u64>())
        .unwrap();
    std::hint::black_box(sum);
    (first, rate(bytes, begun.elapsed()))
}

/// What a store costs whose full segments are in the backup alone.
fn cold(path: &Path, to: &Destination, name: &str) {
    let options = Options::new().cold_segments(ColdBackup::new(to.clone()).shared());
    let store = options.clone().open(path).unwrap();
    let bytes = store.stats().log_bytes;
    let (local_first, local) = read(&store, bytes);
    let begun = Instant::now();
    let freed = keep_local(&store, 0).unwrap();
    let took = begun.elapsed();
    store.close().unwrap();
    let begun = Instant::now();
    let store = options.open(path).unwrap();
    let opened = begun.elapsed();
    let (first, rate_of_all) = read(&store, bytes);
    println!(
        "{name}, cold: {:.0} MB freed at {:.0} MB/s; opened in {:.1} ms; first event after {:.0} ms, local {:.3} ms; \
         all of it at {rate_of_all:.0} MB/s, local {local:.0} MB/s",
        megabytes(freed),
        rate(freed, took),
        opened.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3,
        local_first.as_secs_f64() * 1e3,
    );
}

/// Commits of one event in a turn.
fn turn(store: &Store, random: &mut Random) -> f64 {
    let (begun, mut commits) = (Instant::now(), 0_u32);
    while begun.elapsed() < TURN {
        let stream = format!("account-{}", random.next() % 10_000);
        store.append(&stream, ExpectedVersion::Any, [json(random)]).unwrap();
        commits += 1;
    }
    f64::from(commits) / begun.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What shipping to a place costs a writer that does nothing else, in turns with and without a shipper.
fn cost(dir: &Path, place: &Path, name: &str, durability: Durability) {
    let store = Options::new().durability(durability).open(dir.join("store")).unwrap();
    let to = Destination::open(place.to_str().unwrap()).unwrap();
    let mut random = Random(9);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    turn(&store, &mut random);
    for _ in 0..TURNS {
        alone.push(turn(&store, &mut random));
        // What the turn before has written is not part of this one.
        let mut shipper = Shipper::new(store.clone(), to.clone(), ShipOptions::new()).unwrap();
        shipper.ship().unwrap();
        let running = shipper.start().unwrap();
        beside.push(turn(&store, &mut random));
        running.stop().unwrap();
    }
    let (alone, beside) = (median(alone), median(beside));
    println!(
        "{name}: {alone:.0} commits/s alone, {beside:.0} beside a shipper: {:.3} of it",
        beside / alone
    );
}

/// The lag of the backup at 10,000 events/s.
fn lag(dir: &Path) {
    let store = Options::new().open(dir.join("store")).unwrap();
    let place = dir.join("backups");
    let to = Destination::open(place.to_str().unwrap()).unwrap();
    let running = Shipper::new(store.clone(), to, ShipOptions::new()).unwrap().start().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut random, begun, mut appended) = (Random(5), Instant::now(), 0_u64);
            while !done.load(Ordering::Relaxed) {
                let due = u64::try_from(begun.elapsed().as_micros()).unwrap() / 100;
                while appended < due {
                    let stream = format!("account-{}", random.next() % 10_000);
                    let events: Vec<_> = (0..10).map(|_| json(&mut random)).collect();
                    store.append(&stream, ExpectedVersion::Any, events).unwrap();
                    appended += 10;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let mut lags = Vec::new();
        for _ in 0..400 {
            std::thread::sleep(Duration::from_millis(50));
            lags.push(running.status().lag_time.as_secs_f64());
        }
        done.store(true, Ordering::Relaxed);
        lags.sort_by(f64::total_cmp);
        let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
        println!("10,000 events/s: lags by {:.2} s (p50), {:.2} s (p99)", at(50), at(99));
    });
    let status = running.status();
    println!(
        "10,000 events/s for 20 s: {:.1} MB of log read, {:.1} MB sent, {} puts",
        megabytes(status.log_bytes),
        megabytes(status.sent_bytes),
        status.puts
    );
    running.stop().unwrap();
}

fn main() {
    let gigabytes = std::env::var("ANNALS_BACKUP_GB").ok().and_then(|it| it.parse().ok());
    let bytes = gigabytes.unwrap_or(1_u64) * 1_000_000_000;
    let base = std::env::var_os("ANNALS_BACKUP_TO").map_or_else(std::env::temp_dir, Into::into);
    let scratch = || tempfile::tempdir_in(&base).unwrap();
    for (name, durability) in [("durable", Durability::Sync), ("buffered", Durability::BUFFERED)] {
        let dir = scratch();
        let to = dir.path().join("backups");
        cost(dir.path(), &to, &format!("{name}, 1 event, to the same disk"), durability);
        if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
            let name = format!("{name}, 1 event, to memory");
            cost(scratch().path(), memory.path(), &name, durability);
        }
    }
    lag(scratch().path());
    size_and_speed(scratch().path(), "JSON", bytes, json);
    size_and_speed(scratch().path(), "random bytes", bytes, noise);
}
