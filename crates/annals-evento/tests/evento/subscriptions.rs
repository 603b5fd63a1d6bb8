//! Subscriptions: what they deliver, where they start, how they stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_tests::{Life, Way};
use annals_evento::AnnalsExecutor;
use evento::cursor::Cursor;
use evento::metadata::Event;
use evento::subscription::{Context, StopReason, SubscriptionBuilder};
use evento::{Evento, Executor};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::bank::{Account, Deposited, Opened, open};
use crate::support::{all, end_step, executor, in_time};

#[evento::aggregate(name = "bank/Owner")]
pub enum Owner {
    Named { name: String },
}

type Seen = Arc<Mutex<Vec<String>>>;

#[evento::subscription]
async fn on_opened<E: Executor>(
    context: &Context<'_, E>,
    event: Event<Opened>,
) -> anyhow::Result<()> {
    context.extract::<Seen>().lock().unwrap().push(event.data.owner.clone());
    Ok(())
}

#[evento::subscription]
async fn on_deposited<E: Executor>(
    context: &Context<'_, E>,
    event: Event<Deposited>,
) -> anyhow::Result<()> {
    anyhow::ensure!(event.data.amount != 13, "thirteen");
    context.extract::<Seen>().lock().unwrap().push(event.data.amount.to_string());
    Ok(())
}

#[evento::subscription]
async fn on_named<E: Executor>(
    context: &Context<'_, E>,
    event: Event<Named>,
) -> anyhow::Result<()> {
    context.extract::<Seen>().lock().unwrap().push(event.data.name.clone());
    Ok(())
}

fn builder<E: Executor>(seen: &Seen) -> SubscriptionBuilder<E> {
    SubscriptionBuilder::new("seen").handler(on_opened()).handler(on_deposited()).data(seen.clone())
}

fn taken(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut *seen.lock().unwrap())
}

async fn deposit(executor: &impl Executor, id: &str, version: u16, amount: i64) {
    let mut commit = evento::append(id);
    commit.original_version(version).event(&Deposited { amount }).commit(executor).await.unwrap();
}

async fn open_at(executor: &impl Executor, owner: &str, key: Option<&str>) -> String {
    let opened = Opened { owner: owner.to_owned(), balance: 0 };
    let mut commit = evento::create();
    commit.routing_key_opt(key.map(str::to_owned)).event(&opened);
    commit.commit(executor).await.unwrap()
}

#[tokio::test]
async fn subscription_resumes_after_what_it_acknowledged() {
    for chunk in [1, 2, 100] {
        for mut life in Life::each() {
            let mut executor = executor(&life);
            let seen = Seen::default();
            let ann = open(&executor, "Ann", 0).await;
            for round in 0..3 {
                for n in 1..=3 {
                    deposit(&executor, &ann, round * 3 + n, i64::from(n)).await;
                }
                let mut subscription = builder(&seen).chunk_size(chunk);
                subscription.run_once(&executor).await.unwrap();
                drop(subscription);
                executor = end_step(&mut life, executor);
                let first = if round == 0 { vec!["Ann"] } else { vec![] };
                assert_eq!(taken(&seen), [first, vec!["1", "2", "3"]].concat());
            }
        }
    }
}

#[tokio::test]
async fn routing_key_selects_and_an_append_keeps_that_of_its_stream() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let seen = Seen::default();
        let ann = open_at(&executor, "Ann", Some("eu")).await;
        open_at(&executor, "Bob", Some("us")).await;
        open_at(&executor, "Cid", None).await;
        executor = end_step(&mut life, executor);
        deposit(&executor, &ann, 1, 5).await;
        for (key, expected) in [("eu", vec!["Ann", "5"]), ("us", vec!["Bob"]), ("cn", vec![])] {
            builder(&seen).routing_key(key).run_once(&executor).await.unwrap();
            executor = end_step(&mut life, executor);
            assert_eq!(taken(&seen), expected);
        }
        builder(&seen).run_once(&executor).await.unwrap();
        assert_eq!(taken(&seen), ["Cid"]);
        let mut all = SubscriptionBuilder::new("all").handler(on_opened()).data(seen.clone());
        all = all.any_routing_key();
        all.run_once(&executor).await.unwrap();
        assert_eq!(taken(&seen), ["Ann", "Bob", "Cid"]);
    }
}

