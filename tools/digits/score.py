#!/usr/bin/env python3
"""Scores a digits model on every dev set, for its model card.

    tools/digits/score.py DATA [--model FILE.onnx] [--hearken PROGRAM]

DATA is the folder of the recipe's manifests. Prints Markdown: error rates of each set, of adults and children
separately, confusions, and false words per hour in speech without digits and in noise. "oh" and "zero" count as
the same word. All recordings are processed as streams, in chunks of 100 ms.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = set("zero one two three four five six seven eight nine oh".split())
# Manifest field that separates children from adults.
BY_AGE = "age:14"


def rows_of(path):
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["audio_filepath"] = str((path.parent / row["audio_filepath"]).resolve())
        rows.append(row)
    return rows


def has_digits(row):
    return bool(DIGITS & set(row.get("text", "").split()))


def groups(data):
    """(name, rows) of everything that is scored, as far as it is there; its age groups are scored too."""
    def of(name, keep=lambda row: True):
        path = data / name
        return [row for row in rows_of(path) if keep(row)] if path.is_file() else []

    yield "strangers: adults, many accents, own devices", of("digits/strangers-dev.jsonl")
    yield "strings: all", of("digits/strings-dev.jsonl")
    yield "commands: digits", of("digits/commands-dev.jsonl", has_digits)
    yield "commands: other words", of("digits/commands-dev.jsonl", lambda row: not has_digits(row))
    yield "fsdd: one man unheard of", of("digits/fsdd-dev.jsonl")
    yield "read English (LibriSpeech)", of("english/librispeech-dev.jsonl")
    yield "learners' sentences without digits", of("english/speechocean-dev.jsonl", lambda r: not has_digits(r))
    noise = of("noise/backgrounds.jsonl") + of("noise/esc10.jsonl")
    yield "noise", [{**row, "text": ""} for row in noise]


def evaluate(program, model, rows):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as manifest:
        manifest.writelines(json.dumps(row) + "\n" for row in rows)
        manifest.flush()
        command = [program, "evaluate", "--json", "--known-words", "--equal", "oh=zero", manifest.name]
        command += ["--model", model] if model else []
        command += ["--group-by", BY_AGE] if any("age" in row for row in rows) else []
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    of_type = lambda kind: [line for line in lines if line["type"] == kind]
    return lines[-1], of_type("group"), of_type("utterance")


def confusions(utterances):
    counts = collections.Counter()
    for line in utterances:
        said, heard = (["zero" if w == "oh" else w for w in line[key].split()] for key in ("reference", "hypothesis"))
        if len(said) == len(heard):
            counts.update((a, b) for a, b in zip(said, heard) if a != b)
    return counts


def print_row(name, line):
    wer = f"{100 * line['wer']:.1f}" if line["words"] else ""
    print(f"| {name} | {line['utterances']} | {line['words']} | {wer} | {line['substitutions']} | "
          f"{line['deletions']} | {line['insertions']} | {line['audio_seconds'] / 3600:.2f} | "
          f"{line['false_words_per_hour']:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--model")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    options = parser.parse_args()
    print("| set | utterances | words | WER % | sub. | del. | ins. | hours | false words an hour |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    mixed = collections.Counter()
    for name, rows in groups(options.data):
        if not rows:
            continue
        total, ages, utterances = evaluate(options.hearken, options.model, rows)
        if name.startswith(("strangers", "strings: all")):
            mixed += confusions(utterances)
        print_row(name, total)
        for group in ages if len(ages) > 1 else []:
            print_row(f"{name}: age {group['value']}", group)
    print("\nMost confused in strangers and strings (utterances whose word count was right): "
          + ", ".join(f"{a} for {b} ({n})" for (b, a), n in mixed.most_common(8)))


if __name__ == "__main__":
    main()
