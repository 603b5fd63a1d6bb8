//! Compares the reads of a store with the model.
//!
//! Owns what a read is expected to show. Must never decide where other threads may have changed the
//! store meanwhile.

use super::{Checked, ensure, event, owned_event};
use std::ops::ControlFlow;

use crate::error::{Error, Result as StoreResult};
use crate::event::{AsOf, Position, Timestamp};
use crate::read::Events;
use crate::store::Store;
use crate::testing::metadata;
use crate::testing::model::{Model, ModelEvent, ModelState};
use crate::testing::operations::{PastChoice, ReadChoice, STREAMS, to_query};

/// The result of a read: its head, and the positions that it returned.
struct Told {
    head: u64,
    positions: Vec<u64>,
}

/// A read: all of its events, in order, and no others. Returns its head.
pub(in crate::testing) fn read(
    store: &Store,
    model: &mut Model,
    choice: &ReadChoice,
) -> Checked<StoreResult<u64>> {
    let visible = |unsynced: bool| {
        let read = store.read_all();
        let read = if unsynced { read.include_unsynced() } else { read };
        read.start().map(|events| events.head().get())
    };
    let before = match visible(choice.unsynced) {
        Ok(before) => before,
        Err(error) => return Ok(Err(error)),
    };
    let past = past_of(choice, model, before);
    let hiding = Hiding::new(store, model, choice, before);
    let told = match ask(store, model, choice, past, None)? {
        Ok(told) => told,
        Err(Error::InvalidArgument { .. })
            if choice.stream.is_none() && matches!(past, Some(AsOf::Version(_))) =>
        {
            return Ok(Ok(before));
        }
        Err(error) => return Ok(Err(error)),
    };
    let after = visible(choice.unsynced);
    let head = match past {
        Some(AsOf::Position(position)) => before.min(position.get()),
        Some(AsOf::Time(time)) => model.position_at(time, before),
        _ => before,
    };
    // A store with threads may have changed meanwhile.
    let stood_still = after.is_ok_and(|after| after == before);
    ensure!(!stood_still || told.head == head, "pinned to {}, not {head}: {choice:?}", told.head);
    // The hidden events may have changed meanwhile, or be hidden by age while they are read.
    let Some(hidden) = hiding.decide(store, model) else { return Ok(Ok(before)) };
    let expected = expected(model, choice, past, told.head, &hidden);
    ensure!(
        told.positions == expected,
        "{choice:?} at head {} yields {:?}, not {expected:?}",
        told.head,
        told.positions
    );
    // The second time, more may be hidden by age.
    if choice.limit.is_none() && stood_still && !hiding.state.hides_by_age() {
        check_bound(store, model, choice, past, &told)?;
    }
    if stood_still && !hiding.state.hides_by_age() {
        check_count(store, model, choice, &told)?;
    }
    Ok(Ok(before))
}

/// The number of events that the read counts is that of the events that it shows.
fn check_count(store: &Store, model: &Model, choice: &ReadChoice, told: &Told) -> Checked<()> {
    if choice.stream.is_some() {
        return Ok(());
    }
    let before = metadata::visible(store);
    let mut read = store.read_all().after(from_of(model, choice)).as_of(Position::new(told.head));
    if let Some(limit) = choice.limit {
        read = read.limit(limit.into());
    }
    if choice.backwards {
        read = read.backwards();
    }
    if let Some(items) = &choice.query {
        read = read.matching(to_query(items));
    }
    if choice.unsynced {
        read = read.include_unsynced();
    }
    if choice.hidden {
        read = read.include_hidden();
    }
    let Ok(counted) = read.count() else { return Ok(()) };
    let shown = told.positions.len() as u64;
    ensure!(
        counted == shown || metadata::visible(store) != before,
        "{choice:?} at head {} counts {counted} events and yields {shown}",
        told.head
    );
    Ok(())
}

/// Makes the read again with an upper bound: the head and the events up to the bound are the same.
fn check_bound(
    store: &Store,
    model: &mut Model,
    choice: &ReadChoice,
    past: Option<AsOf>,
    told: &Told,
) -> Checked<()> {
    let Some(&middle) = told.positions.get(told.positions.len() / 2) else { return Ok(()) };
    let Ok(bounded) = ask(store, model, choice, past, Some(middle))? else { return Ok(()) };
    let mut whole = told.positions.clone();
    whole.retain(|&position| position <= middle);
    ensure!(
        bounded.head == told.head && bounded.positions == whole,
        "{choice:?} up to {middle} yields {:?} at head {}, not {whole:?} at {}",
        bounded.positions,
        bounded.head,
        told.head
    );
    Ok(())
}

fn past_of(choice: &ReadChoice, model: &Model, head: u64) -> Option<AsOf> {
    match choice.past {
        PastChoice::Now => None,
        PastChoice::Position(back) => Some(AsOf::Position(model.back(back).min(head).into())),
        PastChoice::Time(back, before) => {
            let event = model.at(model.back(back).min(head));
            let time = event.and_then(|event| event.recorded_at).unwrap_or_default();
            let micros = time.as_micros().saturating_sub(u64::from(before));
            Some(AsOf::Time(Timestamp::from_micros(micros)))
        }
        PastChoice::Version(version) => Some(AsOf::Version(version.into())),
    }
}

/// A position, or a version of the stream, including the one after the last.
fn from_of(model: &Model, choice: &ReadChoice) -> u64 {
    let events = match choice.stream {
        Some(index) => model.stream_head(STREAMS[index % STREAMS.len()], u64::MAX).0,
        None => model.head(),
    };
    u64::from(choice.from) % (events + 2)
}

