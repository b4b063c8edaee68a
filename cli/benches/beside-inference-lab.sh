#!/usr/bin/env bash
# How long whole runs take beside inference-lab 1.0.0 (crates.io) on the same workload: user plus system
# seconds of whole processes, medians of interleaved rounds.
#
#   cli/benches/beside-inference-lab.sh [REQUESTS] [ROUNDS]      default: 10,000 requests, 5 rounds
#
# The peer is installed as released into target/peers. Compare at 10,000 requests: its cost grows with the
# square of their number, because it merges all samples again once every simulated second, even when quiet.
# Both have Poisson arrivals, lognormal prompts (mean 512, sigma 1.0) and answers (mean 200, sigma 0.8), a
# token budget of 2,048 and 256 sequences, chunked prefill, paged KV in blocks of 16, one H100 with
# Llama-3.1-8B in bf16, and statistics of every request. The peer cannot clip lengths, which makes its
# requests 7% longer on average; Tenfold has a timeout of 60 s on every call besides.
set -euo pipefail
cd "$(dirname "$0")/../.."
requests=${1:-10000}
rounds=${2:-5}
peers=target/peers

if ! [ -x $peers/bin/inference-lab ]; then
    cargo install inference-lab --version 1.0.0 --locked --quiet --root $peers --target-dir $peers/build
fi
cargo build --release --quiet --package tenfold-cli

cat >$peers/deployment.toml <<TOML
model = "llama-3.1-8b-instruct"
[scheduler]
max_num_batched_tokens = 2048
max_num_seqs = 256
policy = "fcfs"
enable_chunked_prefill = true
block_size = 16
[hardware.h100]
tp = 1
TOML
workload() {
    cat <<TOML
arrival_pattern = "poisson"
arrival_rate = $1
num_requests = $requests
seed = 1
input_len_dist = { type = "lognormal", mean = 5.738325, std_dev = 1.0 }
output_len_dist = { type = "lognormal", mean = 4.978317, std_dev = 0.8 }
TOML
}

# User plus system seconds of a command, run so many times.
cpu_seconds() {
    local TIMEFORMAT='%U %S' times=$1
    shift
    { time for ((run = 0; run < times; run++)); do "$@" >/dev/null 2>&1; done; } 2>&1 |
        awk -v times="$times" '{ print ($1 + $2) / times }'
}
median() { sort -g | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

for rate in 8 40; do
    workload $rate >$peers/workload.toml
    own=() peer=()
    for ((round = 0; round < rounds; round++)); do
        own+=("$(cpu_seconds 10 target/release/tenfold run scenarios/src/bench/llm-serving.toml --quiet --threads 1 \
            --duration $((requests / rate))s --set "traffic.web.arrivals.rate=$rate/s")")
        peer+=("$(cpu_seconds 1 $peers/bin/inference-lab --config $peers/deployment.toml \
            --workload $peers/workload.toml --quiet)")
    done
    own=$(printf '%s\n' "${own[@]}" | median)
    peer=$(printf '%s\n' "${peer[@]}" | median)
    awk -v rate=$rate -v n="$requests" -v own="$own" -v peer="$peer" 'BEGIN {
        printf "%2d/s: tenfold %.4f s (%.0f requests/s), inference-lab %.3f s (%.0f requests/s): %.1f times\n",
            rate, own, n / own, peer, n / peer, peer / own }'
done
