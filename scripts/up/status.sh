# shellcheck shell=bash
# One line of state: in place on a terminal, else a line for each change.

LAST_STATUS=

# Publishers fresh, and components by outcome; on a line of their own, until when somebody works on something and why those are
# not up that are not: from the subscriber's own exposition.
count_metrics() {
  fetch "http://127.0.0.1:${PORTS[subscriber]}/metrics" | awk '
    /^heartbeat_publisher_last_seen/     { publishers++ }
    /^heartbeat_publisher_up[{ ]/        { fresh += $NF }
    /^heartbeat_component_up[{ ]/        { if ($NF == 1) up++; else down++ }
    /^heartbeat_component_unknown[{ ]/   { unknown += $NF }
    /^heartbeat_component_reason[{ ]/    { of = label("reason")
                                           if (++of_reason[of] <= 3) names[of] = names[of] (names[of] ? ", " : "") label("name") }
    /^heartbeat_(publisher|component)_maintenance_end/ { if ($NF > until) until = $NF }
    END { for (of in names) why = why " | " names[of] (of_reason[of] > 3 ? " and " of_reason[of] - 3 " more" : "") \
                                  ": " (of in words ? words[of] : of)
          printf "%d/%d fresh | %d up, %d down%s\n%s%s\n",
          fresh, publishers, up, down, unknown ? ", " unknown " unknown" : "",
          until ? " | maintenance until " strftime("%H:%M:%S", until) : "", why }
    BEGIN { words["view"] = "the subscriber cannot hear now"; words["unconfirmed"] = "not heard of since the subscriber started"
            words["stale"] = "the publisher is silent" }
    # The demo has no quotes in its names.
    function label(key) {
      if (!match($0, "[{,]" key "=\"[^\"]*")) return ""
      return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
    }'
}

# The names of the alerts that fire, each once. The watchdog always does, to prove that alerts arrive.
firing_alerts() {
  fetch "http://127.0.0.1:${PORTS[prometheus]}/api/v1/alerts" | sed 's/{"labels"/\n&/g' |
    sed -n '/HeartbeatWatchdog/d; /"state":"firing"/s/.*"alertname":"\([^"]*\)".*/\1/p' | sort | uniq -c |
    awk '{ printf "%s%s%s", sep, $2, ($1 > 1 ? " x" $1 : ""); sep = ", " }'
}

# What one waits for comes first: a narrow terminal shows the beginning.
status_text() {
  local metrics alerts
  metrics=$(count_metrics) || metrics="the subscriber does not answer"
  alerts=$(firing_alerts) || alerts="Prometheus does not answer"
  printf '%s | firing: %s%s' "${metrics%%$'\n'*}" "${alerts:-none}" "$(tail -n +2 <<<"$metrics")"
}

show_status() {
  local text
  text=$(status_text)
  if [[ -t 1 ]]; then
    # Cut to the width, since a line that wraps cannot be written over.
    printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$(date +%T) $text"
  elif [[ $text != "$LAST_STATUS" ]]; then
    printf '%s %s\n' "$(date +%T)" "$text"
  fi
  LAST_STATUS=$text
}

# Lines of the notifications' log that were shown already.
SHOWN_NOTIFICATIONS=0

# What Alertmanager has told since the last look; the watchdog comes every minute and is no news.
show_notifications() {
  local line
  while IFS= read -r line; do
    SHOWN_NOTIFICATIONS=$((SHOWN_NOTIFICATIONS + 1))
    [[ $line == *HeartbeatWatchdog* ]] || say "told: $line"
  done < <(tail -n "+$((SHOWN_NOTIFICATIONS + 1))" "$RUN/log/notified.log" 2>/dev/null)
}
