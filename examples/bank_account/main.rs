//! A bank account on the bare engine: rules, replay, snapshots, a read model, two threads at once.
//!
//! ```text
//! cargo run --example bank_account [STORE]
//! ```
//!
//! `STORE` is the directory of a new store (default: a temporary one, removed at the end).
//!
//! `account.rs` has the rules and does not use a store, `bank.rs` loads and saves, `balances.rs` is
//! the read model, and this file is a day at the bank.

pub(crate) mod account;
pub(crate) mod balances;
pub(crate) mod bank;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use annals::{Position, Store};

use balances::Balances;
use bank::{Bank, Loaded};

pub(crate) fn run(path: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let bank = Bank { store: Store::open(path)? };

    writeln!(out, "the rules")?;
    bank.open(1, "Ann")?;
    bank.deposit(1, 100)?;
    for (what, refused) in [
        ("open it twice", bank.open(1, "Bob")),
        ("deposit nothing", bank.deposit(1, 0)),
        ("withdraw 101", bank.withdraw(1, 101)),
        ("close it with money in it", bank.close(1)),
        ("deposit into no account", bank.deposit(9, 5)),
    ] {
        writeln!(out, "  {what:<26} {}", refused.expect_err("a rule"))?;
    }

    writeln!(out, "two threads withdraw all of 100 at once")?;
    for outcome in bank.withdraw_twice(1, 100) {
        writeln!(out, "  {}", outcome.map_or_else(|e| e.to_string(), |()| "done".into()))?;
    }
    writeln!(out, "  the loser tries again: {}", bank.withdraw(1, 100).expect_err("it is gone"))?;
    bank.close(1)?;
    writeln!(out, "  closed, and then: {}", bank.deposit(1, 5).expect_err("it is closed"))?;

    bank.open(2, "Bob")?;
    for amount in 1..=113 {
        bank.deposit(2, amount)?;
    }
    let Loaded { account, version, replayed } = bank.load(2)?;
    writeln!(out, "account 2 at version {version}: {account:?}")?;
    writeln!(out, "  {replayed} of its events were replayed, the others are in a snapshot")?;

    let mut balances = Balances::open(&bank.store)?;
    writeln!(out, "the read model takes in {} events", balances.follow()?)?;
    bank.withdraw(2, 41)?;
    let mut balances = Balances::open(&bank.store)?;
    writeln!(out, "after a restart it takes in {}, and knows", balances.follow()?)?;
    for (account, row) in &balances.rows {
        writeln!(out, "  {account}: {} by {} transactions", row.balance, row.transactions)?;
    }
    let mut rebuilt = Balances::rebuild(&bank.store)?;
    let taken_in = rebuilt.follow()?;
    let same = if rebuilt.rows == balances.rows { "the same" } else { "something else" };
    writeln!(out, "rebuilt from nothing by {taken_in} events, it says {same}")?;

    let opened = bank.store.read_stream("account-2").into_iter().next().expect("it was opened")?;
    let deposits = bank.since("MoneyDeposited", opened.recorded_at())?.len();
    writeln!(out, "deposits since account 2 was opened: {deposits}")?;
    let mut after = Position::START;
    while let Some(last) = bank.page(after)?.last() {
        writeln!(out, "a page of events {} to {}", after.get() + 1, last.position())?;
        after = last.position();
    }
    bank.store.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    run(&path.unwrap_or_else(|| temporary.path().join("bank")), &mut io::stdout().lock())
}
