#!/usr/bin/env bash
# Opens the report of every library scenario in headless Chromium, on a light and on a dark ground, and prints one:
# fails when a page writes to the console, cannot be opened or comes out empty. Keeps the pages and what was seen of
# them in the directory that is given (default: a temporary one that is removed). Does nothing where there is no Chromium.
# Usage: scenarios/tests/report-in-chromium.sh [DIR] [SCENARIO...]
set -euo pipefail
cd "$(dirname "$0")/../.."

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
    echo "no Chromium here: nothing is checked"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${1:-$work/pages}
mkdir -p "$out"
out=$(cd "$out" && pwd)
shift || true
tenfold=${TENFOLD:-target/debug/tenfold}
[ -n "${TENFOLD:-}" ] || cargo build --quiet --locked -p tenfold-cli

# view NAME.html FILE ARGUMENT...: opens a page and writes what comes of it to a file.
view() {
    local page=$1 file=$2 profile log
    shift 2
    profile=$(mktemp -d -p "$work")
    log="$work/log"
    rm -f "$file"
    timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --user-data-dir="$profile" \
        --hide-scrollbars --enable-logging=stderr --v=0 "$@" "file://$page" >"$log" 2>&1 || {
        echo "$page: Chromium failed"
        tail -5 "$log"
        return 1
    }
    rm -rf "$profile"
    if grep -a 'CONSOLE' "$log"; then
        echo "$page: writes to the console"
        return 1
    fi
    [ -s "$file" ] || {
        echo "$page: nothing was seen"
        return 1
    }
}

scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || scenarios=(scenarios/library/*.toml)
count=0
for scenario in "${scenarios[@]}"; do
    name=$(basename "$scenario" .toml)
    page="$out/$name.html"
    # A missed SLO is exit code 1, and no failure here.
    "$tenfold" run "$scenario" --replications "${REPLICATIONS:-1}" --report "$page" --quiet >/dev/null 2>"$work/errors" || [ $? -eq 1 ] || {
        cat "$work/errors"
        exit 1
    }
    view "$page" "$out/$name-light.png" --blink-settings=preferredColorScheme=1 --window-size=1200,5000 \
        --screenshot="$out/$name-light.png"
    view "$page" "$out/$name-dark.png" --blink-settings=preferredColorScheme=0 --window-size=1200,5000 \
        --screenshot="$out/$name-dark.png"
    # The two are not the same picture.
    if cmp -s "$out/$name-light.png" "$out/$name-dark.png"; then
        echo "$page: is the same in the dark"
        exit 1
    fi
    if [ $count -eq 0 ]; then
        view "$page" "$out/$name.pdf" --no-pdf-header-footer --print-to-pdf="$out/$name.pdf"
    fi
    count=$((count + 1))
    echo "$name: fine"
done
echo "$count reports open without a word on the console"
