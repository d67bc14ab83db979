#!/usr/bin/env python3
"""Two builds of the program side by side: size, start, accuracy, speed of recognition and of training.

    tools/bench/compare_versions.py BEFORE AFTER --data DIR [--rounds 3]

DIR has the manifests digits/{strangers,strings,fsdd}-dev.jsonl and digits/commands-train.jsonl. The two builds take
turns, so that both see the same machine; medians of the rounds are printed as a table in Markdown. Needs only
Python; onnxruntime is measured where the programs find it.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEV = ("digits/strangers-dev.jsonl", "digits/strings-dev.jsonl", "digits/fsdd-dev.jsonl")
RECIPE = """
[data]
words = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
ignore_other_words = true
[[data.recordings]]
manifest = "digits/commands-train.jsonl"
weight = 1.0
[network]
cells = ["{cell}"]
hidden = [128, 128]
input_size = 128
[schedule]
steps = 120
[run]
batch_size = 32
eval_interval = 120
checkpoint_interval = 120
log_interval = 20
"""


def run(*command):
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=True)


def start_ms(program):
    """Milliseconds of a transcription of four seconds, opening of the model included."""
    began = time.perf_counter()
    run(program, "transcribe", ROOT / "audio/pi.wav")
    return 1000 * (time.perf_counter() - began)


def accuracy(program, manifest):
    report = run(program, "evaluate", manifest).stdout
    row = next(line for line in report.splitlines() if line.startswith(str(manifest)))
    return float(row.split()[-3])


def real_time_factor(program, engine, manifest):
    report = run(program, "evaluate", manifest, "--engine", engine).stdout
    return float(re.search(r"real-time factor ([0-9.e-]+) \(([0-9.]+) s for ([0-9.]+) s", report).group(2))


def training_speed(program, cell, data):
    """Utterances a second in the second half of a short training."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder) / "recipe.toml"
        recipe.write_text(RECIPE.format(cell=cell))
        run(program, "train", recipe, "--data", data, "--out", pathlib.Path(folder) / "run")
        lines = (pathlib.Path(folder) / "run/log.jsonl").read_text().splitlines()
        speeds = [json.loads(line).get("utterances_per_second") for line in lines]
        speeds = [speed for speed in speeds if speed]
        return statistics.median(speeds[len(speeds) // 2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs=2, type=pathlib.Path, metavar="PROGRAM")
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    programs = [program.resolve() for program in options.programs]
    rows = [("size, MB", [program.stat().st_size / 1e6 for program in programs], 2)]

    def measure(name, digits, work, rounds=options.rounds):
        values = [[], []]
        for _ in range(rounds):
            for program, found in zip(programs, values):
                try:
                    found.append(work(program))
                except subprocess.CalledProcessError as error:
                    print(f"left out: {name}: {error.stderr.strip().splitlines()[-1]}")
                    return
        rows.append((name, [statistics.median(found) for found in values], digits))

    measure("transcribe 4 s, from start to end, ms", 1, start_ms, 7 * options.rounds)
    for manifest in DEV:
        measure(f"words wrong, {manifest}, %", 2, lambda p, m=manifest: accuracy(p, options.data / m), 1)
    for engine in ("native", "ort", "tract"):
        measure(f"engine {engine}, CPU s for {DEV[2]}", 3,
                lambda p, e=engine: real_time_factor(p, e, options.data / DEV[2]))
    for cell in ("rnn-tanh", "gru", "lstm"):
        measure(f"training {cell}, utterances a second", 0, lambda p, c=cell: training_speed(p, c, options.data))
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    processor = names[0] if names else "unknown processor"
    print(f"{processor}, {os.cpu_count()} cores\n\n| | before | after |\n| --- | ---: | ---: |")
    for name, values, digits in rows:
        print(f"| {name} | {values[0]:.{digits}f} | {values[1]:.{digits}f} |")


if __name__ == "__main__":
    main()
