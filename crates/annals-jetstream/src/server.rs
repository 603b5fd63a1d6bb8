//! Requests to the servers: publishing with expectations, and reads that the leader answers.
//!
//! Owns what each answer means. A sending that was not answered may have stored its messages, now or later: it is
//! reported as such, and never repeated here. Reads are repeated until the time limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, HeaderName, HeaderValue, Message, Request, RequestErrorKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Error;
use crate::message::Stored;
use crate::runtime::Pause;

/// How long one request may take. Elections of a leader take longer, so that no answer of a former leader is waited for
/// that long.
const ANSWER: Duration = Duration::from_secs(3);

/// A message to publish.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// Requires the last message of a subject to have a sequence; 0: that there is none.
    pub(crate) fn expect(&mut self, sequence: u64) {
        self.headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string());
    }

    /// Requires it of another subject.
    pub(crate) fn expect_of(&mut self, subject: &str, sequence: u64) {
        self.expect(sequence);
        self.headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", subject);
    }
}

/// What became of a sending.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The messages are stored; the sequence of the last one.
    Stored(u64),
    /// The sending stored nothing: a subject was not as expected.
    Lost,
    /// The sending stored nothing: a message to a subject is being stored, or was a moment before. The server
    /// acknowledges a message shortly before it accepts the next one.
    Busy,
    /// The sending stored nothing, for a reason that passes.
    NotNow(String),
    /// The messages may be stored, now or later.
    Unknown(String),
}

