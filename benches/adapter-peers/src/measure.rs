//! Work in slices of time, and what the rates add up to.
//!
//! Owns the clients and the clock. Must never name a store.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Accounts in each store. Each client has its own share of them.
const ACCOUNTS: u32 = 100;
/// The number of commits of each account that fill a store.
const COMMITS: u64 = 10;

/// The position of the last event of each account, for appends with a condition.
#[derive(Default)]
pub struct Positions(Mutex<HashMap<String, u64>>);

impl Positions {
    /// The position of an account's last event.
    pub fn get(&self, account: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(account).copied()
    }

    /// Remembers the position of an account's last event.
    pub fn set(&self, account: &str, position: u64) {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match positions.get_mut(account) {
            Some(last) => *last = position,
            None => drop(positions.insert(account.to_owned(), position)),
        }
    }
}

/// A store that is measured.
pub trait Side: Send + Sync {
    /// Commits the events of an account with these numbers, and returns when they are as safe as the row demands.
    fn append(&self, account: &str, numbers: Range<u64>);

    /// Reads and decodes all events of an account, and returns how many there are.
    fn load(&self, account: &str) -> u64;
}

struct Client {
    accounts: Vec<String>,
    /// Number of events that it has appended, one after the other on each account.
    appended: u64,
    /// Number of accounts that it has loaded.
    loaded: u64,
}

/// A side with its clients.
pub struct Opened {
    side: Box<dyn Side>,
    clients: Vec<Client>,
    /// Number of events that `fill` has stored of each account.
    filled: u64,
}

impl Opened {
    /// A side whose store is empty.
    pub fn new(side: Box<dyn Side>, clients: u32) -> Self {
        let client = |client| {
            let name = |number| format!("account-{client}-{number}");
            let accounts = (0..ACCOUNTS / clients).map(name).collect();
            Client { accounts, appended: 0, loaded: 0 }
        };
        Self { side, clients: (0..clients).map(client).collect(), filled: 0 }
    }

    /// Stores this number of events of each account in `COMMITS` commits, those of all accounts mixed.
    pub fn fill(&mut self, events: u64) {
        let size = events / COMMITS;
        for first in (1..=events).step_by(size as usize) {
            for account in self.clients.iter().flat_map(|it| &it.accounts) {
                self.side.append(account, first..first + size);
            }
        }
        for client in &mut self.clients {
            client.appended = events * client.accounts.len() as u64;
        }
        self.filled = events;
    }

    /// Appends events for some time, each in a commit of its own, and returns how many in a second.
    pub fn append(&mut self, slice: Duration) -> f64 {
        self.run(slice, |side, client| {
            let accounts = client.accounts.len() as u64;
            let account = &client.accounts[(client.appended % accounts) as usize];
            let number = client.appended / accounts + 1;
            side.append(account, number..number + 1);
            client.appended += 1;
        })
    }

    /// Loads accounts for some time, and returns how many in a second.
    pub fn load(&mut self, slice: Duration) -> f64 {
        let events = self.filled;
        self.run(slice, |side, client| {
            let account = &client.accounts[client.loaded as usize % client.accounts.len()];
            assert_eq!(side.load(account), events, "the account has all of its events");
            client.loaded += 1;
        })
    }

    /// Calls `work` in a thread for each client until the time is over.
    fn run(&mut self, slice: Duration, work: impl Fn(&dyn Side, &mut Client) + Sync) -> f64 {
        let (side, work) = (&*self.side, &work);
        let started = Instant::now();
        let end = started + slice;
        let call_until_end = |client: &mut Client| {
            let mut calls = 0;
            while Instant::now() < end {
                work(side, client);
                calls += 1;
            }
            calls
        };
        let calls: u32 = std::thread::scope(|scope| {
            let run = |client| scope.spawn(move || call_until_end(client));
            let running: Vec<_> = self.clients.iter_mut().map(run).collect();
            running.into_iter().map(|it| it.join().expect("no panic")).sum()
        });
        f64::from(calls) / started.elapsed().as_secs_f64()
    }

    /// Compares the number of events that the store has with what was appended.
    pub fn check(&self) {
        for client in &self.clients {
            let stored: u64 = client.accounts.iter().map(|it| self.side.load(it)).sum();
            assert_eq!(stored, client.appended, "the store has what was appended");
        }
    }
}

/// The rates of both sides in all rounds.
#[derive(Default)]
pub struct Rounds([Vec<f64>; 2]);

impl Rounds {
    pub fn add(&mut self, side: usize, rate: f64) {
        self.0[side].push(rate);
    }

    /// The median of each side with its quartiles, and the first median divided by the second. Nothing is rounded up.
    pub fn row(self) -> String {
        let mut medians = [0.0; 2];
        let mut cells = Vec::new();
        for (mut rates, median) in self.0.into_iter().zip(&mut medians) {
            rates.sort_by(f64::total_cmp);
            let at = |quarter: usize| rates[(rates.len() - 1) * quarter / 4].floor();
            *median = rates[(rates.len() - 1) / 2];
            cells.push(format!("{} ({}–{})", at(2), at(1), at(3)));
        }
        let ratio = (medians[0] / medians[1] * 100.0).floor() / 100.0;
        format!("{} | {ratio:.2}", cells.join(" | "))
    }
}
