#!/usr/bin/env bash
# Two OTLP receivers that others wrote, or that stand on others' code alone, to try the program's export against:
#   scripts/otlp-peers.sh                                prepares both under target/otlp-peers
#   scripts/otlp-peers.sh rotel GRPC_PORT HTTP_PORT      runs the collector rotel, which prints all that arrives
#   scripts/otlp-peers.sh receiver [ARGUMENT...]         runs scripts/otlp_receiver.py, which says what came; see --help
# Both listen on loopback alone, prepare themselves where that was not done, and run until they are told to end; a
# script bounds that with `timeout`. rotel is told by variables to do something else than print all:
#   ROTEL_DEBUG_LOG=none                                 prints nothing, for a lot of data
#   ROTEL_EXPORTER=otlp ROTEL_OTLP_EXPORTER_ENDPOINT=http://127.0.0.1:4317
#                                                        passes all on, to the receiver for instance, which then counts
# Needs Python 3.10 to 3.13 on x86_64 Linux; PYTHON names another than python3.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly ROOT PYTHON=${PYTHON:-python3} PEERS=$ROOT/target/otlp-peers

# What a run saw must be what another sees.
readonly PACKAGES=(rotel==0.0.1a15 grpcio==1.85.1 opentelemetry-proto==1.45.2)

say() { printf 'otlp-peers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The stamp is written last, so that half a preparation counts for nothing.
prepare() {
  local stamp=$PEERS/prepared wanted="${PACKAGES[*]}" lock
  mkdir -p "$ROOT/target"
  exec {lock}>"$ROOT/target/otlp-peers.lock"
  flock "$lock"
  if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    command -v "$PYTHON" >/dev/null || die "needs Python 3"
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
      say "python3 makes no virtual environments: the package python3-venv is missing"
      "$ROOT/scripts/install-debian-packages.sh" python3-venv
    fi
    rm -rf "$PEERS"
    "$PYTHON" -m venv "$PEERS"
    say "installing $wanted"
    "$PEERS/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "${PACKAGES[@]}"
    printf '%s\n' "$wanted" >"$stamp"
  fi
  # What runs from here on must not hold the lock.
  exec {lock}>&-
}

# The native program inside the package, since the package's own starter puts it into the background.
rotel_agent() {
  local -a found=("$PEERS"/lib/python3*/site-packages/rotel/rotel-agent)
  [[ -x ${found[0]} ]] || die "the package rotel holds no rotel-agent"
  printf '%s\n' "${found[0]}"
}

run_rotel() {
  local agent grpc=$1 http=$2
  local -a shown=()
  agent=$(rotel_agent)
  export ROTEL_EXPORTER=${ROTEL_EXPORTER:-blackhole} ROTEL_DEBUG_LOG_VERBOSITY=${ROTEL_DEBUG_LOG_VERBOSITY:-detailed}
  # The variable takes one signal alone, the argument one each time.
  [[ -n ${ROTEL_DEBUG_LOG:-} ]] || shown=(--debug-log traces --debug-log metrics --debug-log logs)
  exec "$agent" start --otlp-grpc-endpoint "127.0.0.1:$grpc" --otlp-http-endpoint "127.0.0.1:$http" "${shown[@]}"
}

main() {
  case ${1:-} in
    "") prepare ;;
    rotel)
      (($# == 3)) || die "rotel needs two ports: one for gRPC, one for HTTP"
      prepare
      run_rotel "$2" "$3"
      ;;
    receiver)
      prepare
      exec "$PEERS/bin/python" "$ROOT/scripts/otlp_receiver.py" "${@:2}"
      ;;
    *) die "no such thing: $1" ;;
  esac
}

main "$@"
