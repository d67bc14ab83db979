#!/usr/bin/env python3
"""Trains on little data by the proposed recipe, as a new user would, and measures it on other recordings.

    tools/bench/little_data.py --data DIR [--hearken PROGRAM] [--cases NAME ...] [--threads N] [--keep FOLDER]

For each case the script makes a folder of WAV files with a table (file, text, speaker), and runs the commands of
docs/train.md: `data import --recipe`, the command for the training that it prints, and `evaluate`. DIR has manifests of
commands/, digits/ and english/ (docs/train.md says where they are from). What is measured is in none of the training
sets: other speakers, or other sentences of the one speaker. Other speech, in which every word is false, is single
words that the model does not have, and read books. Prints a table, and the time of the training. Needs soundfile.
"""
import argparse
import csv
import json
import pathlib
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time

import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 7
THREE, TEN = ("go", "right", "down"), ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
PHRASES = ("computer", "athena", "amelia")


def rows(data, name):
    path = data / f"{name}.jsonl"
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield {**row, "audio": path.parent / row["audio_filepath"]}


def some(found, count=None, seconds=None):
    """Recordings in a random order, up to a number or a length; and the rest."""
    found = list(found)
    random.Random(SEED).shuffle(found)
    if count is None:
        count, sum_of = 0, 0.0
        while count < len(found) and sum_of < seconds:
            sum_of += found[count]["duration"]
            count += 1
    return found[:count], found[count:]


def words(data, chosen, count):
    train, _ = some((r for r in rows(data, "commands/commands-more-train") if r["text"] in chosen), count)
    dev = [r for r in rows(data, "commands/commands-more-dev") if r["text"] in chosen]
    others = [r for r in rows(data, "digits/commands-dev") if r["text"] not in chosen]
    return train, {"other speakers": dev}, {"other words": some(others, 200)[0], "books": books(data)}


def books(data):
    return some(rows(data, "english/librispeech-dev"), 40)[0]


def phrases(data):
    """Recordings by three speakers; others, who are unknown, say one of the phrases."""
    train = [r for r in rows(data, "commands/precise-train") if r["text"] in PHRASES]
    said = list(rows(data, "commands/wake-dev"))
    dev = [r for r in said if r["text"] in PHRASES]
    others = [r for r in said if r["text"] not in PHRASES]
    return some(train, 40)[0], {"other speakers": dev}, {"other wake words": others, "books": books(data)}


def one_speaker(data, name, more):
    train, rest = some(rows(data, name), seconds=600)
    known = {word for r in train for word in r["text"].split()}
    inside = [r for r in rest if set(r["text"].split()) <= known]
    tests = {"the same speaker": rest[:100]}
    if len(inside) < len(rest):
        tests["the same speaker, words of the training only"] = inside[:100]
    return train, {**tests, **more}, {}


CASES = {
    "40 recordings of three words": lambda data: words(data, THREE, 40),
    "40 recordings of three wake words": phrases,
    "400 recordings of ten words": lambda data: words(data, TEN, 400),
    "10 minutes of digits by one speaker": lambda data: one_speaker(
        data, "digits/one-adult-train", {"other speakers": list(rows(data, "digits/strangers-dev"))}),
    "10 minutes of sentences by one speaker": lambda data: one_speaker(data, "english/arctic-train", {}),
}


def run(command, cwd):
    begin = time.monotonic()
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{shlex.join(map(str, command))}: {done.stderr}")
    return done.stdout, done.stderr, time.monotonic() - begin


def write_folder(folder, recordings):
    """The recordings as WAV files, with a table."""
    folder.mkdir(parents=True)
    with (folder / "list.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["file", "text", "speaker"])
        for number, row in enumerate(recordings):
            samples, rate = soundfile.read(row["audio"], dtype="int16")
            soundfile.write(folder / f"{number:04}.wav", samples, rate)
            table.writerow([f"{number:04}.wav", row["text"], row.get("speaker", "")])


def evaluate(hearken, folder, name, recordings, more):
    manifest = folder / f"{name.replace(' ', '-').replace(',', '')}.jsonl"
    lines = (json.dumps({"audio_filepath": str(r["audio"]), "text": r["text"]}) for r in recordings)
    manifest.write_text("\n".join(lines) + "\n")
    out, _, _ = run([hearken, "evaluate", str(manifest), "--json", *more], folder)
    return json.loads(out.splitlines()[-1])


def measure(name, args, folder):
    train, tests, others = CASES[name](args.data)
    write_folder(folder / "recordings", train)
    speakers = len({r.get("speaker") for r in train})
    split = ["--split", "0.1"] if speakers > 3 else []
    out, errors, _ = run([args.hearken, "data", "import", "recordings", "-o", "data/train.jsonl", *split,
                          "--recipe", "data/recipe.toml"], folder)
    if "data/recipe.toml" not in out:
        sys.exit(errors)
    print(f"\n## {name}, {speakers} speaker{'s' * (speakers > 1)}\n\n{out[out.index('data/recipe.toml'):]}")
    command = shlex.split(re.search(r"train with:\s+hearken (.*)", out)[1])
    threads = ["--threads", str(args.threads)] if args.threads else []
    _, errors, seconds = run([args.hearken, *command, *threads], folder)
    model = folder / "runs/recipe/best.onnx"
    if not model.exists():
        sys.exit(errors)
    print(f"training: {seconds:.0f} s\n")
    ways = [("", ["--model", str(model)])]
    if "sentences" in name:
        ways += [(", any words (--lm)", ["--model", str(model), "--lm", str(ROOT / "models/english/lm/english.lm")])]
        ways += [(", embedded English before", ["--model", "english"])]
    for test, recordings in tests.items():
        for way, more in ways:
            score = evaluate(args.hearken, folder, test, recordings, more)
            print(f"{test}{way}: {summary(score)}")
    for other, recordings in others.items():
        # Every word is false.
        empty = [{**r, "text": ""} for r in recordings]
        score = evaluate(args.hearken, folder, other, empty, ways[0][1])
        hours = sum(r["duration"] for r in recordings) / 3600
        inserted = score["insertions"]
        print(f"{other}: {inserted} false words in {len(recordings)} recordings, {inserted / hours:.0f} an hour")


def summary(w):
    wrong = w["substitutions"] + w["deletions"] + w["insertions"]
    return (f"{100 * wrong / max(1, w['words']):.1f} % of {w['words']} words wrong ({w['substitutions']} substituted, "
            f"{w['deletions']} missed, {w['insertions']} inserted)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for what is made, one for each case")
    args = parser.parse_args()
    args.data, args.hearken = args.data.resolve(), str(pathlib.Path(args.hearken).resolve())
    for name in args.cases:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (args.keep.resolve() if args.keep else pathlib.Path(temporary)) / name.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            measure(name, args, folder)


if __name__ == "__main__":
    main()
