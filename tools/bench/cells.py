#!/usr/bin/env python3
"""Compares all cells with the same width, data and updates, and prints the tables of docs/cells.md.

    cargo build --release && cargo build --release --example sequences --example bench_training --example bench_engine
    tools/bench/cells.py --data DATA                                  # about ten minutes on two idle cores
    tools/bench/cells.py --data DATA --dictionary cmudict.txt         # and phones of English, a quarter of an hour more

DATA has manifests of spoken digits (digits/commands-train.jsonl, fsdd-train, and *-dev; see models/digits/README.md) and of
English (english/commonvoice-train.jsonl, speechocean-train, and *-dev). The cells are those that the program knows. Phones need
numpy, onnxruntime, soundfile and kaldi-native-fbank; the rest needs nothing but Python. Results are kept in --out: what is
there already is not computed again. Times are processor times, the least of several rounds in which the cells take turns, so
that they hold on a machine that is busy.
"""

import argparse
import difflib
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
[data]
words = {words}
{data}
[network]
cells = ["{cell}"]
hidden = {hidden}
input_size = {width}
residual = true
[optimizer]
learning_rate = 3e-3
ema_decay = 0.99
[schedule]
steps = {steps}
warmup_steps = {warmup}
final_share = 0.02
[run]
seed = 1
batch_size = 16
eval_interval = {steps}
checkpoint_interval = {steps}
"""
DIGITS = """
silence_weight = 0.02
[data.strings]
weight = 1.0
words = [1, 4]
pools = [{{ manifest = "{train}", weight = 1.0 }}]
[[data.dev]]
manifest = "digits/strings-dev.jsonl"
weight = 1.0
"""
PHONES = """
pronunciations = "{dictionary}"
ignore_other_words = true
[[data.recordings]]
manifest = "{train}"
weight = 1.0
[[data.dev]]
manifest = "digits/strings-dev.jsonl"
weight = 1.0
"""
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
HIDDEN = [64, 64]


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def processor_seconds(command):
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    run(command)
    return used() - before


def appearances(events):
    """The words of the last event, and the time at which each of them first stood where it stays."""
    heard, seen = [], []
    for event in events:
        words = [word["word"] for word in event["words"]]
        same = 0
        while same < min(len(words), len(heard)) and words[same] == heard[same]:
            same += 1
        heard, seen = words, seen[:same] + [event["end"]] * (len(words) - same)
    return heard, seen


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Comparison:
    def __init__(self, options):
        self.options, self.data, self.out = options, options.data.resolve(), options.out.resolve()
        self.hearken = options.bin / "hearken"
        self.out.mkdir(parents=True, exist_ok=True)
        probe = run([self.hearken, "probe", "digits", ROOT / "audio/pi.wav", "--untrained", "--reach", 2, "--json"])
        names = [network["network"] for network in json.loads(probe)["networks"][1:]]
        self.cells = [name.removesuffix(", untrained") for name in names]
        if options.cells:
            wanted = options.cells.split(",")
            if missing := set(wanted) - set(self.cells):
                sys.exit(f"cells: expected some of {', '.join(self.cells)}, found {', '.join(missing)}")
            self.cells = wanted

    def once(self, name, compute):
        """The result of a part: that of an earlier run, or a new one."""
        path = self.out / f"{name}.json"
        if not path.exists():
            print(name, file=sys.stderr, flush=True)
            result = compute()
            path.write_text(json.dumps(result))
        return json.loads(path.read_text())

    def example(self, name):
        return self.options.bin / "examples" / name

    def memory(self):
        """Scores on copying and adding, by task and cell."""

        def compute():
            run([self.example("sequences"), "memory", "--out", self.out / "memory"])
            return json.loads((self.out / "memory/memory.json").read_text())

        return self.once("memory-scores", compute)

    def train(self, name, cell, data, hidden, steps):
        """Trains, and returns the model file and the number of parameters of a training."""
        sizes = {"hidden": hidden, "width": hidden[0], "steps": steps, "warmup": steps // 20}
        text = RECIPE.format(words=json.dumps(WORDS), data=data, cell=cell, **sizes)
        (self.out / f"{name}.toml").write_text(text)
        folder = self.out / name
        run([self.hearken, "train", self.out / f"{name}.toml", "--data", self.data, "--out", folder, "--overwrite"])
        log = lines((folder / "log.jsonl").read_text())
        return folder / "last.onnx", next(line["start"] for line in log if "start" in line)["parameters"]

    def subset(self, name, parts, step, words=None):
        """A manifest of every so many recordings, which saves reading the others for each cell; of single words only."""
        path = self.out / f"{name}.jsonl"
        with path.open("w") as written:
            for part in parts:
                manifest = self.data / f"{part}.jsonl"
                entries = [entry for entry in lines(manifest.read_text()) if not words or entry["text"] in words]
                for entry in entries[::step]:
                    entry["audio_filepath"] = str(manifest.parent / entry["audio_filepath"])
                    written.write(json.dumps(entry) + "\n")
        return path

    def digits(self, cell):
        pool = self.subset("digits-train", ("digits/commands-train", "digits/fsdd-train"), 4, WORDS)
        dev = [self.subset("digits-dev", ("digits/commands-dev",), 2, WORDS), self.data / "digits/strings-dev.jsonl"]
        model, parameters = self.train(f"digits-{cell}", cell, DIGITS.format(train=pool), HIDDEN, 2000)
        total = lines(run([self.hearken, "evaluate", "--model", model, "--json", "--equal", "oh=zero", *dev]))[-1]
        sounds = [ROOT / f"audio/{name}" for name in ("pi.wav", "voice-note.opus")]
        probe = json.loads(run([self.hearken, "probe", model, *sounds, "--json"]))["networks"][0]
        half_lives = [layer["half_life_steps"] for layer in probe["layers"]]
        return {
            "parameters": parameters,
            "error": total["wer"],
            "words": total["words"],
            "half_lives_ms": [steps and steps * probe["step_ms"] for steps in half_lives],
            "one_percent": [layer["one_percent_steps"] for layer in probe["layers"]],
            "delays_ms": self.delays(model),
        }

    def delays(self, model):
        """How long after the end of each word that is right it appears to stay, in ms."""
        manifest = self.data / "digits/strings-dev.jsonl"
        found = []
        for entry in lines(manifest.read_text()):
            audio = manifest.parent / entry["audio_filepath"]
            command = [self.hearken, "transcribe", "--model", model, "--json", "--chunk-ms", 40, audio]
            events = [event for event in lines(run(command)) if "words" in event]
            if sum(event["type"] == "final" for event in events) != 1:
                continue
            heard, seen = appearances(events)
            aligned = run([self.hearken, "align", "--model", "digits", audio, entry["text"]])
            ends = [float(line.split("\t")[1]) for line in aligned.splitlines()]
            spoken = entry["text"].split()
            if len(ends) != len(spoken):
                continue
            for block in difflib.SequenceMatcher(None, spoken, heard, autojunk=False).get_matching_blocks():
                for k in range(block.size):
                    found.append(1000 * (seen[block.b + k] - ends[block.a + k]))
        return found

    def phones(self, cell):
        dictionary = self.options.dictionary.resolve()
        pool = self.subset("phones-train", ("english/commonvoice-train", "english/speechocean-train"), 2)
        data = PHONES.format(dictionary=dictionary, train=pool)
        model, parameters = self.train(f"phones-{cell}", cell, data, [128, 128], 1500)
        manifests = [self.data / f"english/{part}.jsonl" for part in ("commonvoice-dev", "speechocean-dev")]
        command = [sys.executable, ROOT / "tools/bench/phone_error.py", model, *manifests, "--dictionary", dictionary]
        parts = lines(run([*command, "--most", 120]))
        errors = sum(part["phone_error"] * part["phones"] for part in parts)
        return {"parameters": parameters, "error": errors / sum(part["phones"] for part in parts)}

    def speed(self):
        """Processor time of an update and of a second of audio, by cell."""
        sizes = ["--hidden", HIDDEN[0], "--layers", len(HIDDEN)]
        updates = {cell: [] for cell in self.cells}
        calls = {cell: [] for cell in self.cells}
        for _ in range(3):
            for cell in self.cells:
                command = [self.example("bench_training"), "--cell", cell, *sizes, "--threads", 1, "--updates"]
                few, many = (processor_seconds([*command, count]) for count in (1, 11))
                updates[cell].append((many - few) / 10)
                command = [self.example("bench_engine"), "--cell", cell, *sizes, "--engines", "native"]
                results = lines(run([*command, "--rounds", 3, "--seconds", 4]))
                calls[cell] += [line["lowest"] for line in results if line["shape"] == "100 ms"]
        return {cell: {"update_ms": 1000 * min(updates[cell]), "rtf": min(calls[cell]) / 1e5} for cell in self.cells}


def memory_table(scores):
    delays = scores["results"][0]["delays"]
    print("| task | cell | " + " | ".join(map(str, delays)) + " |")
    print("| --- | --- |" + " ---: |" * len(delays))
    for row in scores["results"]:
        print(f"| {row['task']} | `{row['cell']}` | " + " | ".join(f"{score:.2f}" for score in row["scores"]) + " |")


def memory_scores(scores, cell, task):
    """The scores at delays of 50 and of 500 steps."""
    result = next(row for row in scores["results"] if (row["task"], row["cell"]) == (task, cell))
    at = dict(zip(result["delays"], result["scores"], strict=True))
    return f"{at[50]:.2f}, {at[500]:.2f}"


def half_life(digits):
    """The longest of the layers; a gradient that does not decay has none."""
    lives = [life if life and life > 0 else float("inf") for life in digits["half_lives_ms"]]
    return f"{max(lives):.0f} ms" if max(lives) < 1e4 else "carried"


def table(comparison, phones):
    memory = comparison.memory()
    memory_table(memory)
    print()
    speed = comparison.once("speed", comparison.speed)
    names = ["cell", "parameters", "copying", "adding", "digits", "phones", "update", "to `gru`", "real-time factor"]
    print("| " + " | ".join([*names, "delay", "half-life"]) + " |")
    print("| --- |" + " ---: |" * (len(names) + 1))
    gru = speed["gru"]["update_ms"]
    for cell in comparison.cells:
        digits = comparison.once(f"digits-{cell}", lambda cell=cell: comparison.digits(cell))
        english = comparison.once(f"phones-{cell}", lambda cell=cell: comparison.phones(cell)) if phones else None
        delays = digits["delays_ms"]
        row = [
            f"`{cell}`",
            f"{digits['parameters']:,}",
            memory_scores(memory, cell, "copying"),
            memory_scores(memory, cell, "adding"),
            f"{100 * digits['error']:.1f} %",
            f"{100 * english['error']:.1f} %" if english else "",
            f"{speed[cell]['update_ms']:.1f} ms",
            f"{speed[cell]['update_ms'] / gru:.2f}",
            f"{speed[cell]['rtf']:.5f}",
            f"{statistics.median(delays):+.0f} ms" if len(delays) > 9 else "",
            half_life(digits),
        ]
        print("| " + " | ".join(row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the manifests")
    parser.add_argument("--dictionary", type=Path, help="pronouncing dictionary; compare on phones of English too")
    parser.add_argument("--cells", help="names with commas, with gru; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "target/cells", help="folder of the results")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="folder of the programs")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    table(Comparison(options), options.dictionary is not None)


if __name__ == "__main__":
    main()
