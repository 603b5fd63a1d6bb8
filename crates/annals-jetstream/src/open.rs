//! Opening a store: its streams are created, or checked.
//!
//! Owns what a store needs of the servers and of their settings. Must never change a stream that exists.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals_es::Timestamp;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, Republish, RetentionPolicy, StorageType,
};
use async_nats::{Client, ConnectOptions, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use uuid::Uuid;

use crate::clock::Clock;
use crate::message::FORMAT;
use crate::pages::Pages;
use crate::runtime::{Pause, Runtime};
use crate::server::Servers;
use crate::shared::{Batches, Shared};
use crate::signal::Signal;
use crate::subject::Subjects;
use crate::tails::Tails;
use crate::{Durability, Error, JetStreamOptions};

/// The keys of what the metadata of a stream says about a store.
const FORMAT_KEY: &str = "annals-format";
const ID_KEY: &str = "annals-store";
/// How often the clocks are compared.
const CLOCK: Duration = Duration::from_secs(60);

pub(crate) async fn open(options: JetStreamOptions) -> Result<Shared, Error> {
    let runtime = Runtime::current_or_own()?;
    let handle = runtime.handle().clone();
    let opening = async move {
        check_name(&options.name)?;
        let limit = options.time_limit;
        let mut connection = options.connection;
        let user = |it: &ServerAddr| Some((it.username()?.to_owned(), it.password()?.to_owned()));
        if let Some((user, password)) = options.servers.iter().find_map(user) {
            connection = connection.user_and_password(user, password);
        }
        let client = connect(connection, options.servers.clone()).await?;
        check_version(&client)?;
        let durability = match options.system {
            Some(system) => {
                let stated = options.durability.unwrap_or(Durability::Synced);
                if stated == Durability::Synced {
                    ask_servers(connect(system, options.servers).await?).await?;
                }
                stated
            }
            None => options.durability.ok_or(Error::DurabilityNotStated)?,
        };
        let (subjects, name) = (Subjects::new(&options.name), options.name);
        let servers = Servers::new(client.clone(), limit);
        let wanted = settings(&name, &subjects, options.replicas.unwrap_or(3));
        let found = find_or_create(&servers, &wanted, options.creates).await?;
        check_settings(&found, &wanted, options.replicas, durability)?;
        let id = identity(&found)?;
        let bucket = bucket_settings(&name, &subjects, found.num_replicas);
        let bucket = find_or_create(&servers, &bucket, options.creates).await?;
        check_durability(&bucket, durability)?;
        let clock = Arc::new(Clock::default());
        measure(&servers, &name, &clock).await?;
        tokio::spawn(keep_measuring(servers.clone(), name.clone(), Arc::downgrade(&clock)));
        let signal = Arc::new(Signal::new());
        signal.listen(client, subjects.news());
        let pages = Pages::new(servers.clone(), &name);
        let poll_interval = options.poll_interval;
        Ok((name, bucket.name, id, subjects, servers, pages, clock, signal, poll_interval))
    };
    let (name, bucket, id, subjects, servers, pages, clock, signal, poll_interval) =
        Runtime::run(handle, opening).await?;
    let (tails, batches) = (Tails::default(), Batches::new());
    let shared = Shared {
        name,
        bucket,
        id,
        subjects,
        servers,
        pages,
        tails,
        batches,
        clock,
        signal,
        poll_interval,
        runtime,
    };
    Ok(shared)
}

async fn connect(options: ConnectOptions, servers: Vec<ServerAddr>) -> Result<Client, Error> {
    Ok(options.name("annals-jetstream").connect(servers).await?)
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(is_plain) {
        return Err(Error::InvalidName { name: name.to_owned() });
    }
    Ok(())
}

/// Refuses a server that is older than 2.12. Servers before that version do not check expectations reliably, and have no
/// batches.
pub(crate) fn check_version(client: &Client) -> Result<(), Error> {
    if client.is_server_compatible(2, 12, 0) {
        return Ok(());
    }
    Err(Error::ServerTooOld { version: client.server_info().version })
}

#[derive(Debug, Deserialize)]
struct ServerAnswer {
    server: ServerName,
    data: Option<ServerData>,
}

#[derive(Debug, Deserialize)]
struct ServerName {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ServerData {
    config: Option<ServerConfig>,
}

#[derive(Debug, Deserialize)]
struct ServerConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Asks all servers with JetStream whether they wait for the disk.
async fn ask_servers(system: Client) -> Result<(), Error> {
    let inbox = system.new_inbox();
    let unanswered = || Error::NotDurable {
        setting: "the system account was not told whether the servers wait for the disk".into(),
    };
    let mut answers = system.subscribe(inbox.clone()).await.map_err(|_| unanswered())?;
    let question = system.publish_with_reply("$SYS.REQ.SERVER.PING.JSZ", inbox, Bytes::new());
    question.await.map_err(|_| unanswered())?;
    let mut servers = 0;
    let mut wait = Duration::from_secs(5);
    while let Ok(Some(answer)) = tokio::time::timeout(wait, answers.next()).await {
        // The others answer at about the same time.
        wait = Duration::from_millis(500);
        let Ok(answer) = serde_json::from_slice::<ServerAnswer>(&answer.payload) else { continue };
        let Some(config) = answer.data.and_then(|data| data.config) else { continue };
        servers += 1;
        if !config.sync_always {
            let name = answer.server.name;
            let setting = format!("`sync_interval` of {name} is not `always`");
            return Err(Error::NotDurable { setting });
        }
    }
    if servers == 0 { Err(unanswered()) } else { Ok(()) }
}

fn settings(name: &str, subjects: &Subjects, replicas: usize) -> Config {
    let metadata =
        [(FORMAT_KEY, FORMAT.to_string()), (ID_KEY, Uuid::now_v7().simple().to_string())];
    let metadata: HashMap<_, _> =
        metadata.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
    Config {
        name: name.to_owned(),
        description: Some("a store of annals-jetstream".into()),
        subjects: subjects.kept(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        allow_atomic_publish: true,
        // A notice of each commit, for subscriptions.
        republish: Some(Republish {
            source: subjects.events(),
            destination: subjects.news(),
            headers_only: true,
        }),
        metadata,
        ..Config::default()
    }
}

fn bucket_settings(name: &str, subjects: &Subjects, replicas: usize) -> Config {
    Config {
        name: format!("KV_{name}"),
        description: Some("checkpoints and snapshots of a store of annals-jetstream".into()),
        subjects: vec![subjects.bucket()],
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        // An unanswered writing is found while it is among the last ones of its key.
        max_messages_per_subject: 8,
        max_message_size: -1,
        max_consumers: -1,
        deny_delete: true,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    }
}

#[derive(Debug, Deserialize)]
struct InfoAnswer {
    config: Option<Config>,
    ts: Option<String>,
    error: Option<InfoError>,
}

#[derive(Debug, Deserialize)]
struct InfoError {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Asks for something until the servers answer.
async fn ask(servers: &Servers, subject: String, payload: Bytes) -> Result<InfoAnswer, Error> {
    let mut pause = Pause::new(servers.limit);
    loop {
        let met = match servers.ask(subject.clone(), payload.clone()).await {
            Ok(answer) => match serde_json::from_slice::<InfoAnswer>(&answer) {
                Ok(InfoAnswer { error: Some(error), .. }) if error.code == 503 => error.description,
                Ok(answer) => return Ok(answer),
                Err(error) => format!("the answer is not readable: {error}"),
            },
            Err(met) => met,
        };
        pause.wait(met).await?;
    }
}

/// The settings of a stream, which is created if it does not exist.
async fn find_or_create(
    servers: &Servers,
    wanted: &Config,
    creates: bool,
) -> Result<Config, Error> {
    let name = &wanted.name;
    // Another program may create the stream, or delete it, between the two questions.
    for _ in 0..4 {
        let found = ask(servers, format!("$JS.API.STREAM.INFO.{name}"), Bytes::new()).await?;
        match (found.config, found.error) {
            (Some(config), _) => return Ok(config),
            (None, Some(error)) if error.err_code == 10059 => {}
            (None, Some(error)) => return Err(refused(error)),
            (None, None) => return Err(Error::NotAStore { name: name.clone() }),
        }
        if !creates {
            return Err(Error::NoStore { name: name.clone() });
        }
        let payload = serde_json::to_vec(wanted)
            .map_err(|error| Error::Altered { what: error.to_string() })?;
        let made = ask(servers, format!("$JS.API.STREAM.CREATE.{name}"), payload.into()).await?;
        match (made.config, made.error) {
            (Some(config), _) => return Ok(config),
            // It exists by now.
            (None, Some(error)) if error.err_code == 10058 => {}
            (None, Some(error)) => return Err(refused(error)),
            (None, None) => {}
        }
    }
    Err(Error::NoStore { name: name.clone() })
}

fn refused(error: InfoError) -> Error {
    match error.err_code {
        10039 | 10076 => Error::NoJetStream,
        code => Error::Server { code, description: error.description },
    }
}

/// The id of a store, from the metadata of its stream.
fn identity(found: &Config) -> Result<Uuid, Error> {
    let not_a_store = || Error::NotAStore { name: found.name.clone() };
    let id = found.metadata.get(ID_KEY).and_then(|id| id.parse().ok());
    id.ok_or_else(not_a_store)
}

fn check_durability(found: &Config, durability: Durability) -> Result<(), Error> {
    let lost =
        |setting: &str| Err(Error::NotDurable { setting: format!("{setting} of {}", found.name) });
    if durability == Durability::AcceptLoss {
        return Ok(());
    }
    if found.storage != StorageType::File {
        return lost("the storage in memory");
    }
    if found.persist_mode == Some(PersistenceMode::Async) {
        return lost("the asynchronous persistence");
    }
    if found.no_ack {
        return lost("the missing acknowledgement");
    }
    if durability == Durability::Replicated && found.num_replicas < 3 {
        return lost("a number of replicas below three");
    }
    Ok(())
}

/// Refuses a stream that is no store, is of another format, loses events, or lacks what the store needs.
fn check_settings(
    found: &Config,
    wanted: &Config,
    replicas: Option<usize>,
    durability: Durability,
) -> Result<(), Error> {
    let format = found.metadata.get(FORMAT_KEY).and_then(|it| it.parse::<u32>().ok());
    match format {
        None => return Err(Error::NotAStore { name: found.name.clone() }),
        Some(FORMAT) => {}
        Some(found) => return Err(Error::FormatVersion { found, supported: FORMAT }),
    }
    check_durability(found, durability)?;
    if found.num_replicas != replicas.unwrap_or(found.num_replicas) {
        let what = format!("the number of replicas is {}", found.num_replicas);
        return Err(Error::Altered { what });
    }
    let loses = [
        (found.retention != RetentionPolicy::Limits, "the retention policy"),
        (found.discard != DiscardPolicy::New, "the discard policy"),
        (found.max_age > Duration::ZERO, "the greatest age of messages"),
        (found.max_messages_per_subject > 0, "the number of messages of a subject"),
        (found.allow_rollup && !found.deny_purge, "the permission to purge"),
        (!found.deny_delete, "the permission to delete messages"),
        (!found.deny_purge, "the permission to purge"),
    ];
    if let Some((_, setting)) = loses.iter().find(|(loses, _)| *loses) {
        return Err(Error::NotDurable { setting: format!("{setting} of {}", found.name) });
    }
    let lacks = [
        (found.subjects != wanted.subjects, "the subjects"),
        (found.subject_transform.is_some(), "the transform of subjects"),
        (found.mirror.is_some() || found.sources.is_some(), "the origin of messages"),
        (!found.allow_direct, "the permission to read from replicas"),
        (!found.allow_atomic_publish, "the permission to publish batches"),
        (found.sealed, "the seal"),
    ];
    match lacks.iter().find(|(lacks, _)| *lacks) {
        Some((_, what)) => Err(Error::Altered { what: (*what).to_owned() }),
        None => Ok(()),
    }
}

/// Compares the clocks.
async fn measure(servers: &Servers, name: &str, clock: &Clock) -> Result<(), Error> {
    let asked = Clock::ask();
    let info = ask(servers, format!("$JS.API.STREAM.INFO.{name}"), Bytes::new()).await?;
    let format = &time::format_description::well_known::Rfc3339;
    let at = info.ts.and_then(|at| time::OffsetDateTime::parse(&at, format).ok());
    if let Some(at) = at {
        let micros = u64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or_default();
        clock.set(asked, Timestamp::from_micros(micros));
    }
    Ok(())
}

async fn keep_measuring(servers: Servers, name: String, clock: std::sync::Weak<Clock>) {
    let mut passed = Duration::ZERO;
    let step = Duration::from_secs(1);
    loop {
        tokio::time::sleep(step).await;
        passed += step;
        let Some(clock) = clock.upgrade() else { return };
        if passed >= CLOCK {
            passed = Duration::ZERO;
            // Without an answer, the last difference stays.
            let _ = measure(&servers, &name, &clock).await;
        }
    }
}
