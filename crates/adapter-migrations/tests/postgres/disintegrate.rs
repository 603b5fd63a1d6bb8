//! The table of disintegrate-postgres, copied in two parts, with a listener that goes on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::Store;
use annals_disintegrate::{
    AnnalsEventListener, AnnalsEventStore, ListenerConfig, copied_position, copy, decision_maker,
};
use async_trait::async_trait;
use disintegrate::serde::json::Json;
use disintegrate::{
    Decision, Event, EventListener, EventStore, NoSnapshot, PersistedEvent, StateMutate,
    StateQuery, StreamItem, StreamQuery, query,
};
use disintegrate_postgres::{PgEventListener, PgEventListenerConfig, PgEventStore};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::server::{Database, on_database};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(SeatEvent, [Sold, Returned])]
enum TheatreEvent {
    Opened {
        #[id]
        show: i64,
        seats: i64,
    },
    Sold {
        #[id]
        show: i64,
        #[id]
        guest: String,
    },
    Returned {
        #[id]
        show: i64,
        #[id]
        guest: String,
    },
}

#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(TheatreEvent)]
struct Show {
    #[id]
    show: i64,
    free: i64,
}

impl StateMutate for Show {
    fn mutate(&mut self, event: TheatreEvent) {
        match event {
            TheatreEvent::Opened { seats, .. } => self.free += seats,
            TheatreEvent::Sold { .. } => self.free -= 1,
            TheatreEvent::Returned { .. } => self.free += 1,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("sold out")]
struct SoldOut;

struct Sell(i64, String);

impl Decision for Sell {
    type Event = TheatreEvent;
    type StateQuery = Show;
    type Error = SoldOut;

    fn state_query(&self) -> Show {
        Show { show: self.0, free: 0 }
    }

    fn process(&self, show: &Show) -> Result<Vec<TheatreEvent>, SoldOut> {
        let sold = TheatreEvent::Sold { show: self.0, guest: self.1.clone() };
        if show.free > 0 { Ok(vec![sold]) } else { Err(SoldOut) }
    }
}

type Serde = Json<TheatreEvent>;
type Source = PgEventStore<TheatreEvent, Serde>;
type Target = AnnalsEventStore<TheatreEvent, Serde>;

async fn connect(database: &Database) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass();
    let options = options.socket(&database.host).username(&database.user).database(&database.name);
    PgPool::connect_with(options.options([("check_function_bodies", "off")])).await.unwrap()
}

/// The store with its tables. One of its functions has a hexadecimal number, which PostgreSQL knows from version 16 on.
async fn create(pool: &PgPool) -> Source {
    let source = Source::try_new(pool.clone(), Json::default()).await.unwrap();
    let function = "SELECT pg_get_functiondef('event_store_begin_epoch'::regproc)";
    let function: String = sqlx::query_scalar(function).fetch_one(pool).await.unwrap();
    sqlx::query(&function.replace("0xFFFFFFFF", "4294967295")).execute(pool).await.unwrap();
    source
}

/// Opens a show with decisions of disintegrate-postgres, and sells it out.
async fn write(source: &Source, show: i64) {
    let seats = 12;
    let opened = TheatreEvent::Opened { show, seats };
    source.append_without_validation(vec![opened]).await.unwrap();
    let maker = disintegrate_postgres::decision_maker(source.clone(), NoSnapshot);
    for guest in 0..seats {
        maker.make(Sell(show, format!("guest {guest}"))).await.unwrap();
    }
    assert!(maker.make(Sell(show, "late".into())).await.is_err());
    let guest = |guest| TheatreEvent::Returned { show, guest: format!("guest {guest}") };
    source.append_without_validation((0..5).map(guest).collect()).await.unwrap();
}

/// A transaction that is rolled back after it has inserted: its id is used up.
async fn leave_gap(pool: &PgPool) {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO event (event_type, payload) VALUES ('Opened', '')")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
}

/// The events of a query, without or with their ids.
async fn read<ES, E>(store: &ES, query: StreamQuery<i64, E>) -> Vec<(i64, String)>
where
    ES: EventStore<i64, TheatreEvent>,
    ES::Error: std::fmt::Debug,
    E: TryFrom<TheatreEvent> + Event + Clone + Send + Sync + std::fmt::Debug + 'static,
    <E as TryFrom<TheatreEvent>>::Error: std::error::Error + Send + Sync + 'static,
{
    let items = store.stream(&query).collect::<Vec<_>>().await;
    let event = |item: Result<StreamItem<i64, E>, ES::Error>| match item.unwrap() {
        StreamItem::Event(event) => Some((event.id(), format!("{:?}", event.into_inner()))),
        StreamItem::End(_) => None,
    };
    items.into_iter().filter_map(event).collect()
}

async fn is_same_with_ids(source: &Source, target: &Target, has_same_ids: bool) {
    macro_rules! compare {
        ($query:expr) => {
            let [mut expected, mut found] =
                [read(source, $query).await, read(target, $query).await];
            if !has_same_ids {
                expected.iter_mut().chain(&mut found).for_each(|it| it.0 = 0);
            }
            assert_eq!(expected, found);
        };
    }
    compare!(query!(TheatreEvent));
    compare!(query!(TheatreEvent; show == 2));
    compare!(query!(TheatreEvent; guest == "guest 3"));
    compare!(query!(SeatEvent; show == 1, guest == "guest 1"));
    compare!(query!(TheatreEvent; show == 3).exclude_events(&["Sold"]));
}

/// Records the events of a listener, by what they are, and fails after a number of them.
struct Recorder {
    query: StreamQuery<i64, SeatEvent>,
    seen: Arc<Mutex<Vec<String>>>,
    limit: usize,
}

#[async_trait]
impl EventListener<i64, SeatEvent> for Recorder {
    type Error = SoldOut;

