//! The fuzz targets of `fuzz/` under proptest, on any toolchain: a few cases each, of random bytes
//! and of kept seeds.
//!
//! `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET` runs the same checks for
//! any length of time. Every input that fails there is kept as a seed and run here.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, reason = "tests")]

mod allocations;
mod operations;
mod query;
mod recovery;
mod seeds;

use annals::testing::decode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Random bytes, and seeds with some bytes changed.
fn inputs(target: &str, most: usize) -> impl Strategy<Value = Vec<u8>> + use<> {
    let mut seeds = seeds::of(target);
    if seeds.is_empty() {
        seeds.push(Vec::new());
    }
    let changes = vec((any::<Index>(), any::<u8>()), 1..6);
    let mutated = (select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..most), mutated]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn decoders_accept_or_refuse_any_bytes(input in inputs("decode", 400)) {
        decode::any(&input);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn damaged_store_returns_nothing_wrong(input in inputs("recovery", 60)) {
        recovery::check(&input);
    }

    #[test]
    fn queries_match_as_a_scan(input in inputs("query", 40)) {
        query::check(&input);
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn operations_agree_with_the_model(input in inputs("operations", 200)) {
        operations::check(&input);
    }
}

#[test]
fn every_kept_fuzz_seed_passes() {
    for (target, check) in [
        ("operations", operations::check as fn(&[u8])),
        ("query", query::check),
        ("recovery", recovery::check),
    ] {
        for seed in seeds::of(target) {
            check(&seed);
        }
    }
}

/// The fuzzer needs them as a start.
#[test]
fn decoder_seeds_are_accepted_and_reach_every_structure() {
    let mut reached = [[false; 2]; decode::STRUCTURES.len()];
    for seed in seeds::of("decode") {
        let first = usize::from(seed[0] & !decode::PATCHED) % reached.len();
        reached[first][usize::from(seed[0] & decode::PATCHED != 0)] |= decode::any(&seed);
    }
    for (structure, reached) in decode::STRUCTURES.iter().zip(reached) {
        assert!(reached == [true; 2] || seeds::of("decode").is_empty(), "{}", structure.name);
    }
}
