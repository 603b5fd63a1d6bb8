#![doc = include_str!("../README.md")]

mod copy;
mod error;
mod event;
mod executor;
mod read;
mod snapshot;
mod subscriber;
mod write;

pub use copy::{copy, copy_cursor};
pub use error::Error;
pub use executor::AnnalsExecutor;
