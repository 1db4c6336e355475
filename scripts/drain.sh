#!/usr/bin/env bash
# Measures how fast a subscriber drains a backlog, with RabbitMQ and Redis of its own on the same machine:
#   scripts/drain.sh [MESSAGES] [COMPONENTS]
set -euo pipefail
shopt -s lastpipe
ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly MESSAGES=${1:-50000} COMPONENTS=${2:-20} ROOT
RUN=$(mktemp -d "${TMPDIR:-/tmp}/heartbeat-drain.XXXXXX")
readonly RUN
mkdir -p "$RUN/log" "$RUN/pid" "$RUN/home"
exec {LOCK}>"$RUN/lock"

say() { printf '%s\n' "$*" >&2; }
die() { say "drain: $*"; exit 1; }

# shellcheck source=scripts/up/ports.sh
. "$ROOT/scripts/up/ports.sh"
# shellcheck source=scripts/up/processes.sh
. "$ROOT/scripts/up/processes.sh"
# shellcheck source=scripts/up/services.sh
. "$ROOT/scripts/up/services.sh"

HEARTBEAT=$ROOT/target/release/heartbeat
readonly HEARTBEAT
trap 'stop_all; rm -rf "$RUN"' EXIT

# CPU seconds of a process so far.
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"; }

resident_mib() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

# drain PUBLISHERS CONTRACT_KEYS: from the start of the program until it has ended, told to as soon as the backlog is
# taken in: it stores and acknowledges all of it first. No one is asked for anything meanwhile, since that costs, too.
drain() {
  local publishers=$1 contract=$2 start end taken redis_before broker_before cpu=0 redis broker_cpu resident=0
  local log=$RUN/log/subscriber.log
  redis-cli -p "${PORTS[redis]}" flushall >/dev/null
  "$ROOT/target/release/examples/drain" "amqp://guest:guest@127.0.0.1:${PORTS[rabbitmq]}/%2f" sda heartbeat \
    service.heartbeat "$MESSAGES" "$publishers" "$COMPONENTS" >/dev/null
  local -a broker
  mapfile -t broker < <(broker_environment)
  redis_before=$(cpu_of "${PIDS[redis]}") broker_before=$(cpu_of "${PIDS[rabbitmq]}")
  : >"$log"
  start=$(date +%s.%N)
  launch subscriber "${broker[@]}" REDIS_HOST=127.0.0.1 REDIS_PORT="${PORTS[redis]}" REDIS_CONTRACT_KEYS="$contract" \
    LIMIT_PUBLISHERS=20000 WEB_LISTEN_ADDRESS="127.0.0.1:${PORTS[subscriber]}" HEALTH_FILE="$RUN/health" \
    "$HEARTBEAT" subscriber
  local pid=${PIDS[subscriber]} deadline=$((SECONDS + 300))
  until grep -q "backlog taken in" "$log" || ! is_alive subscriber || ((SECONDS > deadline)); do sleep 0.02; done
  taken=$(sed -n 's/.*backlog taken in.*seconds=\([0-9.]*\).*/\1/p' "$log")
  resident=$(resident_mib "$pid")
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    cpu=$(cpu_of "$pid" 2>/dev/null || echo "$cpu")
    sleep 0.02
  done
  end=$(date +%s.%N)
  stop_one subscriber
  redis=$(awk -v a="$(cpu_of "${PIDS[redis]}")" -v b="$redis_before" 'BEGIN { print a - b }')
  broker_cpu=$(awk -v a="$(cpu_of "${PIDS[rabbitmq]}")" -v b="$broker_before" 'BEGIN { print a - b }')
  awk -v n="$MESSAGES" -v s="$start" -v e="$end" -v p="$publishers" -v k="$contract" -v c="$cpu" -v r="$redis" \
    -v b="$broker_cpu" -v m="$resident" -v t="${taken:-0}" 'BEGIN {
      printf "| %d | %s | %.0f | %.2f | %.2f | %.3f | %.3f | %.3f | %s |\n",
        p, k, n / (e - s), e - s, t, c / n * 1000, r / n * 1000, b / n * 1000, m }'
  local counted
  counted=$(stored)
  [[ $counted == "$MESSAGES" ]] || die "$counted heartbeats of $MESSAGES are stored"
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
  [[ -x $HEARTBEAT ]] || die "build first: cargo build --release --examples --bins"
  choose_port epmd 14369; choose_port erlang 15369; choose_port rabbitmq 15673; choose_port rabbitmq-management 15683
  choose_port redis 16380; choose_port subscriber 21911
  start epmd
  start rabbitmq
  wait_for 120 rabbitmq ready_rabbitmq
  start redis
  wait_for 20 redis ready_redis
  printf '| publishers | contract keys | messages/s | seconds | of which taking in | CPU s per 1000: subscriber | Redis | RabbitMQ | RSS MiB |\n'
  printf '|---|---|---|---|---|---|---|---|---|\n'
  for contract in true false; do
    for publishers in 1 10000; do
      drain "$publishers" "$contract"
    done
  done
}

main
