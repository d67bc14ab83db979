#!/bin/bash
# Tests `hearken record` and `hearken listen` on a machine without a sound card: ALSA's `file` plugin reads the
# microphone from a FIFO, into which a script writes recordings in real time. Usage: tools/check/record.sh [HEARKEN]
#
# Needs libasound2, python3 and tmux, and a hearken that was built with `--features microphone`. No sound server, no root.
set -u
cd "$(dirname "$0")/../.." || exit 1
hearken=$(realpath "${1:-target/release/hearken}")
for program in python3 tmux; do
  command -v "$program" >/dev/null || { echo "$program is not installed: nothing was tested"; exit 77; }
done
work=$(mktemp -d)
mkfifo "$work/microphone" "$work/play"
cat >"$work/.asoundrc" <<EOF
pcm.nothing { type null }
pcm.fifo { type file; slave.pcm nothing; file /dev/null; infile "$work/microphone"; format raw }
pcm.!default { type plug; slave { pcm fifo; rate 16000; channels 1; format S16_LE } }
EOF
cat >"$work/feed.py" <<'EOF'
import os, queue, random, sys, threading, time, wave
waiting = queue.Queue()
def read():
    while True:
        with open(sys.argv[2]) as lines:
            [waiting.put(line.split()) for line in lines]
threading.Thread(target=read, daemon=True).start()
random.seed(1)
hiss = b"".join(random.randrange(-20, 21).to_bytes(2, "little", signed=True) for _ in range(16000))
out, begin, count, sound, at, step = os.open(sys.argv[1], os.O_RDWR), time.monotonic(), 0, b"", 0, 640
while True:
    if at >= len(sound) and not waiting.empty():
        path, gain = waiting.get()
        with wave.open(path) as file:
            samples = memoryview(file.readframes(file.getnframes())).cast("h")
        loud = [max(-32768, min(32767, int(s * float(gain)))) for s in samples]
        sound, at = b"".join(s.to_bytes(2, "little", signed=True) for s in loud), 0
    chunk = sound[at:at + step]
    at += step
    offset = count * step % (len(hiss) - step)
    os.write(out, chunk + hiss[offset:offset + step - len(chunk)])
    count += 1
    time.sleep(max(0, begin + count * 0.02 - time.monotonic()))
EOF
python3 "$work/feed.py" "$work/microphone" "$work/play" & feeder=$!
trap 'kill $feeder; tmux -L "hearken$$" kill-server 2>/dev/null; rm -rf "$work"' EXIT
failures=0
play() { echo "$PWD/audio/$1.wav ${2:-1}" >"$work/play"; }
check() { # what, expected, found
  if [ "$2" = "$3" ]; then echo "ok: $1"; else
    echo "FAILED: $1"; echo "  expected: $2"; echo "  found:    $3"; failures=$((failures + 1)); fi
}
keys() { tmux -L "hearken$$" send-keys -t t "$@"; }
screen() { tmux -L "hearken$$" capture-pane -p -t t; }
# Waits until a text is on the screen, for at most 15 s.
await() {
  for _ in $(seq 150); do screen | grep -qF "$1" && { echo "ok: $1"; return; }; sleep 0.1; done
  echo "FAILED: not on the screen: $1"; screen; failures=$((failures + 1))
}

printf 'two seven one eight\nthree one four one five\nlast phrase\n' >"$work/list.txt"
record="HOME=$work $hearken record $work/list.txt -o $work/recordings --speaker ann; echo left with \$?; sleep 60"
start() { tmux -L "hearken$$" kill-server 2>/dev/null; sleep 0.2; tmux -L "hearken$$" new-session -d -x 100 -y 30 -s t "$1"; }
start "$record"
await "[1/3]  two seven one eight"
keys Enter; await "speak"; sleep 0.5; play e
await "recording"
echo "--- while it is spoken"; screen | sed '/^$/d'
await "kept: "
await "[2/3]  three one four one five"
keys Enter; sleep 0.5; play pi 30
await "clipped: "
keys Enter; sleep 0.5; play pi
await "[3/3]  last phrase"
keys r Enter; await "[again]  three one four one five"
keys Enter; sleep 0.5; play pi
for _ in $(seq 100); do [ "$(screen | grep -c 'kept:')" = 3 ] && break; sleep 0.1; done
keys q Enter
await "left with 0"
echo "--- the whole screen"; screen | sed '/^$/d'
check "two recordings are in the manifest" 2 "$(wc -l <"$work/recordings/manifest.jsonl")"
for number in 1 2; do
  row=$(sed -n "${number}p" "$work/recordings/manifest.jsonl")
  text=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["text"])' "$row")
  wav=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["audio_filepath"])' "$row")
  check "$wav has its words" "$text" "$("$hearken" transcribe --model digits "$work/recordings/$wav")"
done
start "$record"
await "[1/1]  last phrase"
keys s Enter; await "left with 0"
"$hearken" data import "$work/recordings" -o "$work/train.jsonl" >"$work/import.txt" 2>&1
check "data import reads the folder" 0 $?
check "it has both recordings" 2 "$(wc -l <"$work/train.jsonl")"

start "HOME=$work $hearken listen; echo left with \$?; sleep 60"
sleep 2; play pi; sleep 4; play e
await "three one four one five"
await "two seven one eight"
keys C-c; await "left with 0"
# Not `listen` but the recording is played in the background, since background jobs of a script ignore an interrupt.
(sleep 2; play pi) &
HOME=$work timeout --signal INT 8 "$hearken" listen >"$work/out" 2>"$work/err"
check "in a pipe" "three one four one five" "$(cat "$work/out")"
[ "$failures" = 0 ] && echo "all is well" || { echo "$failures failed"; exit 1; }
