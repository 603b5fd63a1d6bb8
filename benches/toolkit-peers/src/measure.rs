//! Commands in slices, and what their times add up to.
//!
//! Owns the clients and the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::bank::Command;
use crate::sides::Bank;

/// Accounts in each store. Each client has its own share of them.
const ACCOUNTS: u32 = 100;

/// A store whose commands are measured, without the type of its bank.
pub trait Measured {
    /// Executes commands for some time, and returns how many in a second.
    fn execute(&mut self, runtime: &Runtime, slice: Duration) -> f64;

    /// Compares the balances that the store has with what was executed.
    fn check(&self, runtime: &Runtime);
}

struct Client {
    accounts: Arc<[String]>,
    /// The number of commands that it has executed.
    done: u32,
}

pub struct Running<B> {
    bank: Arc<B>,
    clients: Vec<Client>,
}

impl<B: Bank> Running<B> {
    /// Opens the accounts.
    #[allow(clippy::new_ret_no_self, reason = "the type of the bank is left behind")]
    pub fn new(bank: B, runtime: &Runtime, clients: u32) -> Box<dyn Measured> {
        let clients = (0..clients).map(|client| {
            let name = |number| format!("{client}-{number}");
            Client { accounts: (0..ACCOUNTS / clients).map(name).collect(), done: 0 }
        });
        let clients: Vec<_> = clients.collect();
        runtime.block_on(async {
            for account in clients.iter().flat_map(|it| it.accounts.iter()) {
                bank.execute(account, Command::Open { owner: "ann".into() }).await;
            }
        });
        Box::new(Self { bank: Arc::new(bank), clients })
    }
}

impl<B: Bank> Measured for Running<B> {
    fn execute(&mut self, runtime: &Runtime, slice: Duration) -> f64 {
        let started = Instant::now();
        let commands: u32 = runtime.block_on(async {
            let end = started + slice;
            let running = self.clients.iter().map(|client| {
                let (bank, accounts) = (Arc::clone(&self.bank), Arc::clone(&client.accounts));
                tokio::spawn(execute_until(end, bank, accounts, client.done))
            });
            let running: Vec<_> = running.collect();
            let mut commands = 0;
            for (running, client) in running.into_iter().zip(&mut self.clients) {
                let done = running.await.expect("no panic");
                commands += done - client.done;
                client.done = done;
            }
            commands
        });
        f64::from(commands) / started.elapsed().as_secs_f64()
    }

    fn check(&self, runtime: &Runtime) {
        for Client { accounts, done } in &self.clients {
            let total = runtime.block_on(async {
                let mut total = 0;
                for account in accounts.iter() {
                    total += self.bank.balance(account).await;
                }
                total
            });
            let deposits = (0..*done).filter(|it| is_deposit(accounts, *it)).count() as u64;
            let expected = deposits * 10 - (u64::from(*done) - deposits) * 7;
            assert_eq!(total, expected, "the store has what was executed");
        }
    }
}

/// Executes commands, in turn on each account. Returns the number after those that were executed before.
async fn execute_until<B: Bank>(
    end: Instant,
    bank: Arc<B>,
    accounts: Arc<[String]>,
    done: u32,
) -> u32 {
    let mut number = done;
    while Instant::now() < end {
        let account = &accounts[number as usize % accounts.len()];
        let command = if is_deposit(&accounts, number) {
            Command::Deposit { amount: 10 }
        } else {
            Command::Withdraw { amount: 7 }
        };
        bank.execute(account, command).await;
        number += 1;
    }
    number
}

/// Each account gets a deposit, then a withdrawal.
fn is_deposit(accounts: &[String], number: u32) -> bool {
    (number / accounts.len() as u32).is_multiple_of(2)
}

/// The rates of all rounds.
pub struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    pub fn new(sides: usize) -> Self {
        Self(vec![Vec::new(); sides])
    }

    pub fn add(&mut self, side: usize, rate: f64) {
        self.0[side].push(rate);
    }

    /// The median of each side with its quartiles, and how often the first median has the others.
    pub fn row(mut self) -> String {
        let (mut medians, mut cells) = (Vec::new(), Vec::new());
        for rates in &mut self.0 {
            rates.sort_by(f64::total_cmp);
            let at = |quarter: usize| rates[(rates.len() - 1) * quarter / 4];
            medians.push(at(2));
            cells.push(format!("{:.0} ({:.0}–{:.0})", at(2), at(1), at(3)));
        }
        // Downwards: a target is reached or it is not.
        let ratio = |other: &f64| format!("{:.2}", (medians[0] / other * 100.0).floor() / 100.0);
        let ratios: Vec<_> = medians.iter().skip(1).map(ratio).collect();
        format!("{} | {}", cells.join(" | "), ratios.join(", "))
    }
}
