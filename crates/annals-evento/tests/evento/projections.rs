//! Projections: loads, snapshots, revisions, upcasts, tombstones.

use adapter_tests::{Life, Way};
use annals_evento::AnnalsExecutor;
use evento::metadata::Event;
use evento::{AggregateExt, Executor, Projection};

use crate::support::{end_step, executor};

#[evento::aggregate(name = "shop/Item")]
pub enum Item {
    #[evento(upcast_to = PricedV2)]
    Priced {
        cents: i64,
    },
    PricedV2 {
        cents: i64,
        currency: String,
    },
    Renamed {
        name: String,
    },
    Removed,
}

impl From<Priced> for PricedV2 {
    fn from(old: Priced) -> Self {
        Self { cents: old.cents, currency: "EUR".to_owned() }
    }
}

#[evento::aggregate(name = "shop/Stock")]
pub enum Stock {
    Counted { pieces: i64 },
}

#[evento::projection(bitcode::Encode, bitcode::Decode)]
#[derive(Debug)]
pub struct ItemView {
    pub name: String,
    pub price: String,
    pub pieces: i64,
    /// Number of events that were applied since the projection was created.
    pub applied: u32,
}

#[evento::projection(bitcode::Encode, bitcode::Decode)]
#[derive(Debug)]
pub struct NameView {
    pub names: Vec<String>,
}

#[evento::handler]
async fn priced(event: Event<PricedV2>, view: &mut ItemView) -> anyhow::Result<()> {
    view.price = format!("{} {}", event.data.cents, event.data.currency);
    view.applied += 1;
    Ok(())
}

#[evento::handler]
async fn renamed(event: Event<Renamed>, view: &mut ItemView) -> anyhow::Result<()> {
    view.name.clone_from(&event.data.name);
    view.applied += 1;
    Ok(())
}

#[evento::handler]
async fn counted(event: Event<Counted>, view: &mut ItemView) -> anyhow::Result<()> {
    view.pieces = event.data.pieces;
    view.applied += 1;
    Ok(())
}

#[evento::handler]
async fn named(event: Event<Renamed>, view: &mut NameView) -> anyhow::Result<()> {
    view.names.push(event.data.name.clone());
    Ok(())
}

fn items<E: Executor>() -> Projection<E, ItemView> {
    Projection::new::<Item>().handler(priced()).handler(renamed()).handler(counted())
}

fn names<E: Executor>() -> Projection<E, NameView> {
    Projection::new::<Item>().handler(named())
}

async fn item(executor: &AnnalsExecutor, revision: u16, id: &str) -> Option<ItemView> {
    let load = items().revision(revision).load(id).aggregate::<Stock>(id);
    load.execute(executor).await.unwrap()
}

fn snapshots(life: &Life) -> usize {
    life.store().snapshots().list("evento/").unwrap().len()
}

#[tokio::test]
async fn projection_loads_from_its_snapshot_and_the_events_after_it() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let id = evento::create().event(&Priced { cents: 5 }).commit(&executor).await.unwrap();
        executor = end_step(&mut life, executor);
        let view = item(&executor, 0, &id).await.unwrap();
        assert_eq!((&*view.price, view.applied), ("5 EUR", 1));
        executor = end_step(&mut life, executor);
        for n in 1..=5_u16 {
            let mut rename = evento::append(&id);
            rename.original_version(n).event(&Renamed { name: format!("n{n}") });
            rename.commit(&executor).await.unwrap();
            let mut count = evento::append(&id);
            count.original_version(n - 1).event(&Counted { pieces: i64::from(n) });
            count.commit(&executor).await.unwrap();
            executor = end_step(&mut life, executor);
            let view = item(&executor, 0, &id).await.unwrap();
            let found = (&*view.name, view.pieces, view.applied);
            assert_eq!(found, (&*format!("n{n}"), i64::from(n), 1 + 2 * u32::from(n)));
            executor = end_step(&mut life, executor);
        }
        assert!(snapshots(&life) > 0);
        // Another projection, and another revision, have states of their own.
        let of_names = names().load(&id).execute(&executor).await.unwrap().unwrap();
        assert_eq!(of_names.names, ["n1", "n2", "n3", "n4", "n5"]);
        executor = end_step(&mut life, executor);
        assert_eq!(item(&executor, 1, &id).await.unwrap().applied, 11);
        executor = end_step(&mut life, executor);
        assert_eq!(item(&executor, 0, &id).await.unwrap().applied, 11);
        let of_names = names().load(&id).execute(&executor).await.unwrap().unwrap();
        assert_eq!(of_names.names.len(), 5);
        assert!(item(&executor, 0, "nothing").await.is_none());
    }
}

