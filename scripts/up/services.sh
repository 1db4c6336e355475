# shellcheck shell=bash
# What runs: start_NAME starts it, ready_NAME tells whether it serves.

readonly RABBITMQ=/usr/lib/rabbitmq/bin/rabbitmq-server

# RabbitMQ's port mapper, on a port of its own, so that one that runs already is neither used nor stopped.
start_epmd() {
  launch epmd epmd -port "${PORTS[epmd]}" -address 127.0.0.1
}
ready_epmd() { listens "${PORTS[epmd]}"; }

# The script itself and not the wrapper in the search path, which insists on a user of its own.
start_rabbitmq() {
  local dir=$RUN/rabbitmq
  mkdir -p "$dir"
  cat >"$dir/rabbitmq.conf" <<EOF
listeners.tcp.1 = 127.0.0.1:${PORTS[rabbitmq]}
management.tcp.ip = 127.0.0.1
management.tcp.port = ${PORTS[rabbitmq-management]}
# The management API then shows a consumer within a second.
collect_statistics_interval = 1000
EOF
  echo '[rabbitmq_management].' >"$dir/enabled_plugins"
  # "Under systemd" the script becomes the Erlang machine instead of its parent, and gets its signals.
  launch rabbitmq RUNNING_UNDER_SYSTEMD=true \
    HOME="$dir" ERL_EPMD_PORT="${PORTS[epmd]}" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_NODENAME=heartbeat-up@localhost RABBITMQ_DIST_PORT="${PORTS[erlang]}" \
    RABBITMQ_CONF_ENV_FILE="$dir/no-such-file" RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
    RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$RUN/log" RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}' \
    "$RABBITMQ"
}
ready_rabbitmq() {
  fetch -u guest:guest "http://127.0.0.1:${PORTS[rabbitmq-management]}/api/overview" && listens "${PORTS[rabbitmq]}"
}

start_redis() {
  mkdir -p "$RUN/redis"
  launch redis redis-server --bind 127.0.0.1 --port "${PORTS[redis]}" --dir "$RUN/redis" --save ''
}
ready_redis() { listens "${PORTS[redis]}"; }

# Two small things worth checking: a port, and a consumer on the queue "inbox".
start_demo-service() {
  launch demo-service "$DEMO" listen "127.0.0.1:${PORTS[demo-service]}"
}
ready_demo-service() { listens "${PORTS[demo-service]}"; }

start_demo-consumer() {
  launch demo-consumer "$DEMO" consume "amqp://guest:guest@127.0.0.1:${PORTS[rabbitmq]}/%2f" inbox demo-consumer-1
}
# Until the broker's statistics, a second or two behind, show it too: the publisher would find it unknown.
ready_demo-consumer() {
  fetch -u guest:guest "http://127.0.0.1:${PORTS[rabbitmq-management]}/api/queues/%2F/inbox" |
    grep '"messages":.*demo-consumer-1\|demo-consumer-1.*"messages":'
}

# What both roles need to find the broker.
broker_environment() {
  printf '%s\n' RABBITMQ_HOST=127.0.0.1 "RABBITMQ_PORT=${PORTS[rabbitmq]}" \
    "RABBITMQ_MANAGEMENT_PORT=${PORTS[rabbitmq-management]}" RABBITMQ_EXCHANGE=sda RABBITMQ_QUEUE=heartbeat \
    RABBITMQ_ROUTING_KEY=service.heartbeat
}

