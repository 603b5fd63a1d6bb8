//! One long stream, read in pages, at its end and at any version: annals beside SQLite.
//!
//! Both hold the same events. They take turns within each repetition; the medians are printed.

use std::path::Path;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};
use rusqlite::{Connection, params};

use crate::input::{EVENT_TYPE, Random};
use crate::peer::Result;
use crate::peers::sqlite::SCHEMA;

const STREAM: &str = "account-00000001";
const PAGE: u64 = 500;
const SIZE: usize = 256;
/// The number of single events that are read for one median.
const SINGLE: u64 = 1_001;

const COLUMNS: &str =
    "SELECT position, stream, version, data, type, id FROM events WHERE stream = ?1";

/// Fills a store of each kind with `events` events of one stream, and prints the times of reading
/// it.
pub fn run(dir: &Path, events: u64, repetitions: usize) -> Result {
    let store = Options::new().durability(Durability::BUFFERED).open(dir.join("annals"))?;
    let mut random = Random::new(1);
    let data: Vec<u8> = (0..SIZE).map(|_| u8::try_from(random.below(256)).unwrap_or(0)).collect();
    for first in (0..events).step_by(1_000) {
        let commit =
            (first..events.min(first + 1_000)).map(|_| NewEvent::new(EVENT_TYPE, &data[..]));
        store.append(STREAM, ExpectedVersion::Any, commit)?;
    }
    store.close()?;
    let store = Store::open(dir.join("annals"))?;
    let sqlite = filled_sqlite(&dir.join("events.sqlite"), events, &data)?;
    println!("{events} events of {SIZE} bytes in one stream; medians of {repetitions} in turn\n");
    println!("| read | annals | SQLite | SQLite / annals |\n|---|---|---|---|");
    let mut pages = Pair::default();
    let mut newest = Pair::default();
    let mut single = Pair::default();
    for _ in 0..repetitions {
        pages.take(|| annals_pages(&store, events), || sqlite_pages(&sqlite, events))?;
        newest.take(|| annals_newest(&store, events), || sqlite_newest(&sqlite, events))?;
        single.take(|| annals_single(&store, events), || sqlite_single(&sqlite, events))?;
    }
    pages.print(&format!("all of it, in pages of {PAGE}"));
    newest.print("the newest event");
    single.print("one event at a version at random");
    Ok(())
}

/// Times of both sides.
#[derive(Default)]
struct Pair {
    annals: Vec<Duration>,
    sqlite: Vec<Duration>,
}

impl Pair {
    fn take(
        &mut self,
        annals: impl FnOnce() -> Result<Duration>,
        sqlite: impl FnOnce() -> Result<Duration>,
    ) -> Result {
        self.annals.push(annals()?);
        self.sqlite.push(sqlite()?);
        Ok(())
    }

    fn print(&mut self, what: &str) {
        let (annals, sqlite) = (median(&mut self.annals), median(&mut self.sqlite));
        let ratio = sqlite.as_secs_f64() / annals.as_secs_f64();
        println!("| {what} | {annals:.1?} | {sqlite:.1?} | {ratio:.2} |");
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn filled_sqlite(path: &Path, events: u64, data: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(
            "INSERT INTO events (stream, version, type, id, data) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for version in 1..=events {
            let id = u128::from(version).to_be_bytes();
            insert.execute(params![
                STREAM,
                version.cast_signed(),
                EVENT_TYPE,
                id.as_slice(),
                data
            ])?;
        }
    }
    transaction.commit()?;
    Ok(connection)
}

/// Checks the number of events that were read.
fn expect(found: u64, wanted: u64) -> Result {
    if found == wanted { Ok(()) } else { Err(format!("{found} instead of {wanted}").into()) }
}

fn annals_pages(store: &Store, events: u64) -> Result<Duration> {
    let started = Instant::now();
    let (mut seen, mut sum) = (0, 0);
    while seen < events {
        for event in store.read_stream(STREAM).from_version(seen + 1).limit(PAGE) {
            let event = event?;
            sum += event.data().len() as u64 + event.version();
            seen = event.version();
        }
    }
    let elapsed = started.elapsed();
    expect(sum, events * SIZE as u64 + events * (events + 1) / 2)?;
    Ok(elapsed)
}

fn sqlite_pages(connection: &Connection, events: u64) -> Result<Duration> {
    let sql = format!("{COLUMNS} AND version >= ?2 ORDER BY version LIMIT ?3");
    let mut page = connection.prepare(&sql)?;
    let started = Instant::now();
    let (mut seen, mut sum) = (0, 0);
    while seen < events {
        let mut rows = page.query(params![STREAM, (seen + 1).cast_signed(), PAGE.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let version = row.get_ref(2)?.as_i64()?.cast_unsigned();
            sum += row.get_ref(3)?.as_blob()?.len() as u64 + version;
            seen = version;
        }
    }
    let elapsed = started.elapsed();
    expect(sum, events * SIZE as u64 + events * (events + 1) / 2)?;
    Ok(elapsed)
}

/// The median of many reads of one event.
fn each(mut read: impl FnMut(u64) -> Result) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 0..SINGLE {
        let started = Instant::now();
        read(number)?;
        times.push(started.elapsed());
    }
    Ok(median(&mut times))
}

fn annals_newest(store: &Store, events: u64) -> Result<Duration> {
    each(|_| {
        let mut newest = store.read_stream(STREAM).backwards().limit(1).start()?;
        let event = newest.next().ok_or("no event")??;
        expect(event.version(), events)
    })
}

fn sqlite_newest(connection: &Connection, events: u64) -> Result<Duration> {
    let mut newest = connection.prepare(&format!("{COLUMNS} ORDER BY version DESC LIMIT 1"))?;
    each(|_| {
        let version: i64 = newest.query_row([STREAM], |row| row.get(2))?;
        expect(version.cast_unsigned(), events)
    })
}

/// A version that is far from the one before.
fn wanted(number: u64, events: u64) -> u64 {
    1 + number * 611_953 % events
}

fn annals_single(store: &Store, events: u64) -> Result<Duration> {
    each(|number| {
        let version = wanted(number, events);
        let mut one = store.read_stream(STREAM).from_version(version).limit(1).start()?;
        let event = one.next().ok_or("no event")??;
        expect(event.version(), version)
    })
}

fn sqlite_single(connection: &Connection, events: u64) -> Result<Duration> {
    let mut one = connection.prepare(&format!("{COLUMNS} AND version = ?2"))?;
    each(|number| {
        let version = wanted(number, events);
        let row = params![STREAM, version.cast_signed()];
        let found: i64 = one.query_row(row, |row| row.get(2))?;
        expect(found.cast_unsigned(), version)
    })
}
