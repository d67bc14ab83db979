#!/usr/bin/env python3
"""Measures what `hearken align` reports as not fitting: with right texts, with one word of each text replaced, and
with two words left out.

    python tools/check/misfits.py --hearken target/release/hearken [--model MODEL] [--utterances 100] dev.jsonl

Replaced words are other words of the manifest, at random places, the same in every run. Prints, for each confidence
threshold, the share of right words that are reported and of replaced words that are, and the share of right words
behind which speech without text is reported, and of gaps of two words that are.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

THRESHOLDS = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3]


def align(options, rows, folder):
    """The alignments of rows; `None` where there is none."""
    manifest = folder / "texts.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = ["--model", options.model] if options.model else []
    command = [options.hearken, "align", *model, manifest, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {}
    for line in done.stdout.splitlines():
        alignment = json.loads(line)
        found[alignment["path"]] = alignment
    return [found.get(row["audio_filepath"]) for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearken", required=True)
    parser.add_argument("--model")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("manifest", type=pathlib.Path)
    options = parser.parse_args()
    chance = random.Random(1)
    rows = [json.loads(line) for line in options.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if len(row["text"].split()) > 2]
    rows = chance.sample(rows, min(options.utterances, len(rows)))
    vocabulary = sorted({word for row in rows for word in row["text"].split()})
    right, replaced, shortened = [], [], []
    for row in rows:
        audio, words = str(options.manifest.resolve().parent / row["audio_filepath"]), row["text"].split()
        right.append({"audio_filepath": audio, "text": row["text"]})
        at = chance.randrange(len(words))
        other = chance.choice([word for word in vocabulary if word != words[at]])
        replaced.append({"audio_filepath": audio, "text": " ".join([*words[:at], other, *words[at + 1 :]]), "at": at})
        at = chance.randrange(len(words) - 1)
        shortened.append({"audio_filepath": audio, "text": " ".join(words[:at] + words[at + 2 :])})
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        good = [a for a in align(options, right, folder) if a]
        bad = [(r["at"], a) for r, a in zip(replaced, align(options, replaced, folder)) if a]
        short = [a for a in align(options, shortened, folder) if a]
    of_right = [word["confidence"] for a in good for word in a["words"]]
    of_wrong = [a["words"][at]["confidence"] for at, a in bad]
    print(f"{len(good)} of {len(rows)} utterances, {len(of_right)} words, {len(of_wrong)} replaced words")
    for threshold in THRESHOLDS:
        share = [sum(c < threshold for c in of) / max(len(of), 1) for of in (of_right, of_wrong)]
        print(f"below {threshold}: {100 * share[0]:.1f} % of right words, {100 * share[1]:.1f} % of replaced words")
    gaps = sum(len(a.get("unmatched", [])) for a in good)
    found = sum(bool(a.get("unmatched")) for a in short)
    print(f"speech without text: {gaps} times in right texts, in {found} of {len(short)} texts without two words")


if __name__ == "__main__":
    main()
