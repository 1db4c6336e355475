#!/usr/bin/env bash
# Draws the Grafana dashboards with Grafana's own components against a live Prometheus, without a Grafana, into PNG files.
# Usage: scripts/render-dashboards.sh PROMETHEUS_URL OUT_DIR [--dashboards 'dashboards/*.json'] [--from now-30m] [--to now]
#   [--width 1600] [--var name=value ...] [--theme dark|light] [...]
# Prints a line of JSON for each panel, and ends with 1 if one of them could not be drawn. Installs what it needs: Chromium
# and Node from Debian, Grafana's packages by npm.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly ROOT
readonly HERE=$ROOT/scripts/render-dashboards

install_what_is_missing() {
  [[ -n ${CHROMIUM:-} ]] || "$ROOT/scripts/install-debian-packages.sh" chromium
  command -v npm >/dev/null || "$ROOT/scripts/install-debian-packages.sh" nodejs npm
  # npm writes this file last.
  if [[ ! $HERE/node_modules/.package-lock.json -nt $HERE/package-lock.json ]]; then
    (cd "$HERE" && npm ci --omit=dev --loglevel=error)
  fi
}

main() {
  install_what_is_missing >&2
  node "$HERE/bundle.mjs"
  if [[ " $* " != *" --dashboards"* ]]; then
    set -- "$@" --dashboards "$ROOT/dashboards/*.json"
  fi
  exec node "$HERE/node_modules/.build/render.mjs" "$@"
}

main "$@"
