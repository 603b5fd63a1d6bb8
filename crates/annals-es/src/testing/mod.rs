//! What tests of an application need.

pub mod conformance;
