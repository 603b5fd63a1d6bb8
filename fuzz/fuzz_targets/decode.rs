//! Each structure of the format, with and without checksums made right.

#![no_main]

#[path = "../../tests/fuzz_smoke/allocations.rs"]
mod allocations;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    annals::testing::decode::any(input);
});
