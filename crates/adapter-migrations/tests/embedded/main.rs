//! Moves the data of embedded backends: databases that they have written, closed and opened again.

#![allow(clippy::unwrap_used, reason = "a test ends with the first failure")]

mod evento;
mod factstr;
mod umadb;
