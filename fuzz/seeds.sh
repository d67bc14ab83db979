#!/usr/bin/env bash
# Writes seeds for the fuzz targets, from the repository's own files and from small random models.
#
#   fuzz/seeds.sh target/release/hearken target/release/examples/random_model
#
# The digits model is left out: in a file of this size, a mutation would hardly ever hit the structure.
set -euo pipefail
hearken=$(realpath "$1") random_model=$(realpath "$2")
cd "$(dirname "$0")"
rm -rf seeds
mkdir -p {seeds,corpus}/{onnx_reader,audio_input,serve_protocol,text_reader}

cp ../tests/data/import/*.onnx ../tests/data/keras/*.onnx seeds/onnx_reader/
for layers in gru:3 lstm:2,rnn-tanh:2 gru-reset-before:2,rnn-relu:2; do
    name=seeds/onnx_reader/own-${layers//[:,]/-}
    "$random_model" --bins 3 --input 2 "$layers" "$name.onnx"
    for precision in fp32 fp16 int8 int8-dynamic; do
        "$hearken" export "$name.onnx" --for onnxruntime --precision $precision -o "$name-$precision.onnx"
    done
    "$hearken" export "$name.onnx" --for whole -o "$name-whole.onnx"
    "$hearken" export "$name.onnx" --for triton --name t -o seeds/triton >/dev/null
    mv seeds/triton/t/1/model.onnx "$name-triton.onnx"
    rm -r seeds/triton
done >/dev/null

for file in ../audio/*.*; do
    case $file in *.md | *.jsonl) continue ;; esac
    # The head of a recording is what decides; an index at the end needs the whole.
    name=seeds/audio_input/$(basename "$file")
    head -c 4000 "$file" >"$name.head"
    if [ "$(stat -c %s "$file")" -le 40000 ]; then cp "$file" "$name"; fi
done

# A message of the protocol target: kind, length, content.
message() { printf "\\x$(printf %02x "$1")\\x$(printf %02x $((${#2} % 256)))\\x$(printf %02x $((${#2} / 256)))%s" "$2"; }
listening() { message 3 '1'; }
own='{"type":"start","version":1,"encoding":"s16le","sample_rate":16000,"partials":true,"trace":true,"hotwords":["one"]}'
vosk='{"config":{"sample_rate":8000,"words":true,"max_alternatives":2,"phrase_list":["one","[unk]"]}}'
conversation() {
    printf "\\x$(printf %02x "$1")"
    if [ -n "$2" ]; then message 0 "$2"; fi
    listening
    message 1 'some samples'
    message 4 'one two'
    message 7 'glimpse'
    message 5 'one two three'
    message 0 "$3"
    message 6 ' '
    message 2 ''
    message 6 'b'
}
conversation 0 "$own" '{"type":"flush"}' >seeds/serve_protocol/own
conversation 2 "$own" '{"type":"finish"}' >seeds/serve_protocol/own-finish
conversation 3 "$vosk" '{"eof" : 1}' >seeds/serve_protocol/vosk
conversation 0 "$vosk" '{"reset" : 1}' >seeds/serve_protocol/vosk-reset
conversation 4 '' 'Done' >seeds/serve_protocol/sherpa
conversation 5 '' 'Done' >seeds/serve_protocol/sherpa-python
conversation 6 '{"type":"session.update","session":{"type":"transcription"}}' '' >seeds/serve_protocol/realtime
audio='{"type":"audio-chunk","data":{"rate":16000,"width":2,"channels":1}}'
conversation 7 "$audio" '{"type":"audio-stop"}' >seeds/serve_protocol/wyoming
# A case of the text reader: which one, then the file.
for file in ../docs/examples/*.txt; do
    { printf '\x00'; cat "$file"; } >"seeds/text_reader/$(basename "$file")"
done
printf '\x04ONE  W AH1 N\nTWO(2)  T UW\n' >seeds/text_reader/dictionary
printf 'one two\ntwo one\n' | "$hearken" lm - -o seeds/text_reader/model.arpa
{ printf '\x05'; cat seeds/text_reader/model.arpa; } >seeds/text_reader/arpa
rm seeds/text_reader/model.arpa
printf '\x07# names\nKubernetes\nAnna Karenina :1.5\n/4/ AT&T # a company\n' >seeds/text_reader/hotwords
du -sh seeds/* | sed 's/^/seeds: /'
