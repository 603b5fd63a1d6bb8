//! evento: annals-evento and evento-fjall.
//!
//! Owns how each is configured. Must never measure.

use std::ops::Range;

use annals_evento::AnnalsExecutor;
use evento::{Executor, Fjall};
use tokio::runtime::Handle;

use crate::measure::Side;
use crate::{Setup, Survives, input};

#[evento::aggregate(name = "bank/Account")]
pub enum Account {
    Deposited { account: String, number: u64, memo: String },
}

/// Appends and reads with the builders of evento.
struct Evento<E> {
    executor: E,
    runtime: Handle,
}

impl<E: Executor> Side for Evento<E> {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let before = u16::try_from(numbers.start - 1).expect("evento counts 65535 versions");
        let mut commit = evento::append(account);
        commit.original_version(before);
        for number in numbers {
            let input::Deposited { account, number, memo } = input::Deposited::new(account, number);
            commit.event(&Deposited { account, number, memo });
        }
        let stored = commit.commit(&self.executor);
        self.runtime.block_on(stored).expect("the version is the next one");
    }

    fn load(&self, account: &str) -> u64 {
        let read = evento::read::<Account>(account);
        let events = self.runtime.block_on(read.decode(&self.executor));
        events.expect("it can be loaded").len() as u64
    }
}

pub fn annals(setup: &Setup<'_>) -> Box<dyn Side> {
    let store = setup.survives.options().open(setup.dir.join("store")).expect("a new store");
    let executor = AnnalsExecutor::new(store).expect("an empty store");
    Box::new(Evento { executor, runtime: setup.runtime.clone() })
}

pub fn fjall(setup: &Setup<'_>) -> Box<dyn Side> {
    let executor = Fjall::open(setup.dir.join("events")).expect("a new database");
    let executor = executor.persist_mode(match setup.survives {
        Survives::PowerFailure => fjall::PersistMode::SyncAll,
        Survives::EndOfProcess => fjall::PersistMode::Buffer,
    });
    Box::new(Evento { executor, runtime: setup.runtime.clone() })
}
