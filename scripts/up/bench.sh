# Sourced by the scripts that measure, which set ROOT: a folder of their own, servers that end with them, and figures of a
# process.
# shellcheck shell=bash
RUN=$(mktemp -d "${TMPDIR:-/tmp}/heartbeat-bench.XXXXXX")
readonly RUN
mkdir -p "$RUN/log" "$RUN/pid" "$RUN/home"
exec {LOCK}>"$RUN/lock"

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0" .sh): $*"; exit 1; }

# shellcheck source=scripts/up/ports.sh
. "$ROOT/scripts/up/ports.sh"
# shellcheck source=scripts/up/processes.sh
. "$ROOT/scripts/up/processes.sh"
# shellcheck source=scripts/up/services.sh
. "$ROOT/scripts/up/services.sh"

trap 'stop_all; rm -rf "$RUN"' EXIT

# CPU seconds of a process so far.
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$1/stat"; }

# RabbitMQ and Redis, on free ports, until they answer.
start_servers() {
  choose_port epmd 14369; choose_port erlang 15369; choose_port rabbitmq 15673; choose_port rabbitmq-management 15683
  choose_port redis 16380; choose_port subscriber 21911
  start epmd
  start rabbitmq
  wait_for 120 rabbitmq ready_rabbitmq
  start redis
  wait_for 20 redis ready_redis
}

# fill MESSAGES PUBLISHERS COMPONENTS: heartbeats into the queue, and an empty Redis.
fill() {
  redis-cli -p "${PORTS[redis]}" flushall >/dev/null
  "$ROOT/target/release/examples/drain" "amqp://guest:guest@127.0.0.1:${PORTS[rabbitmq]}/%2f" sda heartbeat \
    service.heartbeat "$1" "$2" "$3" >/dev/null
}
