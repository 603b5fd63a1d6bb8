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

# Each fuzz target for some seconds; needs a nightly toolchain and cargo-fuzz.
fuzz seconds="60":
    cargo +nightly fuzz list | while read -r target; do echo "== $target"; mkdir -p "fuzz/corpus/$target"; cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- -max_total_time={{ seconds }} < /dev/null; done

# Writers killed with -9, again and again, and the store held to what they had said.
torture minutes="10" *args:
    cargo run --release --example torture --features testing -- --minutes {{ minutes }} {{ args }}

# The main job on real input: a git history as events, checked against git.
main-job *args:
    cargo run --release --example git_history -- {{ args }}

# The crates the library pulls, itself among them (the README states how many).
deps *args:
    @cargo tree -p annals -e normal --prefix none --no-dedupe {{ args }} | sort -u

# What CI runs.
ci:
    bash .ci/run
