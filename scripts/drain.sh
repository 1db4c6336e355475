#!/usr/bin/env bash
# Measures how fast a subscriber drains a backlog, with RabbitMQ and Redis of its own on the same machine:
#   scripts/drain.sh [MESSAGES] [COMPONENTS] [PROGRAM...]
# With several programs, each takes its turn at every row, ROUNDS times, so that what else the machine does meanwhile
# meets all of them. OTEL_* variables reach the subscriber, so that what exporting costs can be measured too.
set -euo pipefail
shopt -s lastpipe
ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly MESSAGES=${1:-50000} COMPONENTS=${2:-20} ROUNDS=${ROUNDS:-1} ROOT
# shellcheck source=scripts/up/bench.sh
. "$ROOT/scripts/up/bench.sh"

PROGRAMS=("${@:3}")
((${#PROGRAMS[@]})) || PROGRAMS=("$ROOT/target/release/heartbeat")
readonly PROGRAMS
resident_mib() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

# drain PROGRAM PUBLISHERS CONTRACT_KEYS: from the start of the program until it has ended, told to as soon as the backlog is
# taken in: it stores and acknowledges all of it first. No one is asked for anything meanwhile, since that costs, too.
drain() {
  local program=$1 publishers=$2 contract=$3 start end taken redis_before broker_before cpu redis broker_cpu resident=0 now
  local log=$RUN/log/subscriber.log
  fill "$MESSAGES" "$publishers" "$COMPONENTS"
  local -a broker exporting
  mapfile -t exporting < <(env | grep '^OTEL_' || true)
  mapfile -t broker < <(broker_environment)
  redis_before=$(cpu_of "${PIDS[redis]}") broker_before=$(cpu_of "${PIDS[rabbitmq]}")
  : >"$log"
  start=$(date +%s.%N)
  launch subscriber "${broker[@]}" "${exporting[@]}" REDIS_HOST=127.0.0.1 REDIS_PORT="${PORTS[redis]}" REDIS_CONTRACT_KEYS="$contract" \
    LIMIT_PUBLISHERS=20000 WEB_LISTEN_ADDRESS="127.0.0.1:${PORTS[subscriber]}" HEALTH_FILE="$RUN/health" \
    "$program" subscriber
  local pid=${PIDS[subscriber]} deadline=$((SECONDS + 300))
  until grep -q "backlog taken in" "$log" || ! is_alive subscriber || ((SECONDS > deadline)); do sleep 0.02; done
  taken=$(sed -n 's/.*backlog taken in.*seconds=\([0-9.]*\).*/\1/p' "$log")
  resident=$(resident_mib "$pid")
  cpu=$(cpu_of "$pid")
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    # Between the two looks it may end, and tells nothing.
    now=$(cpu_of "$pid" 2>/dev/null || true)
    cpu=${now:-$cpu}
    sleep 0.02
  done
  end=$(date +%s.%N)
  stop_one subscriber
  redis=$(awk -v a="$(cpu_of "${PIDS[redis]}")" -v b="$redis_before" 'BEGIN { print a - b }')
  broker_cpu=$(awk -v a="$(cpu_of "${PIDS[rabbitmq]}")" -v b="$broker_before" 'BEGIN { print a - b }')
  awk -v n="$MESSAGES" -v s="$start" -v e="$end" -v p="$publishers" -v k="$contract" -v c="$cpu" -v r="$redis" \
    -v b="$broker_cpu" -v m="$resident" -v t="${taken:-0}" \
    -v which="$( ((${#PROGRAMS[@]} > 1)) && printf ' %s |' "$program" )" 'BEGIN {
      printf "| %d | %s |%s %.0f | %.2f | %.2f | %.3f | %.3f | %.3f | %s |\n",
        p, k, which, n / (e - s), e - s, t, c / n * 1000, r / n * 1000, b / n * 1000, m }'
  local counted
  counted=$(stored)
  [[ $counted == "$MESSAGES" ]] || die "$counted heartbeats of $MESSAGES are stored, $(queue_left) are in the queue"
  for ((attempt = 0; attempt < 20; attempt++)); do
    [[ $(queue_left) == 0 ]] && return
    sleep 1
  done
  die "$(queue_left) messages are left in the queue"
}

# Heartbeats that the stored records count.
stored() {
  for ((bucket = 0; bucket < 64; bucket++)); do printf 'HVALS heartbeat:{b%02d}:records\n' "$bucket"; done |
    redis-cli -p "${PORTS[redis]}" | grep -o '"heartbeats":[0-9]*' | awk -F: '{ sum += $2 } END { print sum + 0 }'
}

# Messages that are not acknowledged yet, ready or delivered, as the broker's statistics have it.
queue_left() {
  fetch -u guest:guest "http://127.0.0.1:${PORTS[rabbitmq-management]}/api/queues/%2F/heartbeat" |
    sed -n 's/.*"messages":\([0-9]*\),.*/\1/p' | head -n 1
}

main() {
  local program
  for program in "${PROGRAMS[@]}"; do
    [[ -x $program ]] || die "$program is not there; build first: cargo build --release --examples --bins"
  done
  start_servers
  local column=""
  ((${#PROGRAMS[@]} == 1)) || column=" program |"
  printf "| publishers | contract keys |$column messages/s | seconds | of which taking in | CPU s per 1000: subscriber | Redis | RabbitMQ | RSS MiB |\n"
  printf "|---|---|${column:+---|}---|---|---|---|---|---|---|\n"
  for contract in true false; do
    for publishers in 1 10000; do
      for ((round = 0; round < ROUNDS; round++)); do
        for program in "${PROGRAMS[@]}"; do
          drain "$program" "$publishers" "$contract"
        done
      done
    done
  done
}

main
