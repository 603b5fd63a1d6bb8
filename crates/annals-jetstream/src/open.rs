//! Opening a store: the servers are asked, and its streams are created or checked.
//!
//! Owns the order of these questions. Must never change a stream that exists, but for the subjects that an earlier version of
//! this crate did not have.

use std::sync::Arc;
use std::time::Duration;

use annals_es::Timestamp;
use async_nats::{Client, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::pages::Pages;
use crate::partition::Partition;
use crate::runtime::Runtime;
use crate::server::Servers;
use crate::settings::FENCE_KEY;
use crate::shared::{Batches, Shared};
use crate::signal::Signal;
use crate::subject::Subjects;
use crate::tails::Tails;
use crate::{Durability, Error, JetStreamOptions, settings, streams};

/// How often the clocks are compared.
const CLOCK: Duration = Duration::from_secs(60);

/// A connection to servers that keep what they acknowledge, as far as that is known.
pub(crate) struct Connected {
    runtime: Arc<Runtime>,
    client: Client,
    durability: Durability,
}

pub(crate) async fn connected(options: &JetStreamOptions) -> Result<Connected, Error> {
    let runtime = Arc::new(Runtime::current_or_own()?);
    let (servers, mut connection) = (options.servers.clone(), options.connection.clone());
    let (system, stated) = (options.system.clone(), options.durability);
    let user = |it: &ServerAddr| Some((it.username()?.to_owned(), it.password()?.to_owned()));
    if let Some((user, password)) = servers.iter().find_map(user) {
        connection = connection.user_and_password(user, password);
    }
    let connecting = async move {
        let client = connection.connect(servers.clone()).await?;
        check_version(&client)?;
        let durability = match (system, stated) {
            (Some(system), None | Some(Durability::Synced)) => {
                ask_servers(system.connect(servers).await?).await?;
                Durability::Synced
            }
            (_, Some(stated)) => stated,
            (None, None) => return Err(Error::DurabilityNotStated),
        };
        Ok((client, durability))
    };
    let (client, durability) = Runtime::run(runtime.handle().clone(), connecting).await?;
    Ok(Connected { runtime, client, durability })
}

/// Opens a store, or a partition of one.
pub(crate) async fn open(
    connected: &Connected,
    options: &JetStreamOptions,
    name: String,
    partition: Option<Partition>,
) -> Result<Shared, Error> {
    check_name(&name)?;
    let (runtime, client) = (Arc::clone(&connected.runtime), connected.client.clone());
    let (durability, replicas) = (connected.durability, options.replicas);
    let (creates, limit) = (options.creates, options.time_limit);
    let (poll_interval, opens_fenced) = (options.poll_interval, options.fenced);
    let of_shared = Arc::clone(&runtime);
    let opening = async move {
        let subjects = Subjects::new(&name);
        let servers = Servers::new(client.clone(), limit);
        let wanted = settings::of_stream(&name, &subjects, replicas.unwrap_or(3), partition);
        let mut found = streams::find_or_create(&servers, &wanted, creates).await?;
        if settings::lacks_checkpoints(&found, &subjects) {
            let change = |config: &mut Value| config["subjects"] = subjects.kept().into();
            found = streams::change(&servers, &name, change).await?;
        }
        settings::check(&found, &subjects, replicas, durability)?;
        if let Some(to) = found.metadata.get(FENCE_KEY).filter(|_| !opens_fenced) {
            return Err(Error::Fenced { to: to.clone() });
        }
        let (id, partition) = settings::identity(&found, partition)?;
        let bucket = settings::of_bucket(&name, &subjects, found.num_replicas);
        let bucket = streams::find_or_create(&servers, &bucket, creates).await?;
        settings::check_durability(&bucket, durability)?;
        let clock = Arc::new(Clock::default());
        measure(&servers, &name, &clock).await?;
        tokio::spawn(keep_measuring(servers.clone(), name.clone(), Arc::downgrade(&clock)));
        let signal = Signal::new(client, subjects.news(), id);
        let pages = Pages::new(servers.clone(), &name);
        let (tails, batches, bucket) = (Tails::default(), Batches::new(), bucket.name);
        let checkpoints = Checkpoints::default();
        Ok(Shared {
            name,
            bucket,
            id,
            partition,
            subjects,
            servers,
            pages,
            tails,
            checkpoints,
            batches,
            clock,
            signal,
            poll_interval,
            runtime: of_shared,
        })
    };
    Runtime::run(runtime.handle().clone(), opening).await
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(is_plain) {
        return Err(Error::InvalidName { name: name.to_owned() });
    }
    Ok(())
}

/// Refuses a server that is older than 2.12.2. Servers before 2.12 do not check expectations reliably, and have no
/// batches; 2.12.0 and 2.12.1 stop answering when a stream is read beside appends.
pub(crate) fn check_version(client: &Client) -> Result<(), Error> {
    if client.is_server_compatible(2, 12, 2) {
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

/// Compares the clocks.
async fn measure(servers: &Servers, name: &str, clock: &Clock) -> Result<(), Error> {
    let asked = Clock::ask();
    let at = streams::time(servers, name).await?;
    let format = &time::format_description::well_known::Rfc3339;
    if let Some(at) = at.and_then(|at| time::OffsetDateTime::parse(&at, format).ok()) {
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
