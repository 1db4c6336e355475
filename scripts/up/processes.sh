# shellcheck shell=bash
# Starting, watching and stopping processes, in order and by their own ids.

# In the order of their start, and the id of each.
STARTED=()
declare -A PIDS=()

# launch NAME COMMAND...: in the background, in an environment of its own, with its output in .run/log/NAME.log.
# setsid keeps the terminal's Ctrl-C away from it, so that the stop is ours and in order; setpriv has the kernel end it
# if this script is killed itself.
launch() {
  local name=$1
  shift
  setpriv --pdeathsig KILL setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME="$RUN/home" "$@" \
    </dev/null >>"$RUN/log/$name.log" 2>&1 {LOCK}>&- &
  PIDS[$name]=$!
  # Its end is for supervise to tell, and not for bash.
  disown "$!"
  echo "$!" >"$RUN/pid/$name"
}

# start NAME: by its function, for the first time.
start() {
  # Noted first, so that an interrupt in between finds it.
  STARTED+=("$1")
  "start_$1"
}

is_alive() { [[ -n ${PIDS[$1]:-} ]] && kill -0 "${PIDS[$1]}" 2>/dev/null; }

# wait_for SECONDS NAME COMMAND...: until the command succeeds; NAME must stay alive meanwhile.
wait_for() {
  local end=$((SECONDS + $1)) limit=$1 name=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    is_alive "$name" || crashed "$name"
    ((SECONDS < end)) || { show_log "$name"; die "$name is not ready after $limit s"; }
    sleep 0.2
  done
}

show_log() {
  say "the last lines of $1:"
  tail -n 20 "$RUN/log/$1.log" | sed 's/^/    /' >&2
}

crashed() {
  show_log "$1"
  die "$1 has ended by itself; stopping the rest"
}

# stop_one NAME: asks, waits, insists. What it had forked goes with it.
stop_one() {
  local name=$1 pid=${PIDS[$1]:-} end=$((SECONDS + 20))
  [[ -n $pid ]] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS >= end)); then
      say "$name does not stop; killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    sleep 0.1
  done
  # setsid made it the leader of a group of its own.
  kill -KILL -- "-$pid" 2>/dev/null || true
  unset "PIDS[$name]"
  rm -f "$RUN/pid/$name"
}

stop_all() {
  local index
  for ((index = ${#STARTED[@]} - 1; index >= 0; index--)); do
    stop_one "${STARTED[index]}"
  done
}

# Follows the user's wishes: a file .run/stop/NAME stops NAME, and its removal starts it again. Anything else that
# ends is a crash.
supervise() {
  local name
  for name in "${STARTED[@]}"; do
    if [[ -e $RUN/stop/$name ]]; then
      if is_alive "$name"; then
        stop_one "$name"
        say "$name is stopped; rm .run/stop/$name starts it again"
      fi
    elif [[ -z ${PIDS[$name]:-} ]]; then
      "start_$name"
      say "$name is started again"
    elif ! is_alive "$name"; then
      crashed "$name"
    fi
  done
}
