#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, tests, documentation.
# Runs on a fresh Debian machine with Rust; installs what is missing.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev
fi
# A screen without a screen, for the desktop app: renderers in software, a display in memory, and hands.
if ! command -v Xvfb >/dev/null || ! command -v xdotool >/dev/null ||
    ! ls /usr/share/vulkan/icd.d/lvp_icd* >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        libgl1-mesa-dri libxkbcommon-x11-0 mesa-vulkan-drivers xdotool xvfb
fi
if ! cargo nextest --version >/dev/null 2>&1; then
    cargo install --locked --quiet cargo-nextest
fi

# One feature selection for every step, or the large libraries are compiled twice.
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo nextest run --workspace --locked --no-fail-fast
gui/tests/window.sh
cargo test --workspace --locked --doc --quiet
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps --quiet

# The Python package: its wheel, its tests and its notebooks.
venv=target/python
if ! python3 -m venv --help >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv
fi
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r python/requirements-dev.txt
rm -rf target/python-wheels
"$venv/bin/maturin" build --quiet --profile dev --locked --manifest-path python/Cargo.toml \
    --interpreter "$venv/bin/python" --out target/python-wheels
"$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps target/python-wheels/*.whl
"$venv/bin/mypy" --config-file python/pyproject.toml -p tenfold
"$venv/bin/mypy" --config-file validation/engine/mypy.ini validation/engine/*.py validation/engine/tests
# The engine's own tests are skipped without PyTorch.
"$venv/bin/pytest" -q -rs python/tests validation/engine/tests
"$venv/bin/jupyter" nbconvert --log-level WARN --to notebook --execute --output-dir target/python-notebooks python/notebooks/*.ipynb
