#!/usr/bin/env bash
# Runs what docker-compose.yml describes, without a container engine: each service's own command, environment, user,
# files, secrets and networks, read from that file, with Debian's programs in the place of the images. Then it looks
# whether all of it works together, and whether the enclave is one. As root on Debian 12; takes about two minutes.
#   scripts/compose-natively.sh              runs, looks, stops, and says what it saw
#   HEARTBEAT_BINARY=path scripts/...        with that program, and builds nothing
# Each service gets namespaces of its own (network, mounts, processes, host name), a root that is read-only where the
# file says so, its numeric user, and no capability. What Debian lacks is not run (Grafana, Tempo, Loki) or has a
# stand-in: rotel in the place of OpenTelemetry's collector, plain listeners in that of the two services that are
# checked. Debian's programs are older than the images.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly ROOT

# A service whose program is called otherwise here.
declare -rA CALLED=([/bin/alertmanager]=/usr/bin/prometheus-alertmanager)
# What is not here at all.
readonly ABSENT=(grafana tempo loki)
# Where it listens, for those that a plain listener stands in for: as their images do.
declare -rA LISTENERS=([database]=5432 [files]=8080)
# RabbitMQ's own scripts and not Debian's wrappers, which insist on a user of their own.
readonly SEARCH=/usr/lib/rabbitmq/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

STARTED=()
declare -A PIDS=()
RUN=
NETS=
WIRES=0
FAILED=0

say() { printf 'compose-natively: %s\n' "$*" >&2; }

die() { say "$*"; exit 1; }

# --- What the file says -------------------------------------------------------------------------------------------

# Writes $RUN/plan/SERVICE/{environment,command,health,binds,volumes,tmpfs,networks,guest_of,user,hostname,read_only}, one
# item a line, and $RUN/plan/order.
write_plan() {
  docker-compose --file "$ROOT/docker-compose.yml" config >"$RUN/compose.yml"
  # Debian's own python3, which has the YAML that docker-compose needs.
  /usr/bin/python3 - "$RUN/compose.yml" "$ROOT/Dockerfile" "$RUN/plan" <<'PYTHON'
import json, pathlib, re, sys, yaml

compose = yaml.safe_load(open(sys.argv[1]))
dockerfile = open(sys.argv[2]).read()
plan = pathlib.Path(sys.argv[3])

# What our image adds to the services that are built of it.
own_environment = dict(re.findall(r"^ENV (\S+?)=(\S+)$", dockerfile, re.M))
own_entrypoint = json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", dockerfile, re.M).group(1))

def write(name, item, lines):
    lines = [str(line).replace("$$", "$") for line in lines]
    assert not any("\n" in line for line in lines), (name, item)
    (plan / name / item).write_text("".join(line + "\n" for line in lines))

def waits_for(service):
    kind, _, host = service.get("network_mode", "").partition(":")
    return set(service.get("depends_on", {})) | ({host} if kind == "service" else set())

order, waiting = [], dict(compose["services"])
while waiting:
    ready = [name for name, service in waiting.items() if not waits_for(service) & set(waiting)]
    assert ready, "services wait for each other"
    for name in sorted(ready):
        order.append(name)
        del waiting[name]
plan.mkdir(parents=True)
(plan / "order").write_text("".join(name + "\n" for name in order))

for name, service in compose["services"].items():
    (plan / name).mkdir()
    environment = dict(own_environment if "build" in service else {})
    environment.update(service.get("environment", {}))
    write(name, "environment", [f"{key}={value}" for key, value in environment.items()])
    entrypoint = service.get("entrypoint", own_entrypoint if "build" in service else [])
    write(name, "command", entrypoint + service.get("command", []))
    test = service.get("healthcheck", {}).get("test", ["CMD"])
    assert test[0] == "CMD", name
    write(name, "health", test[1:])
    binds, volumes = [], []
    for volume in service.get("volumes", []):
        source, target, _ = volume.split(":")
        (binds if source.startswith("/") else volumes).append(f"{source} {target}")
    for secret in service.get("secrets", []):
        secret = secret if isinstance(secret, str) else secret["source"]
        binds.append(f"{compose['secrets'][secret]['file']} /run/secrets/{secret}")
    write(name, "binds", binds)
    write(name, "volumes", volumes)
    write(name, "tmpfs", service.get("tmpfs", []))
    # A guest is in the network namespace of another service, under that one's name.
    kind, _, host = service.get("network_mode", "").partition(":")
    assert kind in ("", "service") and not (host and service.get("networks")), name
    write(name, "guest_of", [host] if host else [])
    write(name, "networks", [] if host else service["networks"])
    write(name, "user", [service["user"].replace(":", " ")])
    write(name, "hostname", [compose["services"][host or name].get("hostname", host or name)])
    write(name, "read_only", ["yes"] if service.get("read_only") else [])
PYTHON
}

