//! The errors of the store.
//!
//! Owns the meaning of each error of the server to the caller.

use std::io;
use std::time::Duration;

use annals_es::{StoreError, Timestamp};
use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::SqlState;

use crate::Positions;

/// Why a store in PostgreSQL could not be opened or used: the cause of a [`StoreError::Backend`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot be reached, or has ended the connection.
    #[error("the server cannot be reached")]
    Unreachable(#[source] tokio_postgres::Error),
    /// The server has refused the user, its password, or the database.
    #[error("the server has refused the connection: {0}")]
    Refused(#[source] tokio_postgres::Error),
    /// The user may not use a table, or not create the schema.
    #[error("the user lacks a privilege: {0}")]
    NotPermitted(#[source] tokio_postgres::Error),
    /// The server is older than PostgreSQL 15.
    #[error("the server has version {version}; PostgreSQL 15 or newer is needed")]
    ServerTooOld {
        /// The number of the server's version, such as 140011.
        version: u32,
    },
    /// The server would lose acknowledged commits when power fails. See
    /// [`PostgresOptions::accept_loss`](crate::PostgresOptions::accept_loss).
    #[error("the server loses acknowledged commits on power loss: {setting} is off")]
    NotDurable {
        /// The setting.
        setting: String,
    },
    /// The tables were made by another version of this crate.
    #[error("the tables have version {found}; this program knows version {supported}")]
    SchemaVersion {
        /// The version of the tables.
        found: i32,
        /// The version of this crate's tables.
        supported: i32,
    },
    /// The schema does not have a store.
    #[error("the schema {schema:?} has no store")]
    NoStore {
        /// The schema.
        schema: String,
    },
    /// The store was created with other positions than were asked for.
    #[error("the store was created with {found:?} positions, not {wanted:?}")]
    OtherPositions {
        /// What the store has.
        found: Positions,
        /// What was asked for.
        wanted: Positions,
    },
    /// The tables are not as this crate has made them.
    #[error("the tables were altered: {what}")]
    Altered {
        /// What differs.
        what: String,
    },
    /// The store is fenced: its history goes on elsewhere. See
    /// [`PostgresStore::raise_fence`](crate::PostgresStore::raise_fence).
    #[error("the store is fenced: its history goes on at {to:?}")]
    Fenced {
        /// Where the history goes on.
        to: String,
    },
    /// An imported commit was recorded before the last one of the store. Times do not go back.
    #[error("the commit cannot be recorded at {} µs: the last one was recorded at {} µs", given.as_micros(),
        earliest.as_micros())]
    RecordedTime {
        /// The time of the commit.
        given: Timestamp,
        /// The time of the last commit.
        earliest: Timestamp,
    },
    /// There is no such table or view, or the user may not see it.
    #[error("there is no table {table}")]
    NoTable {
        /// The name that was given.
        table: String,
    },
    /// A classic table cannot be read because of a column.
    #[error("table {table}, column {column}: {what}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong with it, or with a value in it.
        what: String,
    },
    /// The server has not answered in time, and the connection was given up.
    #[error("the server has not answered within {limit:?}")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The server has refused a statement.
    #[error("the server has refused a statement: {0}")]
    Server(#[source] tokio_postgres::Error),
    /// The work was ended with the runtime that did it.
    #[error("the runtime of the store has ended")]
    Ended,
    /// The thread that drives connections could not be started.
    #[error("the connections to the server cannot be driven")]
    Driver(#[source] io::Error),
}

impl Error {
    /// Whether another attempt may succeed without anything else having changed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut { .. } => true,
            Self::Server(error) => error.code().is_some_and(|code| {
                [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::UNIQUE_VIOLATION,
                ]
                .contains(code)
            }),
            _ => false,
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code() else { return Self::Unreachable(error) };
        // The first two characters are the class of the error.
        match code.code() {
            "28000" | "28P01" | "3D000" => Self::Refused(error),
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Self::Unreachable(error),
            "42501" => Self::NotPermitted(error),
            "42P01" | "42703" | "42804" | "3F000" | "42883" | "23502" | "428C9" => {
                Self::Altered { what: error.as_db_error().map_or("", |it| it.message()).to_owned() }
            }
            code if code.starts_with("08") => Self::Unreachable(error),
            _ => Self::Server(error),
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                error.into()
            }
            PoolError::Timeout(_) => Self::TimedOut { limit: crate::pool::CONNECT },
            _ => Self::Ended,
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Ended => Self::Closed,
            Error::Fenced { to } => Self::Fenced { to },
            error => Self::Backend(Box::new(error)),
        }
    }
}
