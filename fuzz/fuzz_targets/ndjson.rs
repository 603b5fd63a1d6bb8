//! Lines of NDJSON and CloudEvents.

#![no_main]

#[path = "../../tests/fuzz_smoke/allocations.rs"]
mod allocations;
#[path = "../shared/ndjson.rs"]
mod ndjson;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| ndjson::check(input));
