#!/usr/bin/env python3
"""Phrases in dictation: phrases that are found and false ones, and what they do to the text, by --phrase-cost.

    tools/bench/phrases_in_dictation.py DATA [--half 1] [--most N] [--costs 0,3,6,9,12]

The phrases are docs/examples/orders.txt, the language model is the embedded one. Of the half of commands/orders-dev.jsonl it
counts the orders with all slots right, in one phrase; of that of english/librispeech-dev.jsonl, where no phrase is said, the
phrases that are found, and the word error rate, beside that without phrases. A cost is to be chosen on one half and reported on
the other. `phrases` alone, without a language model, is the last row. Needs Python's standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHRASES = ROOT / "docs/examples/orders.txt"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--half", type=int, choices=[0, 1], default=1, help="every other recording, from this one on")
    parser.add_argument("--most", type=int, help="only the first recordings of each half")
    parser.add_argument("--costs", default="0,3,6,9,12")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    return parser.parse_args()


def half_of(options, name, folder):
    path = options.data / f"{name}.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines()[options.half::2][:options.most]:
        row = json.loads(line)
        rows.append({**row, "audio_filepath": str((path.parent / row["audio_filepath"]).resolve())})
    manifest = folder / path.name
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows, manifest


def finals(options, manifest, words):
    """The texts and phrases of each recording."""
    command = [options.hearken, "transcribe", "--json", "--no-partials", *words, str(manifest)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for line in run.stdout.splitlines():
        event = json.loads(line)
        if event["type"] == "final":
            texts, phrases = found.setdefault(event["path"].split("#")[0], ([], []))
            texts += event["text"].split()
            phrases += event.get("phrases", [])
    return found


def edits(found, expected):
    row = list(range(len(expected) + 1))
    for i, word in enumerate(found, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(expected, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        orders, orders_manifest = half_of(options, "commands/orders-dev", folder)
        read, read_manifest = half_of(options, "english/librispeech-dev", folder)
        systems = [(f"--phrase-cost {cost}", ["--lm", "english", "--phrases", str(PHRASES), "--phrase-cost", cost])
                   for cost in options.costs.split(",")]
        systems += [("--lm alone", ["--lm", "english"]), ("--phrases alone", ["--phrases", str(PHRASES)])]
        print(f"| {len(orders)} orders, {len(read)} read recordings | orders right | phrases in read books | WER of read books % |")
        print("| --- | ---: | ---: | ---: |")
        for title, words in systems:
            found, right = finals(options, orders_manifest, words), 0
            for order in orders:
                _, phrases = found.get(order["audio_filepath"], ([], []))
                slots = {slot["name"]: slot["value"] for phrase in phrases for slot in phrase.get("slots", [])}
                right += slots == order["slots"] and len(phrases) == 1
            found, errors, words_said, false = finals(options, read_manifest, words), 0, 0, 0
            for row in read:
                text, phrases = found.get(row["audio_filepath"], ([], []))
                reference = row["text"].lower().split()
                errors += edits([word.lower() for word in text], reference)
                words_said += len(reference)
                false += len(phrases)
            print(f"| {title} | {right} | {false} | {100 * errors / words_said:.1f} |", flush=True)


if __name__ == "__main__":
    main()
