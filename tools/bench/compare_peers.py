#!/usr/bin/env python3
"""Word error rates of hearken and other recognizers on the dev sets of digits, or of English.

    tools/bench/compare_peers.py DATA PEERS VENV [--english] [--peer NAME]... [--model FILE.onnx] [--limit N]
        [--hearken PROGRAM]

DATA is the folder of manifests; PEERS a folder with setup.sh and transcribe_peers.py, which run the
other recognizers; VENV the environment that setup.sh created. Needs ffmpeg, which decodes the recordings
for all. On digits, numerals count as their words, "oh" as "zero", and homophones (to, for, won, ate) as the digits,
in favor of recognizers of general English. With --english, hearken uses the embedded model and language model (or
`--model FILE` with `--lm english`), and "Mr." counts as "mister". --limit draws N recordings of each set, with a seed.
Prints Markdown.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = "zero one two three four five six seven eight nine".split()
SAME = {"oh": "zero", "o": "zero", "won": "one", "to": "two", "too": "two", "for": "four", "fore": "four",
        "ate": "eight"}
SETS = ["digits/strangers-dev.jsonl", "digits/strings-dev.jsonl"]
ENGLISH = ["english/librispeech-dev.jsonl", "english/speechocean-dev.jsonl", "english/commonvoice-dev.jsonl"]
TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
PEERS = ["whisper-base", "whisper-tiny.en", "moonshine-tiny-en", "pocketsphinx"]


def english_words_of(text):
    words = re.sub(r"[^a-z' ]+", " ", text.lower().replace("’", "'")).split()
    return [TITLES.get(word, word) for word in words]


def words_of(text):
    text = re.sub(r"\d", lambda m: f" {DIGITS[int(m.group())]} ", text.lower())
    return [SAME.get(word, word) for word in re.sub(r"[^a-z' ]+", " ", text).split()]


def distance(said, heard):
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        before, row[0] = row[:], i
        for j, b in enumerate(heard, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
    return row[-1]


def waves(data, name, folder, limit):
    """(path of a WAV, what is said in it) of each line of a manifest, or of so many that are drawn."""
    made, lines = [], (data / name).read_text(encoding="utf-8").splitlines()
    if limit and limit < len(lines):
        lines = random.Random(1).sample(lines, limit)
    for i, line in enumerate(lines):
        row = json.loads(line)
        wave = folder / f"{pathlib.Path(name).stem}-{i}.wav"
        source = (data / name).parent / row["audio_filepath"]
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", source, "-ar", "16000", "-ac", "1", wave], check=True)
        made.append((str(wave), row["text"]))
    return made


def transcripts(command, paths):
    result = subprocess.run([*command, *paths], capture_output=True, text=True, check=True)
    return dict(line.split("\t", 1) for line in result.stdout.splitlines() if "\t" in line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("peers", type=pathlib.Path)
    parser.add_argument("venv", type=pathlib.Path)
    parser.add_argument("--peer", action="append")
    parser.add_argument("--model")
    parser.add_argument("--english", action="store_true")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    options = parser.parse_args()
    sets_of, words = (ENGLISH, english_words_of) if options.english else (SETS, words_of)
    model = ["--model", options.model] if options.model else []
    if options.english:
        model = [*model, "--lm", "english"] if model else ["--model", "english"]
    commands = {"hearken": [options.hearken, "transcribe", *model]}
    for peer in options.peer or PEERS:
        commands[peer] = [options.venv / "bin/python", options.peers / "transcribe_peers.py", "--peer", peer]
        if peer.startswith("whisper"):
            commands[peer] += ["--no-numerals"]
    with tempfile.TemporaryDirectory() as folder:
        sets = [(name, waves(options.data, name, pathlib.Path(folder), options.limit)) for name in sets_of]
        print("| recognizer | " + " | ".join(pathlib.Path(name).stem for name, _ in sets) + " |")
        print("| --- |" + " ---: |" * len(sets))
        for peer, command in commands.items():
            cells = []
            for _, waves_of_set in sets:
                heard = transcripts(command, [wave for wave, _ in waves_of_set])
                errors = sum(distance(words(text), words(heard.get(wave, ""))) for wave, text in waves_of_set)
                cells.append(f"{100 * errors / sum(len(words(text)) for _, text in waves_of_set):.1f} %")
            print(f"| {peer} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
