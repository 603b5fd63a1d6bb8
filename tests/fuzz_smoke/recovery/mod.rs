//! Bytes as damage to a store: it is verified, opened for reading and for writing, read by every
//! kind of read and appended to. Nothing may panic or run away.
//!
//! Unless checksums are made right behind the damage, which no accident does:
//!
//! - what can be read is what was written, at its own position;
//! - a store in which `verify` finds no fault opens, and all of it can be read;
//! - a repaired store is whole, and holds nothing but what was written;
//! - a store that was closed, and has damage in one file alone, never gets shorter without saying
//!   so: it is refused for writing, or has all its positions.

mod damage;
mod originals;

use std::sync::Arc;

use annals::testing::{repair_on, verify_on};
use annals::{
    ExpectedVersion, NewEvent, Opened, Options, Position, Query, ReadAll, Result, Store,
    StreamInfo, category_of, repair::RepairOptions,
};

use originals::{ROOT, Seen, open, original};

/// More events than damage to these stores can make up.
const MANY: usize = 20_000;
/// What the first byte says beside which store: checksums are made right.
pub(crate) const PATCHED: u8 = 0x80;
/// That it is the store with cursors, which came after the first seeds were kept.
pub(crate) const WITH_CURSORS: u8 = 0x40;

/// Whether an event is asked for.
type Matches<'a> = &'a dyn Fn(&Seen) -> bool;

/// What a store is held to.
struct Expected<'a> {
    events: &'a [Seen],
    /// What is not in the list is wrong.
    exact: bool,
}

/// The first byte chooses the store, the others are its damage.
///
/// # Panics
///
/// If a store breaks its promises.
pub(crate) fn check(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    let original = original(first & !PATCHED);
    let disk = original.disk.fork();
    let changed = damage::inflict(&disk, input);
    let patched = first & PATCHED != 0;
    if patched {
        damage::patch_all(&disk);
    }
    let expected = Expected { events: &original.events, exact: !patched };
    let verified = verify_on(&disk.process(), ROOT, |_| {});
    let faultless = !patched && verified.is_ok_and(|report| report.faults.is_empty());
    let whole = |head: u64| head >= original.events.len() as u64;

    repaired(&disk, original, patched);
    let read_only = open(&disk, true);
    assert!(read_only.is_ok() || !faultless, "without faults, not opened: {read_only:?}");
    if let Ok(store) = read_only {
        let read = expected.check(&store);
        assert!(read.is_ok() || !faultless, "without faults, not readable: {read:?}");
        let says = matches!(store.opened(), Opened::Damaged { .. });
        let kept = whole(store.head().get()) || says;
        assert!(kept || patched || !original.closed || changed.len() > 1, "shorter, unsaid");
    }

    let writable = open(&disk, false);
    assert!(writable.is_ok() || !faultless, "without faults, not opened: {writable:?}");
    let Ok(store) = writable else { return };
    let read = expected.check(&store);
    assert!(read.is_ok() || !faultless, "without faults, not readable: {read:?}");
    let head = store.head().get();
    let kept = whole(head) || patched || !original.closed || changed.len() > 1;
    assert!(kept, "{head} events are left, and the store opens: {:?}", store.opened());
    go_on(&disk, store, &expected, head, read.is_ok());
}

/// Repair gives a store that opens, in which nothing is wrong, or says why not.
fn repaired(disk: &annals::testing::SimStorage, original: &originals::Original, patched: bool) {
    let disk = disk.fork();
    let storage: Arc<dyn annals::testing::Storage> = Arc::new(disk.process());
    let Ok(report) = repair_on(&storage, ROOT, "/repaired", RepairOptions::new()) else { return };
    let verified = verify_on(&disk.process(), "/repaired", |_| {}).expect("is a store");
    assert_eq!(verified.faults, [], "a repaired store is whole");
    let options = Options::new().storage(storage).background(false);
    let store = options.open("/repaired").expect("a repaired store opens");
    let mut events = 0;
    let read = store.read_all().for_each(|event| {
        events += 1;
        let mut event = Seen::from(event);
        let written = original.events.iter().find(|seen| seen.id == event.id);
        // Only its place may be another.
        let place = written.map(|it| (it.position, it.commit, it.version));
        (event.position, event.commit, event.version) = place.unwrap_or_default();
        assert!(patched || Some(&event) == written, "not what was written: {event:?}");
    });
    read.expect("a repaired store can be read");
    assert_eq!((events, store.head().get()), (report.events, report.events));
}

/// Appends, and opens again: what was there is still there, and so is what is new.
fn go_on(
    disk: &annals::testing::SimStorage,
    store: Store,
    expected: &Expected<'_>,
    head: u64,
    complete: bool,
) {
    let event = NewEvent::new("Appended", "after the damage").tag("new");
    let Ok(done) = store.append("account-1", ExpectedVersion::Any, [event]) else { return };
    assert_eq!(done.first_position.get(), head + 1);
    let new = store.event_at(done.last_position);
    let closed = store.close();
    let reopened = open(disk, false);
    // Damage that was not met by the first opening may be met by the second.
    if !expected.exact || !complete {
        return;
    }
    closed.expect("a store that was appended to closes");
    let store = reopened.expect("a store that was closed opens");
    assert_eq!(store.head(), done.last_position);
    let new: Seen = new.expect("what was appended can be read").expect("is there").into();
    let head = usize::try_from(head).expect("few events");
    let events: Vec<Seen> = expected.events[..head].iter().cloned().chain([new]).collect();
    let still = Expected { events: &events, exact: true }.check(&store);
    still.expect("what could be read before can be read after another session");
}

