//! UmaDB: annals-umadb and umadb-core.
//!
//! Owns how each is configured. Must never measure.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use annals_umadb::UmaStore;
use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::pager::ReadMethod;
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};

use crate::input::Deposited;
use crate::measure::{Positions, Side};
use crate::{Appends, Setup, Survives};

/// Appends that may wait for the writer thread, and that it may put into one commit.
const IN_FLIGHT: usize = 1_000;

/// How umadb-core reads pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// From the file, without a cache: its defaults.
    Uncached,
    /// From a memory map, with a cache of decoded pages that holds the whole store.
    Cached,
}

fn events(account: &str, numbers: Range<u64>) -> Vec<DcbEvent> {
    let event = |number| {
        let data = serde_json::to_vec(&Deposited::new(account, number)).expect("it is JSON");
        DcbEvent::new().event_type("deposited").tags([account]).data(data)
    };
    numbers.map(event).collect()
}

/// The events of an account.
fn query(account: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([account]))
}

/// What each append demands.
struct Condition {
    appends: Appends,
    positions: Positions,
}

impl Condition {
    fn new(appends: Appends) -> Self {
        Self { appends, positions: Positions::default() }
    }

    fn of(&self, account: &str) -> Option<DcbAppendCondition> {
        match self.appends {
            Appends::Always => None,
            Appends::Unchanged => {
                let after = self.positions.get(account);
                Some(DcbAppendCondition::new(query(account)).after(after))
            }
        }
    }

    fn appended(&self, account: &str, position: u64) {
        if self.appends == Appends::Unchanged {
            self.positions.set(account, position);
        }
    }
}

fn load(store: &impl DcbEventStoreSync, account: &str) -> u64 {
    let mut count = 0;
    for item in store.read(Some(query(account)), None, false, None).expect("it can be read") {
        let data = item.expect("it can be read").event.data;
        let event: Deposited = serde_json::from_slice(&data).expect("it is an event");
        assert_eq!(event.account, account, "the query is for this account");
        count += 1;
    }
    count
}

/// A store whose trait is called by each client itself.
struct Direct<S>(S, Condition);

impl<S: DcbEventStoreSync + Send + Sync> Side for Direct<S> {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let done = self.0.append(events(account, numbers), self.1.of(account), None);
        self.1.appended(account, done.expect("it is stored"));
    }

    fn load(&self, account: &str) -> u64 {
        load(&self.0, account)
    }
}

pub fn annals(setup: &Setup<'_>, appends: Appends) -> Box<dyn Side> {
    let store = setup.survives.options().open(setup.dir.join("store")).expect("a new store");
    Box::new(Direct(UmaStore::new(store), Condition::new(appends)))
}

/// umadb-core, which always syncs. One client calls it directly. Its append is for one thread at a time; several
/// clients send their appends to the writer thread that UmaDB's server has.
pub fn core(setup: &Setup<'_>, reads: Reads, appends: Appends) -> Box<dyn Side> {
    assert_eq!(setup.survives, Survives::PowerFailure, "it always syncs");
    let mut options = StorageOptions::default().db_path(setup.dir);
    if reads == Reads::Cached {
        options = options.read_method(ReadMethod::Mmap);
        options = options.page_cache_max_mb(256).page_cache_max_pages(1 << 16);
    }
    let mvcc = Arc::new(Mvcc::new(false, options).expect("a new store"));
    let db = UmaDb::from_arc(Arc::clone(&mvcc));
    if setup.clients == 1 {
        return Box::new(Direct(db, Condition::new(appends)));
    }
    let (requests, receiver) = mpsc::channel(IN_FLIGHT);
    let (head, _) = watch::channel(None);
    let writer = std::thread::spawn(move || {
        writer_thread_blocking(mvcc, receiver, head, IN_FLIGHT);
    });
    Box::new(Queued { db, condition: Condition::new(appends), requests, writer: Some(writer) })
}

/// umadb-core with a writer thread.
struct Queued {
    db: UmaDb,
    condition: Condition,
    requests: mpsc::Sender<WriterThreadRequest>,
    writer: Option<JoinHandle<()>>,
}

impl Side for Queued {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let (response_tx, reply) = oneshot::channel();
        let request = WriterThreadRequest::Append {
            events: events(account, numbers),
            condition: self.condition.of(account),
            tracking_info: None,
            response_tx,
            cancel: None,
        };
        self.requests.blocking_send(request).expect("the writer runs");
        let done = reply.blocking_recv().expect("the writer runs");
        self.condition.appended(account, done.expect("it is stored"));
    }

    fn load(&self, account: &str) -> u64 {
        load(&self.db, account)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let ended = self.requests.blocking_send(WriterThreadRequest::Shutdown);
        if let (Ok(()), Some(writer)) = (ended, self.writer.take()) {
            writer.join().expect("no panic");
        }
    }
}