lines_of() { cat "$RUN/plan/$1/$2"; }

is_absent() { [[ " ${ABSENT[*]} " == *" $1 "* ]]; }

# --- Networks -----------------------------------------------------------------------------------------------------

# One namespace holds a bridge for each network, and nothing that leads from one to the other. No namespace has a way
# out, so this proves what is inside; that `internal` has no gateway either is the container engine's word.
make_networks() {
  local network name index=0 host
  local -A addresses=()
  NETS=heartbeat-$$
  ip netns add "$NETS-wires"
  while read -r network; do
    index=$((index + 1))
    ip -n "$NETS-wires" link add "$network" type bridge
    ip -n "$NETS-wires" link set "$network" up
    host=1
    while read -r name; do
      if grep -qx "$network" "$RUN/plan/$name/networks"; then
        host=$((host + 1))
        addresses[$network,$name]=10.213.$index.$host
      fi
    done <"$RUN/plan/order"
  done < <(sort -u "$RUN"/plan/*/networks)
  while read -r name; do
    is_absent "$name" || join_networks "$name"
  done <"$RUN/plan/order"
}

# The namespace that a service is in: its own, or that of the service whose guest it is.
namespace_of() {
  local host
  host=$(lines_of "$1" guest_of)
  echo "$NETS-${host:-$1}"
}

join_networks() {
  local name=$1 network other number=0
  if [[ -s $RUN/plan/$name/guest_of ]]; then
    # Its host comes before it in the order.
    cp "$RUN/plan/$(lines_of "$name" guest_of)/hosts" "$RUN/plan/$name/hosts"
    return
  fi
  ip netns add "$NETS-$name"
  ip -n "$NETS-$name" link set lo up
  echo "127.0.0.1 localhost" >"$RUN/plan/$name/hosts"
  while read -r network; do
    number=$((number + 1))
    ip -n "$NETS-wires" link add "$network$((++WIRES))" type veth peer name "eth$number" netns "$NETS-$name"
    ip -n "$NETS-wires" link set "$network$WIRES" master "$network" up
    ip -n "$NETS-$name" address add "${addresses[$network,$name]}/24" dev "eth$number"
    ip -n "$NETS-$name" link set "eth$number" up
    # As the engine's name server: the names of those on a network that this one is on.
    while read -r other; do
      [[ -z ${addresses[$network,$other]:-} ]] || echo "${addresses[$network,$other]} $other" >>"$RUN/plan/$name/hosts"
    done <"$RUN/plan/order"
  done <"$RUN/plan/$name/networks"
}

# --- One service --------------------------------------------------------------------------------------------------

# Runs as the first process of the service's namespaces, as root, and becomes the service's program as its user.
inside() {
  local name=$1 root=$RUN/root/$1 uid gid source target options
  local -a command environment keep
  mount --make-rprivate /
  mkdir -p "$root"
  mount -t tmpfs -o mode=755 heartbeat-root "$root"
  lay_system "$root"
  while read -r source target; do
    lay_mount_point "$source" "$root$target"
    mount --bind "$source" "$root$target"
    mount -o remount,bind,ro "$root$target"
  done <"$RUN/plan/$name/binds"
  read -r uid gid <"$RUN/plan/$name/user"
  while read -r source target; do
    # As a new volume is laid: the folder of the image, which is the user's.
    mkdir -p "$RUN/volumes/$source" "$root$target"
    chown "$uid:$gid" "$RUN/volumes/$source"
    mount --bind "$RUN/volumes/$source" "$root$target"
  done <"$RUN/plan/$name/volumes"
  while IFS=: read -r target options; do
    mkdir -p "$root$target"
    mount -t tmpfs -o "${options:-mode=1777}" heartbeat-tmpfs "$root$target"
  done <"$RUN/plan/$name/tmpfs"
  [[ ! -s $RUN/plan/$name/read_only ]] || mount -o remount,ro "$root"
  hostname "$(lines_of "$name" hostname)"
  mapfile -t command < <(lines_of "$name" command)
  mapfile -t environment < <(lines_of "$name" environment)
  command[0]=${CALLED[${command[0]}]:-${command[0]}}
  # As the engine does it, so that the program may open /dev/stdout.
  chown "$uid:$gid" /proc/self/fd/1 /proc/self/fd/2
  # What the images set themselves: RabbitMQ's, so that its tools find the cookie.
  keep=(PATH="$SEARCH" LANG=C.UTF-8 HOME=/var/lib/rabbitmq)
  exec chroot "$root" setpriv --reuid "$uid" --regid "$gid" --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs -- env -i "${keep[@]}" "${environment[@]}" "${command[@]}"
}

# The system's programs, read-only, in the place of an image's; of its configuration a copy without what is ours.
lay_system() {
  local root=$1 entry
  for entry in bin sbin lib lib64; do
    [[ ! -L /$entry ]] || cp --archive "/$entry" "$root/"
  done
  mkdir -p "$root"/{usr,proc,dev,tmp,run,var/lib,etc}
  mount --rbind /usr "$root/usr"
  mount -o remount,bind,ro "$root/usr"
  mount -t tmpfs -o mode=755 heartbeat-local "$root/usr/local"
  mkdir -p "$root/usr/local/bin"
  install -m 755 "$HEARTBEAT" "$root/usr/local/bin/heartbeat"
  mount -t proc proc "$root/proc"
  for entry in null zero full random urandom tty; do
    touch "$root/dev/$entry"
    mount --bind "/dev/$entry" "$root/dev/$entry"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  ln -s /proc/self/fd/1 "$root/dev/stdout"
  ln -s /proc/self/fd/2 "$root/dev/stderr"
  for entry in passwd group nsswitch.conf ld.so.cache localtime alternatives ssl erlang; do
    [[ ! -e /etc/$entry ]] || cp --archive --dereference "/etc/$entry" "$root/etc/" 2>/dev/null || true
  done
  cp "$RUN/plan/$name/hosts" "$root/etc/hosts"
  # What RabbitMQ's image has besides: its plugins.
  mkdir -p "$root/etc/rabbitmq/conf.d"
  echo '[rabbitmq_management,rabbitmq_prometheus].' >"$root/etc/rabbitmq/enabled_plugins"
}

lay_mount_point() {
  if [[ -d $1 ]]; then
    mkdir -p "$2"
  else
    mkdir -p "$(dirname "$2")"
    touch "$2"
  fi
}

# in_network SERVICE COMMAND...: with the service's networks and names, and nothing else of it.
in_network() {
  local name=$1
  shift
  # shellcheck disable=SC2016 # The inner shell expands them.
  ip netns exec "$(namespace_of "$name")" unshare --mount --propagation private bash -c \
    'mount --bind "$1" /etc/hosts; shift; exec "$@"' in_network "$RUN/plan/$name/hosts" "$@" </dev/null
}

# launch NAME COMMAND...
launch() {
  local name=$1
  shift
  setpriv --pdeathsig KILL setsid "$@" </dev/null >>"$RUN/log/$name.log" 2>&1 &
  PIDS[$name]=$!
  disown "$!"
  STARTED+=("$name")
}

start() {
  local name=$1 namespace
  namespace=$(namespace_of "$name")
  case $name in
    database | files) launch "$name" ip netns exec "$namespace" python3 -m http.server "${LISTENERS[$name]}" ;;
    collector)
      launch "$name" ip netns exec "$namespace" env ROTEL_EXPORTER=blackhole ROTEL_DEBUG_LOG_VERBOSITY=detailed \
        "$(rotel)" start --otlp-http-endpoint 0.0.0.0:4318 --debug-log traces --debug-log logs
      ;;
    *)
      launch "$name" ip netns exec "$namespace" unshare --mount --pid --uts --ipc --fork --kill-child \
        "$0" --inside "$name" "$RUN" "$HEARTBEAT"
      ;;
  esac
}

rotel() {
  local -a found=("$ROOT"/target/otlp-peers/lib/python3*/site-packages/rotel/rotel-agent)
  [[ -x ${found[0]} ]] || die "scripts/otlp-peers.sh has brought no rotel"
  echo "${found[0]}"
}