impl Expected<'_> {
    /// Reads a store in every way; the first failure, if any read fails.
    fn check(&self, store: &Store) -> Result<()> {
        let head = store.head().get();
        assert!(!self.exact || head <= self.events.len() as u64, "{head} events");
        match self.scan(store, head) {
            Ok(found) => {
                let looked = self.look(store, Some(&found)).and(cursors(store));
                looked.and(self.queries(store, &found))
            }
            Err(error) => self.look(store, None).and(cursors(store)).and(Err(error)),
        }
    }

    fn is_known(&self, event: &Seen) {
        if self.exact {
            assert_eq!(Some(event), self.events.get(index(event)), "not what was written");
        }
    }

    /// All events, if no read of all of them fails.
    fn scan(&self, store: &Store, head: u64) -> Result<Vec<Seen>> {
        let take = |into: &mut Vec<Seen>, event: Seen| {
            self.is_known(&event);
            into.push(event);
            assert!(into.len() < MANY, "there is no end");
        };
        let (mut borrowed, mut owned, mut backwards) = (Vec::new(), Vec::new(), Vec::new());
        let scanned = store.read_all().for_each(|event| take(&mut borrowed, event.into()));
        let collect = |read: ReadAll, into: &mut Vec<Seen>| {
            read.into_iter().try_for_each(|event| {
                take(into, event?.into());
                Ok(())
            })
        };
        let walked = collect(store.read_all(), &mut owned);
        let walked_back = collect(store.read_all().backwards(), &mut backwards);
        for (event, position) in borrowed.iter().zip(1..) {
            assert_eq!(event.position, position);
        }
        scanned.and(walked).and(walked_back)?;
        assert_eq!(borrowed.len() as u64, head);
        backwards.reverse();
        assert!(!self.exact || (borrowed == owned && owned == backwards));
        Ok(borrowed)
    }

    /// Single events, heads, streams, times. `found`: what the store holds, if all is readable.
    fn look(&self, store: &Store, found: Option<&[Seen]>) -> Result<()> {
        let exact = found.filter(|_| self.exact);
        let mut failed = Ok(());
        // Of all events it would take half of the time.
        for event in self.events.iter().step_by(5) {
            let there = exact.is_some_and(|found| index(event) < found.len());
            for answer in [store.event_at(Position::new(event.position)), store.event(event.id)] {
                match answer {
                    Ok(Some(answer)) => self.is_known(&answer.into()),
                    Ok(None) => assert!(!there, "{event:?} is not found"),
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            failed = failed.and(store.position_at(event.recorded_at).map(drop));
        }
        for listed in store.streams() {
            let looked = listed.and_then(|listed| self.stream(store, &listed, exact));
            let ends = looked.is_err();
            failed = failed.and(looked);
            if ends {
                break;
            }
        }
        failed
    }

    fn stream(&self, store: &Store, listed: &StreamInfo, exact: Option<&[Seen]>) -> Result<()> {
        let mut events = Vec::new();
        for event in store.read_stream(&listed.name) {
            let event = Seen::from(event?);
            self.is_known(&event);
            events.push(event);
            assert!(events.len() < MANY, "there is no end");
        }
        let head = store.stream_head(&listed.name)?;
        if let Some(exact) = exact {
            let of_stream = exact.iter().filter(|event| event.stream == listed.name);
            assert!(of_stream.eq(&events), "{:?} has other events", listed.name);
            assert_eq!(listed.version, events.len() as u64);
            assert_eq!(head.map(|head| head.version), Some(listed.version));
        }
        Ok(())
    }

    /// Queries against a walk over what was found.
    fn queries(&self, store: &Store, found: &[Seen]) -> Result<()> {
        let Some(some) = self.events.get(self.events.len() / 3) else { return Ok(()) };
        let tag = some.tags.first().map_or("none", String::as_str);
        let category = category_of(&some.stream);
        let queries: [(Query, Matches<'_>); 4] = [
            (Query::types([&some.event_type]), &|event| event.event_type == some.event_type),
            (Query::tagged([tag]), &|event| event.tags.iter().any(|it| it == tag)),
            (Query::category(category), &|event| category_of(&event.stream) == category),
            (Query::stream(&some.stream), &|event| event.stream == some.stream),
        ];
        queries.into_iter().try_for_each(|(query, matches)| {
            let expected = found.iter().filter(|event| matches(event)).map(|event| event.position);
            let read = store.read_all().matching(query);
            let answer = read.into_iter().map(|event| Ok(event?.position().get()));
            let positions = answer.collect::<Result<Vec<u64>>>()?;
            assert!(!self.exact || expected.eq(positions), "a query has another answer");
            Ok(())
        })
    }
}

/// The cursors, and all moves of each, and of one that there is not.
fn cursors(store: &Store) -> Result<()> {
    let listed = store.cursors().list()?;
    for name in listed.iter().map(|cursor| cursor.name.as_str()).chain(["unknown"]) {
        for (passed, moved) in store.cursors().history(name).enumerate() {
            moved?;
            assert!(passed < MANY, "there is no end");
        }
    }
    Ok(())
}

/// Of an event among all.
fn index(event: &Seen) -> usize {
    usize::try_from(event.position - 1).expect("few events")
}
