//! The aggregate of the scenarios: copies of a book.

use std::sync::{Arc, Mutex};

use adapter_tests::Life;
use annals_esrs::AnnalsStore;
use esrs::Aggregate;
use esrs::handler::EventHandler;
use esrs::store::StoreEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum BookEvent {
    Bought { copies: i32 },
    Sold { copies: i32 },
}

#[derive(Debug)]
pub(crate) enum Command {
    Buy(i32),
    Sell(i32),
    Exchange(i32),
}

#[derive(Debug, PartialEq)]
pub(crate) struct NotInStock;

impl std::fmt::Display for NotInStock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not in stock")
    }
}

impl std::error::Error for NotInStock {}

#[derive(Debug)]
pub(crate) struct Book;

impl Aggregate for Book {
    const NAME: &'static str = "book";
    type State = i32;
    type Command = Command;
    type Event = BookEvent;
    type Error = NotInStock;

    fn handle_command(stock: &i32, command: Command) -> Result<Vec<BookEvent>, NotInStock> {
        let (bought, sold) = match command {
            Command::Buy(copies) => (Some(copies), None),
            Command::Sell(copies) => (None, Some(copies)),
            Command::Exchange(copies) => (Some(copies), Some(copies)),
        };
        if sold.is_some_and(|copies| copies > *stock) {
            return Err(NotInStock);
        }
        let sold = sold.map(|copies| BookEvent::Sold { copies });
        let bought = bought.map(|copies| BookEvent::Bought { copies });
        Ok(sold.into_iter().chain(bought).collect())
    }

    fn apply_event(stock: i32, event: BookEvent) -> i32 {
        match event {
            BookEvent::Bought { copies } => stock + copies,
            BookEvent::Sold { copies } => stock - copies,
        }
    }
}

pub(crate) fn store(life: &Life) -> AnnalsStore<Book> {
    AnnalsStore::new(life.store().clone())
}

/// What happened, in the order in which a handler or a bus learned of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn add(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[derive(Debug)]
pub(crate) struct Handler(pub(crate) Seen);

#[async_trait::async_trait]
impl EventHandler<Book> for Handler {
    async fn handle(&self, event: &StoreEvent<BookEvent>) {
        self.0.add(format!("{} {:?}", event.sequence_number, event.payload));
    }

    async fn delete(&self, aggregate_id: Uuid) {
        self.0.add(format!("deleted {aggregate_id}"));
    }
}
