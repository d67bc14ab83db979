#!/usr/bin/env bash
# Compares static programs with the program of this computer: the same words for the clips in audio/, and size, memory
# and processor time from start to exit. Programs for another processor are run by qemu-user, whose times say little; so the
# instructions that each program executes are counted too (count_instructions.c), and how many of them are fused multiply-adds of
# vectors: NEON's on arm64, AVX's on x86-64.
#
#   tools/check/static.sh target/release/hearken target/x86_64-unknown-linux-musl/release/hearken \
#       target/aarch64-unknown-linux-musl/release/hearken
#
# docs/platforms.md: how they are built. Needs file, Python, a C compiler, and qemu-aarch64 and qemu-x86_64 (Debian: qemu-user).
set -euo pipefail
reference=$(realpath "$1")
shift
fail() { echo "FAILED: $*" >&2; exit 1; }
for program in "$reference" "$@"; do program=$(realpath "$program"); programs+=("$program"); done
cd "$(dirname "$0")/../.."
clips=(audio/*.wav audio/*.flac audio/*.mp3 audio/*.m4a audio/*.ogg audio/*.opus audio/*.webm)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

cc -O2 -shared -fPIC tools/check/count_instructions.c -o "$place/count.so"
# Instructions and multiply-adds of a command: INTERPRETER… PROGRAM…
count() { "$1" -cpu max -plugin "$place/count.so" "${@:2}" 2>&1 >/dev/null | sed -n 's/^instructions //p'; }

for program in "${programs[@]}"; do
    kind=$(file -bL "$program")
    run=()
    case $kind in
        *aarch64*) name=arm64 run=(qemu-aarch64) qemu=qemu-aarch64 ;;
        *x86-64*) name=x86-64 qemu=qemu-x86_64 ;;
        *) fail "$program is $kind" ;;
    esac
    case $kind in *static*) name="$name, static" ;; esac
    [ "$program" = "$reference" ] || [[ $name == *static* ]] || fail "$program is not static"
    "${run[@]}" "$program" transcribe "${clips[@]}" >"$place/digits" 2>"$place/errors" || true
    "${run[@]}" "$program" transcribe --model english audio/no-digits.wav audio/pi.wav >"$place/english"
    for words in digits english; do
        [ "$program" = "$reference" ] && cp "$place/$words" "$place/$words.reference"
        diff "$place/$words.reference" "$place/$words" || fail "$name: other words"
    done
    python3 - "$name" "$(stat -Lc %s "$program")" "$(wc -l <"$place/digits")" "${run[@]}" "$program" <<'PYTHON'
import os, subprocess, sys

name, size, clips, *program = sys.argv[1:]

def measure(*arguments):
    """Least processor time, over all threads, and largest memory of five runs."""
    times, memory = [], 0
    for _ in range(5):
        process = subprocess.Popen([*program, *arguments], stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]
        times.append(usage.ru_utime + usage.ru_stime)
        memory = max(memory, usage.ru_maxrss)
    return f"{1000 * min(times):.0f} ms, {memory / 1024:.0f} MB"

print(f"{name}: {int(size) / 1e6:.1f} MB, the same words in {clips} lines; --version {measure('--version')}; "
      f"a clip of 2.9 s {measure('transcribe', 'audio/pi.wav')}; with English {measure('transcribe', '--model', 'english', 'audio/pi.wav')}")
PYTHON
    read -r start _ < <(count $qemu "$program" --version)
    for model in digits english; do
        read -r all adds < <(count $qemu "$program" transcribe --threads 1 --model $model audio/pi.wav)
        echo "$name: $((all / 1000000)) million instructions for a clip of 2.9 s by $model," \
            "$((start / 1000000)) of them to start; $((adds / 1000000)) million multiply-adds of vectors"
        [ "$adds" -gt 1000000 ] || fail "$name: the kernels for vectors were not used"
    done
done
