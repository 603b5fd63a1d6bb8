//! The fuzz target `ndjson` under plain `cargo test`: seeds cut and joined at every byte.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, reason = "tests")]

#[path = "../../../fuzz/shared/ndjson.rs"]
mod ndjson;

#[test]
fn what_is_read_is_written_and_read_again_as_the_same() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/ndjson");
    // A published package has no seeds.
    let Ok(entries) = std::fs::read_dir(seeds) else { return };
    for entry in entries {
        let line = std::fs::read(entry.unwrap().path()).unwrap();
        ndjson::check(&line);
        for at in 0..line.len() {
            ndjson::check(&line[..at]);
            for byte in [0, b'"', b'\\', b'{', b'}', b',', b' ', 0x80, 0xFF] {
                let mut changed = line.clone();
                changed[at] = byte;
                ndjson::check(&changed);
            }
        }
    }
}
