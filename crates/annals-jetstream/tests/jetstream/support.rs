//! A store of its own on the servers for each test.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use annals_conformance::Backend;
use annals_es::Cause;
use annals_es::blocking::block_on;
use annals_jetstream::async_nats::{Client, ConnectOptions, jetstream};
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};
use tokio::runtime::Runtime;

pub(crate) type Tests = &'static [(&'static str, fn())];

/// Drives the connections of the tests themselves.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

/// The client of the tests themselves.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let user = ConnectOptions::with_user_and_password("app".into(), "app".into());
    RUNTIME.block_on(user.connect(&servers()[..])).expect("a connection")
});

pub(crate) fn addresses() -> Option<String> {
    std::env::var("ANNALS_JETSTREAM").ok()
}

pub(crate) fn servers() -> Vec<String> {
    addresses().expect("servers").split(',').map(str::to_owned).collect()
}

pub(crate) fn client() -> Client {
    CLIENT.clone()
}

pub(crate) fn context() -> jetstream::Context {
    let _runtime = RUNTIME.enter();
    jetstream::new(client())
}

/// A name without a store.
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) replicas: usize,
}

impl Name {
    pub(crate) fn replicated() -> Self {
        Self::of(3)
    }

    pub(crate) fn single() -> Self {
        Self::of(1)
    }

    pub(crate) fn of(replicas: usize) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The client is made outside of the runtime.
        LazyLock::force(&CLIENT);
        Self { name: format!("test_{}_{number}", std::process::id()), replicas }
    }

    pub(crate) fn options(&self) -> JetStreamOptions {
        let options = JetStreamOptions::new(&servers()[..]).expect("addresses");
        let options = options.name(self.name.as_str()).replicas(self.replicas);
        options.durability(Durability::AcceptLoss)
    }

    pub(crate) fn store(&self) -> JetStreamStore {
        block_on(self.options().open()).expect("the store opens")
    }

    /// Changes the settings of the stream from outside.
    pub(crate) fn change(&self, change: impl FnOnce(&mut jetstream::stream::Config)) {
        RUNTIME.block_on(async {
            let stream = context().get_stream(&self.name).await.expect("the stream");
            let mut config = stream.cached_info().config.clone();
            change(&mut config);
            context().update_stream(config).await.expect("it is changed");
        });
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        for stream in [self.name.clone(), format!("KV_{}", self.name)] {
            // A test may have made no store.
            let _ = RUNTIME.block_on(context().delete_stream(stream));
        }
    }
}

impl Backend for Name {
    type Store = JetStreamStore;

    async fn open(&self) -> Result<JetStreamStore, Cause> {
        Ok(self.options().open().await?)
    }
}