# The service's own health check, where it runs: in its namespaces, below its root, as its user.
is_healthy() {
  local name=$1 first uid gid
  local -a health environment
  mapfile -t health < <(lines_of "$name" health)
  mapfile -t environment < <(lines_of "$name" environment)
  first=$(pgrep --parent "${PIDS[$name]}" | head -n 1)
  [[ -n $first ]] || return 1
  read -r uid gid <"$RUN/plan/$name/user"
  timeout 30 nsenter --target "$first" --mount --net --pid --uts --ipc --root \
    setpriv --reuid "$uid" --regid "$gid" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- \
    env --ignore-environment --chdir=/ PATH="$SEARCH" LANG=C.UTF-8 HOME=/var/lib/rabbitmq "${environment[@]}" "${health[@]}" </dev/null
}

is_alive() { kill -0 "${PIDS[$1]}" 2>/dev/null; }

# wait_for SECONDS NAME COMMAND...: until the command succeeds; NAME must stay alive meanwhile.
wait_for() {
  local end=$((SECONDS + $1)) limit=$1 name=$2
  shift 2
  until "$@" >"$RUN/log/last-check" 2>&1; do
    is_alive "$name" || { show_log "$name"; die "$name has ended by itself"; }
    ((SECONDS < end)) || { show_log "$name"; cat "$RUN/log/last-check" >&2; die "not so after $limit s: $*"; }
    sleep 0.5
  done
}

