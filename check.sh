#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, tests, documentation.
# Runs on a fresh Debian machine with Rust; installs what is missing.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev
fi
if ! cargo nextest --version >/dev/null 2>&1; then
    cargo install --locked --quiet cargo-nextest
fi

# One feature selection for every step, or the large libraries are compiled twice.
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo nextest run --workspace --locked --no-fail-fast
cargo test --workspace --locked --doc --quiet
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps --quiet
