//! A bank like the one of evento's examples: commands on a projection with snapshots, and a process that receives what
//! another account has sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use adapter_tests::{Life, Way};
use annals_evento::AnnalsExecutor;
use evento::metadata::Event;
use evento::subscription::{Context, SubscriptionBuilder};
use evento::{Executor, Projection, ProjectionAggregate, WriteError};

use crate::support::{end_step, executor};

#[evento::aggregate(name = "bank/Account")]
pub enum Account {
    Opened { owner: String, balance: i64 },
    Deposited { amount: i64 },
    Withdrawn { amount: i64 },
    Sent { amount: i64, to: String },
    Received { amount: i64, from: String },
    Frozen { reason: String },
    Unfrozen,
    Closed { balance: i64 },
}

#[evento::projection(bitcode::Encode, bitcode::Decode)]
#[derive(Debug)]
pub struct AccountView {
    pub id: String,
    pub owner: String,
    pub balance: i64,
    pub frozen: bool,
    pub closed: bool,
}

impl ProjectionAggregate for AccountView {
    fn aggregate_id(&self) -> String {
        self.id.clone()
    }
}

#[evento::handler]
async fn opened(event: Event<Opened>, view: &mut AccountView) -> anyhow::Result<()> {
    (view.id, view.owner) = (event.aggregate_id.clone(), event.data.owner.clone());
    view.balance = event.data.balance;
    Ok(())
}

#[evento::handler]
async fn deposited(event: Event<Deposited>, view: &mut AccountView) -> anyhow::Result<()> {
    view.balance += event.data.amount;
    Ok(())
}

#[evento::handler]
async fn withdrawn(event: Event<Withdrawn>, view: &mut AccountView) -> anyhow::Result<()> {
    view.balance -= event.data.amount;
    Ok(())
}

#[evento::handler]
async fn sent(event: Event<Sent>, view: &mut AccountView) -> anyhow::Result<()> {
    view.balance -= event.data.amount;
    Ok(())
}

#[evento::handler]
async fn received(event: Event<Received>, view: &mut AccountView) -> anyhow::Result<()> {
    view.balance += event.data.amount;
    Ok(())
}

#[evento::handler]
async fn frozen(_: Event<Frozen>, view: &mut AccountView) -> anyhow::Result<()> {
    view.frozen = true;
    Ok(())
}

#[evento::handler]
async fn unfrozen(_: Event<Unfrozen>, view: &mut AccountView) -> anyhow::Result<()> {
    view.frozen = false;
    Ok(())
}

#[evento::handler]
async fn closed(_: Event<Closed>, view: &mut AccountView) -> anyhow::Result<()> {
    view.closed = true;
    Ok(())
}

pub(crate) fn accounts<E: Executor>() -> Projection<E, AccountView> {
    Projection::new::<Account>()
        .handler(opened())
        .handler(deposited())
        .handler(withdrawn())
        .handler(sent())
        .handler(received())
        .handler(frozen())
        .handler(unfrozen())
        .handler(closed())
}

pub(crate) async fn load(executor: &AnnalsExecutor, id: &str) -> Option<AccountView> {
    accounts().load(id).execute(executor).await.unwrap()
}

pub(crate) async fn open(executor: &AnnalsExecutor, owner: &str, balance: i64) -> String {
    let opened = Opened { owner: owner.to_owned(), balance };
    evento::create().event(&opened).commit(executor).await.unwrap()
}

#[derive(Debug, PartialEq)]
enum Refused {
    NotOpen,
    Overdrawn,
}

/// An account from which money may be taken.
async fn open_account(executor: &AnnalsExecutor, id: &str) -> Result<AccountView, Refused> {
    let account = load(executor, id).await.ok_or(Refused::NotOpen)?;
    if account.frozen || account.closed { Err(Refused::NotOpen) } else { Ok(account) }
}

async fn withdraw(executor: &AnnalsExecutor, id: &str, amount: i64) -> Result<(), Refused> {
    let account = open_account(executor, id).await?;
    if account.balance < amount {
        return Err(Refused::Overdrawn);
    }
    account.write().unwrap().event(&Withdrawn { amount }).commit(executor).await.unwrap();
    Ok(())
}

async fn send(executor: &AnnalsExecutor, id: &str, to: &str, amount: i64) -> Result<(), Refused> {
    let account = open_account(executor, id).await?;
    if account.balance < amount {
        return Err(Refused::Overdrawn);
    }
    let sent = Sent { amount, to: to.to_owned() };
    account.write().unwrap().event(&sent).commit(executor).await.unwrap();
    Ok(())
}