show_log() {
  say "the last lines of $1:"
  tail -n 20 "$RUN/log/$1.log" | sed 's/^/    /' >&2
}

# The program itself gets the signal, and then what started it goes, too.
stop_one() {
  local name=$1 pid=${PIDS[$1]:-} end=$((SECONDS + 15)) first
  [[ -n $pid ]] || return 0
  first=$(pgrep --parent "$pid" | head -n 1 || true)
  kill -TERM "${first:-$pid}" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS >= end)); then
      say "$name does not stop; killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    sleep 0.1
  done
  kill -KILL -- "-$pid" 2>/dev/null || true
  unset "PIDS[$name]"
}

# --- What is looked at --------------------------------------------------------------------------------------------

# expect TEXT COMMAND...: says whether it is so, and goes on.
expect() {
  local text=$1
  shift
  if "$@" >"$RUN/log/last-check" 2>&1; then
    printf '  yes   %s\n' "$text"
  else
    printf '  NO    %s\n' "$text"
    sed 's/^/        /' "$RUN/log/last-check" | tail -n 5
    FAILED=$((FAILED + 1))
  fi
}

not() { ! "$@"; }

# shellcheck disable=SC2016 # The inner shell expands them.
connects() { in_network "$1" timeout 3 bash -c '</dev/tcp/$0/$1' "$2" "$3"; }

