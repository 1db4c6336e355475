#!/usr/bin/env bash
# Builds the Debian package and prints where it is:
#   scripts/package.sh [revision, 1 unless given]
# Takes the cargo-deb that is there, or builds one under target/tools, which takes a minute or two. The same source, toolchain
# and revision make the same package.
set -euo pipefail
cd "$(dirname "$0")/.."
# What it makes of the manifest differs between versions.
readonly VERSION=3.8.0
readonly MADE=target/package

revision=${1:-1}
[[ $revision =~ ^[a-z0-9.+~]+$ ]] || { echo "usage: $0 [revision]" >&2; exit 64; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)

cargo_deb=$(command -v cargo-deb || true)
if [[ $("${cargo_deb:-false}" --version 2> /dev/null) != "$VERSION" ]]; then
  cargo_deb=target/tools/bin/cargo-deb
  # It runs for seconds, so it need not be fast.
  [[ -x $cargo_deb ]] || cargo install --debug --locked --quiet --root target/tools --version "$VERSION" cargo-deb
fi

cargo build --release --locked --bin heartbeat >&2
# The commit's time, and not today's. Told to the build too, it would have C libraries built anew for each commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || stat --format=%Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

rm -rf "$MADE/files"
mkdir -p "$MADE/files/man"
target/release/heartbeat man --write "$MADE/files/man"
for shell in bash zsh fish; do
  target/release/heartbeat completions "$shell" > "$MADE/files/$shell"
done
scripts/package/libraries.sh | gzip -9 --no-name > "$MADE/files/libraries.gz"
cat > "$MADE/files/changelog" << EOF
heartbeat-bridge ($version-$revision) unstable; urgency=medium

  * What changed is in changelog.gz.

 -- The Heartbeat authors <nobody@heartbeat-bridge.invalid>  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
EOF

"$cargo_deb" --no-build --locked --deb-revision "$revision" --output "$MADE/" >&2
echo "$MADE/heartbeat-bridge_$version-${revision}_$(dpkg --print-architecture).deb"
