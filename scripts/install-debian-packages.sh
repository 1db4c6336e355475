#!/usr/bin/env bash
# Installs from Debian what the project's scripts and tests start, and what the build needs beside Rust.
# Usage: scripts/install-debian-packages.sh [package...]
# Says nothing when nothing is missing. No service of these is started, and none is left to start at the next boot: everything
# here runs servers of its own, in folders of its own. What they bring along from Debian, such as cron, is as Debian has it.
set -euo pipefail

readonly DEFAULT_PACKAGES=(
  # The servers, and promtool.
  rabbitmq-server redis-server prometheus prometheus-alertmanager
  # What checks ask: a web server, a name server and a database.
  nginx-light nsd postgresql
  # Reads docker-compose.yml, for which it needs no engine.
  docker-compose
  # aws-lc-sys, a part of rustls, compiles C, and Rust links with gcc.
  gcc libc6-dev make
  # Tests look at the page in a browser.
  chromium chromium-driver
  # Tests have shells complete commands, and look at the manual and at systemd's units.
  bash zsh fish mandoc systemd
  # Tests give programs other clocks, and other names of hosts.
  libfaketime libnss-wrapper
  # The scripts ask servers with curl; cargo and curl trust what ca-certificates holds.
  curl ca-certificates
)

# What a package that we install would start; others are not our business.
declare -A SERVICES=(
  [rabbitmq-server]="rabbitmq-server.service"
  [redis-server]="redis-server.service"
  [prometheus]="prometheus.service"
  [prometheus-alertmanager]="prometheus-alertmanager.service"
  [prometheus-blackbox-exporter]="prometheus-blackbox-exporter.service"
  [nginx-common]="nginx.service"
  [nsd]="nsd.service"
  [postgresql-common]="postgresql.service"
  [erlang-base]="epmd.socket epmd.service"
)

readonly POLICY=/usr/sbin/policy-rc.d
readonly MARK="heartbeat-install"

say() { printf 'install: %s\n' "$*" >&2; }

die() { say "$*"; exit 1; }

is_installed() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

missing_of() {
  local package
  for package in "$@"; do
    is_installed "$package" || printf '%s\n' "$package"
  done
}

# Debian's way to keep packages from starting services. One that is there already is somebody's decision and stays;
# one of ours can only be what a killed run left, since the lock below is held.
deny_services() {
  if [[ -e $POLICY ]] && ! grep -q "$MARK" "$POLICY"; then
    say "$POLICY is there already and stays as it is"
    return
  fi
  printf '#!/bin/sh\n# %s: removed when the installation ends.\nexit 101\n' "$MARK" > "$POLICY"
  chmod 755 "$POLICY"
}

allow_services() {
  if [[ -e $POLICY ]] && grep -q "$MARK" "$POLICY"; then
    rm -f "$POLICY"
  fi
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# A fresh machine has no package lists, and an old one names versions that are gone: one update mends both.
install_packages() {
  apt_install "$@" && return
  say "that failed; again, with new package lists"
  apt-get update --quiet </dev/null
  apt_install "$@"
}

# A package enables its service for the next boot even where it may not start it now.
disable_services() {
  local package unit
  for package in "$@"; do
    for unit in ${SERVICES[$package]:-}; do
      if [[ -d /run/systemd/system ]]; then
        systemctl --quiet disable --now "$unit" || true
      elif command -v systemctl >/dev/null; then
        systemctl --quiet disable "$unit" 2>/dev/null || true
      fi
      if [[ -e /etc/init.d/${unit%.*} ]]; then
        update-rc.d "${unit%.*}" disable || true
      fi
    done
  done
}

main() {
  local -a wanted=("$@") missing added
  (($#)) || wanted=("${DEFAULT_PACKAGES[@]}")
  command -v dpkg-query >/dev/null || die "this is no Debian; install by other means: ${wanted[*]}"
  mapfile -t missing < <(missing_of "${wanted[@]}")
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "as root, please: apt-get install ${missing[*]}"
    say "needs root for: ${missing[*]}"
    exec sudo -- "$0" "${missing[@]}"
  fi

  # A container that nothing booted may have an empty /run.
  mkdir -p /run/lock
  exec {lock}>/run/lock/"$MARK"
  flock "$lock"
  say "installing ${missing[*]}; their services will not be started"
  # Before the installation, since a dependency brings services too.
  mapfile -t added < <(missing_of "${!SERVICES[@]}")
  trap allow_services EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  deny_services
  install_packages "${missing[@]}"
  disable_services "${added[@]}"
  say "done"
}

main "$@"
