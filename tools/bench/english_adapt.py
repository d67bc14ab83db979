#!/usr/bin/env python3
"""Adapts the English model to a speaker or an accent, and measures it before and after.

    tools/bench/english_adapt.py --data DIR --train NAME=MANIFEST.jsonl [--test MANIFEST.jsonl] [--minutes 20]
        [--test-minutes 8] [--out FOLDER] [--model MODEL.onnx] [--lm WORDS.lm] [--hearken PROGRAM] [--recipe RECIPE.toml] [--limit N]

Trains on `--minutes` of the manifest, drawn with --seed, by models/english/recipe-adapt.toml. Tests on `--test-minutes` of --test, or
without it of the same manifest, of recordings that are not trained on. What is forgotten is measured on `--limit` recordings of each set of
english/*-dev.jsonl in DIR. Prints a row of a table in Markdown for each set, and writes it to FOLDER/NAME.md.
"""
import argparse
import json
import pathlib
import random
import subprocess
import time

from english import ROOT, SETS, machine, share
from phone_error import words_of


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--test-minutes", type=float, default=8)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/adapt"))
    parser.add_argument("--model", default=str(ROOT / "models/english/english.onnx"))
    parser.add_argument("--lm", default=str(ROOT / "models/english/lm/english.lm"))
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--recipe", default=str(ROOT / "models/english/recipe-adapt.toml"))
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def rows_of(manifest):
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [{**row, "audio_filepath": str((manifest.parent / row["audio_filepath"]).resolve())} for row in rows]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def minutes_of(rows, minutes):
    """The first rows of a duration, and the others."""
    seconds = 0.0
    for number, row in enumerate(rows):
        if seconds >= 60 * minutes:
            return rows[:number], rows[number:]
        seconds += row["duration"]
    return rows, []


def pronunciations(options, rows, path):
    """Writes the pronunciations of all words of the texts."""
    words = sorted({word for row in rows for word in words_of(row["text"])})
    words = [word for word in words if any(c.isalpha() for c in word)]
    found = []
    for begin in range(0, len(words), 500):
        found.append(subprocess.run([options.hearken, "pronounce", "--nbest", "1", *words[begin : begin + 500]], check=True,
                                    capture_output=True, text=True).stdout)
    path.write_text("".join(found), encoding="utf-8")


def errors(options, model, manifest):
    run = subprocess.run([options.hearken, "evaluate", "--json", "--model", str(model), "--lm", options.lm, str(manifest)], check=True,
                         capture_output=True, text=True)
    total = json.loads(run.stdout.splitlines()[-1])
    return share(total["substitutions"] + total["deletions"] + total["insertions"], total["words"]), total["words"]


def main():
    options = arguments()
    name, manifest = options.train.split("=", 1)
    folder = (options.out / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(pathlib.Path(manifest))
    random.Random(options.seed).shuffle(rows)
    train, rest = minutes_of(rows, options.minutes)
    if options.test:
        rest = rows_of(options.test)
        random.Random(options.seed).shuffle(rest)
    test = minutes_of(rest, options.test_minutes)[0]
    write(folder / "adapt-train.jsonl", train)
    pronunciations(options, train, folder / "adapt.dict")
    sets = {f"{name}, not trained on": write(folder / "test.jsonl", test)}
    for other in SETS:
        general = rows_of(options.data / f"english/{other}-dev.jsonl")
        general = random.Random(options.seed).sample(general, min(options.limit, len(general)))
        if options.test and options.test.stem == f"{other}-dev":
            continue
        sets[f"{other}-dev"] = write(folder / f"{other}.jsonl", general)
    before = {label: errors(options, options.model, path) for label, path in sets.items()}
    begin = time.time()
    subprocess.run([options.hearken, "train", options.recipe, "--data", str(folder), "--from", options.model, "--out", str(folder / "run"),
                    "--overwrite"], check=True)
    minutes = (time.time() - begin) / 60
    speakers = len({row.get("speaker") for row in train})
    lines = [f"{name}: {sum(row['duration'] for row in train) / 60:.0f} minutes of {speakers} speaker{'s' if speakers > 1 else ''}, "
             f"trained in {minutes:.1f} minutes ({machine()}; {time.strftime('%Y-%m-%d')}; seed {options.seed})",
             "", "| word error rate | words | before | after |", "| --- | ---: | ---: | ---: |"]
    for label, path in sets.items():
        wer, words = before[label]
        lines.append(f"| {label} | {words} | {100 * wer:.1f} % | {100 * errors(options, folder / 'run/last.onnx', path)[0]:.1f} % |")
    (options.out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
