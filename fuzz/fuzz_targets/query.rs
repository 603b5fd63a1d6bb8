//! Queries over sealed segments, against a walk over all events.

#![no_main]

#[path = "../../tests/fuzz_smoke/allocations.rs"]
mod allocations;
#[path = "../../tests/fuzz_smoke/query.rs"]
mod query;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| query::check(input));
