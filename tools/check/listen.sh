#!/bin/bash
# Tests `hearken listen` with a virtual PulseAudio microphone: speech is played into a null sink, and hearken
# records the sink's monitor. Usage: tools/check/listen.sh [HEARKEN [MODEL.onnx]]
#
# Needs pulseaudio, pulseaudio-utils, libasound2-plugins, sox and tmux, and a hearken that was
# built with `--features microphone`. No sound card, no root, no session bus.
set -u
cd "$(dirname "$0")/../.." || exit 1
hearken=$(realpath "${1:-target/release/hearken}")
model=${2:-models/digits/digits.onnx}
for program in pulseaudio paplay pactl sox tmux; do
  command -v "$program" >/dev/null || { echo "$program is not installed: nothing was tested"; exit 77; }
done
work=$(mktemp -d)
export PULSE_SERVER=unix:$work/sock PULSE_RUNTIME_PATH=$work PULSE_STATE_PATH=$work
pulse= ; failures=0

start_pulse() {
  pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no --log-target=null \
    -L "module-native-protocol-unix socket=$work/sock auth-anonymous=1" \
    -L "module-null-sink sink_name=vmic rate=16000 channels=1 format=s16le" 2>/dev/null &
  pulse=$!
  for _ in $(seq 100); do pactl info >/dev/null 2>&1 && return; sleep 0.1; done
  echo "PulseAudio does not start"; exit 1
}
stop_pulse() { kill "$pulse" 2>/dev/null; wait "$pulse" 2>/dev/null; }
trap 'stop_pulse; tmux -L "hearken$$" kill-server 2>/dev/null; rm -rf "$work"' EXIT

check() { # what, expected, found
  if [ "$2" = "$3" ]; then echo "ok: $1"; else
    echo "FAILED: $1"; echo "  expected: $2"; echo "  found:    $3"; failures=$((failures + 1)); fi
}
contains() { # what, part, text
  case "$3" in *"$2"*) echo "ok: $1" ;; *)
    echo "FAILED: $1"; echo "  expected part: $2"; echo "  found: $3"; failures=$((failures + 1)) ;; esac
}
# Padded: a sink that was idle loses the first tenth of a second.
pad() { sox -G -D "audio/$1.wav" -r 16000 -c 1 -b 16 "$work/$1.wav" pad "${2:-1.5}" "${3:-0.2}"; }
play() { paplay --device=vmic "$work/$1.wav"; }
# Waits until a text is in a file, for at most 10 s.
await() { for _ in $(seq 100); do grep -q "$1" "$2" 2>/dev/null && return 0; sleep 0.1; done; return 1; }
listen=("$hearken" listen --model "$model")

start_pulse
contains "the microphone is listed" "default" "$("$hearken" listen --list-devices 2>/dev/null)"

# In a pipe: two utterances, the second ended by Ctrl-C 0.2 s after its last word.
pad pi 1.5 1.7; pad e 0.5 0.2
"${listen[@]}" >"$work/out" 2>"$work/err" & pid=$!
await "listening to" "$work/err"; play pi; play e; sleep 0.3; kill -INT $pid; wait $pid; code=$?
check "each utterance is a line, the last word is there" \
  "three one four one five
two seven one eight" "$(cat "$work/out")"
check "Ctrl-C is a good end" 0 "$code"

# The same audio transcribed from a file.
check "listening hears what transcribing hears" \
  "$("$hearken" transcribe --model "$model" audio/e.wav)" "$(tail -1 "$work/out")"

# Events: finals with times; words lie in their segments.
pad countdown 1.5 1.7
"${listen[@]}" --json >"$work/json" 2>"$work/err" & pid=$!
await "listening to" "$work/err"; play countdown; kill -TERM $pid; wait $pid
check "events are JSON, finals have words and times" \
  "nine eight seven six five four three two one zero" "$(python3 - "$work/json" <<'PY'
import json, sys
words, at = [], 0.0
for line in open(sys.argv[1]):
    event = json.loads(line)
    if event["type"] == "final":
        assert abs(event["start"] - at) < 0.002, (event, at)
        at = event["end"]
        for word in event["words"]:
            assert event["start"] <= word["start"] <= word["end"] <= event["end"], event
            words.append(word["word"])
print(" ".join(words))
PY
)"

# On a terminal.
tmux -L "hearken$$" new-session -d -x 72 -y 12 -s t "$hearken listen --model $model 2>$work/tty.err; echo left with \$?; sleep 60"
screen() { tmux -L "hearken$$" capture-pane -p -t t; }
await "listening to" "$work/tty.err"
play pi & player=$!
for _ in $(seq 60); do sleep 0.1; screen | grep -q "three one four" && break; done
contains "the partial shows while it is spoken" "three one four" "$(screen)"
contains "level and lag are shown" "lag" "$(screen)"
echo "--- while it is spoken"; screen | sed '/^$/d'
wait $player; play e; sleep 0.2
tmux -L "hearken$$" send-keys -t t C-c; sleep 1
echo "--- after Ctrl-C"; screen | sed '/^$/d'
check "the terminal is left tidy, with the last word" \
  "three one four one five
two seven one eight
left with 0" "$(screen | sed '/^$/d;s/ *$//')"

# The device vanishes, and comes back.
"${listen[@]}" >"$work/out" 2>"$work/err" & pid=$!
await "listening to" "$work/err"; play e; stop_pulse; wait $pid; code=$?
check "a device that vanishes ends it with an error" 1 "$code"
check "what was said before is written" "two seven one eight" "$(cat "$work/out")"
echo "--- a device that vanishes"; cat "$work/err"
"${listen[@]}" >"$work/out" 2>"$work/err"; code=$?
check "no device is an error" 1 "$code"
echo "--- no device"; cat "$work/err"
start_pulse
"${listen[@]}" --reconnect >"$work/out" 2>"$work/err" & pid=$!
await "listening to" "$work/err"; play e; stop_pulse; sleep 2; start_pulse
# A client may need five seconds to detect that its server has died.
for _ in $(seq 150); do [ "$(grep -c "listening to" "$work/err")" = 2 ] && break; sleep 0.1; done
play pi; kill -INT $pid; wait $pid
check "--reconnect goes on with the same device" \
  "two seven one eight
three one four one five" "$(cat "$work/out")"
echo "--- reconnecting"; cat "$work/err"

"${listen[@]}" --device nonesuch >"$work/out" 2>"$work/err"
contains "a name that is not there is told" "nonesuch" "$(cat "$work/err")"
[ "$failures" = 0 ] && echo "all is well" || { echo "$failures failed"; exit 1; }