ask_prometheus() { in_network prometheus curl --silent --fail --max-time 5 --get "http://127.0.0.1:9090/api/v1/$1" "${@:2}"; }

# prometheus_has PATH PYTHON [CURL-ARGUMENT...]: the expression holds for the answer's data.
prometheus_has() {
  ask_prometheus "$1" "${@:3}" | tee "$RUN/log/last-answer" |
    python3 -c 'import json, sys; d = json.load(sys.stdin)["data"]; sys.exit(not eval(sys.argv[1]))' "$2"
}

query_is() { prometheus_has query "sorted(r['value'][1] for r in d['result']) == $2" --data-urlencode "query=$1"; }

exported() { grep -q "$1" "$RUN/log/collector.log"; }

look_at_services() {
  local name
  for name in "${STARTED[@]}"; do
    [[ ! -s $RUN/plan/$name/health || -n ${LISTENERS[$name]:-} ]] || expect "$name: its health check passes" is_healthy "$name"
  done
}

look_at_prometheus() {
  wait_for 30 prometheus prometheus_has targets "[t['health'] for t in d['activeTargets']] == ['up', 'up']"
  expect "Prometheus scrapes both subscribers, and both are up" \
    prometheus_has targets "sorted((t['labels']['instance'], t['health']) for t in d['activeTargets']) == [('subscriber-1:11911', 'up'), ('subscriber-2:11911', 'up')]"
  expect "Prometheus has the rules, and none of them fails" \
    prometheus_has rules "d['groups'] and all(r['health'] in ('ok', 'unknown') for g in d['groups'] for r in g['rules'])"
  expect "Prometheus knows the Alertmanager" \
    prometheus_has alertmanagers "[a['url'] for a in d['activeAlertmanagers']] == ['http://alertmanager:9093/api/v2/alerts']"
  wait_for 60 prometheus query_is 'heartbeat_component_up{publisher="enclave"}' "['1'] * 10"
  expect "both subscribers see the publisher" query_is 'heartbeat_publisher_up{publisher="enclave"}' "['1', '1']"
  expect "both see all five components up: three hosts, the consumer, its queue" \
    query_is 'heartbeat_component_up{publisher="enclave"}' "['1'] * 10"
  expect "no stranger is on the queue" query_is 'heartbeat_subscriber_foreign_consumers' "['0', '0']"
}

look_at_exports() {
  wait_for 60 collector exported heartbeat-publisher
  expect "the collector gets the subscribers' spans" exported 'heartbeat-subscriber'
  expect "the collector gets the publisher's spans, which the subscribers bring out" exported 'heartbeat-publisher'
  expect "an exemplar leads from a delivery to its trace" prometheus_has query_exemplars \
    "any('trace_id' in e['labels'] for r in d for e in r['exemplars'])" --data-urlencode 'query=heartbeat_delivery_seconds_bucket' \
    --data-urlencode "start=$(date --date '-5 min' +%s)" --data-urlencode "end=$(date +%s)"
  expect "no export failed" query_is 'sum(heartbeat_otlp_export_failures_total)' "['0']"
  expect "metrics are not exported besides" query_is 'sum(heartbeat_otlp_exports_total{signal="metrics"}) or vector(0)' "['0']"
}

# notifications METRIC: how many, by all webhooks together.
notifications() {
  in_network alertmanager curl --silent --fail --max-time 5 http://127.0.0.1:9093/metrics |
    awk -v name="$1" 'index($1, name "{") == 1 && /integration="webhook"/ { sum += $2; found = 1 } END { if (!found) exit 1; print sum }'
}

