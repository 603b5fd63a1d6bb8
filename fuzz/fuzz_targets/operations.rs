//! Operations on a store and on the model.

#![no_main]

#[path = "../../tests/fuzz_smoke/allocations.rs"]
mod allocations;
#[path = "../../tests/fuzz_smoke/operations.rs"]
mod operations;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| operations::check(input));
