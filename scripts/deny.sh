#!/usr/bin/env bash
# Holds what is built in to deny.toml: advisories, licences, second versions and sources, or those named:
#   scripts/deny.sh [advisories] [licenses] [bans] [sources]
# Takes the cargo-deny that is there, or builds one under target/tools, which takes a minute or two. The advisories are
# fetched from their repository at GitHub; the rest needs nothing but what Cargo.lock names.
set -euo pipefail
cd "$(dirname "$0")/.."
# What it says, and what it takes for an error, differs between versions.
readonly VERSION=0.20.2

deny=$(command -v cargo-deny || true)
if [[ $("${deny:-false}" --version 2> /dev/null) != "cargo-deny $VERSION" ]]; then
  deny=target/tools/bin/cargo-deny
  # It runs for seconds, so it need not be fast.
  [[ -x $deny ]] || cargo install --debug --locked --quiet --root target/tools --version "$VERSION" cargo-deny
fi
# An exception that is no longer needed is an error, too.
"$deny" check --deny unmatched-skip --deny unnecessary-skip --deny unmatched-source "$@"
