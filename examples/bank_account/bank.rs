//! The bank: accounts are loaded by replay and saved with the expected version.

use std::sync::Barrier;
use std::thread;

use annals::{
    Event, ExpectedVersion, NewEvent, Position, Query, Store, Timestamp,
    snapshot::{Mark, Snapshot},
};

use super::account::{Account, Fact, Money, Refused};

/// How many events the snapshots of an account are apart.
const SNAPSHOT_EVERY: u64 = 10;

/// Accounts of a store; account 7 is the stream `account-7`.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    pub(crate) store: Store,
}

/// An account as it was read, and how.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) account: Account,
    pub(crate) version: u64,
    /// How many events were replayed on top of the snapshot.
    pub(crate) replayed: u64,
}

impl Bank {
    pub(crate) fn load(&self, number: u32) -> Result<Loaded, Refused> {
        let stream = format!("account-{number}");
        let (mut account, mut version) = (Account::default(), 0);
        if let Some(snapshot) = self.store.snapshots().load(&stream)?
            && let Mark::Version(saved) = snapshot.mark()
        {
            (account, version) = (serde_json::from_slice(snapshot.state())?, saved);
        }
        let mut replayed = 0;
        for event in self.store.read_stream(&stream).from_version(version + 1) {
            let event = event?;
            account.apply(&Fact::of(&event)?);
            version = event.version();
            replayed += 1;
        }
        Ok(Loaded { account, version, replayed })
    }

    /// Appends an event on top of exactly the loaded version, every tenth with a snapshot.
    pub(crate) fn save(&self, number: u32, loaded: &Loaded, fact: &Fact) -> Result<(), Refused> {
        loaded.account.check(fact)?;
        let stream = format!("account-{number}");
        let (expected, version) = (ExpectedVersion::Exact(loaded.version), loaded.version + 1);
        let event = NewEvent::json(fact.event_type(), fact)?.tag(format!("account:{number}"));
        let mut transaction = self.store.transaction().append(&stream, expected, [event]);
        if version.is_multiple_of(SNAPSHOT_EVERY) {
            let mut account = loaded.account.clone();
            account.apply(fact);
            let state = serde_json::to_vec(&account)?;
            transaction = transaction.snapshot(Snapshot::new(&stream, version, state));
        }
        transaction.commit()?;
        Ok(())
    }

    /// Loads, checks and saves; begins again after a conflict.
    pub(crate) fn record(&self, number: u32, fact: &Fact) -> Result<(), Refused> {
        loop {
            match self.save(number, &self.load(number)?, fact) {
                Err(Refused::Store(error)) if error.is_conflict() => {}
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn open(&self, number: u32, owner: &str) -> Result<(), Refused> {
        self.record(number, &Fact::Opened { owner: owner.into() })
    }

    pub(crate) fn deposit(&self, number: u32, amount: u64) -> Result<(), Refused> {
        self.record(number, &Fact::Deposited(Money { amount }))
    }

    pub(crate) fn withdraw(&self, number: u32, amount: u64) -> Result<(), Refused> {
        self.record(number, &Fact::Withdrawn(Money { amount }))
    }

    pub(crate) fn close(&self, number: u32) -> Result<(), Refused> {
        self.record(number, &Fact::Closed)
    }

    /// Two threads load the same account, and then both withdraw: the result of each.
    pub(crate) fn withdraw_twice(&self, number: u32, amount: u64) -> [Result<(), Refused>; 2] {
        let both_have_loaded = Barrier::new(2);
        let withdraw = || {
            let loaded = self.load(number);
            both_have_loaded.wait();
            self.save(number, &loaded?, &Fact::Withdrawn(Money { amount }))
        };
        thread::scope(|scope| {
            [scope.spawn(withdraw), scope.spawn(withdraw)]
                .map(|thread| thread.join().expect("it does not panic"))
        })
    }

    /// Events of a type recorded at a time or later.
    pub(crate) fn since(&self, event_type: &str, time: Timestamp) -> annals::Result<Vec<Event>> {
        let before = Timestamp::from_micros(time.as_micros().saturating_sub(1));
        let after = self.store.position_at(before)?;
        self.store
            .read_all()
            .after(after)
            .matching(Query::types([event_type]))
            .into_iter()
            .collect()
    }

    /// The next 100 events after a position.
    pub(crate) fn page(&self, after: Position) -> annals::Result<Vec<Event>> {
        self.store.read_all().after(after).limit(100).into_iter().collect()
    }
}
