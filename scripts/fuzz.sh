#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other, and prints a table:
#   scripts/fuzz.sh [seconds per target, 60 unless given] [target ...]
# Each begins with the inputs in fuzz/seeds and with what earlier runs found (fuzz/corpus, not kept in git). The first
# crash ends its target; its input is then in fuzz/artifacts. FUZZ_SANITIZER=address also finds misuse of memory in what
# we use, at half the speed; it needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [seconds per target] [target ...]" >&2; exit 64; }
shift || true
sanitizer=${FUZZ_SANITIZER:-none}
toolchain=${FUZZ_TOOLCHAIN:-$([ "$sanitizer" = none ] && echo stable || echo nightly)}

command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
cargo "+$toolchain" fuzz build --sanitizer "$sanitizer" >&2

host=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
printf '%-14s %8s %12s %11s %8s %9s %9s %8s\n' target seconds executions per_second corpus coverage peak_MiB crashes
failed=0
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target artifacts=fuzz/artifacts/$target log=$logs/$target
    mkdir -p "$corpus" "$artifacts"
    case $target in
        pattern) dictionary=pattern ;;
        web_config) dictionary=yaml ;;
        *) dictionary=json ;;
    esac
    crashes=0
    # An input that takes ten seconds or a gigabyte is a finding, too.
    "fuzz/target/$host/release/$target" "$corpus" "fuzz/seeds/$target" -artifact_prefix="$artifacts/" \
        -dict="fuzz/dictionaries/$dictionary.dict" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1 > "$log" 2>&1 || crashes=1
    figure() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2 || true)
    printf '%-14s %8s %12s %11s %8s %9s %9s %8s\n' "$target" "$(sed -n 's/^Done .* in \([0-9]*\) second.*/\1/p' "$log")" \
        "$(figure number_of_executed_units)" "$(figure average_exec_per_sec)" "$(find "$corpus" -type f | wc -l)" \
        "${coverage:-?}" "$(figure peak_rss_mb)" "$crashes"
    if [ "$crashes" = 1 ]; then
        failed=1
        { grep -A2 'panicked at' "$log" || grep 'ERROR: libFuzzer' "$log" || tail -20 "$log"; } >&2
        grep 'Test unit written' "$log" >&2 || true
    fi
done
exit "$failed"
