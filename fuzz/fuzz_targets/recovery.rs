//! A damaged store: verified, opened, read, appended to.

#![no_main]

#[path = "../../tests/fuzz_smoke/allocations.rs"]
mod allocations;
#[path = "../../tests/fuzz_smoke/recovery/mod.rs"]
mod recovery;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| recovery::check(input));
