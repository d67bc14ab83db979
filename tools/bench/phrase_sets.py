#!/usr/bin/env python3
"""Digits and ten commands as phrase files on the embedded network of English, beside models trained on recordings.

    tools/bench/phrase_sets.py digits DATA
    tools/bench/phrase_sets.py commands DATA [--model runs/mine/best.onnx]
    tools/bench/phrase_sets.py joined JOINED [--side report]

DATA is the folder of the dev sets; JOINED that of tools/digits/join_dev.py: strings of digits 0.3, 1 and 2.5 s after and
before read sentences. `digits` and `joined` compare with the embedded model of digits, `commands` with a model trained by
the recipe of docs/train.md, if one is given. Prints Markdown: for each set the words, the errors of each kind, and the
word error rate; `oh` and `zero` count as the same word. Words that are not among those of the phrases are not in the
references, so that a set of other speech has insertions only. Nothing was chosen on these sets for the phrases.
Needs Python's standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples"
DIGITS = "zero one two three four five six seven eight nine oh".split()
BACKGROUND = ["--lm", "english", "--only-phrases"]
COMMANDS = "yes no up down left right on off stop go".split()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "commands", "joined"])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--model", help="model trained by the recipe of docs/train.md, for `commands`")
    parser.add_argument("--side", choices=["tune", "report"], default="report", help="half of the speakers, for `joined`")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    return parser.parse_args()


def rows_of(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["audio_filepath"] = str((path.parent / row["audio_filepath"]).resolve())
        yield row


def with_words(rows, words, wanted=True):
    return [row for row in rows if bool(set(row["text"].split()) & set(words)) == wanted]


def sets_of(options):
    """Name, rows and words of each set."""
    def manifest(name):
        return list(rows_of(options.data / f"{name}.jsonl"))
    if options.what == "joined":
        rows = manifest(options.side)
        yield "strings alone", manifest(f"alone-{options.side}"), DIGITS
        for place, text in (("behind", "after"), ("before", "before")):
            for gap in sorted({row["gap"] for row in rows}):
                chosen = [row for row in rows if row["place"] == place and row["gap"] == gap]
                yield f"{gap:g} s {text} a sentence", chosen, DIGITS
        yield "sentences alone", manifest(f"sentences-{options.side}"), DIGITS
    elif options.what == "digits":
        yield "strings of strangers", manifest("digits/strangers-dev"), DIGITS
        yield "strings of children and adults", manifest("digits/strings-dev"), DIGITS
        yield "single digits (FSDD)", manifest("digits/fsdd-dev"), DIGITS
        commands = manifest("digits/commands-dev")
        yield "single digits (Speech Commands)", with_words(commands, DIGITS), DIGITS
        yield "single other words", with_words(commands, DIGITS, False), DIGITS
        yield "read sentences without digits", with_words(manifest("english/librispeech-dev"), DIGITS, False), DIGITS
    else:
        commands = manifest("digits/commands-dev")
        yield "ten commands", with_words(commands, COMMANDS), COMMANDS
        yield "single other words", with_words(commands, COMMANDS, False), COMMANDS
        yield "ten commands, other recordings", manifest("commands/commands-more-dev"), COMMANDS


def evaluate(options, rows, words, recognizer, folder):
    """Counts of a set, whose references are reduced to `words`."""
    manifest = folder / "set.jsonl"
    kept = [{**row, "text": " ".join(w for w in row["text"].split() if w in words)} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    command = [options.hearken, "evaluate", "--json", "--equal", "oh=zero", *recognizer, str(manifest)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def systems_of(options, folder):
    """Name and options of each recognizer."""
    if options.what == "commands":
        yield "phrases", ["--phrases", str(EXAMPLES / "commands.txt")]
        yield "only phrases, with a language model", ["--phrases", str(EXAMPLES / "commands.txt"), *BACKGROUND]
        if options.model:
            yield "trained on recordings", ["--model", options.model]
        return
    single = folder / "single.txt"
    single.write_text(f"({'|'.join(DIGITS)})\n", encoding="utf-8")
    yield "digits model", ["--model", "digits"]
    yield "phrases of one digit", ["--phrases", str(single)]
    yield "phrases of three and more", ["--phrases", str(EXAMPLES / "digits.txt")]
    yield "the same, with a language model", ["--phrases", str(EXAMPLES / "digits.txt"), *BACKGROUND]


def main():
    options = arguments()
    print("| set | recognizer | words | substituted | deleted | inserted | WER % |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for title, rows, words in sets_of(options):
            for system, recognizer in systems_of(options, folder):
                result = evaluate(options, rows, words, recognizer, folder)
                errors = [result["substitutions"], result["deletions"], result["insertions"]]
                rate = f"{100 * sum(errors) / result['words']:.1f}" if result["words"] else "–"
                print(f"| {title} | {system} | {result['words']} | {' | '.join(map(str, errors))} | {rate} |", flush=True)


if __name__ == "__main__":
    main()
