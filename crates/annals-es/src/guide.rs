//! The guide. It contains documentation only.

#[doc = include_str!("../docs/production.md")]
pub mod production {}

#[doc = include_str!("../docs/coming-from.md")]
pub mod coming_from {}
