//! The streams of the servers as such: their settings are asked for, made and changed.
//!
//! Owns these requests, which are repeated until the servers answer. Must never know what the settings mean.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::runtime::Pause;
use crate::server::Servers;

/// How long the answer to a question may take that is asked beside other attempts.
const AT_ONCE: Duration = Duration::from_millis(250);

#[derive(Debug, Deserialize)]
struct Answer {
    /// As the server states it, with settings that this program does not know.
    config: Option<Value>,
    ts: Option<String>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.err_code {
            10039 | 10076 => Self::NoJetStream,
            code => Self::Server { code, description: refusal.description },
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::Altered { what: format!("its settings are not readable: {error}") }
}

fn config_of(raw: Value) -> Result<Config, Error> {
    serde_json::from_value(raw).map_err(|error| unreadable(&error))
}

/// Asks for something until the servers answer.
async fn ask(servers: &Servers, what: &str, name: &str, payload: Bytes) -> Result<Answer, Error> {
    let mut pause = Pause::new(servers.limit);
    loop {
        let subject = format!("$JS.API.STREAM.{what}.{name}");
        let met = match servers.ask(subject, payload.clone()).await {
            Ok(answer) => match serde_json::from_slice::<Answer>(&answer) {
                Ok(Answer { error: Some(error), .. }) if error.code == 503 => error.description,
                Ok(answer) => return Ok(answer),
                Err(error) => format!("the answer is not readable: {error}"),
            },
            Err(met) => met,
        };
        pause.wait(met).await?;
    }
}

/// The settings of a stream, which is created if it does not exist.
pub(crate) async fn find_or_create(
    servers: &Servers,
    wanted: &Config,
    creates: bool,
) -> Result<Config, Error> {
    let name = &wanted.name;
    // Another program may create the stream between the two questions, and a new leader of the cluster may not know it yet.
    for attempt in 1..=4 {
        let found = ask(servers, "INFO", name, Bytes::new()).await?;
        match (found.config, found.error) {
            (Some(config), _) => return config_of(config),
            (None, Some(error)) if error.err_code == 10059 => {}
            (None, Some(error)) => return Err(error.into()),
            (None, None) => return Err(Error::NotAStore { name: name.clone() }),
        }
        if creates {
            let payload = serde_json::to_vec(wanted).map_err(|error| unreadable(&error))?;
            let made = ask(servers, "CREATE", name, payload.into()).await?;
            match (made.config, made.error) {
                (Some(config), _) => return config_of(config),
                // It exists by now.
                (None, Some(error)) if error.err_code == 10058 => {}
                (None, Some(error)) => return Err(error.into()),
                (None, None) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(50 * attempt)).await;
    }
    Err(Error::NoStore { name: name.clone() })
}

/// Changes settings of a stream, and keeps the others. Returns the new ones.
pub(crate) async fn change(
    servers: &Servers,
    name: &str,
    change: impl Fn(&mut Value),
) -> Result<Config, Error> {
    let mut config = raw(servers, name).await?;
    change(&mut config);
    let payload = Bytes::from(config.to_string());
    let changed = ask(servers, "UPDATE", name, payload).await?;
    match (changed.config, changed.error) {
        (Some(config), None) => config_of(config),
        (_, Some(error)) => Err(error.into()),
        (None, None) => Err(Error::NotAStore { name: name.to_owned() }),
    }
}

async fn raw(servers: &Servers, name: &str) -> Result<Value, Error> {
    let found = ask(servers, "INFO", name, Bytes::new()).await?;
    match (found.config, found.error) {
        (Some(config), _) => Ok(config),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(Error::NotAStore { name: name.to_owned() }),
    }
}

/// The settings of a stream that exists.
pub(crate) async fn find(servers: &Servers, name: &str) -> Result<Config, Error> {
    config_of(raw(servers, name).await?)
}

/// The settings of a stream, if the server that leads it answers at once.
pub(crate) async fn find_once(servers: &Servers, name: &str) -> Option<Config> {
    let asked = servers.ask(format!("$JS.API.STREAM.INFO.{name}"), Bytes::new());
    let answer = tokio::time::timeout(AT_ONCE, asked).await.ok()?.ok()?;
    let answer: Answer = serde_json::from_slice(&answer).ok()?;
    config_of(answer.config?).ok()
}

/// The time of the server that leads a stream.
pub(crate) async fn time(servers: &Servers, name: &str) -> Result<Option<String>, Error> {
    Ok(ask(servers, "INFO", name, Bytes::new()).await?.ts)
}