async fn deposit(executor: &AnnalsExecutor, id: &str, amount: i64) -> Result<(), Refused> {
    let account = open_account(executor, id).await?;
    account.write().unwrap().event(&Deposited { amount }).commit(executor).await.unwrap();
    Ok(())
}

/// The process: what was sent is received, once.
#[evento::subscription]
async fn receive<E: Executor>(context: &Context<'_, E>, event: Event<Sent>) -> anyhow::Result<()> {
    let Sent { amount, to } = event.data.clone();
    let account = accounts::<E>().load(&to).execute(context.executor).await?;
    let account = account.ok_or_else(|| anyhow::anyhow!("there is no account {to}"))?;
    let received = Received { amount, from: event.aggregate_id.clone() };
    account.write()?.event(&received).commit(context.executor).await?;
    Ok(())
}

/// The read side: the balances of all accounts.
type Balances = Arc<Mutex<HashMap<String, i64>>>;

#[evento::subscription_all]
async fn balances<E: Executor>(
    context: &Context<'_, E>,
    event: evento::metadata::RawEvent<Account>,
) -> anyhow::Result<()> {
    let change = match event.decode()? {
        AccountEvent::Opened(it) => it.balance,
        AccountEvent::Deposited(it) => it.amount,
        AccountEvent::Received(it) => it.amount,
        AccountEvent::Withdrawn(it) => -it.amount,
        AccountEvent::Sent(it) => -it.amount,
        AccountEvent::Frozen(_) | AccountEvent::Unfrozen(_) | AccountEvent::Closed(_) => 0,
    };
    let all = context.extract::<Balances>();
    *all.lock().unwrap().entry(event.aggregate_id.clone()).or_default() += change;
    Ok(())
}

#[tokio::test]
async fn bank_keeps_its_money_over_steps() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let (ann, bob) = (open(&executor, "Ann", 1000).await, open(&executor, "Bob", 500).await);
        executor = end_step(&mut life, executor);
        assert!(load(&executor, "nobody").await.is_none());
        assert_eq!(withdraw(&executor, &bob, 501).await, Err(Refused::Overdrawn));
        deposit(&executor, &ann, 250).await.unwrap();
        executor = end_step(&mut life, executor);
        send(&executor, &ann, &bob, 300).await.unwrap();
        executor = end_step(&mut life, executor);
        for _ in 0..2 {
            // The second run finds nothing to do.
            let mut process = SubscriptionBuilder::new("receive").handler(receive());
            process.run_once(&executor).await.unwrap();
            drop(process);
            executor = end_step(&mut life, executor);
        }
        let (a, b) = (load(&executor, &ann).await.unwrap(), load(&executor, &bob).await.unwrap());
        assert_eq!((a.balance, a.aggregate_version().unwrap()), (950, 3), "{:?}", life.way());
        assert_eq!((b.balance, b.aggregate_version().unwrap()), (800, 2), "{:?}", life.way());

        let frozen = Frozen { reason: "audit".to_owned() };
        a.write().unwrap().event(&frozen).commit(&executor).await.unwrap();
        let late = a.write().unwrap().event(&Unfrozen).commit(&executor).await;
        assert!(matches!(late, Err(WriteError::InvalidOriginalVersion)), "{late:?}");
        executor = end_step(&mut life, executor);
        assert_eq!(withdraw(&executor, &ann, 1).await, Err(Refused::NotOpen));
        let a = load(&executor, &ann).await.unwrap();
        // Several events in one commit.
        let mut commit = a.write().unwrap();
        commit.event(&Unfrozen).event(&Withdrawn { amount: 950 }).event(&Closed { balance: 0 });
        commit.commit(&executor).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(deposit(&executor, &ann, 1).await, Err(Refused::NotOpen));

        let all = Balances::default();
        let mut read_side = SubscriptionBuilder::new("balances").handler(balances());
        read_side = read_side.data(all.clone());
        read_side.run_once(&executor).await.unwrap();
        assert_eq!(*all.lock().unwrap(), HashMap::from([(ann, 0), (bob, 800)]));
    }
}

#[tokio::test]
async fn commands_of_many_accounts_at_once_are_all_kept() {
    let life = Life::new(Way::Smallest);
    let executor = executor(&life);
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let executor = executor.clone();
            tokio::spawn(async move {
                let id = open(&executor, "Ann", n).await;
                for _ in 0..10 {
                    deposit(&executor, &id, 3).await.unwrap();
                    withdraw(&executor, &id, 1).await.unwrap();
                }
                load(&executor, &id).await.unwrap().balance
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap(), n + 20);
    }
}
