#!/usr/bin/env bash
# Opens the report of every library scenario, and that of a plan, in headless Chromium, on a light and on a dark ground, and prints one:
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

# both NAME PAGE: what it looks like by day and by night.
both() {
    view "$2" "$out/$1-light.png" --blink-settings=preferredColorScheme=1 --window-size=1200,5000 \
        --screenshot="$out/$1-light.png"
    view "$2" "$out/$1-dark.png" --blink-settings=preferredColorScheme=0 --window-size=1200,5000 \
        --screenshot="$out/$1-dark.png"
    # The two are not the same picture.
    if cmp -s "$out/$1-light.png" "$out/$1-dark.png"; then
        echo "$2: is the same in the dark"
        exit 1
    fi
    count=$((count + 1))
    echo "$1: fine"
}

# write PAGE ARGUMENT...: a missed SLO is exit code 1, and no failure here.
write() {
    local page=$1
    shift
    "$tenfold" "$@" --replications "${REPLICATIONS:-1}" --report "$page" --quiet >/dev/null 2>"$work/errors" || [ $? -eq 1 ] || {
        cat "$work/errors"
        exit 1
    }
}

count=0
all=("$@")
[ ${#all[@]} -gt 0 ] || all=(scenarios/library/*.toml)
for scenario in "${all[@]}"; do
    name=$(basename "$scenario" .toml)
    page="$out/$name.html"
    write "$page" run "$scenario"
    if [ $count -eq 0 ]; then
        view "$page" "$out/$name.pdf" --no-pdf-header-footer --print-to-pdf="$out/$name.pdf"
    fi
    both "$name" "$page"
done
if [ $# -eq 0 ]; then
    write "$out/plan.html" plan scenarios/library/llm-capacity.toml --scale 10x --axis components.llm.replicas=1..4/1 \
        --axis components.llm.precision=bf16,fp8 --pareto --tornado traffic.chat.prompt_tokens.lognormal.mean
    both plan "$out/plan.html"
fi
echo "$count reports open without a word on the console"
