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

scrape() { fetch "http://127.0.0.1:${PORTS[subscriber]}/metrics"; }

# The sum of a metric over its series, 0 where there is none.
metric() { scrape 2>/dev/null | awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { printf "%.3f\n", sum }'; }

# CPU seconds of a process so far.
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"; }

resident_mib() { awk '/VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

# drain PUBLISHERS CONTRACT_KEYS
drain() {
  local publishers=$1 contract=$2 start first='' end done_count idle
  redis-cli -p "${PORTS[redis]}" flushall >/dev/null
  "$ROOT/target/release/examples/drain" "amqp://guest:guest@127.0.0.1:${PORTS[rabbitmq]}/%2f" sda heartbeat \
    service.heartbeat "$MESSAGES" "$publishers" "$COMPONENTS" >/dev/null
  local -a broker
  mapfile -t broker < <(broker_environment)
  local redis_before broker_before
  redis_before=$(cpu_of "${PIDS[redis]}") broker_before=$(cpu_of "${PIDS[rabbitmq]}")
  start=$(date +%s.%N)
  launch subscriber "${broker[@]}" REDIS_HOST=127.0.0.1 REDIS_PORT="${PORTS[redis]}" REDIS_CONTRACT_KEYS="$contract" \
    LIMIT_PUBLISHERS=20000 WEB_LISTEN_ADDRESS="127.0.0.1:${PORTS[subscriber]}" HEALTH_FILE="$RUN/health" \
    "$HEARTBEAT" subscriber
  for ((attempt = 0; attempt < 3000; attempt++)); do
    done_count=$(queue_left)
    [[ -n $first ]] || { [[ $done_count != "$MESSAGES" ]] && first=$(date +%s.%N); }
    [[ $done_count == 0 ]] && break
    sleep 0.1
  done
  end=$(date +%s.%N)
  local cpu redis broker_cpu
  cpu=$(cpu_of "${PIDS[subscriber]}")
  redis=$(awk -v a="$(cpu_of "${PIDS[redis]}")" -v b="$redis_before" 'BEGIN { print a - b }')
  broker_cpu=$(awk -v a="$(cpu_of "${PIDS[rabbitmq]}")" -v b="$broker_before" 'BEGIN { print a - b }')
  idle=$(resident_mib "${PIDS[subscriber]}")
  awk -v n="$MESSAGES" -v s="$start" -v e="$end" -v p="$publishers" -v k="$contract" -v c="$cpu" -v r="$redis" \
    -v b="$broker_cpu" -v m="$idle" 'BEGIN { printf "| %d | %s | %.0f | %.2f | %.3f | %.3f | %.3f | %s |\n",
      p, k, n / (e - s), e - s, c / n * 1000, r / n * 1000, b / n * 1000, m }'
  local stored
  stored=$(metric heartbeat_publisher_heartbeats_total)
  awk -v s="$stored" -v n="$MESSAGES" 'BEGIN { exit !(s == n) }' || say "heartbeats counted: $stored of $MESSAGES"
  stop_one subscriber
}

# Messages that are not acknowledged yet, ready or delivered.
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
  printf '| publishers | contract keys | messages/s | seconds | CPU s per 1000: subscriber | Redis | RabbitMQ | RSS MiB |\n'
  printf '|---|---|---|---|---|---|---|---|\n'
  for contract in true false; do
    for publishers in 1 10000; do
      drain "$publishers" "$contract"
    done
  done
}

main
