#!/bin/sh
# Generates the clips in audio/: digits and other speech by synthesizers, silence and noise.
# Needs espeak-ng, flite, sox and ffmpeg (with libopus). Usage: tools/make_audio.sh [DIRECTORY]
set -eu

out=${1:-audio}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: > "$out/manifest.jsonl"

# Reproducible: sox adds no dither, and its noise has a fixed seed.
convert() { sox -R -D "$@"; }

# entry FILE TEXT SPEAKER: a line of the manifest, which holds the clips with digits.
entry() {
    seconds=$(ffprobe -v error -show_entries format=duration -of csv=p=0 "$out/$1")
    printf '{"audio_filepath": "%s", "text": "%s", "duration": %.3f, "speaker": "%s"}\n' \
        "$1" "$2" "$seconds" "$3" >> "$out/manifest.jsonl"
}

# padded SPEECH OUTPUT [FORMAT…]: half a second of quiet around it, peak at -3 dB, faint noise under it.
padded() {
    convert "$1" -r 48000 -b 32 "$work/pad.wav" remix - norm -3 pad 0.5 0.5
    convert "$work/pad.wav" "$work/noise.wav" synth pinknoise vol 0.002
    in_rate=$3
    shift_out=$2
    shift 3
    convert -m "$work/pad.wav" "$work/noise.wav" "$@" -r "$in_rate" "$shift_out"
}

espeak() { espeak-ng -v "$1" -s "$2" -w "$work/speech.wav" "$3"; }
fliteto() { flite -voice "$1" -t "$2" -o "$work/speech.wav"; }

fliteto slt "three one four one five"
padded "$work/speech.wav" "$out/pi.wav" 16000 -b 16
entry pi.wav "three one four one five" flite-slt

fliteto rms "two seven one eight"
padded "$work/speech.wav" "$out/e.wav" 16000 -b 16
entry e.wav "two seven one eight" flite-rms

espeak en-us 140 "nine eight seven six five four three two one zero"
padded "$work/speech.wav" "$out/countdown.wav" 16000 -b 16
entry countdown.wav "nine eight seven six five four three two one zero" espeak-en-us

fliteto awb "zero seven seven zero zero"
padded "$work/speech.wav" "$out/telephone-8k.wav" 8000 -b 16
entry telephone-8k.wav "zero seven seven zero zero" flite-awb

espeak en-gb 150 "four two"
padded "$work/speech.wav" "$work/mono.wav" 48000 -b 24
convert "$work/mono.wav" -b 24 "$out/stereo-48k-24bit.wav" remix 1v0.9 1v0.6
entry stereo-48k-24bit.wav "four two" espeak-en-gb

fliteto kal16 "six one eight zero"
padded "$work/speech.wav" "$out/golden.flac" 16000 -b 16
entry golden.flac "six one eight zero" flite-kal16

fliteto slt "one two three four five six seven eight nine"
padded "$work/speech.wav" "$work/note.wav" 48000 -b 16
ffmpeg -nostdin -v error -y -i "$work/note.wav" -map_metadata -1 -fflags +bitexact -flags +bitexact \
    -c:a libopus -b:a 24k -application voip "$out/voice-note.opus"
entry voice-note.opus "one two three four five six seven eight nine" flite-slt

fliteto rms "the quick brown fox jumps over the lazy dog"
padded "$work/speech.wav" "$out/no-digits.wav" 16000 -b 16

convert -n -r 16000 -b 16 -c 1 "$out/silence.wav" trim 0 1

convert -n -r 16000 -b 16 -c 1 "$out/noise.wav" synth 2 pinknoise vol 0.1

# The digits of pi again, as other programs store them.
ffm() { ffmpeg -nostdin -v error -y -i "$out/pi.wav" -map_metadata -1 -fflags +bitexact -flags +bitexact "$@"; }
ffm -c:a libmp3lame -b:a 32k "$out/pi.mp3"
entry pi.mp3 "three one four one five" flite-slt
ffm -c:a libvorbis -q:a 1 "$out/pi.ogg"
entry pi.ogg "three one four one five" flite-slt
ffm -c:a aac -b:a 32k "$out/pi.m4a"
entry pi.m4a "three one four one five" flite-slt
ffm -c:a libopus -b:a 16k "$out/pi.webm"
entry pi.webm "three one four one five" flite-slt
