#!/usr/bin/env python3
"""Prepares the data of the digits model in one command.

    tools/digits/data.py DIR [--out SYNTHETIC] [--seed N] [--count-scale X] [--check-only]

DIR holds the manifests of the recorded sets (the list: tools/digits/data.py --sources),
JSON lines with `audio_filepath` relative to the manifest, `duration`, `text`, `speaker`.
The program checks every line and audio file, warns of speakers both in training and in dev, generates the
synthetic voices in DIR/synthetic or SYNTHETIC (tools/digits/synthesize.py, whose docstring says what to install),
finds single digits in strings and sentences (DIR/cuts; tools/digits/cut_words.py), and processes recordings like
browsers (DIR/browser; tools/digits/browser_voices.py). It exits with 0 if everything for the recipe is there,
otherwise with 1, and prints where to get what is missing. DIR/text/cmudict.txt is the CMU Pronouncing Dictionary
0.7a or newer.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    name: str
    license: str
    address: str


COMMANDS = Source("Google Speech Commands v0.02", "CC BY 4.0",
                  "https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz (arXiv:1804.03209)")
FSDD = Source("Free Spoken Digit Dataset", "CC BY-SA 4.0",
              "https://github.com/Jakobovski/free-spoken-digit-dataset")
SPEECHOCEAN = Source("speechocean762", "free for commercial and other use, see its README",
                     "https://www.openslr.org/101/")
MOSHI = Source("adsorce moshi-finetune, the recorded telephone numbers", "Apache-2.0",
               "https://github.com/adsorce/moshi-finetune")
STRANGERS = Source("Sakshee5 alphanumeric audio dataset", "MIT",
                   "https://github.com/Sakshee5/alphanumeric-audio-dataset")
LIBRISPEECH = Source("LibriSpeech train-clean-5 (Mini LibriSpeech)", "CC BY 4.0",
                     "https://www.openslr.org/31/")
MACHINE = Source("LibriSpeech train-clean-100, one utterance a speaker, and coffee orders from "
                 "speech-to-intent-benchmark; text by Whisper base", "CC BY 4.0; Apache-2.0",
                 "https://www.openslr.org/12/, https://github.com/Picovoice/speech-to-intent-benchmark")
CATHY = Source("dataset-voice-cathy (Arctic prompts)", "CC0",
               "https://github.com/rhasspy/dataset-voice-cathy")
LJSPEECH = Source("LJ Speech", "public domain", "https://keithito.com/LJ-Speech-Dataset/")
ESC = Source("ESC-50, its CC BY part ESC-10", "CC BY", "https://github.com/karolpiczak/ESC-50")

# Manifest, whether the recipe cannot do without it, and where it comes from.
MANIFESTS = [
    ("digits/commands-train.jsonl", True, COMMANDS),
    ("digits/fsdd-train.jsonl", True, FSDD),
    ("digits/one-adult-train.jsonl", True, MOSHI),
    ("digits/strings-train.jsonl", True, SPEECHOCEAN),
    ("english/librispeech-train.jsonl", True, LIBRISPEECH),
    ("english/speechocean-train.jsonl", True, SPEECHOCEAN),
    ("english/arctic-train.jsonl", True, CATHY),
    ("english/ljspeech-train.jsonl", True, LJSPEECH),
    ("english/machine-labelled-train.jsonl", True, MACHINE),
    ("noise/backgrounds.jsonl", True, COMMANDS),
    ("noise/esc10.jsonl", True, ESC),
    ("digits/strings-dev.jsonl", True, SPEECHOCEAN),
    ("digits/strangers-dev.jsonl", True, STRANGERS),
    ("digits/commands-dev.jsonl", False, COMMANDS),
    ("digits/fsdd-dev.jsonl", False, FSDD),
    ("english/librispeech-dev.jsonl", False, LIBRISPEECH),
    ("english/speechocean-dev.jsonl", False, SPEECHOCEAN),
]
MOST_FAULTS_SHOWN = 5

CMUDICT = Source("CMU Pronouncing Dictionary", "BSD", "http://www.speech.cs.cmu.edu/cgi-bin/cmudict")
# Manifests of single digits that are made, each with the manifest from which they are cut.
CUTS = {
    "strings.jsonl": ["digits/strings-train.jsonl"],
    "one-adult.jsonl": ["digits/one-adult-train.jsonl"],
    "speechocean.jsonl": ["english/speechocean-train.jsonl"],
    "english.jsonl": ["english/librispeech-train.jsonl", "english/machine-labelled-train.jsonl",
                      "english/arctic-train.jsonl", "english/ljspeech-train.jsonl"],
}
# Speakers of a dev set that are also in a training set.
HELD_OUT = ["1737-", "2136-", "5789-", "7312-"]


class Manifest:
    """The contents of a manifest: counts, speakers, and faults as "line N: …"."""

    def __init__(self, path, needs_text):
        self.utterances = 0
        self.seconds = 0.0
        self.speakers = set()
        self.faults = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                self.take(json.loads(line), path.parent, needs_text)
            except (ValueError, KeyError, TypeError) as error:
                self.faults.append(f"line {number}: {error!r}")

    def take(self, row, folder, needs_text):
        audio = folder / row["audio_filepath"]
        if not audio.is_file():
            raise ValueError(f"no audio file {audio}")
        if needs_text and not row["text"].strip():
            raise ValueError("empty text")
        self.utterances += 1
        self.seconds += float(row.get("duration", 0.0))
        self.speakers.add(row.get("speaker", ""))


def show_sources():
    by_source = {}
    for name, _, source in MANIFESTS:
        by_source.setdefault(source, []).append(name)
    by_source[CMUDICT] = ["text/cmudict.txt"]
    for source, names in by_source.items():
        print(f"{source.name}\n  license: {source.license}\n  from:    {source.address}")
        print("  makes:   " + ", ".join(names))


def check(folder):
    """The manifests that exist, by name, and whether all required ones are valid."""
    found, right = {}, True
    print(f"{'manifest':40} {'utterances':>10} {'speakers':>8} {'hours':>6}")
    for name, needed, source in MANIFESTS:
        path = folder / name
        if not path.is_file():
            right &= not needed
            print(f"{name:40} missing{'' if needed else ' (only for reporting)'}: "
                  f"{source.name}, {source.license}, {source.address}")
            continue
        manifest = found[name] = Manifest(path, needs_text=not name.startswith("noise/"))
        print(f"{name:40} {manifest.utterances:10} {len(manifest.speakers):8} {manifest.seconds / 3600:6.2f}")
        right &= not manifest.faults
        for fault in manifest.faults[:MOST_FAULTS_SHOWN]:
            print(f"  {path}: {fault}")
        if len(manifest.faults) > MOST_FAULTS_SHOWN:
            print(f"  and {len(manifest.faults) - MOST_FAULTS_SHOWN} more")
    return found, right


def shared_speakers(found):
    """Lines that name the speakers of each training manifest who are in a dev manifest too."""
    lines = []
    for train in (name for name in found if name.endswith("-train.jsonl")):
        for dev in (name for name in found if name.endswith("-dev.jsonl")):
            both = (found[train].speakers & found[dev].speakers) - {""}
            if both:
                lines.append(f"in {train} and in {dev}: speakers {', '.join(sorted(both))}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="SYNTHETIC", help="default: DIR/synthetic")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count-scale", type=float, default=1.0, metavar="X")
    parser.add_argument("--check-only", action="store_true", help="make no synthetic voices")
    parser.add_argument("--sources", action="store_true", help="say where each set comes from, and end")
    options = parser.parse_args()
    if options.sources:
        return show_sources()
    if options.folder is None:
        parser.error("DIR is missing")
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")

    found, right = check(options.folder)
    for line in shared_speakers(found):
        print(f"warning: {line}: leave them out of training, or the dev figures flatter")
    if not options.check_only:
        out = options.out or options.folder / "synthetic"
        program = Path(__file__).with_name("synthesize.py")
        done = subprocess.run([sys.executable, program, out, "--seed", str(options.seed),
                               "--count-scale", str(options.count_scale)], check=False)
        right &= done.returncode == 0
        for name in ("synthetic-digits.jsonl", "synthetic-accents.jsonl", "synthetic-words.jsonl"):
            if (out / name).is_file():
                manifest = Manifest(out / name, needs_text=True)
                print(f"{out / name}: {manifest.utterances} utterances, {manifest.seconds / 3600:.2f} hours")
        for name, manifests in CUTS.items():
            program = Path(__file__).with_name("cut_words.py")
            excluded = [part for speaker in HELD_OUT for part in ("--exclude", speaker)]
            done = subprocess.run([sys.executable, program, options.folder, options.folder / "cuts" / name,
                                   *manifests, *excluded], check=False)
            right &= done.returncode == 0
        program = Path(__file__).with_name("browser_voices.py")
        done = subprocess.run([sys.executable, program, options.folder, options.folder / "browser"], check=False)
        right &= done.returncode == 0
    if not (options.folder / "text/cmudict.txt").is_file():
        print(f"text/cmudict.txt missing: {CMUDICT.name}, {CMUDICT.license}, {CMUDICT.address}")
        right = False
    if not right:
        sys.exit("data: not all is there; see above")
    print("data: all is there")


if __name__ == "__main__":
    main()