#[derive(Debug, Deserialize)]
struct ApiError {
    code: u64,
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct Got {
    message: Option<Raw>,
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

/// What a request met instead of an answer.
enum Failure {
    /// Nobody receives the request.
    NoReceiver,
    /// The request was received, or may be received later.
    NoAnswer(String),
}

impl Failure {
    fn text(self) -> String {
        match self {
            Self::NoReceiver => "no server leads the stream".into(),
            Self::NoAnswer(text) => text,
        }
    }
}

/// How long the leader may be out of reach before another server is tried. The connection may be open although its server
/// is stopped, or cut off from the others.
const SILENCE: Duration = Duration::from_secs(5);

/// When the leader has last answered, and when another server was last tried.
#[derive(Debug)]
struct Silence {
    answered: Instant,
    left: Instant,
}

/// The connection to the servers.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) client: Client,
    /// For how long what may be repeated is repeated.
    pub(crate) limit: Duration,
    /// Number of times that a connection was made: what was not answered on an earlier one will not be.
    connects: watch::Receiver<u64>,
    silence: Arc<Mutex<Silence>>,
    /// The connection whose server has a version that is new enough.
    checked: Arc<AtomicU64>,
}

impl Servers {
    pub(crate) fn new(client: Client, limit: Duration) -> Self {
        let (sender, connects) = watch::channel(0);
        let statistics = client.statistics();
        tokio::spawn(async move {
            while !sender.is_closed() {
                let connects = statistics.connects.load(Ordering::Relaxed);
                sender.send_if_modified(|known| std::mem::replace(known, connects) != connects);
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        });
        let now = Instant::now();
        let silence = Arc::new(Mutex::new(Silence { answered: now, left: now }));
        Self { client, limit, connects, silence, checked: Arc::default() }
    }

    /// Waits until another connection was made.
    pub(crate) fn reconnected(&self) -> impl Future<Output = ()> + use<> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        async move {
            if connects.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Notes that the leader has answered.
    fn answered(&self) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.answered = Instant::now();
    }

    /// Leaves a server through which the leader was not reached for some time.
    async fn unanswered(&self) {
        let leaves = {
            let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
            let leaves = silence.answered.max(silence.left).elapsed() >= SILENCE;
            if leaves {
                silence.left = Instant::now();
            }
            leaves
        };
        if leaves {
            // Without a connection, one is being made.
            let _ = self.client.force_reconnect().await;
        }
    }

    async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        let mut request = Request::new().payload(payload).timeout(Some(ANSWER));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let reconnected = self.reconnected();
        let answer = tokio::select! {
            biased;
            answer = self.client.send_request(subject, request) => answer.map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => Failure::NoReceiver,
                _ => Failure::NoAnswer(error.to_string()),
            }),
            () = reconnected => return Err(Failure::NoAnswer("the connection has ended".into())),
        };
        if answer.is_err() {
            self.unanswered().await;
        }
        answer
    }

    /// Asks for something once. The error is what was met instead of an answer.
    pub(crate) async fn ask(&self, subject: String, payload: Bytes) -> Result<Bytes, String> {
        let answer = self.request(subject, None, payload).await;
        answer.map(|answer| answer.payload).map_err(Failure::text)
    }

    /// Publishes messages: all of them are stored, one after the other, or none.
    pub(crate) async fn send(&self, messages: &[Outgoing]) -> Result<Sent, Error> {
        let Some((last, others)) = messages.split_last() else { return Ok(Sent::Lost) };
        let mut last = last.clone();
        if !others.is_empty() {
            let batch = Uuid::now_v7().simple().to_string();
            for (number, message) in (1_u64..).zip(others) {
                let mut headers = message.headers.clone();
                headers.insert("Nats-Batch-Id", batch.as_str());
                headers.insert("Nats-Batch-Sequence", number.to_string());
                let (subject, payload) = (message.subject.clone(), message.payload.clone());
                let published = self.client.publish_with_headers(subject, headers, payload).await;
                if let Err(error) = published {
                    // Without its last message, the batch is not stored.
                    return Ok(Sent::NotNow(error.to_string()));
                }
            }
            last.headers.insert("Nats-Batch-Id", batch.as_str());
            last.headers.insert("Nats-Batch-Sequence", messages.len().to_string());
            last.headers.insert("Nats-Batch-Commit", "1");
        }
        let answer = self.request(last.subject, Some(last.headers), last.payload).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure::NoReceiver) => return Ok(Sent::NotNow(Failure::NoReceiver.text())),
            Err(failure) => return Ok(Sent::Unknown(failure.text())),
        };
        let sent = match serde_json::from_slice::<Acknowledgement>(&answer.payload) {
            Ok(Acknowledgement { error: Some(error), .. }) => refused(error),
            Ok(Acknowledgement { seq, error: None }) if seq > 0 => Ok(Sent::Stored(seq)),
            Ok(_) => Ok(Sent::Unknown("the acknowledgement has no sequence".into())),
            Err(error) => {
                Ok(Sent::Unknown(format!("the acknowledgement is not readable: {error}")))
            }
        };
        match sent {
            Ok(Sent::NotNow(_)) => self.unanswered().await,
            _ => self.answered(),
        }
        sent
    }

    /// Asks the leader of a stream for a message. `None`: there is none.
    async fn get(&self, stream: &str, query: serde_json::Value) -> Result<Option<Stored>, Error> {
        let query = Bytes::from(query.to_string());
        let mut pause = Pause::new(self.limit);
        loop {
            let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
            let mut is_missing = false;
            let last = match self.request(subject, None, query.clone()).await {
                Ok(answer) => match serde_json::from_slice::<Got>(&answer.payload) {
                    Ok(Got { error: Some(error), .. }) => match error.err_code {
                        10037 => {
                            self.answered();
                            return Ok(None);
                        }
                        // A new leader of the cluster may not know the stream yet.
                        10059 => {
                            is_missing = true;
                            error.description
                        }
                        _ if error.code == 503 => {
                            self.unanswered().await;
                            error.description
                        }
                        code => {
                            return Err(Error::Server { code, description: error.description });
                        }
                    },
                    Ok(Got { message: Some(raw), .. }) => {
                        self.answered();
                        return stored(raw).map(Some);
                    }
                    Ok(_) => "the answer has no message".into(),
                    Err(error) => format!("the answer is not readable: {error}"),
                },
                Err(failure) => failure.text(),
            };
            if let Err(error) = pause.wait(last).await {
                let name = stream.to_owned();
                return Err(if is_missing { Error::NoStore { name } } else { error });
            }
        }
    }

    /// The last message of a subject, which may have wildcards.
    pub(crate) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, Error> {
        self.get(stream, serde_json::json!({ "last_by_subj": subject })).await
    }

    /// The first message of a subject from a sequence on.
    pub(crate) async fn next(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
    ) -> Result<Option<Stored>, Error> {
        self.get(stream, serde_json::json!({ "seq": from, "next_by_subj": subject })).await
    }

    /// The message with a sequence.
    pub(crate) async fn at(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, Error> {
        self.get(stream, serde_json::json!({ "seq": sequence })).await
    }

    /// The largest message, with its headers.
    pub(crate) fn max_payload(&self) -> u64 {
        self.client.max_payload() as u64
    }

    /// Refuses a server that a reconnect has led to and that is too old.
    pub(crate) fn check_version(&self) -> Result<(), Error> {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        if self.checked.load(Ordering::Relaxed) != connects {
            crate::open::check_version(&self.client)?;
            self.checked.store(connects, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn refused(error: ApiError) -> Result<Sent, Error> {
    let ApiError { code, err_code, description } = error;
    match err_code {
        // The expected sequence of a subject.
        10071 => Ok(Sent::Lost),
        10164 => Ok(Sent::Busy),
        // A batch was not received as a whole, or there are too many.
        10176 | 10210 => Ok(Sent::NotNow(description)),
        // Storing has begun and failed.
        10077 => Ok(Sent::Unknown(description)),
        _ if code == 503 || code == 429 => Ok(Sent::NotNow(description)),
        _ => Err(Error::Server { code: err_code, description }),
    }
}

fn stored(raw: Raw) -> Result<Stored, Error> {
    let Raw { subject, seq, hdrs, data } = raw;
    let foreign = |why: String| Error::Foreign { subject: subject.clone(), sequence: seq, why };
    let decode = |text: String| STANDARD.decode(text).map_err(|error| foreign(error.to_string()));
    let headers = decode(hdrs)?;
    let text = std::str::from_utf8(&headers)
        .map_err(|error| foreign(format!("its header is not text: {error}")))?;
    let headers = headers_of(text);
    let payload = decode(data)?.into();
    Ok(Stored { subject, sequence: seq, headers, payload })
}

/// The headers of a message, from their text.
fn headers_of(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines().skip(1) {
        // A line that is no header belongs to a message that is not of this crate.
        if let Some((name, value)) = line.split_once(':')
            && let Ok(name) = name.trim().parse::<HeaderName>()
            && let Ok(value) = value.trim().parse::<HeaderValue>()
        {
            headers.append(name, value);
        }
    }
    headers
}
