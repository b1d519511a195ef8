#!/usr/bin/env bash
# Stands in for systemctl in a machine that is a namespace. It starts what the real unit file names (User, ExecStart)
# and stops it with SIGTERM; what hardens the unit is not applied here, `systemd-analyze` judges that.
set -euo pipefail

refuse() { echo "this systemctl does not know: $*" >&2; exit 1; }
value() { # of a key in a unit file, the instance filled in
    sed -n "s/^$2=//p" "$1" | tail -n 1 | sed "s/%i/$instance/g"
}
is_active() { [ -s "/run/$unit.pid" ] && kill -0 "$(cat "/run/$unit.pid")" 2>/dev/null; }
start() {
    is_active && return 0
    local user command environment
    user=$(value "$file" User)
    command=$(value "$file" ExecStart)
    [ -n "$user" ] && [ -n "$command" ] || refuse "$file without User or ExecStart"
    environment=$(value "$file" EnvironmentFile)
    (
        # What the environment file says stands in the command as ${NAME}, as with systemd.
        if [ -n "$environment" ]; then set -a && . "$environment"; fi
        # systemd splits at spaces too.
        eval "set -- $command"
        exec setsid setpriv --reuid "$user" --regid "$user" --init-groups env HOME=/var/lib/strongroom "$@"
    ) </dev/null >>"/var/log/$unit.log" 2>&1 &
    echo $! >"/run/$unit.pid"
}
stop() {
    is_active || return 0
    local pid waited=0
    pid=$(cat "/run/$unit.pid")
    kill -TERM "$pid"
    # As systemd does: a unit that does not end in time is killed.
    while kill -0 "$pid" 2>/dev/null; do
        [ "$waited" -lt 900 ] || kill -KILL "$pid"
        waited=$((waited + 1))
        sleep 0.1
    done
    rm -f "/run/$unit.pid"
}

verb=$1
shift
[ "${1:-}" != --now ] || shift
[ "$verb" != daemon-reload ] || exit 0
for unit in "$@"; do
    unit=${unit%.service}
    instance=${unit#*@}
    file=/etc/systemd/system/$unit.service
    [ "$instance" = "$unit" ] || file=/etc/systemd/system/${unit%%@*}@.service
    [ -f "$file" ] || refuse "no unit $unit"
    case $verb in
    enable | start) start ;;
    stop | disable) stop ;;
    restart) stop && start ;;
    is-active) is_active && echo active ;;
    *) refuse "$verb" ;;
    esac
done