# It comes all the way from a rule of Prometheus. As long as it is the only alert, whatever arrives is the watchdog. Requests
# are counted, since a notification counts as failed only when Alertmanager gives it up.
watchdog_arrives() {
  [[ $(in_network alertmanager curl --silent --fail --max-time 5 http://127.0.0.1:9093/api/v2/alerts |
    python3 -c 'import json, sys; print(*(a["labels"]["alertname"] for a in json.load(sys.stdin)))') == HeartbeatWatchdog ]] &&
    (($(notifications alertmanager_notification_requests_total) > $(notifications alertmanager_notification_requests_failed_total)))
}

# An alert of our own is routed as one of Prometheus's, and need not wait until something was down for a minute.
raise_alert() {
  in_network alertmanager curl --silent --fail --max-time 5 --header 'Content-Type: application/json' --data \
    '[{"labels": {"alertname": "HeartbeatComposeNatively", "severity": "critical", "job": "heartbeat"}}]' \
    http://127.0.0.1:9093/api/v2/alerts
}

is_told() { grep -q "$1" "$RUN/log/notified.log"; }

look_at_notifications() {
  wait_for 60 notified watchdog_arrives
  expect "the watchdog's notifications arrive" watchdog_arrives
  expect "Alertmanager takes an alert" raise_alert
  # The group's wait of ten seconds, and some.
  wait_for 30 notified is_told ' /page firing HeartbeatComposeNatively {'
  expect "a line tells who is woken, and by what" is_told ' /page firing HeartbeatComposeNatively {'
  expect "no line tells of the watchdog, which comes every minute" not is_told /watchdog
  expect "nobody but Alertmanager reaches it" not connects prometheus alertmanager 9095
  # The first may have failed before there was somebody to take them; those are sent again.
  expect "Alertmanager gave up none" test "$(notifications alertmanager_notifications_failed_total)" = 0
}

# What breaks is seen from outside, and told to the collector.
look_at_change() {
  stop_one files
  wait_for 40 prometheus query_is 'heartbeat_component_up{publisher="enclave",name="files"}' "['0', '0']"
  expect "a service of the enclave that stops is down outside" \
    query_is 'heartbeat_component_up{publisher="enclave",name="files"}' "['0', '0']"
  wait_for 20 collector exported heartbeat.component.changed
  expect "the collector gets the log record of it" exported heartbeat.component.changed
  start files
  wait_for 40 prometheus query_is 'heartbeat_component_up{publisher="enclave",name="files"}' "['1', '1']"
  expect "it is up again when it is back" \
    query_is 'heartbeat_component_up{publisher="enclave",name="files"}' "['1', '1']"
}

# What stands in volumes is there again, and both roles come back by themselves.
look_at_restarts() {
  local name peer
  while read -r name peer; do
    stop_one "$name"
    wait_for 40 prometheus query_is "heartbeat_subscriber_connected{peer=\"$peer\"}" "['0', '0']"
    start "$name"
    wait_for 120 "$name" is_healthy "$name"
    wait_for 60 prometheus query_is "heartbeat_subscriber_connected{peer=\"$peer\"}" "['1', '1']"
    expect "$name restarts on its volume, and both subscribers are back" \
      query_is "heartbeat_subscriber_connected{peer=\"$peer\"}" "['1', '1']"
  done <<<$'broker rabbitmq\nstore redis'
  wait_for 60 prometheus query_is 'heartbeat_component_up{publisher="enclave"}' "['1'] * 10"
  expect "nothing was lost on the way" query_is 'sum(heartbeat_publisher_lost_total)' "['0']"
}

address_of() { awk -v name="$2" '$2 == name { print $1 }' "$RUN/plan/$1/hosts"; }

