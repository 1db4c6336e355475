#!/usr/bin/env bash
# Measures what an export of many components costs, with RabbitMQ, Redis and an OTLP receiver that this project did not
# write (scripts/otlp-peers.sh), on the same machine:
#   scripts/otlp-large.sh [COMPONENTS] [grpc|http/protobuf]
# Says how large the subscriber is without and with exports, how long an export takes, and what the receiver counted.
set -euo pipefail
shopt -s lastpipe
ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly COMPONENTS=${1:-250000} PROTOCOL=${2:-grpc} EXPORTS=4 ROOT
# As many as the subscriber takes by default, so that all components fit beside each other.
readonly PUBLISHERS=10000
# shellcheck source=scripts/up/bench.sh
. "$ROOT/scripts/up/bench.sh"

memory_of() { awk '/VmRSS/ { now = $2 } /VmHWM/ { most = $2 } END { printf "%d MiB (%d at most)", now / 1024, most / 1024 }' "/proc/$1/status"; }

# run NAME VARIABLE...: a subscriber that takes all heartbeats in.
run() {
  local name=$1
  shift
  fill "$PUBLISHERS" "$PUBLISHERS" "$((COMPONENTS / PUBLISHERS))"
  local -a broker
  : >"$RUN/log/subscriber.log"
  mapfile -t broker < <(broker_environment)
  launch subscriber "${broker[@]}" REDIS_HOST=127.0.0.1 REDIS_PORT="${PORTS[redis]}" REDIS_CONTRACT_KEYS=false \
    WEB_LISTEN_ADDRESS="127.0.0.1:${PORTS[subscriber]}" HEALTH_FILE="$RUN/health" LOG_LEVEL=debug "$@" \
    "$ROOT/target/release/heartbeat" subscriber
  wait_for 300 subscriber grep -q "backlog taken in" "$RUN/log/subscriber.log"
  sed -n 's/.*backlog taken in.*messages=\([0-9]*\) seconds=\([0-9.]*\).*/\1 messages taken in within \2 s/p' \
    "$RUN/log/subscriber.log" | sed "s/^/$name: /"
}

exports() { grep -c "State exported.*delivered=true" "$RUN/log/subscriber.log"; }
enough_exports() { (($(exports) >= EXPORTS)); }

main() {
  [[ -x $ROOT/target/release/heartbeat ]] || die "build first: cargo build --release --examples --bins"
  "$ROOT/scripts/otlp-peers.sh"
  start_servers
  choose_port grpc 24317; choose_port http 24318

  run "without exports"
  printf 'without exports: resident %s\n' "$(memory_of "${PIDS[subscriber]}")"
  stop_one subscriber

  launch receiver "$ROOT/scripts/otlp-peers.sh" receiver --grpc-port "${PORTS[grpc]}" --http-port "${PORTS[http]}" \
    --for 600 --quiet
  wait_for 60 receiver grep -q ready "$RUN/log/receiver.log"
  local port=${PORTS[grpc]}
  [[ $PROTOCOL == grpc ]] || port=${PORTS[http]}
  run "with exports" OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$port" OTEL_EXPORTER_OTLP_PROTOCOL="$PROTOCOL" \
    OTEL_TRACES_EXPORTER=none OTEL_LOGS_EXPORTER=none OTEL_METRIC_EXPORT_INTERVAL=5000 \
    OTEL_METRIC_EXPORT_TIMEOUT=300000
  local before
  before=$(cpu_of "${PIDS[subscriber]}")
  wait_for 500 subscriber enough_exports
  awk -v a="$(cpu_of "${PIDS[subscriber]}")" -v b="$before" -v n="$(exports)" \
    'BEGIN { printf "with exports: about %.2f CPU s each\n", (a - b) / n }'
  grep "State exported" "$RUN/log/subscriber.log" | sed 's/.*requests=/with exports: requests=/'
  printf 'with exports: resident %s\n' "$(memory_of "${PIDS[subscriber]}")"
  fetch "http://127.0.0.1:${PORTS[subscriber]}/metrics" | grep '^heartbeat_otlp_'
  stop_one subscriber
  stop_one receiver
  tail -n 1 "$RUN/log/receiver.log"
}

main