    fn id(&self) -> &'static str {
        "recorder"
    }

    fn query(&self) -> &StreamQuery<i64, SeatEvent> {
        &self.query
    }

    async fn handle(&self, event: PersistedEvent<i64, SeatEvent>) -> Result<(), SoldOut> {
        let mut seen = self.seen.lock().unwrap();
        if seen.len() == self.limit {
            return Err(SoldOut);
        }
        seen.push(format!("{:?}", event.into_inner()));
        Ok(())
    }
}

async fn wait_for(seen: Arc<Mutex<Vec<String>>>, count: usize) {
    let reached = async {
        while seen.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("events are missing");
}

pub(crate) fn is_the_same() {
    on_database(|database| async move {
        let dir = tempfile::tempdir().unwrap();
        let pool = connect(&database).await;
        let source = create(&pool).await;
        let store = Store::open(dir.path().join("ledger")).unwrap();
        let target = Target::new(store.clone(), Json::default());

        write(&source, 1).await;
        write(&source, 2).await;
        let copied = copy(&source, &target).await.unwrap();
        assert_eq!((copied.events, copied.ids_kept), (36, true));
        is_same_with_ids(&source, &target, true).await;

        leave_gap(&pool).await;
        for show in 3..80 {
            write(&source, show).await;
        }
        let copied = copy(&source, &target).await.unwrap();
        assert_eq!((copied.events, copied.ids_kept), (77 * 18, false));
        is_same_with_ids(&source, &target, false).await;

        listener_goes_on(&source, &pool, &target).await;

        // The program goes on.
        let maker = decision_maker(target, NoSnapshot);
        for _ in 0..5 {
            maker.make(Sell(1, "late".into())).await.unwrap();
        }
        assert!(maker.make(Sell(1, "too late".into())).await.is_err());
        pool.close().await;
    });
}

/// A listener of PostgreSQL handles some events; that of annals handles the others, each once.
async fn listener_goes_on(source: &Source, pool: &PgPool, target: &Target) {
    let seen = Arc::default();
    let recorder = |limit| Recorder { query: query!(SeatEvent), seen: Arc::clone(&seen), limit };
    let settings = PgEventListenerConfig::poller(Duration::from_millis(5));
    PgEventListener::builder(source.clone())
        .register_listener(recorder(700), settings)
        .start_with_shutdown(wait_for(Arc::clone(&seen), 700))
        .await
        .unwrap();
    let last = "SELECT last_processed_event_id FROM event_listener WHERE id = 'recorder'";
    let last: i64 = sqlx::query_scalar(last).fetch_one(pool).await.unwrap();

    let store = target.store();
    let position = copied_position(store, last).unwrap();
    assert_eq!(position.get() as i64, last - 1, "one id is missing before it");
    store.cursors().reset("disintegrate/recorder", position).unwrap();
    let expected = read(source, query!(SeatEvent)).await;
    AnnalsEventListener::builder(target.clone())
        .register_listener(recorder(usize::MAX), ListenerConfig::default())
        .start_with_shutdown(wait_for(Arc::clone(&seen), expected.len()))
        .await;
    let expected: Vec<String> = expected.into_iter().map(|it| it.1).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}
