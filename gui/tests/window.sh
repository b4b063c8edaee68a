#!/usr/bin/env bash
# A real window, driven by the keyboard through a whole story: open, stress test, apply what helps, see it hold, write
# the report.
#
#     gui/tests/window.sh                short: a small shop
#     gui/tests/window.sh full           the scenario `ten-times`; pictures go to docs/src/pictures/
#
# Needs Xvfb, xdotool and a software renderer (Debian: xvfb xdotool libgl1-mesa-dri imagemagick), and the built
# `tenfold-gui`, by default that of target/debug: TENFOLD_GUI names another one.
set -euo pipefail
cd "$(dirname "$0")/../.."

app=${TENFOLD_GUI:-target/debug/tenfold-gui}
dir=$(mktemp -d)
pictures=$dir
scenario=$dir/shop.toml
cp gui/tests/shop.toml "$scenario"
if [ "${1:-}" = full ]; then
    scenario=scenarios/library/ten-times.toml
    pictures=docs/src/pictures
    mkdir -p "$pictures"
fi

fail() {
    echo "window.sh: $1" >&2
    sed 's/^/  /' "$dir/log" >&2
    exit 1
}

# A display of its own, on the first number that is free. It is not reset when the last client goes: that would turn away
# the app if it came just then.
mkfifo "$dir/display"
Xvfb -displayfd 3 -screen 0 1100x700x24 -nolisten tcp -noreset 3>"$dir/display" 2>/dev/null &
server=$!
window=
end() {
    [ -z "$window" ] || kill "$window" 2>/dev/null || true
    kill "$server" 2>/dev/null || true
    rm -rf "$dir"
}
trap end EXIT
read -r display <"$dir/display"
export DISPLAY=:$display LIBGL_ALWAYS_SOFTWARE=1 XDG_STATE_HOME=$dir/state

"$app" "$scenario" >"$dir/log" 2>&1 &
window=$!

title() { xdotool search --onlyvisible --name Tenfold getwindowname 2>/dev/null | tail -1; }

# Waits until the title above the window is of this form: it says what is being worked on.
until_title() {
    for _ in $(seq 1200); do
        kill -0 "$window" 2>/dev/null || fail "the app has ended"
        if [[ $(title) == $1 ]]; then return; fi
        sleep 0.25
    done
    fail "five minutes passed, and the window says '$(title)', not '$1'"
}

picture() {
    if [ "$pictures" != "$dir" ]; then
        xdotool mousemove 1099 600
        sleep 1
        import -window root +dither -colors 128 -define png:compression-level=9 -define png:compression-filter=0 "$pictures/$1.png"
    fi
}

idle="* - Tenfold"
busy="*%* - Tenfold"
settled() {
    until_title "$idle"
    while [[ $(title) == $busy ]]; do until_title "$idle"; sleep 0.25; done
}

until_title "$idle"
id=$(xdotool search --onlyvisible --name Tenfold | tail -1)
xdotool windowmove "$id" 0 0 windowsize "$id" 1100 700 windowfocus --sync "$id"
settled
picture app-system
xdotool key F7
until_title "*stress test*"
settled
picture app-stress
xdotool key ctrl+shift+r
until_title "\* *stress test*"
settled
picture app-holds
xdotool key ctrl+e
sleep 0.5
xdotool key ctrl+a
xdotool type --delay 20 "$dir/report.html"
xdotool key Return
for _ in $(seq 40); do
    [ ! -e "$dir/report.html" ] || break
    sleep 0.25
done
[ -e "$dir/report.html" ] || fail "no report was written"
grep -Eq "It passes at [^.<]*10x|Answers keep to the SLO up to 1[0-9]" "$dir/report.html" || fail "what was recommended does not hold: $(grep -o 'It [a-z ]* at[^.<]*' "$dir/report.html" | head -3)"
echo "a window was opened, the stress test run, what it recommends applied and seen to hold, and the report written"