#[tokio::test]
async fn default_routing_key_is_that_of_new_streams_and_subscriptions() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let [eu, us] = ["eu", "us"].map(|key| Evento::new(executor.clone()).default_routing_key(key));
    let seen = Seen::default();
    let ann = open_at(&eu, "Ann", None).await;
    open_at(&us, "Bob", None).await;
    deposit(&us, &ann, 1, 7).await;
    builder(&seen).run_once(&eu).await.unwrap();
    assert_eq!(taken(&seen), ["Ann", "7"]);
    builder(&seen).run_once(&us).await.unwrap();
    assert_eq!(taken(&seen), ["Bob"]);
    let mut all = SubscriptionBuilder::new("all").handler(on_opened()).data(seen.clone());
    all = all.any_routing_key();
    all.run_once(&us).await.unwrap();
    assert_eq!(taken(&seen), ["Ann", "Bob"]);
    // The default key of the executor begins the key of a subscriber.
    for key in ["eu.seen", "us.seen", "us.all"] {
        assert!(executor.get_subscriber_cursor(key.into()).await.unwrap().is_some(), "{key}");
    }
}

#[tokio::test]
async fn events_of_several_aggregates_come_in_the_order_of_commits() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let (seen, mut expected) = (Seen::default(), Vec::new());
        for n in 0..20 {
            let name = format!("{n}");
            if n % 3 == 0 {
                let named = Named { name: name.clone() };
                evento::create().event(&named).commit(&executor).await.unwrap();
            } else {
                open(&executor, &name, 0).await;
            }
            expected.push(name);
        }
        executor = end_step(&mut life, executor);
        let mut both = builder(&seen).handler(on_named()).chunk_size(3);
        both.run_once(&executor).await.unwrap();
        assert_eq!(taken(&seen), expected);
        // One aggregate alone.
        let only = open(&executor, "only", 0).await;
        open(&executor, "other", 0).await;
        let mut of_one = SubscriptionBuilder::new("one").handler(on_opened()).data(seen.clone());
        of_one = of_one.aggregate::<Account>(only);
        of_one.run_once(&executor).await.unwrap();
        assert_eq!(taken(&seen), ["only"]);
    }
}

#[tokio::test]
async fn failed_handler_is_delivered_again_and_one_that_goes_on_is_not() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let seen = Seen::default();
        let ann = open(&executor, "Ann", 0).await;
        for (version, amount) in [(1, 5), (2, 13), (3, 6)] {
            deposit(&executor, &ann, version, amount).await;
        }
        for expected in [vec!["Ann", "5"], vec![]] {
            builder(&seen).no_retry().run_once(&executor).await.unwrap_err();
            executor = end_step(&mut life, executor);
            assert_eq!(taken(&seen), expected);
        }
        let mut lenient = builder(&seen).no_retry().continue_on_error();
        lenient.run_once(&executor).await.unwrap();
        drop(lenient);
        executor = end_step(&mut life, executor);
        assert_eq!(taken(&seen), ["6"]);
        builder(&seen).run_once(&executor).await.unwrap();
        assert_eq!(taken(&seen), [""; 0]);
    }
}

#[tokio::test]
async fn strict_subscription_fails_without_a_handler() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let (seen, ann) = (Seen::default(), open(&executor, "Ann", 0).await);
    deposit(&executor, &ann, 1, 5).await;
    let strict = || SubscriptionBuilder::new("s").handler(on_opened()).data(seen.clone()).strict();
    strict().no_retry().run_once(&executor).await.unwrap_err();
    assert_eq!(taken(&seen), ["Ann"]);
    strict().skip::<Deposited>().run_once(&executor).await.unwrap();
}

