//! Bare publishes of async-nats with the expectations that a store has to state: the last sequence of each subject.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use annals_jetstream::async_nats::jetstream::stream::{Config, DiscardPolicy};
use annals_jetstream::async_nats::jetstream::{self, Context};
use annals_jetstream::async_nats::{ConnectOptions, HeaderMap};

use crate::{Appends, DATA, Failure};

#[derive(Clone)]
pub struct Bare {
    context: Context,
    name: String,
    sequences: Arc<Mutex<HashMap<String, u64>>>,
}

impl Bare {
    pub async fn open(servers: &[String], replicas: usize) -> Result<Self, Failure> {
        let user = ConnectOptions::with_user_and_password("app".into(), "app".into());
        let context = jetstream::new(user.connect(servers).await?);
        let name = format!("bare_{replicas}");
        let config = Config {
            name: name.clone(),
            subjects: vec![format!("{name}.>")],
            num_replicas: replicas,
            discard: DiscardPolicy::New,
            ..Config::default()
        };
        context.create_stream(config).await?;
        Ok(Self { context, name, sequences: Arc::default() })
    }
}

impl Appends for Bare {
    async fn append(&self, stream: String, _: u64) -> Result<(), Failure> {
        let last = self.sequences.lock().unwrap().get(&stream).copied().unwrap_or(0);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
        let subject = format!("{}.{stream}", self.name);
        let sequence = loop {
            let (subject, headers) = (subject.clone(), headers.clone());
            let sent = self.context.publish_with_headers(subject, headers, DATA.into()).await?;
            match sent.await {
                Ok(done) => break done.sequence,
                // The server acknowledges a message shortly before it accepts the next one.
                Err(error) if format!("{error:?}").contains("10164") => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.sequences.lock().unwrap().insert(stream, sequence);
        Ok(())
    }

    async fn load(&self, _: String) -> Result<usize, Failure> {
        Err("it has no streams to load".into())
    }
}
