#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod address;
#[cfg(feature = "postgres")]
mod classic;
mod compare;
mod directory;
mod error;
mod moving;
#[cfg(feature = "nats")]
mod nats;
mod place;
mod positions;
#[cfg(feature = "postgres")]
mod postgres;

pub use address::Address;
#[cfg(feature = "postgres")]
pub use classic::Classic;
pub use directory::Directory;
pub use error::Error;
pub use moving::{Report, Settings, Step, Until, copy};
#[cfg(feature = "nats")]
pub use nats::Nats;
pub use place::{Events, Fence, HiddenStream, Rest, Source, Target};
pub use positions::PositionMap;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
