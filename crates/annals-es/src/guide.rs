//! The guide. It contains documentation only.

#![allow(clippy::doc_markdown, reason = "names of products are no code")]

#[doc = include_str!("../docs/production.md")]
pub mod production {}

#[doc = include_str!("../docs/coming-from.md")]
pub mod coming_from {}
