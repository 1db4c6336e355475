# A Debian machine of its own, with a systemd that runs: a folder, started by systemd-nspawn. Its network is a loopback of its own.

readonly MACHINE=heartbeat-try
readonly SUITE=bookworm
# Kept from one run to the next; without it, it is made anew.
readonly BASE=target/package/base-$SUITE
readonly ROOT=target/package/root
# What the base holds beside Debian's smallest: what the page on installing expects to be there.
readonly BASE_PACKAGES=(systemd systemd-sysv dbus ca-certificates curl man-db rabbitmq-server redis-server)

# The mirror that this machine uses.
mirror_of_host() {
  sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | head -1
}

make_base() {
  [[ -e $BASE/made ]] && return
  rm -rf "$BASE"
  mkdir -p "$BASE"
  say "a Debian $SUITE by debootstrap"
  debootstrap --variant=minbase "$SUITE" "$BASE/root" "$(mirror_of_host)" > "$BASE/log"
  # Nothing starts until the machine does.
  printf '#!/bin/sh\nexit 101\n' > "$BASE/root/usr/sbin/policy-rc.d"
  chmod 755 "$BASE/root/usr/sbin/policy-rc.d"
  printf '127.0.0.1 localhost %s\n' "$MACHINE" > "$BASE/root/etc/hosts"
  echo "$MACHINE" > "$BASE/root/etc/hostname"
  say "in it: ${BASE_PACKAGES[*]}"
  systemd-nspawn --quiet --register=no --keep-unit --directory "$BASE/root" --setenv DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet --no-install-recommends "${BASE_PACKAGES[@]}" < /dev/null >> "$BASE/log" 2>&1
  rm "$BASE/root/usr/sbin/policy-rc.d"
  touch "$BASE/made"
}

# Starts a fresh copy of the base.
boot() {
  rm -rf "$ROOT"
  cp --archive --reflink=auto "$BASE/root" "$ROOT"
  local -a registration=(--register=no --keep-unit)
  if [[ -d /run/systemd/system ]]; then
    registration=()
  fi
  (
    # With no service manager there is no group of processes for it yet; its systemd wants one that it may divide.
    if [[ ! -d /run/systemd/system ]]; then
      enter_control_group
    fi
    exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet "${registration[@]}" --console=pipe --machine "$MACHINE" \
      --private-network --directory "$ROOT" --boot < /dev/null > "$ROOT.log" 2>&1
  ) &
  nspawn=$!
  wait_for 60 "its systemd runs" running
}

enter_control_group() {
  local hierarchy
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [[ -e $hierarchy/cgroup.procs ]] || continue
    mkdir -p "$hierarchy/$MACHINE"
    echo "$BASHPID" > "$hierarchy/$MACHINE/cgroup.procs"
  done
}

running() {
  [[ -n $(leader) ]] && [[ "$(inside systemctl is-system-running 2> /dev/null)" =~ running|degraded ]]
}

leader() {
  pgrep --parent "$nspawn" --oldest || true
}

# Runs a command in the machine.
inside() {
  nsenter --target "$(leader)" --mount --uts --ipc --pid --net --cgroup --root --wd -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@" < /dev/null
}

shut_down() {
  [[ -n ${nspawn:-} ]] || return 0
  local of=$nspawn
  # systemd's own signal to power off.
  kill -RTMIN+4 "$(leader)" 2> /dev/null || true
  for _ in {1..100}; do
    kill -0 "$of" 2> /dev/null || break
    sleep 0.2
  done
  kill -KILL "$of" 2> /dev/null || true
  wait "$of" 2> /dev/null || true
  nspawn=
}
