//! What is in the store: its streams, event types, categories and tags.

use std::sync::Arc;

use super::Store;
use crate::index::Terms;
use crate::read::{Streams, TermCounts};

impl Store {
    /// Lists the streams that have visible events, by name.
    ///
    /// ```
    /// # use annals::{ExpectedVersion, NewEvent, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("ledger"))?;
    /// # for stream in ["account-1", "account-2", "account-2", "audit"] {
    /// #     store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")])?;
    /// # }
    /// for stream in store.streams().category("account").after("account-1").limit(100) {
    ///     assert_eq!(stream?.name, "account-2");
    /// }
    /// assert_eq!(store.streams().largest(1)?[0].name, "account-2");
    /// assert_eq!(store.streams().last_changed(1)?[0].name, "audit");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn streams(&self) -> Streams {
        Streams::new(Arc::clone(self.engine()))
    }

    /// The event types of all visible events, by name, with the number of events of each.
    pub fn event_types(&self) -> TermCounts {
        TermCounts::new(Arc::clone(self.engine()), Terms::Types)
    }

    /// The categories of all visible events, by name, with the number of events of each.
    pub fn categories(&self) -> TermCounts {
        TermCounts::new(Arc::clone(self.engine()), Terms::Categories)
    }

    /// The tags of all visible events, by name, with the number of events of each.
    pub fn tags(&self) -> TermCounts {
        TermCounts::new(Arc::clone(self.engine()), Terms::Tags)
    }
}
