#!/usr/bin/env bash
# `make up`: the whole way of a heartbeat on this machine, on loopback, under .run/. Ctrl-C ends it and leaves nothing.
# HEARTBEAT_BINARY=path runs that program, with examples/demo beside it, and builds nothing.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
RUN=$ROOT/.run
# Where commands speak to the publisher.
SOCKET=$RUN/publisher.sock
LOCK=
# What is started, and what the build needs beside Rust.
PACKAGES=(rabbitmq-server redis-server prometheus prometheus-alertmanager curl gcc libc6-dev ca-certificates)
readonly ROOT RUN SOCKET PACKAGES

# shellcheck source-path=SCRIPTDIR
source "$ROOT/scripts/up/ports.sh"
# shellcheck source-path=SCRIPTDIR
source "$ROOT/scripts/up/processes.sh"
# shellcheck source-path=SCRIPTDIR
source "$ROOT/scripts/up/services.sh"
# shellcheck source-path=SCRIPTDIR
source "$ROOT/scripts/up/status.sh"

# A status line that is being shown must not be written into.
say() {
  [[ -t 1 && -n $LAST_STATUS ]] && printf '\r\033[K'
  printf 'up: %s\n' "$*" >&2
}

die() { say "$*"; exit 1; }

# The kernel lets go of the lock however its holder ends, so a lock that is held means a run that lives.
take_lock() {
  mkdir -p "$RUN"
  exec {LOCK}>>"$RUN/lock"
  flock --nonblock "$LOCK" || die "make up runs already, as pid $(cat "$RUN/lock")"
  find "$RUN" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
  echo "$$" >"$RUN/lock"
  mkdir -p "$RUN"/{log,pid,stop,home}
}

build() {
  if [[ -n ${HEARTBEAT_BINARY:-} ]]; then
    HEARTBEAT=$(realpath "$HEARTBEAT_BINARY")
    DEMO=$(dirname "$HEARTBEAT")/examples/demo
    [[ -x $HEARTBEAT && -x $DEMO ]] || die "$HEARTBEAT and $DEMO must both be there"
    return
  fi
  local target=${CARGO_TARGET_DIR:-$ROOT/target}
  command -v cargo >/dev/null || die "cargo is not in the search path: install Rust first (https://rustup.rs)"
  say "building (the first time takes minutes)"
  # Somebody who looks on sees how far it is.
  local -a quiet=()
  [[ -t 2 ]] || quiet=(--quiet)
  (cd "$ROOT" && cargo build --release --locked "${quiet[@]}" --bin heartbeat --example demo {LOCK}>&-)
  HEARTBEAT=$target/release/heartbeat
  DEMO=$target/release/examples/demo
}

choose_ports() {
  choose_port rabbitmq 5672
  choose_port rabbitmq-management 15672
  choose_port erlang 25672
  choose_port epmd 4369
  choose_port redis 6379
  choose_port subscriber 11911
  choose_port prometheus 9090
  choose_port alertmanager 9093
  choose_port notified 9095
  choose_port demo-service 8081
}

# start_ready NAME SECONDS
start_ready() {
  start "$1"
  wait_for "$2" "$1" "ready_$1"
}

start_everything() {
  say "starting RabbitMQ (some ten seconds) and the rest; logs in .run/log/"
  start_ready epmd 10
  start_ready redis 10
  start_ready rabbitmq 120
  start_ready demo-service 10
  start_ready demo-consumer 20
  start_ready subscriber 30
  # Before Prometheus, which would drop what it cannot send.
  start_ready notified 10
  start_ready alertmanager 30
  # Before the publisher, which checks its port.
  start_ready prometheus 30
  start_ready publisher 20
}

# Begins a window of maintenance.
plan_it() {
  has_socket || { echo "(not here: $SOCKET is too long for the path of a socket)"; return; }
  echo "LOCAL_LISTEN_ADDRESS=unix:$SOCKET ${HEARTBEAT#"$PWD/"} maintenance begin --for=5m"
}

show_where() {
  cat <<EOF

  Subscriber   http://127.0.0.1:${PORTS[subscriber]}/
  Metrics      http://127.0.0.1:${PORTS[subscriber]}/metrics
  Alerts       $(alerts_page)
  Alertmanager $(alertmanager_page)
  RabbitMQ     http://127.0.0.1:${PORTS[rabbitmq-management]}/  (guest, guest)
  Redis        redis-cli -p ${PORTS[redis]} keys '*'
  Logs         .run/log/  (what Alertmanager tells: notified.log, and here)

  Break it:    touch .run/stop/demo-service     (or demo-consumer, publisher, subscriber, redis, rabbitmq)
  Mend it:     rm .run/stop/demo-service
               Somebody is woken after one to two minutes; that is told here.
  Plan it:     $(plan_it)
               Then nobody is woken for five minutes.
  Ctrl-C stops everything.

EOF
}

# Runs at every end, whatever its cause, once.
clean_up() {
  local code=$?
  trap - EXIT
  # A second Ctrl-C must not leave half of it behind.
  trap '' INT TERM HUP
  ((${#STARTED[@]} == 0)) || say "stopping ${#STARTED[@]} processes, in reverse order"
  stop_all
  if ((code == 0)); then
    rm -rf "$RUN"
    say "stopped; .run/ is removed"
  else
    # Somebody will want to know why.
    find "$RUN" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
    say "stopped; of .run/ only the logs are left"
  fi
  exit "$code"
}

main() {
  take_lock
  trap clean_up EXIT
  trap 'exit 0' INT TERM HUP
  "$ROOT/scripts/install-debian-packages.sh" "${PACKAGES[@]}"
  build
  choose_ports
  start_everything
  show_where
  while true; do
    supervise
    show_notifications
    show_status
    sleep 1
  done
}

main "$@"
