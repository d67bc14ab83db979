#!/bin/sh
# Runs the Wyoming server with the add-on's options, and registers it with Home Assistant. Needs jq and curl, which the
# base image has.
set -eu
options=${OPTIONS:-/data/options.json}
folder=${FOLDER:-/config}
supervisor=${SUPERVISOR:-http://supervisor}
listen=${LISTEN:-0.0.0.0:10300}
http=${HTTP:-127.0.0.1:2700}
option() { jq -r --arg name "$1" '.[$name] // "" | tostring' "$options"; }
# A file of the add-on's folder, unless the text is the name of an embedded model.
file() { case $1 in english | digits | /*) echo "$1" ;; *) echo "$folder/$1" ;; esac; }

# Other computers reach the address only if a port is mapped to it; the protocol has no token.
set -- serve --insecure --listen "$http" --wyoming "tcp://$listen" --model "$(file "$(option model)")"
set -- "$@" --language "$(option language)"
if [ -n "$(option phrases)" ]; then set -- "$@" --phrases "$(file "$(option phrases)")"; fi
if [ -n "$(option hotwords)" ]; then set -- "$@" --hotwords "$(file "$(option hotwords)")"; fi
if [ -n "$(option endpoint_silence)" ]; then set -- "$@" --rule2-min-trailing-silence "$(option endpoint_silence)"; fi

# Home Assistant offers the server by itself once it was notified, which is possible only when the server answers.
notify() {
    curl -sSf -o /dev/null --retry 60 --retry-delay 1 --retry-connrefused "http://$http/health"
    message=$(jq -nc --arg uri "tcp://$(hostname):${listen##*:}" '{service: "wyoming", config: {uri: $uri}}')
    curl -sSf -o /dev/null -X POST -H "Authorization: Bearer $SUPERVISOR_TOKEN" -H "Content-Type: application/json" \
        -d "$message" "$supervisor/discovery" ||
        echo "hearken: Home Assistant was not notified; add the integration Wyoming Protocol by hand" >&2
}
if [ -n "${SUPERVISOR_TOKEN:-}" ]; then notify & fi
exec "${HEARKEN:-hearken}" "$@"
