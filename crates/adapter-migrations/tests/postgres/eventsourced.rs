//! The tables of eventsourced-postgres: exported and imported, and copied entity by entity.

use std::num::NonZeroU64;

use annals::{ExpectedVersion, Store};
use annals_lines::events_table::{Form, Table};
use annals_eventsourced::{AnnalsEventLog, AnnalsSnapshotStore, copy};
use eventsourced::binarize::serde_json::SerdeJsonBinarize;
use eventsourced::event_log::EventLog;
use eventsourced::snapshot_store::SnapshotStore;
use eventsourced::{Command, CommandEffect, EventSourced, EventSourcedExt};
use eventsourced_postgres::{
    PostgresEventLog, PostgresEventLogConfig, PostgresSnapshotStore, PostgresSnapshotStoreConfig,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::server::{Database, on_database};

/// A list of words, joined: its order shows.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Notes(String);

impl EventSourced for Notes {
    type Id = Uuid;
    type Event = String;

    const TYPE_NAME: &'static str = "team-notes";

    fn handle_event(self, word: String) -> Self {
        Self(self.0 + &word)
    }
}

#[derive(Debug)]
struct Add(String);

impl Command<Notes> for Add {
    type Reply = String;
    type Error = ();

    fn handle_command(self, _: &Uuid, _: &Notes) -> CommandEffect<Notes, String, ()> {
        CommandEffect::emit_and_reply(self.0, |notes: &Notes| notes.0.clone())
    }
}

/// Adds words to an entity, which is loaded first, and returns all of its words.
async fn add<L, S>(id: Uuid, words: &[&str], log: L, snapshots: S) -> String
where
    L: EventLog<Id = Uuid> + Sync + Send,
    S: SnapshotStore<Id = Uuid> + Sync + Send,
{
    let (every, buffer) = (NonZeroU64::new(3), 4.try_into().unwrap());
    let entity = Notes::default().entity();
    let notes = entity.spawn(id, every, buffer, log, snapshots, SerdeJsonBinarize).await.unwrap();
    let mut all = String::new();
    for word in words {
        all = notes.handle_command(Add((*word).to_owned())).await.unwrap().unwrap();
    }
    all
}

struct Postgres(PostgresEventLog<Uuid>, PostgresSnapshotStore<Uuid>);

impl Postgres {
    async fn connect(database: &Database) -> Self {
        let host = database.host.to_str().unwrap().to_owned();
        let (user, dbname) = (database.user.clone(), database.name.clone());
        let (password, sslmode) = ("unused".to_owned(), "disable".to_owned());
        let log = PostgresEventLogConfig {
            host: host.clone(),
            user: user.clone(),
            dbname: dbname.clone(),
            password: password.clone(),
            sslmode: sslmode.clone(),
            setup: true,
            ..PostgresEventLogConfig::default()
        };
        let snapshots = PostgresSnapshotStoreConfig {
            host,
            user,
            dbname,
            password,
            sslmode,
            setup: true,
            ..PostgresSnapshotStoreConfig::default()
        };
        let log = PostgresEventLog::new(log).await.unwrap();
        Self(log, PostgresSnapshotStore::new(snapshots).await.unwrap())
    }

    async fn add(&self, id: Uuid, words: &[&str]) -> String {
        add(id, words, self.0.clone(), self.1.clone()).await
    }
}

async fn add_in_annals(store: &Store, id: Uuid, words: &[&str]) -> String {
    let log = AnnalsEventLog::new(store.clone()).json();
    add(id, words, log, AnnalsSnapshotStore::new(Notes::TYPE_NAME, store.clone())).await
}

pub(crate) fn imported() {
    on_database(|database| async move {
        let source = Postgres::connect(&database).await;
        let [ann, bob] = [(); 2].map(|()| Uuid::new_v4());
        source.add(ann, &["a", "\"b\",\n", "c", "\\x"]).await;
        source.add(bob, &["é"]).await;
        let all = source.add(ann, &["d"]).await;
        assert_eq!(all, "a\"b\",\nc\\xd");

        // The query of the README.
        let readme = include_str!("../../../annals-eventsourced/README.md");
        let query = readme.split("\\copy ").nth(1).unwrap().split(" TO STDOUT").next().unwrap();
        let export = format!("COPY {query} TO STDOUT WITH (FORMAT csv, HEADER)");
        let client = database.client().await;
        let rows = client.copy_out(&export).await.unwrap().map(|it| it.unwrap().to_vec());
        let rows = rows.concat().await;

        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("ledger")).unwrap();
        let mut table = Table::new(Form::Csv);
        for row in String::from_utf8(rows).unwrap().lines() {
            let record = table.decode(row.as_bytes());
            let Some(record) = record.unwrap_or_else(|bad| panic!("{bad:?}")) else { continue };
            let expected = ExpectedVersion::Exact(record.number().unwrap().unwrap() - 1);
            store.append(&record.stream, expected, [record.to_event()]).unwrap();
        }
        assert_eq!(add_in_annals(&store, ann, &["!"]).await, all + "!");
        assert_eq!(add_in_annals(&store, bob, &["!"]).await, "é!");
    });
}

pub(crate) fn copied() {
    on_database(|database| async move {
        let source = Postgres::connect(&database).await;
        let ids = [(); 3].map(|()| Uuid::new_v4());
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("ledger")).unwrap();
        let target = AnnalsEventLog::new(store.clone()).json();
        let mut words = ids.map(|_| String::new());
        for round in 0..2 {
            for (number, (id, all)) in ids.iter().zip(&mut words).enumerate() {
                for _ in 0..number * 40 {
                    let word = format!("{round}.{number} ");
                    *all += &word;
                }
                let new: Vec<_> = all.split_inclusive(' ').skip(round * number * 40).collect();
                source.add(*id, &new).await;
                let events = copy(&source.0, &target, Notes::TYPE_NAME, id).await.unwrap();
                assert_eq!(events, number as u64 * 40);
                let again = copy(&source.0, &target, Notes::TYPE_NAME, id).await.unwrap();
                assert_eq!(again, 0);
            }
        }
        for (id, all) in ids.into_iter().zip(words) {
            assert_eq!(add_in_annals(&store, id, &["!"]).await, all + "!");
        }
    });
}
