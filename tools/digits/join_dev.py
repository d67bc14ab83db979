#!/usr/bin/env python3
"""Makes a dev set of digit strings next to read sentences.

    tools/digits/join_dev.py DATA OUT

Each string of digits/strangers-dev and digits/strings-dev is joined after a sentence and before one, with 0.3, 1
and 2.5 s of digital silence between them. The sentences are those of english/librispeech-dev and
english/commonvoice-dev without a digit. Writes WAV files and two manifests to OUT: tune.jsonl for choosing costs,
and report.jsonl for reporting; no speaker is in both. Their `text` is that of the string; `place` and `gap` describe
how it was joined. alone-tune.jsonl and alone-report.jsonl have the same strings alone; sentences-tune.jsonl and
sentences-report.jsonl have all sentences of that side, without text: every word recognized there is a false word.
Needs numpy and soundfile.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
GAPS = (0.3, 1.0, 2.5)
PLACES = ("behind", "before")
SIDES = ("tune", "report")
DIGITS = set("zero one two three four five six seven eight nine oh".split())


def rows_of(manifest):
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["audio_filepath"] = str((manifest.parent / row["audio_filepath"]).resolve())
        yield row


def samples_of(row):
    samples, rate = soundfile.read(row["audio_filepath"], always_2d=True, dtype="float32")
    if rate != RATE:
        raise SystemExit(f"join_dev: {row['audio_filepath']}: expected {RATE} Hz, found {rate}")
    return samples.mean(axis=1)


def by_side(manifests, keep=lambda row: True):
    """The rows of each side: speakers are assigned alternately, in the order of their names."""
    rows = [row for manifest in manifests for row in rows_of(manifest) if keep(row)]
    speakers = sorted({row["speaker"] for row in rows})
    return [[row for row in rows if speakers.index(row["speaker"]) % 2 == side] for side in (0, 1)]


def write_manifest(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def joined(strings, sentences, out, rng):
    for number, string in enumerate(strings):
        for place in PLACES:
            for gap in GAPS:
                sentence = sentences[rng.integers(len(sentences))]
                parts = [samples_of(sentence), np.zeros(round(gap * RATE), np.float32), samples_of(string)]
                whole = np.concatenate(parts if place == "behind" else parts[::-1])
                path = out / f"{string['side']}-{number:02}-{place}-{gap}.wav"
                soundfile.write(path, whole, RATE)
                yield {"audio_filepath": path.name, "duration": len(whole) / RATE, "text": string["text"],
                       "speaker": string["speaker"], "place": place, "gap": gap}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    digits, english = options.data / "digits", options.data / "english"
    strings = by_side([digits / "strangers-dev.jsonl", digits / "strings-dev.jsonl"])
    without_digits = lambda row: not DIGITS & set(row["text"].split())
    sentences = by_side([english / "librispeech-dev.jsonl", english / "commonvoice-dev.jsonl"], without_digits)
    for index, side in enumerate(SIDES):
        rng = np.random.default_rng(index)
        mine = [{**row, "side": side} for row in strings[index]]
        write_manifest(options.out / f"{side}.jsonl", joined(mine, sentences[index], options.out, rng))
        write_manifest(options.out / f"alone-{side}.jsonl", mine)
        write_manifest(options.out / f"sentences-{side}.jsonl", ({**row, "text": ""} for row in sentences[index]))


if __name__ == "__main__":
    main()
