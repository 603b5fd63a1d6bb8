//! The on-disk format compared with `format-spec.md`: golden files that never change, a reader in
//! another language, and the annotated hexdump.
#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod cold;
mod damage;
mod generate;
mod golden;
mod hexdump;
mod layout;
mod reader;
mod refusal;
mod snapshots;
mod support;