fn ask(
    store: &Store,
    model: &mut Model,
    choice: &ReadChoice,
    past: Option<AsOf>,
    bound: Option<u64>,
) -> Checked<StoreResult<Told>> {
    macro_rules! with_settings {
        ($read:expr) => {{
            let mut read = $read;
            if let Some(limit) = choice.limit {
                read = read.limit(limit.into());
            }
            if choice.backwards {
                read = read.backwards();
            }
            if let Some(items) = &choice.query {
                read = read.matching(to_query(items));
            }
            if choice.unsynced {
                read = read.include_unsynced();
            }
            if choice.hidden {
                read = read.include_hidden();
            }
            if let Some(past) = past {
                read = read.as_of(past);
            }
            let events = match read.clone().start() {
                Ok(events) => events,
                Err(error) => return Ok(Err(error)),
            };
            if !choice.borrowed || matches!(past, Some(AsOf::Version(_))) {
                return collect(model, events);
            }
            let head = events.head();
            let (mut positions, mut bad) = (Vec::new(), None);
            let result = read.as_of(head).for_each(|found| match event(model, &found) {
                Ok(position) => positions.push(position),
                Err(mismatch) => bad = Some(mismatch),
            });
            match (bad, result) {
                (Some(mismatch), _) => Err(mismatch),
                (None, Ok(())) => Ok(Ok(Told { head: head.get(), positions })),
                (None, Err(error)) => Ok(Err(error)),
            }
        }};
    }
    let from = from_of(model, choice);
    match choice.stream {
        Some(index) => {
            let read = store.read_stream(STREAMS[index % STREAMS.len()]);
            let version = bound.and_then(|position| model.at(position)).map(|event| event.version);
            with_settings!(read.from_version(from).up_to_version(version.unwrap_or(u64::MAX)))
        }
        None => {
            with_settings!(store.read_all().after(from).up_to(bound.unwrap_or(u64::MAX)))
        }
    }
}

/// Collects the events one by one; in half of the reads, some of them borrowed.
fn collect(model: &mut Model, mut events: Events) -> Checked<StoreResult<Told>> {
    let head = events.head().get();
    let mut positions = Vec::new();
    while let Some(found) = events.next() {
        match found {
            Ok(found) => positions.push(owned_event(model, &found)?),
            Err(error) => return Ok(Err(error)),
        }
        if head.is_multiple_of(2) {
            continue;
        }
        let until = positions.len() + 3;
        let visited = events.visit(|found| match event(model, &found) {
            Ok(position) => {
                positions.push(position);
                if positions.len() < until {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(Ok(()))
                }
            }
            Err(mismatch) => ControlFlow::Break(Err(mismatch)),
        });
        match visited {
            Ok(ControlFlow::Break(checked)) => checked?,
            Ok(ControlFlow::Continue(())) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(Told { head, positions }))
}

/// The events that are hidden from a read.
struct Hiding {
    /// The state after this number of changes.
    state: ModelState,
    changes: u64,
    /// Distances are counted from the stream's last events.
    head: u64,
    /// The time before the read, if it is needed.
    earliest: u64,
}

impl Hiding {
    fn new(store: &Store, model: &Model, choice: &ReadChoice, head: u64) -> Self {
        let changes = metadata::visible(store).changes;
        let state = if choice.hidden { ModelState::default() } else { model.state(changes) };
        let earliest = Self::now(store, &state);
        Self { state, changes, head, earliest }
    }

    fn now(store: &Store, state: &ModelState) -> u64 {
        if state.hides_by_age() { store.engine().shared().now_micros() } else { 0 }
    }

    /// The positions that are hidden. `None` if that is undecidable.
    fn decide(&self, store: &Store, model: &Model) -> Option<Vec<u64>> {
        if metadata::visible(store).changes != self.changes {
            return None;
        }
        let latest = Self::now(store, &self.state);
        let mut hidden = Vec::new();
        for event in model.events() {
            let rules = self.state.rules(&event.stream);
            let newest = model.stream_head(&event.stream, self.head).0;
            let by_age = rules.max_age != 0;
            let recorded_at = event.recorded_at.map(Timestamp::as_micros);
            if by_age && recorded_at.is_none() {
                return None;
            }
            let hides = |now| rules.hide(event.version, recorded_at.unwrap_or(0), newest, now);
            match (hides(self.earliest), hides(latest)) {
                (true, true) => hidden.push(event.position),
                (false, false) => {}
                _ => return None,
            }
        }
        Some(hidden)
    }
}

fn expected(
    model: &Model,
    choice: &ReadChoice,
    past: Option<AsOf>,
    head: u64,
    hidden: &[u64],
) -> Vec<u64> {
    let wanted = |event: &&ModelEvent| {
        let items = choice.query.as_ref();
        items.is_none_or(|items| items.iter().any(|item| item.matches(event)))
    };
    let from = from_of(model, choice);
    let last_version = match past {
        Some(AsOf::Version(version)) => version,
        _ => u64::MAX,
    };
    let in_range = |event: &&ModelEvent| match choice.stream {
        Some(index) => {
            event.stream == STREAMS[index % STREAMS.len()]
                && event.version >= from
                && event.version <= last_version
        }
        None => event.position > from,
    };
    let shown = |event: &&ModelEvent| hidden.binary_search(&event.position).is_err();
    let visible = model.events().iter().filter(|event| event.position <= head).filter(shown);
    let mut found: Vec<u64> =
        visible.filter(in_range).filter(wanted).map(|event| event.position).collect();
    if choice.backwards {
        found.reverse();
    }
    found.truncate(choice.limit.map_or(usize::MAX, usize::from));
    found
}
