#!/usr/bin/env bash
# Prints the libraries that the program holds, with their licences and the texts of these, each text once.
set -euo pipefail
cd "$(dirname "$0")/../.."

texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src

echo "The program heartbeat holds these libraries, and Rust's standard library (MIT OR Apache-2.0):"
echo
while IFS='|' read -r package license repository; do
  read -r name version _ <<< "$package"
  printf '%s %s\n  %s\n  %s\n' "$name" "${version#v}" "$license" "$repository"
  # Once they are built in, their sources are here.
  for folder in "$sources"/*/"$name-${version#v}"; do
    find "$folder" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \) |
      LC_ALL=C sort | while read -r file; do
        text=$texts/$(sha256sum < "$file" | cut -d' ' -f1)
        [[ -e $text ]] || tr -d '\r' < "$file" > "$text"
        printf '%s %s\n' "$name" "${version#v}" >> "$text.of"
      done
  done
done < <(cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p}|{l}|{r}' |
  sed 's/ (proc-macro)//; s/ (\/[^|]*)//' | grep --invert-match '^heartbeat-bridge ' | LC_ALL=C sort --unique)

# In the order of those that have them.
for of in "$texts"/*.of; do
  printf '%s|%s\n' "$(sort --unique "$of" | head -1)" "$of"
done | LC_ALL=C sort | while IFS='|' read -r _ of; do
  printf '\n%s\n' "--------------------------------------------------------------------------------"
  LC_ALL=C sort --unique "$of" | paste --serial --delimiters=, | sed 's/,/, /g' | fold --spaces --width=80
  echo
  cat "${of%.of}"
done
