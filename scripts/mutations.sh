#!/usr/bin/env bash
# Takes the program's protections out, one at a time, and asks whether the test of each notices:
#   scripts/mutations.sh [NAME...]
# Each is a patch in scripts/mutations with its test in its head; docs/faults.md says to which fault it belongs. Works
# on a copy of what git has of this folder, changes included, under target/mutations. Builds there: some minutes the
# first time, then about a minute each, and as long as the test takes to give up waiting. Ends with 1 if one survived.
set -euo pipefail
shopt -s nullglob
ROOT=$(cd "$(dirname "$0")/.." && pwd)
readonly ROOT WORK=$ROOT/target/mutations
readonly TREE=$WORK/tree PATCHES=$ROOT/scripts/mutations

say() { printf 'mutations: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

head_of() { sed -n "s/^$2: //p" "$PATCHES/$1.patch" | head -n 1; }

# As it stands, without what is not git's, and only what differs is written: what has not changed is not built again.
copy() {
  mkdir -p "$TREE"
  git -C "$ROOT" ls-files -z --cached --others --exclude-standard |
    (cd "$ROOT" && xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh) |
    tar -C "$ROOT" --null -T - -c | tar -C "$WORK" --one-top-level=fresh -x
  local file
  (cd "$WORK/fresh" && find . -type f -print0) | while IFS= read -r -d '' file; do
    cmp -s "$WORK/fresh/$file" "$TREE/$file" && continue
    mkdir -p "$(dirname "$TREE/$file")"
    # With the time of now, by which cargo sees that it changed.
    cp "$WORK/fresh/$file" "$TREE/$file"
  done
  # What has gone since the last time must not be built with the rest.
  (cd "$TREE" && find . -type f -print0) | while IFS= read -r -d '' file; do
    [[ -e $WORK/fresh/$file ]] || rm "$TREE/$file"
  done
  rm -rf "$WORK/fresh"
}

# Dependencies that are built already need not be built again.
seed() {
  [[ -d $WORK/target || ! -d $ROOT/target/debug/deps ]] && return
  mkdir -p "$WORK/target/debug"
  cp -a "$ROOT/target/debug/deps" "$ROOT/target/debug/build" "$ROOT/target/debug/.fingerprint" "$WORK/target/debug/"
}

cargo_test() { (cd "$TREE" && CARGO_TARGET_DIR=$WORK/target RUST_BACKTRACE=0 cargo test "$@"); }

# mutate NAME: says killed, survived, or what is wrong with the patch.
mutate() {
  local name=$1 test begun=$SECONDS log=$WORK/$1.log result
  local -a words
  test=$(head_of "$name" Test)
  [[ -n $test ]] || die "$name names no test"
  read -ra words <<<"$test"
  git -C "$TREE" apply --check "$PATCHES/$name.patch" 2>"$log" || { result="does not apply"; }
  if [[ -z ${result:-} ]]; then
    git -C "$TREE" apply "$PATCHES/$name.patch"
    # The last word is the filter; a name that cargo has need not have one.
    if ! cargo_test --no-run "${words[@]}" >"$log" 2>&1; then
      result="does not build"
    elif timeout 900 bash -c 'cd "$1"; shift; CARGO_TARGET_DIR=$0 RUST_BACKTRACE=0 cargo test "$@"' \
      "$WORK/target" "$TREE" "${words[@]}" >"$log" 2>&1; then
      result=survived
      grep -q '^running [1-9]' "$log" || result="has no such test"
    else
      result=killed
    fi
    git -C "$TREE" apply -R "$PATCHES/$name.patch"
  fi
  printf '| %s | %s | %s | %s s |\n' "$name" "$(head_of "$name" 'Takes out')" "$result" "$((SECONDS - begun))"
  [[ $result == killed ]]
}

main() {
  local -a names=("$@")
  local name path failed=0
  if ((!$#)); then
    for path in "$PATCHES"/*.patch; do names+=("$(basename "$path" .patch)"); done
  fi
  for name in "${names[@]}"; do [[ -e $PATCHES/$name.patch ]] || die "no $PATCHES/$name.patch"; done
  seed
  # What a run that was broken off left patched is as it was by this.
  copy
  git -C "$TREE" init -q
  printf '| mutation | what it takes out | its test | took |\n|---|---|---|---|\n'
  for name in "${names[@]}"; do mutate "$name" || failed=$((failed + 1)); done
  say "$((${#names[@]} - failed)) of ${#names[@]} killed in $((SECONDS / 60)) min; logs are in $WORK"
  ((!failed))
}

main "$@"