#[tokio::test]
async fn start_from_latest_and_ephemeral_skip_history_and_records() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let seen = Seen::default();
    let ann = open(&executor, "Ann", 0).await;
    let latest = || builder(&seen).start_from_latest();
    latest().run_once(&executor).await.unwrap();
    deposit(&executor, &ann, 1, 5).await;
    latest().run_once(&executor).await.unwrap();
    assert_eq!(taken(&seen), ["5"]);
    let subscribers = || life.store().records().list().prefix("evento/").count();
    assert_eq!(subscribers(), 1);
    let mut ephemeral = builder(&seen).ephemeral();
    ephemeral.run_once(&executor).await.unwrap();
    deposit(&executor, &ann, 2, 6).await;
    ephemeral.run_once(&executor).await.unwrap();
    assert_eq!(taken(&seen), ["Ann", "5", "6"]);
    assert_eq!(subscribers(), 1);
}

#[evento::subscription]
async fn forward<E: Executor>(
    context: &Context<'_, E>,
    event: Event<Deposited>,
) -> anyhow::Result<()> {
    if context.extract::<UnboundedSender<i64>>().send(event.data.amount).is_err() {
        context.stop();
    }
    Ok(())
}

async fn amounts(receiver: &mut UnboundedReceiver<i64>, count: usize) -> Vec<i64> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(in_time(receiver.recv()).await.unwrap());
    }
    all
}

fn forwarding(sender: UnboundedSender<i64>) -> SubscriptionBuilder<AnnalsExecutor> {
    // It is woken by writes: it would not poll again in the time of the test.
    let never = Duration::from_secs(3600);
    SubscriptionBuilder::new("forward").handler(forward()).data(sender).poll_interval(never)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_subscription_is_woken_by_each_write_and_stops_when_asked() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let (ann, mut version) = (open(&executor, "Ann", 0).await, 1);
        for round in 0..2_i64 {
            let (sender, mut receiver) = unbounded_channel();
            let subscription = forwarding(sender).start(&executor).await.unwrap();
            for n in 0..5 {
                deposit(&executor, &ann, version, round * 5 + n).await;
                version += 1;
                assert_eq!(amounts(&mut receiver, 1).await, [round * 5 + n]);
            }
            in_time(subscription.shutdown()).await.unwrap();
            executor = end_step(&mut life, executor);
        }
        let (sender, mut receiver) = unbounded_channel();
        let live = forwarding(sender).live(&executor).await.unwrap();
        deposit(&executor, &ann, version, 99).await;
        assert_eq!(amounts(&mut receiver, 1).await, [99]);
        drop(receiver);
        deposit(&executor, &ann, version + 1, 100).await;
        assert!(matches!(in_time(live.stopped()).await, StopReason::StoppedByHandler));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_worker_takes_the_subscription_over() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let ann = open(&executor, "Ann", 0).await;
    let (first_sender, mut first) = unbounded_channel();
    let (second_sender, mut second) = unbounded_channel();
    let former = forwarding(first_sender).start(&executor).await.unwrap();
    deposit(&executor, &ann, 1, 1).await;
    assert_eq!(amounts(&mut first, 1).await, [1]);
    let acknowledged = all(&executor).await[1].serialize_cursor().unwrap();
    while executor.get_subscriber_cursor("forward".into()).await.unwrap().as_ref()
        != Some(&acknowledged)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let latter = forwarding(second_sender).start(&executor).await.unwrap();
    // At least one, also if the former has found out before.
    for version in 2.. {
        deposit(&executor, &ann, version, 2).await;
        if former.stop_reason().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(matches!(in_time(former.stopped()).await, StopReason::LostOwnership));
    assert_eq!(amounts(&mut second, 1).await, [2]);
    in_time(latter.shutdown()).await.unwrap();
}
