#!/usr/bin/env python3
"""Detects wake words in recordings of them and in other speech and noise; counts misses and false accepts.

    tools/bench/wake_word.py --data DIR [--half 1] [--rates 0.25 0.5 1 2] [--hearken PROGRAM] [-- OPTIONS OF TRANSCRIBE]

DIR has commands/wake-dev.jsonl, in which `text` is the wake word, and other manifests, whose recordings of these words
are left out. The recordings are divided by a hash of their names: the settings of the detector were chosen with half 0,
and half 1 is for reports. All recordings of a half, with pauses of a second, are one stream, so that the program is
measured as it runs on a microphone: it must find each wake word once, within its recording or up to half a second
after it. Requires the Python packages numpy and soundfile. Prints a table, and the share of real time of one thread.
"""
import argparse
import hashlib
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

import numpy
import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
OTHER = [
    "commands/commands-more-dev", "commands/minds14-machine-train", "commands/orders-dev", "commands/precise-train",
    "digits/commands-dev", "digits/counting-dev", "digits/fsdd-dev", "digits/strangers-dev", "digits/strings-dev",
    "english/commonvoice-2017-train", "english/commonvoice-dev", "english/commonvoice-train", "english/librispeech-dev",
    "english/ljspeech-train", "english/machine-labelled-train", "english/speechocean-dev", "english/vctk-train",
    "noise/backgrounds", "noise/esc10", "noise/gsc-long",
]
RATE = 16000
PAUSE = numpy.zeros(RATE, "int16")
AFTER = 0.5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--half", type=int, choices=[0, 1], default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5], help="values of --wake-threshold")
    parser.add_argument("--hours", type=float, default=1e9, help="maximum length of the other speech")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("options", nargs="*")
    return parser.parse_args()


def half_of(name):
    return int(hashlib.md5(name.encode()).hexdigest(), 16) % 2


def recordings(data, manifest, half):
    path = data / f"{manifest}.jsonl"
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if half_of(row["audio_filepath"]) == half:
            yield path.parent / row["audio_filepath"], row.get("text", "").lower()


def samples(path):
    audio, rate = soundfile.read(path, dtype="int16")
    if rate != RATE or audio.ndim != 1:
        sys.exit(f"{path}: expected mono at {RATE} Hz")
    return audio


class Stream:
    """A WAV file to which recordings are appended, and their places in it, seconds."""

    def __init__(self, path):
        self.file = soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="RF64")
        self.places, self.length = [], 0

    def add(self, path, text):
        audio = samples(path)
        self.file.write(numpy.concatenate([audio, PAUSE]))
        self.places.append((self.length / RATE, (self.length + len(audio)) / RATE, text))
        self.length += len(audio) + len(PAUSE)

    @property
    def hours(self):
        return self.length / RATE / 3600


def detect(options, words, rate, path):
    """The detected wake words with their times, and the seconds of processor time."""
    command = [options.hearken, "transcribe", "--json", "--no-partials", "--threads", "1", "--wake-threshold", str(rate)]
    command += [part for word in words for part in ("--wake-word", word)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([*command, *options.options, path], stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    events = map(json.loads, run.stdout.splitlines())
    found = [word for event in events if event["type"] == "final" for word in event["words"]]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [(word["word"], word["end"]) for word in found], seconds


def main():
    options = arguments()
    wake = list(recordings(options.data, "commands/wake-dev", options.half))
    words = sorted({text for _, text in wake})
    pattern = re.compile("|".join(rf"\b{word}" for word in words))
    with tempfile.TemporaryDirectory() as folder:
        spoken, other = (Stream(f"{folder}/{name}.wav") for name in ("spoken", "other"))
        for path, text in wake:
            spoken.add(path, text)
        for manifest in OTHER:
            for path, text in recordings(options.data, manifest, options.half):
                if not pattern.search(text) and other.hours < options.hours:
                    other.add(path, text)
        spoken.file.close()
        other.file.close()
        print(f"half {options.half}: {len(wake)} recordings of {len(words)} wake words, {other.hours:.2f} h of other sound")
        for rate in options.rates:
            found, _ = detect(options, words, rate, f"{folder}/spoken.wav")
            false, seconds = detect(options, words, rate, f"{folder}/other.wav")
            total = [0, 0, 0]
            for word in words:
                places = [(start, end) for start, end, text in spoken.places if text == word]
                ends = [end for name, end in found if name == word]
                hit = [any(start <= at <= end + AFTER for at in ends) for start, end in places]
                # A wake word in the recording of another one is a false accept too.
                wrong = sum(not any(start <= at <= end + AFTER for start, end in places) for at in ends)
                wrong += sum(name == word for name, _ in false)
                hours = other.hours + spoken.hours
                print(f"--wake-threshold {rate:g}  {word:14} missed {hit.count(False):3} of {len(hit):3} "
                      f"({hit.count(False) / len(hit):6.1%})  false accepts {wrong / hours:5.2f} an hour")
                total = [total[0] + hit.count(False), total[1] + len(hit), total[2] + wrong / hours]
            print(f"--wake-threshold {rate:g}  {'mean':14} missed {total[0]:3} of {total[1]:3} "
                  f"({total[0] / total[1]:6.1%})  false accepts {total[2] / len(words):5.2f} an hour; "
                  f"{seconds / other.hours / 36:.2f} % of a core")


if __name__ == "__main__":
    main()