# From outside by name and by address, with the way through the broker forced, and from inside.
look_at_enclave() {
  local name port inside outside
  outside=$(address_of prometheus broker)
  ip netns exec "$NETS-prometheus" ip route add 10.213.0.0/16 via "$outside"
  for name in database files publisher; do
    port=${LISTENERS[$name]:-11911}
    inside=$(address_of publisher "$name")
    expect "from outside $name has no name" not connects prometheus "$name" "$port"
    expect "from outside $name cannot be reached at $inside, not even by way of the broker" \
      not connects prometheus "$inside" "$port"
  done
  ip netns exec "$NETS-prometheus" ip route del 10.213.0.0/16 via "$outside"
  expect "from outside the broker answers" connects prometheus broker 5672
  for name in database files broker; do
    expect "from inside $name answers, so that what does not answer is unreachable and not down" \
      connects publisher "$name" "${LISTENERS[$name]:-5672}"
  done
  for name in "store 6379" "subscriber-1 11911" "prometheus 9090" "collector 4318"; do
    read -r name port <<<"$name"
    expect "from inside $name cannot be reached" not connects publisher "$name" "$port"
    expect "from inside $name cannot be reached at its address" not connects publisher "$(address_of prometheus "$name")" "$port"
    expect "from outside $name answers" connects prometheus "$name" "$port"
  done
  expect "the publisher listens nowhere" not test -n "$(ip netns exec "$NETS-publisher" ss --no-header --listening --tcp --udp)"
}

# --- All of it ----------------------------------------------------------------------------------------------------

build() {
  if [[ -n ${HEARTBEAT_BINARY:-} ]]; then
    HEARTBEAT=$(realpath "$HEARTBEAT_BINARY")
  else
    say "building (the first time takes minutes)"
    (cd "$ROOT" && cargo build --release --locked --quiet --bin heartbeat)
    HEARTBEAT=${CARGO_TARGET_DIR:-$ROOT/target}/release/heartbeat
  fi
  [[ -x $HEARTBEAT ]] || die "$HEARTBEAT is not there"
}

start_everything() {
  local name
  while read -r name; do
    if is_absent "$name"; then
      say "$name is not run: Debian has no such program"
      continue
    fi
    start "$name"
    if [[ -n ${LISTENERS[$name]:-} ]]; then
      wait_for 20 "$name" connects "$name" 127.0.0.1 "${LISTENERS[$name]}"
    elif [[ -s $RUN/plan/$name/health ]]; then
      wait_for 120 "$name" is_healthy "$name"
    fi
    say "$name runs"
  done <"$RUN/plan/order"
}

# Runs at every end, whatever its cause, once.
clean_up() {
  local code=$? index name
  trap - EXIT
  trap '' INT TERM HUP
  for ((index = ${#STARTED[@]} - 1; index >= 0; index--)); do
    stop_one "${STARTED[index]}"
  done
  while read -r name; do
    ip netns delete "$name" || true
  done < <(ip netns list | awk -v prefix="$NETS-" 'prefix != "-" && index($1, prefix) == 1 { print $1 }')
  if ((code == 0)); then
    rm -rf "$RUN"
    say "stopped; nothing is left"
  else
    rm -rf "$RUN"/{volumes,root}
    say "stopped; the logs are in $RUN/log"
  fi
  exit "$code"
}

main() {
  ((EUID == 0)) || die "as root, please: namespaces need it"
  "$ROOT/scripts/install-debian-packages.sh"
  "$ROOT/scripts/install-debian-packages.sh" docker-compose iproute2 nginx procps wget
  "$ROOT/scripts/otlp-peers.sh"
  build
  RUN=$(mktemp --directory --tmpdir heartbeat-compose.XXXXXXXX)
  chmod 755 "$RUN"
  mkdir -p "$RUN"/{log,root,volumes}
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  write_plan
  make_networks
  start_everything
  echo
  look_at_services
  look_at_prometheus
  look_at_exports
  look_at_notifications
  look_at_change
  look_at_restarts
  look_at_enclave
  echo
  ((FAILED == 0)) || die "$FAILED of these are not as they should be"
}

if [[ ${1:-} == --inside ]]; then
  RUN=$3
  HEARTBEAT=$4
  inside "$2"
else
  main
fi
