#!/usr/bin/env bash
# Compares exports, imports and results of hearken with other programs, at the versions of
# tools/check/requirements.txt, on the clips of audio/: onnx, onnxruntime, tract, Triton's schema, kaldi-native-fbank,
# sherpa-onnx, silero-vad.
#
#   tools/check/peers.sh --prepare FOLDER       creates the Python environment if it does not exist
#   tools/check/peers.sh FOLDER PROGRAM [RANDOM_MODEL]
#                                               checks PROGRAM (hearken) with it; with the example
#                                               random_model, also every kind of cell
#
# Without Python or access to a package index, it prints that it was skipped and exits with 0; so does a
# check after that.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")

skipped() {
    printf '\n*** SKIPPED: the checks against other programs: %s ***\n\n' "$1" >&2
    exit 0
}

prepare() {
    local venv=$1 list="$root/tools/check/requirements.txt" log
    if cmp -s "$list" "$venv/requirements.txt" && "$venv/bin/python" -c "" 2>/dev/null; then
        return
    fi
    command -v python3 >/dev/null || skipped "there is no python3"
    rm -rf "$venv"
    python3 -m venv "$venv" >/dev/null 2>&1 || { rm -rf "$venv"; skipped "python3 makes no environment (venv)"; }
    log="$venv/pip.log"
    pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" --retries 1 --timeout 20 >>"$log" 2>&1; }
    if ! pip install --no-deps --no-compile -r "$list"; then
        # If the index can be reached, the list of requirements is wrong.
        if pip download --no-deps --no-cache-dir --dest "$venv/probe" typing_extensions; then
            tail -n 20 "$log" >&2
            echo "tools/check/requirements.txt cannot be installed" >&2
            exit 1
        fi
        rm -rf "$venv"
        skipped "pip reaches no package index"
    fi
    # Last, so that an incomplete environment is created again.
    cp "$list" "$venv/requirements.txt"
}

if [ "${1:-}" = --prepare ]; then
    prepare "$2"
    exit
fi

venv=$(realpath -m "$1") hearken=$(realpath "$2") random_model=${3:-}
[ -e "$venv/requirements.txt" ] || skipped "there is no environment in $1"
python="$venv/bin/python"
ORT_DYLIB_PATH=$(echo "$venv"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
export ORT_DYLIB_PATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$root"
model=models/digits/digits.onnx

echo "== every target and precision of the digits model"
"$python" tools/check/exports.py --hearken "$hearken" "$model"
if [ -n "$random_model" ]; then
    echo "== of random models of every kind of cell"
    # relu in a separate file, because tract does not support it.
    "$random_model" rnn-tanh:24,gru:24,gru-reset-before:16,lstm:24 "$place/cells.onnx"
    "$random_model" rnn-relu:24 "$place/relu.onnx"
    "$python" tools/check/exports.py --hearken "$hearken" --rounding 3 "$place/cells.onnx" "$place/relu.onnx"
fi
echo "== the digits model in sherpa-onnx"
"$hearken" export "$model" --for sherpa-onnx -o "$place/sherpa"
"$python" tools/check/sherpa_exports.py --hearken "$hearken" "$model" "$place/sherpa" audio/*.wav
echo "== the words of the digits model in sherpa-onnx"
words() { "$python" tools/check/sherpa_words.py --hearken "$hearken" "$@"; }
words --least 0.8 --least-unrejected 1 "$model" "$place/sherpa" audio/*.wav
# Speech of many speakers, if it is available; sherpa-onnx may prune the search differently there.
data=${HEARKEN_DATA:-../shared/data}/digits
if [ -e "$data/strings-dev.jsonl" ]; then
    words --least 0.85 --least-unrejected 0.85 "$model" "$place/sherpa" \
        "$data/strings-dev.jsonl" "$data/strangers-dev.jsonl"
else
    echo "*** SKIPPED: words on real speech: no $data (HEARKEN_DATA) ***" >&2
fi
echo "== the Python lines of docs/exchange.md in onnxruntime"
"$hearken" export "$model" --for onnxruntime --with-frontend -o "$place/pcm.onnx"
awk '/^```python$/ { inside = 1; next } /^```$/ { inside = 0 } inside' docs/exchange.md >"$place/stream.py"
for name in pi countdown e; do
    expected=$("$hearken" transcribe "audio/$name.wav")
    found=$("$python" "$place/stream.py" "$place/pcm.onnx" "audio/$name.wav" | tr '\r' '\n' | grep . | tail -n 1)
    echo "audio/$name.wav: $found"
    [ "$found" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
done
echo "== folders of sherpa-onnx"
"$python" tools/check/sherpa_folders.py --hearken "$hearken" audio/*.wav
echo "== Silero's detectors"
"$python" tools/check/silero_detectors.py --hearken "$hearken" audio/pi.wav audio/no-digits.wav audio/noise.wav
echo "== transcripts in widely used parsers"
"$python" tools/check/formats.py --hearken "$hearken" audio/*.wav