# The path of a socket has 107 bytes at most.
has_socket() { ((${#SOCKET} <= 107)); }

start_publisher() {
  local -a broker
  mapfile -t broker < <(broker_environment)
  cat >"$RUN/publisher_config.json" <<EOF
{
  "heartbeat": {
    "hosts": [
      {"host": "127.0.0.1", "port": ${PORTS[rabbitmq]}, "name": "rabbitmq"},
      {"host": "127.0.0.1", "port": ${PORTS[redis]}, "name": "redis"},
      {"host": "127.0.0.1", "port": ${PORTS[prometheus]}, "name": "prometheus"},
      {"host": "127.0.0.1", "port": ${PORTS[demo-service]}, "name": "demo-service"}
    ],
    "rmq_consumers": [
      {"queue": "inbox", "listeners": [{"tag": "^demo-consumer", "name": "demo-consumer"}]}
    ],
    "http": [
      {"url": "http://127.0.0.1:${PORTS[alertmanager]}/-/ready", "name": "alertmanager", "max_duration": "1s"}
    ]
  }
}
EOF
  if has_socket; then
    broker+=(LOCAL_LISTEN_ADDRESS="unix:$SOCKET")
  fi
  launch publisher "${broker[@]}" PUBLISHER_ID=demo PUBLISH_INTERVAL=5 PROBE_INTERVAL=1 CHECK_TIMEOUT=1 \
    PUBLISHER_CONFIG_PATH="$RUN/publisher_config.json" HEALTH_FILE="$RUN/publisher.health" "$HEARTBEAT" publisher
}
# It need not listen, so it is asked as a container's health check would ask it.
ready_publisher() {
  env -i HEALTH_FILE="$RUN/publisher.health" "$HEARTBEAT" healthcheck publisher --ready
}

start_subscriber() {
  local -a broker
  mapfile -t broker < <(broker_environment)
  launch subscriber "${broker[@]}" REDIS_HOST=127.0.0.1 REDIS_PORT="${PORTS[redis]}" \
    WEB_LISTEN_ADDRESS="127.0.0.1:${PORTS[subscriber]}" HEALTH_FILE="$RUN/subscriber.health" "$HEARTBEAT" subscriber
}
ready_subscriber() { fetch "http://127.0.0.1:${PORTS[subscriber]}/-/ready"; }

# Where notifications arrive. A line for each is told here, too.
start_notified() {
  launch notified "$DEMO" notified "127.0.0.1:${PORTS[notified]}"
}
ready_notified() { listens "${PORTS[notified]}"; }

# The shipped configuration, with notifications sent to where they are shown, and waits short enough to watch.
start_alertmanager() {
  sed -e "s|http://localhost:9095|http://127.0.0.1:${PORTS[notified]}|" -e 's|group_wait: 10s|group_wait: 2s|' \
    -e 's|group_interval: 1m|group_interval: 10s|' "$ROOT/alerts/alertmanager.yml" >"$RUN/alertmanager.yml"
  launch alertmanager prometheus-alertmanager --config.file="$RUN/alertmanager.yml" --storage.path="$RUN/alertmanager" \
    --web.listen-address="127.0.0.1:${PORTS[alertmanager]}" \
    --web.external-url="http://127.0.0.1:${PORTS[alertmanager]}" --cluster.listen-address= --log.level=warn
}
ready_alertmanager() { fetch "http://127.0.0.1:${PORTS[alertmanager]}/-/ready"; }

# The shipped configuration with our ports, the shipped rules, and steps short enough to watch.
start_prometheus() {
  sed -e "s|localhost:11911|127.0.0.1:${PORTS[subscriber]}|" -e "s|- heartbeat.rules.yml|- $ROOT/alerts/heartbeat.rules.yml|" \
    -e "s|localhost:9093|127.0.0.1:${PORTS[alertmanager]}|" -e 's|interval: 15s|interval: 5s|' \
    "$ROOT/alerts/prometheus.yml" >"$RUN/prometheus.yml"
  launch prometheus prometheus --config.file="$RUN/prometheus.yml" --storage.tsdb.path="$RUN/prometheus" \
    --web.listen-address="127.0.0.1:${PORTS[prometheus]}" \
    --web.external-url="http://127.0.0.1:${PORTS[prometheus]}" --log.level=warn
}
ready_prometheus() { fetch "http://127.0.0.1:${PORTS[prometheus]}/-/ready"; }

# Debian's Prometheus has the old pages alone, Prometheus' own the new ones.
alerts_page() {
  local root="http://127.0.0.1:${PORTS[prometheus]}"
  if fetch --output /dev/null "$root/classic/alerts"; then
    echo "$root/classic/alerts"
  else
    echo "$root/alerts"
  fi
}

# Debian's Alertmanager has no pages.
alertmanager_page() {
  local root="http://127.0.0.1:${PORTS[alertmanager]}"
  if fetch "$root/" | grep -q 'does not include'; then
    echo "amtool --alertmanager.url=$root alert"
  else
    echo "$root/"
  fi
}

listens() { [[ -n "$(listening_inodes "$1")" ]]; }

fetch() { curl --silent --fail --max-time 2 --noproxy '*' "$@"; }