#[tokio::test]
async fn state_comes_from_the_snapshot_and_not_from_all_events() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let id = evento::create().event(&Priced { cents: 5 }).commit(&executor).await.unwrap();
    item(&executor, 0, &id).await.unwrap();
    // A load that began at the first event would have to read it.
    life.store().truncate_before(&format!("shop/Item-{id}"), 2).unwrap();
    let mut rename = evento::append(&id);
    rename.original_version(1).event(&Renamed { name: "n".to_owned() });
    rename.commit(&executor).await.unwrap();
    let view = item(&executor, 0, &id).await.unwrap();
    assert_eq!((&*view.price, &*view.name), ("5 EUR", "n"));
}

#[tokio::test]
async fn projection_subscription_keeps_snapshots_current_and_drops_them_with_a_tombstone() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let id = evento::create().event(&Priced { cents: 5 }).commit(&executor).await.unwrap();
        let subscription = || items().tombstone::<Removed>().subscription("items");
        subscription().run_once(&executor).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(snapshots(&life), 1);
        let mut remove = evento::append(&id);
        remove.original_version(1).event(&Removed).commit(&executor).await.unwrap();
        executor = end_step(&mut life, executor);
        let load = items().tombstone::<Removed>().load(&id);
        assert!(load.execute(&executor).await.unwrap().is_none());
        drop(load);
        subscription().run_once(&executor).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(snapshots(&life), 0);
        assert!(executor.has_event::<Removed>(&id).await.unwrap());
        assert!(executor.has_event::<PricedV2>(&id).await.unwrap(), "an older event counts");
        assert!(!executor.has_event::<Renamed>(&id).await.unwrap());
        assert_eq!(executor.original_version::<Removed>(&id).await.unwrap(), Some(2));
    }
}

#[tokio::test]
async fn strict_projection_refuses_an_event_without_a_handler() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let id = evento::create().event(&Removed).commit(&executor).await.unwrap();
    let strict = || items::<AnnalsExecutor>().strict();
    assert!(strict().load(&id).execute(&executor).await.is_err());
    assert!(strict().skip::<Removed>().load(&id).execute(&executor).await.is_ok());
}

#[tokio::test]
async fn reader_returns_a_stream_whole_in_part_and_decoded() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let id = "long".to_owned();
        for first in (0..600).step_by(40) {
            let mut commit = evento::append(&id);
            commit.original_version(first);
            for n in first..first + 40 {
                commit.event(&Renamed { name: n.to_string() });
            }
            commit.commit(&executor).await.unwrap();
        }
        executor = end_step(&mut life, executor);
        let read = || evento::read::<Item>(&id);
        assert_eq!(read().execute(&executor).await.unwrap().len(), 600);
        let last = read().backward().limit(3).execute(&executor).await.unwrap();
        assert_eq!(last.iter().map(|it| it.version).collect::<Vec<_>>(), [598, 599, 600]);
        let page = read().limit(5).page(&executor).await.unwrap();
        let next = read().after(page.page_info.end_cursor.unwrap()).limit(1);
        let next = next.decode(&executor).await.unwrap();
        assert!(matches!(&next[..], [ItemEvent::Renamed(Renamed { name })] if name == "5"));
        assert!(evento::read::<Item>("none").execute(&executor).await.unwrap().is_empty());
    }
}
