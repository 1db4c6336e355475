#!/usr/bin/env bash
# Builds the Debian package, installs it on a fresh Debian with a systemd that runs, follows docs/install.md to the letter, and looks
# at what comes of it: from the unit that is not started yet to nothing that is left. Root, some minutes, 2 GB under target/package.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/package/machine.sh

say() { printf 'package: %s\n' "$*" >&2; }

die() {
  say "$*"
  if [[ -n ${nspawn:-} ]]; then
    inside journalctl --no-pager --lines 40 --unit 'heartbeat-*' >&2 || true
  fi
  exit 1
}

# wait_for SECONDS WHAT COMMAND...: level-triggered, and says what it waits for when time is up.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || die "not in time: $what"
    sleep 0.2
  done
}

# Runs the commands of a section of the page, as they stand.
follow() {
  say "docs/install.md: $1"
  local commands
  commands=$(awk -v heading="## $1" '
    /^## / { here = ($0 == heading) }
    /^```/ { inside = (here && $0 == "```sh"); next }
    inside { print }' docs/install.md)
  [[ -n $commands ]] || die "docs/install.md has no commands under: $1"
  inside bash -euc "cd /root && $commands" || die "a command of docs/install.md fails: $1"
}

is() { [[ "$(inside systemctl show --property "$2" --value "$1")" == "$3" ]]; }

shows() { inside curl --silent --fail http://127.0.0.1:11911/metrics | grep --quiet --fixed-strings "$1"; }

# Files that the package, or what it does, could leave; not those that servers write while they run, and not what Debian's
# deb-systemd-helper forgets of its own.
files() {
  inside find / -xdev \( -path /root -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
    -o -path /var/lib/dpkg -o -path /var/lib/rabbitmq -o -path /var/lib/redis -o -name '*-' -path '/etc/*' \
    -o -path '/var/lib/systemd/deb-systemd-helper-enabled/.state*.tmp' \) -prune -o -print | sort
}

not_started() {
  for unit in heartbeat-publisher heartbeat-subscriber; do
    is "$unit" ActiveState inactive || die "$unit was started by the installation"
    is "$unit" UnitFileState disabled || die "$unit was enabled by the installation"
  done
}

well_made() {
  inside systemd-analyze verify heartbeat-publisher.service heartbeat-subscriber.service || die "the units are not in order"
  inside systemd-analyze security --no-pager heartbeat-publisher.service | tail -1 >&2
  inside man --where heartbeat heartbeat-subscriber heartbeat-keys-rotate > /dev/null || die "pages of the manual are missing"
  inside bash -c '. /usr/share/bash-completion/completions/heartbeat' || die "the completions cannot be read"
}

make_servers_ready() {
  wait_for 90 "RabbitMQ runs" inside rabbitmqctl --quiet await_startup
  inside bash -euc 'cd /root
    echo subscribers-secret > subscriber.password
    echo publishers-secret > publisher.password
    rabbitmqctl --quiet add_user subscriber < subscriber.password
    rabbitmqctl --quiet add_user oslo < publisher.password
    rabbitmqctl --quiet set_permissions -p / subscriber "^(sda|heartbeat)$" "^heartbeat$" "^(sda|heartbeat)$"
    rabbitmqctl --quiet set_permissions -p / oslo "^$" "^sda$" "^$"'
}

# One that hangs gives no sign of life, and is started again.
watchdog_bites() {
  local pid
  pid=$(inside systemctl show --property MainPID --value heartbeat-publisher)
  inside kill -STOP "$pid"
  wait_for 60 "a publisher that hangs is started again" restarted "$pid"
  wait_for 30 "it is ready" is heartbeat-publisher StatusText Ready
  inside journalctl --no-pager --unit heartbeat-publisher | grep --quiet 'Watchdog timeout' || die "it was not the watchdog"
}

restarted() {
  [[ "$(inside systemctl show --property MainPID --value heartbeat-publisher)" != "$1" ]] && is heartbeat-publisher ActiveState active
}

wrong_settings_are_told() {
  inside cp /etc/heartbeat/publisher.env /root/publisher.env
  inside bash -c 'echo RABBITMQ_PORT=many >> /etc/heartbeat/publisher.env; systemctl restart heartbeat-publisher' 2> /dev/null &&
    die "a publisher with a wrong setting was started"
  wait_for 10 "it is failed" is heartbeat-publisher ActiveState failed
  is heartbeat-publisher ExecMainStatus 64 || die "it did not end with 64"
  inside journalctl --no-pager --unit heartbeat-publisher | grep --quiet 'RABBITMQ_PORT' || die "the journal does not say why"
  inside cp /root/publisher.env /etc/heartbeat/publisher.env
  inside systemctl restart heartbeat-publisher
}

main() {
  ((EUID == 0)) || die "as root, please"
  scripts/install-debian-packages.sh debootstrap systemd-container lintian
  trap shut_down EXIT
  local package upgrade before after pid
  package=$(scripts/package.sh)
  say "$package: $(stat --format=%s "$package") bytes"
  lintian --fail-on error,warning "$package" || die "lintian finds fault"
  upgrade=$(scripts/package.sh 2)

  make_base
  local began=$SECONDS
  boot
  say "it runs after $((SECONDS - began)) s"
  make_servers_ready
  before=$(files)
  cp "$package" "$ROOT/root/"

  follow "Install it"
  not_started
  well_made
  follow "The subscriber"
  wait_for 30 "the subscriber is ready" is heartbeat-subscriber StatusText Ready
  wait_for 30 "the publisher that is expected is shown" shows 'heartbeat_publisher_expected{publisher="oslo"} 1'
  follow "The publisher"
  wait_for 30 "the publisher is ready" is heartbeat-publisher StatusText Ready
  wait_for 30 "a heartbeat is shown" shows 'heartbeat_component_up{publisher="oslo",kind="host",name="redis",queue=""} 1'
  # The file is written every two seconds.
  wait_for 10 "the health file says that the subscriber is ready" \
    inside env HEALTH_FILE=/run/heartbeat-subscriber/health heartbeat healthcheck --ready 2> /dev/null
  for role in publisher subscriber; do
    inside grep --quiet --extended-regexp '"boot_id":"[0-9a-f-]{36}"' "/run/heartbeat-$role/health" ||
      die "the $role does not know which run of the machine this is"
  done
  follow "Look after them"
  say "resident: publisher $(resident publisher) kB, subscriber $(resident subscriber) kB"
  watchdog_bites
  wrong_settings_are_told

  rm "$ROOT"/root/heartbeat-bridge_*.deb
  cp "$upgrade" "$ROOT/root/"
  pid=$(inside systemctl show --property MainPID --value heartbeat-subscriber)
  follow "Upgrade"
  [[ "$(inside systemctl show --property MainPID --value heartbeat-subscriber)" != "$pid" ]] || die "it was not restarted"
  inside grep --quiet '^PUBLISHER_ID=oslo' /etc/heartbeat/publisher.env || die "settings were lost"
  wait_for 30 "the subscriber is ready again" is heartbeat-subscriber StatusText Ready

  follow "Remove"
  after=$(files)
  diff <(echo "$before") <(echo "$after") >&2 || die "this is left"
  inside getent passwd heartbeat && die "the user is left"
  inside pgrep --exact heartbeat && die "a process is left"

  mkdir -p "$ROOT/root/target/release" "$ROOT/root/deploy"
  cp target/release/heartbeat "$ROOT/root/target/release/"
  cp --recursive deploy/systemd "$ROOT/root/deploy/"
  follow "Without the package"
  inside systemctl start heartbeat-publisher heartbeat-subscriber
  for unit in heartbeat-publisher heartbeat-subscriber; do
    is "$unit" ActiveState active || die "$unit does not run without the package"
  done
  say "all of it in $SECONDS s"
}

resident() {
  inside sh -c "sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/\$(systemctl show --property MainPID --value heartbeat-$1)/status"
}

main "$@"
