//! A database of evento-fjall, copied in two parts.

use annals_evento::{AnnalsExecutor, copy, copy_cursor};
use evento::cursor::Args;
use evento::metadata::Event;
use evento::{Executor, Fjall, Projection, TenantFilter};

#[evento::aggregate(name = "bank/Account")]
pub enum Account {
    Opened { owner: String },
    Deposited { amount: i64 },
}

#[evento::projection(bitcode::Encode, bitcode::Decode)]
pub struct Balance {
    pub amount: i64,
}

#[evento::handler]
async fn deposited(event: Event<Deposited>, balance: &mut Balance) -> anyhow::Result<()> {
    balance.amount += event.data.amount;
    Ok(())
}

async fn balance(executor: &impl Executor, id: &str) -> Option<i64> {
    let balance = Projection::<_, Balance>::new::<Account>().handler(deposited()).load(id);
    balance.execute(executor).await.unwrap().map(|balance| balance.amount)
}

/// Opens accounts and deposits on each of them; returns their ids.
async fn write(executor: &Fjall, accounts: std::ops::Range<i64>) -> Vec<String> {
    let mut ids = Vec::new();
    for n in accounts {
        let mut account = evento::create();
        account.event(&Opened { owner: format!("owner {n}") }).event(&Deposited { amount: n });
        ids.push(account.commit(executor).await.unwrap());
    }
    ids
}

async fn all(executor: &impl Executor) -> Vec<evento::Event> {
    let args = Args::forward(1000, None);
    let page = executor.read(None, None, TenantFilter::All, args, None).await.unwrap();
    assert!(!page.page_info.has_next_page);
    page.edges.into_iter().map(|edge| edge.node).collect()
}

#[tokio::test]
async fn database_of_evento_fjall_is_the_same_in_annals() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("fjall"), dir.path().join("target"));
    let mut ids = Vec::new();
    for accounts in [0..40, 40..90] {
        let count = 2 * (accounts.end - accounts.start);
        let fjall = Fjall::open(&source).unwrap();
        ids.extend(write(&fjall, accounts).await);
        let annals = AnnalsExecutor::open(&target).unwrap();
        assert_eq!(copy(&fjall, &annals).await.unwrap(), count as u64);
        assert_eq!(all(&annals).await, all(&fjall).await);
        annals.store().clone().close_async().await.unwrap();
    }

    let fjall = Fjall::open(&source).unwrap();
    let annals = AnnalsExecutor::open(&target).unwrap();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(balance(&annals, id).await, Some(n as i64));
    }

    // A subscription goes on where it was.
    let page =
        fjall.read(None, None, TenantFilter::All, Args::forward(30, None), None).await.unwrap();
    let reached = page.page_info.end_cursor.unwrap();
    let worker = ulid::Ulid::generate();
    fjall.upsert_subscriber("mailer".to_owned(), worker).await.unwrap();
    assert!(fjall.acknowledge("mailer".to_owned(), worker, reached.clone(), 0).await.unwrap());
    assert!(copy_cursor(&fjall, &annals, "mailer").await.unwrap());
    assert!(!copy_cursor(&fjall, &annals, "unknown").await.unwrap());
    let cursor = annals.get_subscriber_cursor("mailer".to_owned()).await.unwrap();
    assert_eq!(cursor, Some(reached.clone()));
    let rest = annals.read(None, None, TenantFilter::All, Args::forward(1000, cursor), None).await;
    assert_eq!(rest.unwrap().edges.len(), 150);

    // The program goes on.
    let more = evento::create().event(&Opened { owner: "last".into() }).commit(&annals).await;
    assert_eq!(balance(&annals, &more.unwrap()).await, None);
    assert_eq!(all(&annals).await.len(), 181);
}
