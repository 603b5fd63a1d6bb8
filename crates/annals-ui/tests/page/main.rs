//! Every page, by requests inside this process.

#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]
#![allow(clippy::unwrap_used, reason = "a failure of a helper is the failure of its test")]

mod consumers;
mod gone;
mod health;
mod history;
mod hostile;
mod mounted;
mod pages;
mod search;
mod security;
mod support;
mod tail;
