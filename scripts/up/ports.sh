# shellcheck shell=bash
# Free ports on loopback. A port that is taken belongs to somebody else: it is named and left alone.

# Name to port, for all that is to run.
declare -A PORTS=()

# The socket inodes that listen on a port and would get in the way of 127.0.0.1, read where every Linux tells them.
listening_inodes() {
  local hex
  hex=$(printf '%04X' "$1")
  # Loopback, any address, and any address of IPv6, which mostly takes IPv4 too.
  awk -v hex="$hex" '$4 == "0A" { split($2, at, ":")
    if (at[2] == hex && (at[1] == "0100007F" || at[1] ~ /^0+$/)) print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# "name (pid n)" of who listens, as far as /proc shows it to this user.
listener_of() {
  local inode link pid
  for inode in $(listening_inodes "$1"); do
    for link in /proc/[0-9]*/fd/*; do
      [[ "$(readlink "$link" 2>/dev/null)" == "socket:[$inode]" ]] || continue
      pid=${link#/proc/}
      pid=${pid%%/*}
      printf '%s (pid %s)' "$(cat "/proc/$pid/comm" 2>/dev/null)" "$pid"
      return
    done
  done
  printf 'another program'
}

is_chosen() {
  local port
  for port in "${PORTS[@]}"; do
    [[ $port == "$1" ]] && return
  done
  return 1
}

# Takes the wanted port for a name, or the next free one, and says so.
choose_port() {
  local name=$1 wanted=$2 port
  for ((port = wanted; port < wanted + 100; port++)); do
    if ! is_chosen "$port" && [[ -z "$(listening_inodes "$port")" ]]; then
      PORTS[$name]=$port
      if ((port != wanted)); then
        if is_chosen_by_other "$name" "$wanted"; then
          say "port $wanted is in use here already: $name goes to $port"
        else
          say "port $wanted is taken by $(listener_of "$wanted"): $name goes to $port"
        fi
      fi
      return
    fi
  done
  die "no free port for $name from $wanted to $((wanted + 99))"
}

is_chosen_by_other() {
  local name
  for name in "${!PORTS[@]}"; do
    [[ $name != "$1" && ${PORTS[$name]} == "$2" ]] && return
  done
  return 1
}
