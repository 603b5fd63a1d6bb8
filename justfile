# The words people look for. Each recipe is a short list of plain commands.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes.
default:
    @just --list

# All tests: unit, integration, doctests (the README is one of them).
test *args:
    cargo test --workspace {{ args }}

# Like `test`, with one process a test. nextest runs no doctests, so those follow.
nextest *args:
    cargo nextest run --workspace {{ args }}
    cargo test --workspace --doc

# The tests that need a PostgreSQL server, with one that is started for them.
postgres *args:
    .ci/postgres cargo test -p annals-es-postgres --test postgres {{ args }}
    .ci/postgres cargo test -p annals-postgres --test postgres {{ args }}
    .ci/postgres cargo test -p annals-postgres --test history

# The tests that need NATS servers, with three that are started for them.
nats *args:
    .ci/nats cargo test -p annals-jetstream --test jetstream {{ args }}
    .ci/nats cargo test -p annals-jetstream --test history

# The web page in Chromium, which is installed if that is possible.
browser *args:
    .ci/browser cargo test -p annals-ui --test browser {{ args }}

# The tests of backups that need an S3 server, with one that is started for them.
s3 *args:
    .ci/s3 cargo test -p annals-backup --features s3 --test s3 {{ args }}

# The data of the backends that the adapters take the place of, moved to annals; with a PostgreSQL server.
adapter-migrations *args:
    .ci/postgres cargo test --manifest-path crates/adapter-migrations/Cargo.toml {{ args }}

# Format, clippy and, where it is installed, the licences and sources of dependencies.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy -p annals --lib -- -D warnings
    if command -v cargo-deny > /dev/null; then cargo deny --workspace --all-features check bans licenses sources; else echo "cargo-deny is not installed: skipped"; fi

# The API documentation, as strict as CI.
docs *args:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features {{ args }}

# The engine beside bare loops over the same bytes: rates and ratios.
bench *args:
    cargo bench --bench limits {{ args }}

# Every bench, the criterion ones too.
bench-all *args:
    cargo bench -p annals {{ args }}

# Each fuzz target for some seconds, two at a time; needs a nightly toolchain and cargo-fuzz.
fuzz seconds="600":
    fuzz/run {{ seconds }}

# Lines that the library's tests reach, by module; needs cargo-llvm-cov and llvm-tools. The lines
# that they do not reach: `cargo llvm-cov report --show-missing-lines`.
coverage *modules:
    cargo llvm-cov -p annals --tests --no-report
    cargo llvm-cov report --json --summary-only --output-path target/coverage.json
    python3 .ci/coverage target/coverage.json {{ modules }}

# The whole store under schedulers that choose the next thread; see docs/internals/concurrency.md.
shuttle schedules="1000" *args:
    ANNALS_SCHEDULES={{ schedules }} RUSTFLAGS="--cfg annals_shuttle --cfg annals_loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/models" cargo test -p annals --test shuttle {{ args }}

# The protocols without locks, in all interleavings that weak memory allows.
loom *args:
    RUSTFLAGS="--cfg annals_shuttle --cfg annals_loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/models" cargo test -p annals --test loom {{ args }}

# Undefined behaviour and data races, by interpreter; needs a nightly toolchain with miri.
miri *args:
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance" cargo +nightly miri test -p annals --lib --test memory {{ args }}

# Data races while the concurrency tests run; needs a nightly toolchain with rust-src.
tsan *args:
    RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan" cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu -p annals --test concurrency --test memory {{ args }}

# Simulated lives: faults, crashes, recoveries, and a check of every promise (docs/evidence/simulator.md).
simulate *args:
    cargo run --release --example simulate --features testing -- {{ args }}

# The engine beside the stores a user would pick instead; compiles all of them, which takes long.
peers *args:
    cargo run --release --manifest-path benches/peers/Cargo.toml -- {{ args }}

# Commands of the toolkit beside those of cqrs-es on SQLite.
toolkit-peers *args:
    cargo run --release --manifest-path benches/toolkit-peers/Cargo.toml -- {{ args }}

# The adapters beside the embedded or SQLite backends of their crates.
adapter-peers *args:
    cargo run --release --manifest-path benches/adapter-peers/Cargo.toml -- {{ args }}

# The adapter with a toolchain of its own, which rustup installs: format, lints, docs, tests.
nautilus:
    .ci/nautilus

# annals-nautilus beside upstream's redb backend.
nautilus-peers *args:
    cd crates/annals-nautilus && cargo run --release --example beside_redb -- {{ args }}

# Plants bugs in a copy of the engine, one by one, and shows what detects each.
planted-bugs *args:
    cargo run --release -p planted-bugs -- {{ args }}

# Writers killed with -9, again and again, and the store held to what they had said.
torture minutes="10" *args:
    cargo run --release --example torture --features testing -- --minutes {{ minutes }} {{ args }}

# The main job on real input: a git history as events, checked against git.
main-job *args:
    cargo run --release --example git_history -- {{ args }}

# The crates the library pulls, itself among them (the README states how many).
deps *args:
    @cargo tree -p annals -e normal --prefix none --no-dedupe {{ args }} | sort -u

# The library with the oldest toolchain that Cargo.toml promises (rust-version).
msrv:
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); rustup toolchain install --profile minimal "$version"; CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" cargo "+$version" check -p annals -p annals-cli --all-features

# What would be published, built from the package alone.
package:
    cargo package -p annals

# Whether the API is compatible with an earlier commit; needs cargo-semver-checks.
semver baseline="HEAD~1":
    cargo semver-checks -p annals --all-features --baseline-rev {{ baseline }}

# Draws the README's picture from its source.
picture:
    python3 docs/how-it-works.py

# Windows under Wine, 32-bit, big-endian under QEMU, a compile check for macOS: all, or those named
# (docs/internals/portability.md). What has no tools is skipped; ANNALS_INSTALL=1 installs them on Debian.
portability *args:
    .ci/portability {{ args }}

# The tests of the API, of crashes and of the format as a Windows program, under Wine.
windows:
    .ci/portability windows

# What CI runs.
ci:
    bash .ci/run
