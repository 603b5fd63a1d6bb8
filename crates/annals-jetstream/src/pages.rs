//! Pages of messages, which any replica answers.
//!
//! Owns the inbox to which pages are sent. A replica may lack the newest messages; what it has is a beginning of what
//! the leader has. So a page has every message from where it begins to its last one, and says nothing about later ones: its
//! reader must know from the leader where to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use crate::Error;
use crate::message::Stored;
use crate::server::Servers;

/// Number of messages of a page, and of bytes after which it ends.
pub(crate) const MESSAGES: u64 = 512;
pub(crate) const BYTES: u64 = 2 << 20;
/// How long the next message of a page may take.
const ANSWER: Duration = Duration::from_secs(2);

type Waiting = Arc<Mutex<HashMap<u64, mpsc::UnboundedSender<Message>>>>;

/// A page, or the beginning of one.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Stored>,
    /// The replica has no more messages than these.
    pub(crate) is_all: bool,
}

/// Asks replicas for pages.
#[derive(Debug)]
pub(crate) struct Pages {
    servers: Servers,
    /// The subject of requests.
    subject: String,
    inbox: String,
    waiting: Waiting,
    number: AtomicU64,
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<Message>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes answers on, until the last handle of the store is dropped.
async fn pass_on(
    client: Client,
    inbox: String,
    waiting: std::sync::Weak<Mutex<HashMap<u64, mpsc::UnboundedSender<Message>>>>,
) {
    let Ok(mut answers) = client.subscribe(format!("{inbox}.*")).await else { return };
    loop {
        let next = tokio::time::timeout(Duration::from_secs(1), answers.next()).await;
        let Some(waiting) = waiting.upgrade() else { return };
        match next {
            Ok(Some(message)) => {
                let number = message.subject.rsplit('.').next().and_then(|it| it.parse().ok());
                if let Some(number) = number
                    && let Some(sender) = lock(&waiting).get(&number)
                {
                    // A request that is no longer waited for.
                    let _ = sender.send(message);
                }
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// Forgets a request when it is dropped.
struct Request<'a>(&'a Waiting, u64);

impl Drop for Request<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

impl Pages {
    pub(crate) fn new(servers: Servers, stream: &str) -> Self {
        let inbox = servers.client.new_inbox();
        let waiting = Waiting::default();
        let (client, answers) = (servers.client.clone(), Arc::downgrade(&waiting));
        tokio::spawn(pass_on(client, inbox.clone(), answers));
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        Self { servers, subject, inbox, waiting, number: AtomicU64::new(0) }
    }

    /// The messages of a subject from a sequence on, from one replica.
    pub(crate) async fn page(&self, filter: &str, from: u64, messages: u64) -> Result<Page, Error> {
        // The server treats a page of one message as something else.
        let messages = messages.max(2);
        let query = serde_json::json!({
            "seq": from, "next_by_subj": filter, "batch": messages, "max_bytes": BYTES,
        });
        self.ask(query, from).await
    }

    /// The last message of a subject at or before a sequence, as far as one replica has them.
    pub(crate) async fn before(&self, subject: &str, up_to: u64) -> Result<Option<Stored>, Error> {
        let query = serde_json::json!({ "multi_last": [subject], "up_to_seq": up_to });
        Ok(self.ask(query, 0).await?.messages.pop())
    }

    /// One attempt. What does not fit together is dropped with what follows it; nothing at all is an empty page.
    async fn ask(&self, query: serde_json::Value, from: u64) -> Result<Page, Error> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, mut answers) = mpsc::unbounded_channel();
        lock(&self.waiting).insert(number, sender);
        let _request = Request(&self.waiting, number);
        let reconnected = self.servers.reconnected();
        tokio::pin!(reconnected);
        let reply = format!("{}.{number}", self.inbox);
        let query = Bytes::from(query.to_string());
        let client = &self.servers.client;
        if client.publish_with_reply(self.subject.clone(), reply, query).await.is_err() {
            return Err(Error::Ended);
        }
        let (mut page, mut last) = (Page::default(), 0);
        loop {
            let answer = tokio::select! {
                biased;
                answer = tokio::time::timeout(ANSWER, answers.recv()) => answer,
                () = &mut reconnected => return Ok(page),
            };
            let Ok(Some(answer)) = answer else { return Ok(page) };
            match answer.status.map(|status| status.as_u16()) {
                None | Some(200) => {}
                Some(204) => {
                    let end =
                        answer.headers.as_ref().and_then(|it| number_of(it, "Nats-Last-Sequence"));
                    let pending =
                        answer.headers.as_ref().and_then(|it| number_of(it, "Nats-Num-Pending"));
                    page.is_all = end == Some(last) && pending == Some(0);
                    return Ok(page);
                }
                Some(404) => {
                    page.is_all = true;
                    return Ok(page);
                }
                Some(503) => return Ok(page),
                Some(code) => {
                    let description = answer.description.unwrap_or_default();
                    return Err(Error::Server { code: code.into(), description });
                }
            }
            let Some(message) = stored(answer, last).filter(|it| it.sequence >= from.max(last + 1))
            else {
                return Ok(page);
            };
            last = message.sequence;
            page.messages.push(message);
        }
    }
}

fn number_of(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get_last(name)?.as_str().parse().ok()
}

/// The message of an answer that follows the message with a sequence.
fn stored(answer: Message, last: u64) -> Option<Stored> {
    let headers = answer.headers?;
    let sequence = number_of(&headers, "Nats-Sequence")?;
    if number_of(&headers, "Nats-Last-Sequence").is_some_and(|it| it != last) {
        return None;
    }
    let subject = headers.get_last("Nats-Subject")?.as_str().to_owned();
    Some(Stored { subject, sequence, headers, payload: answer.payload })
}
