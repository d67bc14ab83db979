#!/bin/sh
# Restarts the servers one after the other, for a new version or new options: haproxy sends a server no new streams, its
# open ones end when their clients end them, and then it is restarted. Waits at most DRAIN seconds (default: an hour) for
# a server; clients that still stream then get their last results and the close code 1001.
#
# Both commands can be replaced: HAPROXY reads a command of haproxy's runtime API on standard input, RESTART gets the name
# of a server.
set -eu
cd "$(dirname "$0")"
HAPROXY=${HAPROXY:-docker compose exec -T balancer nc 127.0.0.1 9999}
RESTART=${RESTART:-docker compose up -d --no-deps --force-recreate}
DRAIN=${DRAIN:-3600}
ask() { echo "$1" | $HAPROXY; }
# The fields scur (5) and status (18) of haproxy's statistics.
field() { ask "show stat" | awk -F, -v server="$1" -v field="$2" '$1 == "hearken" && $2 == server { print $field }'; }

for server in ${SERVERS:-a b}; do
    ask "set server hearken/$server state drain" >/dev/null
    waited=0
    while [ "$(field "$server" 5)" != 0 ] && [ "$waited" -lt "$DRAIN" ]; do
        sleep 1
        waited=$((waited + 1))
    done
    echo "$server: drained for $waited s, $(field "$server" 5) streams left"
    $RESTART "$server"
    ask "set server hearken/$server state ready" >/dev/null
    # Up after two good health checks; the next server is not touched before.
    until case $(field "$server" 18) in UP) sleep 2; [ "$(field "$server" 18)" = UP ] ;; *) false ;; esac; do sleep 1; done
    echo "$server: ready"
done
