#!/usr/bin/env python3
"""Memory and time of training on long recordings, with and without truncated backpropagation through time.

    tools/bench/long_training.py MANIFEST.jsonl DICTIONARY [--minutes 1,10,60] [--segments 20,0] [--whole-limit 10]

Joins recordings of the manifest to one of each length, and trains the embedded English model further on it for two updates
of one recording, with `bptt_seconds` of each of `--segments` (0: none; only up to `--whole-limit` minutes). Prints a table in
Markdown: the largest memory of the process, and its processor time. Needs numpy and soundfile.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np
import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATE = 16000
RECIPE = """
[data]
words = ["zero", "one"]
pronunciations = "{dictionary}"
ignore_other_words = true
[[data.recordings]]
manifest = "long.jsonl"
weight = 1.0
max_duration = 80000.0
[network]
cells = ["gru"]
hidden = [320, 320, 320, 320]
input_size = 320
residual = true
[optimizer]
learning_rate = 1e-4
[schedule]
steps = 10
warmup_steps = 1
lengthen_steps = 0
short_steps = 0
bptt_seconds = {segment}
[run]
batch_size = 1
eval_interval = 10
checkpoint_interval = 10
"""


def join(rows, seconds, folder):
    """Writes recordings one after the other until the length is reached, and their manifest."""
    parts, texts, length = [], [], 0
    for audio, text in rows:
        if length >= seconds * RATE:
            break
        samples, rate = soundfile.read(audio, dtype="float32")
        assert rate == RATE, audio
        parts.append(samples)
        texts.append(text)
        length += len(samples)
    soundfile.write(folder / "long.flac", np.concatenate(parts), RATE)
    entry = {"audio_filepath": "long.flac", "text": " ".join(texts), "duration": length / RATE}
    (folder / "long.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("dictionary", type=pathlib.Path)
    parser.add_argument("--minutes", default="1,10,60")
    parser.add_argument("--segments", default="20,0")
    parser.add_argument("--whole-limit", type=float, default=10)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    options = parser.parse_args()
    entries = [json.loads(line) for line in options.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [(options.manifest.parent / entry["audio_filepath"], entry["text"]) for entry in entries]
    print("| minutes | `bptt_seconds` | memory | processor time of two updates, with reading |\n| ---: | ---: | ---: | ---: |")
    for minutes in map(float, options.minutes.split(",")):
        with tempfile.TemporaryDirectory() as place:
            folder = pathlib.Path(place)
            join(rows, 60 * minutes, folder)
            for segment in map(float, options.segments.split(",")):
                if segment == 0 and minutes > options.whole_limit:
                    continue
                recipe = RECIPE.format(dictionary=options.dictionary.resolve(), segment=segment)
                (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
                command = [options.hearken, "train", folder / "recipe.toml", "--data", folder, "--out", folder / "run"]
                command += ["--from", "english", "--stop-after", "2", "--overwrite"]
                with (folder / "log.txt").open("w") as log:
                    process = subprocess.Popen(command, stdout=log, stderr=log)
                    _, status, usage = os.wait4(process.pid, 0)
                if status != 0:
                    raise SystemExit((folder / "log.txt").read_text()[-1000:])
                seconds = usage.ru_utime + usage.ru_stime
                print(f"| {minutes:g} | {segment:g} | {usage.ru_maxrss / 1000:.0f} MB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
