#!/usr/bin/env bash
# Stands in for scp between machines that are namespaces: MACHINES holds each machine's root's home.
set -euo pipefail
from=("${@:1:$#-1}")
to=${*: -1}
place() { # HOST:PATH or PATH
    case $1 in
    *:*) printf '%s/%s/root/%s' "$MACHINES" "${1%%:*}" "${1#*:}" ;;
    *) printf '%s' "$1" ;;
    esac
}
for one in "${from[@]}"; do
    target=$(place "$to")
    [ -e "$(dirname "$target")" ] || { echo "no such machine: $to" >&2; exit 1; }
    cp -p "$(place "$one")" "$target"
done
