#!/usr/bin/env bash
# Puts passwords of chance in the place of the demonstration's, for docker-compose.yml: into the files of secrets/, and
# as hashes into what the broker and the store read. Needs openssl. Where something ran already with the old ones:
#   docker compose up --detach --force-recreate      and for Grafana and the database, which keep theirs in their volumes,
#   docker compose exec grafana grafana cli admin reset-admin-password "$(cat deploy/compose/secrets/grafana)"
# With the argument --demonstration it puts those of the demonstration back.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
readonly HERE
# The viewer's is for the broker's pages, and is in no container.
readonly NAMES=(broker-publisher broker-subscriber broker-viewer store-heartbeat database grafana)

say() { printf 'new-passwords: %s\n' "$*" >&2; }

die() { say "$*"; exit 1; }

# Bytes in hexadecimal as printf takes them.
escaped() { printf '%s' "$1" | sed 's/../\\x&/g'; }

# RabbitMQ's own form: four bytes of salt, and behind them the SHA-256 of salt and password, in base64.
rabbitmq_hash() {
  local salt
  salt=$(escaped "$(openssl rand -hex 4)")
  # shellcheck disable=SC2059 # The salt is bytes, written as escapes.
  {
    printf "$salt"
    { printf "$salt"; printf '%s' "$1"; } | openssl dgst -sha256 -binary
  } | openssl base64 -A
}

redis_hash() { printf '%s' "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

# replace FILE PATTERN REPLACEMENT: one line of the file must change. It is written in place, since a container that
# runs has this very file mounted.
replace() {
  local file=$HERE/$1 text
  grep -Eq "$2" "$file" || die "$1 has no line for $2"
  text=$(sed -E "s|$2|$3|" "$file")
  printf '%s\n' "$text" >"$file"
}

main() {
  local name password
  command -v openssl >/dev/null || die "needs openssl"
  [[ ${1:-} == "" || ${1:-} == --demonstration ]] || die "no such argument: $1"
  for name in "${NAMES[@]}"; do
    password=demonstration-$name
    [[ -n ${1:-} ]] || password=$(openssl rand -hex 24)
    # Whoever the container's user is must be able to read the file; others are kept out by the folder.
    printf '%s\n' "$password" >"$HERE/secrets/$name"
    chmod 644 "$HERE/secrets/$name"
    case $name in
      broker-*)
        replace rabbitmq/definitions.json "(\"name\": \"${name#broker-}\", \"password_hash\": \")[^\"]*" "\1$(rabbitmq_hash "$password")"
        ;;
      store-*) replace redis/redis.conf "^(user ${name#store-} on #)[0-9A-Za-z]*" "\1$(redis_hash "$password")" ;;
    esac
  done
  [[ -n ${1:-} ]] || chmod 700 "$HERE/secrets"
  say "${#NAMES[@]} passwords are in $HERE/secrets"
}

main "$@"
