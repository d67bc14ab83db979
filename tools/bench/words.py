#!/usr/bin/env python3
"""Language models, pronunciations and start times, beside other programs where they are installed.

    tools/bench/words.py lm TEXT [--order 3]       estimation, beside KenLM's lmplz
    tools/bench/words.py pronounce DICTIONARY      guesses for a twentieth of the words, beside Phonetisaurus
    tools/bench/words.py start                     time until a recording of 0.1 s is transcribed, also with files of
                                                   10 to 10,000 phrases

Prints a JSON line for each program or command: CPU seconds and peak memory; for pronunciations also the share of words
whose first guess, and none of four guesses, is in the dictionary. A program that is not installed is named on standard
error. lmplz is searched in PATH; Phonetisaurus is the Python package `phonetisaurus` of --python. Phones are compared
without stress. Needs Python's standard library only.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import wave

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERY = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lm", "pronounce", "start"])
    parser.add_argument("file", nargs="?", type=pathlib.Path)
    parser.add_argument("--order", default="3")
    parser.add_argument("--runs", type=int, default=5, help="runs of each start, of which the fastest counts")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--python", default=sys.executable, help="Python with the package phonetisaurus")
    options = parser.parse_args()
    if (options.file is None) != (options.what == "start"):
        parser.error("expected a file with `lm` and `pronounce`, and none with `start`")
    return options


def run(command, stdin=None):
    """Standard output, CPU and wall seconds, and peak memory in MB of a command."""
    begin = time.monotonic()
    with open(stdin or os.devnull, "rb") as file, tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(part) for part in command], stdin=file, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"words: {' '.join(map(str, command))} failed: run it to see why")
        out.seek(0)
        text = out.read()
    seconds = {"cpu": round(usage.ru_utime + usage.ru_stime, 3), "wall": round(time.monotonic() - begin, 3)}
    return text, seconds | {"peak_mb": round(usage.ru_maxrss / 1024, 1)}


def absent(program):
    print(f"words: {program} is not installed: hearken is measured alone", file=sys.stderr)


def report(program, **figures):
    print(json.dumps({"program": program, **figures}), flush=True)


def language_model(options, folder):
    _, cost = run([options.hearken, "lm", "--raw", options.file, "--order", options.order, "-o", folder / "own.lm"])
    report("hearken", **cost, megabytes=round((folder / "own.lm").stat().st_size / 1e6, 1))
    if not shutil.which("lmplz"):
        return absent("lmplz")
    out = folder / "other.arpa"
    _, cost = run(["lmplz", "-o", options.order, "--discount_fallback", "--text", options.file, "--arpa", out])
    report("lmplz", **cost, megabytes=round(out.stat().st_size / 1e6, 1))


def phones_of(text):
    return " ".join(phone.rstrip("012") for phone in text.split())


def entries(path):
    """The pronunciations of each word of a dictionary, without stress; words with anything but letters are left out."""
    words = collections.defaultdict(list)
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith(";;;") or not line.strip():
            continue
        word, phones = line.split("#")[0].split(None, 1)
        word = word.split("(")[0].lower()
        if word.replace("'", "").isalpha():
            words[word].append(phones.strip())
    return words


def score(guesses, held_out):
    first = sum(guesses.get(word, [""])[0] not in known for word, known in held_out.items())
    four = sum(not set(guesses.get(word, [])[:4]) & known for word, known in held_out.items())
    return {"wrong_first": round(first / len(held_out), 4), "wrong_of_four": round(four / len(held_out), 4)}


def pronounce(options, folder):
    words = sorted(entries(options.file).items())
    held_out = {word: {phones_of(p) for p in ps} for i, (word, ps) in enumerate(words) if i % EVERY == 0}
    lines = [f"{word}  {p}" for i, (word, ps) in enumerate(words) if i % EVERY for p in ps]
    dictionary, model = folder / "train.dict", folder / "own.pron"
    dictionary.write_text("\n".join(lines) + "\n")
    _, training = run([options.hearken, "pronounce", "--train", dictionary, "-o", model])
    guesses = collections.defaultdict(list)
    command = [options.hearken, "pronounce", "--pronunciations", model, "--json"]
    text, guessing = run([*command, *held_out])
    for line in text.splitlines():
        found = json.loads(line)
        guesses[found["word"]].append(phones_of(found["phones"]))
    report("hearken", training=training, guessing=guessing, words=len(held_out), **score(guesses, held_out))
    if subprocess.run([options.python, "-c", "import phonetisaurus"], check=False, stderr=subprocess.DEVNULL).returncode:
        return absent("phonetisaurus")
    plain = folder / "plain.dict"
    plain.write_text("\n".join(f"{line.split(None, 1)[0]} {phones_of(line.split(None, 1)[1])}" for line in lines) + "\n")
    fst, wanted = folder / "other.fst", folder / "words.txt"
    wanted.write_text("\n".join(held_out) + "\n")
    program = [options.python, "-m", "phonetisaurus"]
    _, training = run([*program, "train", "--model", fst, plain])
    text, guessing = run([*program, "predict", "--model", fst, "--nbest", "4"], stdin=wanted)
    guesses = collections.defaultdict(list)
    for line in text.splitlines():
        word, phones = line.split(None, 1)
        guesses[word].append(phones.strip())
    return report("phonetisaurus", training=training, guessing=guessing, words=len(held_out), **score(guesses, held_out))


def phrases_of(path, lines):
    """Writes a file of different phrases of two to five of the words of docs/words.md."""
    generator = random.Random(lines)
    words = sorted(set(re.findall(r"\b[a-z]{2,}\b", (ROOT / "docs/words.md").read_text(encoding="utf-8").lower())))
    phrases = set()
    while len(phrases) < lines:
        phrases.add(" ".join(generator.sample(words, generator.randint(2, 5))))
    path.write_text("\n".join(sorted(phrases)) + "\n", encoding="utf-8")
    return path


def start(options, folder):
    recording, phrases = folder / "silence.wav", folder / "phrases.txt"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 16000, 1600, "NONE", ""))
        file.writeframes(bytes(3200))
    phrases.write_text("turn (on|off) [the] {room} light[s]\n{room} = kitchen | living room\n")
    commands = [("digits", ["--model", "digits"]), ("--phrases", ["--phrases", phrases]),
                ("--model english", ["--model", "english"]), ("--wake-word", ["--wake-word", "hey computer"])]
    for lines in (10, 100, 1000, 10_000):
        commands.append((f"--phrases, {lines} lines", ["--phrases", phrases_of(folder / f"{lines}.txt", lines)]))
    for name, more in commands:
        runs = [run([options.hearken, "transcribe", *more, recording])[1] for _ in range(options.runs)]
        report(name, **{key: min(cost[key] for cost in runs) for key in runs[0]})


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        {"lm": language_model, "pronounce": pronounce, "start": start}[options.what](options, pathlib.Path(folder))


if __name__ == "__main__":
    main()
