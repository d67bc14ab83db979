#!/usr/bin/env python3
"""Kills a training at random times, resumes it, and compares the weights with those of a run that nothing killed.

    python3 tools/check/kill.py [--hearken target/release/hearken] [--kills 100] [--seed 1]

A tiny network is trained on generated tones. The process gets SIGKILL at times drawn from the seed: while it starts,
reads, updates, scores, or writes a checkpoint, a model, the log or the report; then it is started with --resume.
Runs follow each other until the number of kills is reached. Each finished run must have the same models (best.onnx,
last.onnx), byte for byte, and a log of valid lines; no temporary files may be left. Exits with 1 if anything
differs. Needs Python 3.9 only.
"""
import argparse
import array
import json
import math
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave

RATE = 16_000
WORDS = {"low": 300, "high": 1200}
RECIPE = """
[data]
words = ["low", "high"]
silence_weight = 0.1

[[data.recordings]]
manifest = "train.jsonl"
weight = 1.0

[[data.dev]]
manifest = "train.jsonl"
weight = 1.0

[network]
cells = ["gru"]
hidden = [16, 16]
input_size = 16
residual = true
dropout = 0.1

[augment]
gain = { probability = 0.5 }

[schedule]
steps = STEPS

[run]
batch_size = 4
eval_interval = 60
checkpoint_interval = 20
log_interval = 10
"""
STEPS = 600


def speak(path, frequency, seconds, level):
    samples = array.array("h")
    for i in range(int(seconds * RATE)):
        envelope = math.sin(math.pi * i / (seconds * RATE))
        samples.append(int(32767 * level * envelope * math.sin(2 * math.pi * frequency * i / RATE)))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())


def prepare(folder, rng):
    lines = []
    for i in range(12):
        word = rng.choice(sorted(WORDS))
        speak(folder / f"{i}.wav", WORDS[word] * rng.uniform(0.9, 1.1), rng.uniform(0.3, 0.6), 0.4)
        lines.append(json.dumps({"audio_filepath": f"{i}.wav", "text": word}))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "recipe.toml").write_text(RECIPE.replace("STEPS", str(STEPS)))


def start(hearken, folder, out, more):
    command = [hearken, "train", "recipe.toml", "--threads", "1", "--out", out, *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def faults_of(run, expected):
    """What is wrong with a finished run."""
    faults = [f"{name} differs" for name, bytes in expected.items() if (run / name).read_bytes() != bytes]
    for number, line in enumerate((run / "log.jsonl").read_text().splitlines(), 1):
        try:
            json.loads(line)
        except ValueError:
            faults.append(f"log.jsonl: line {number} is not JSON: {line[:60]}")
    known = {"best.onnx", "last.onnx", "log.jsonl", "report.html", "left_out.txt", "training.lock"}
    faults += [f"{path.name} was left" for path in run.iterdir()
               if path.name not in known and not path.name.startswith("checkpoint")]
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hearken", default="target/release/hearken")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    hearken = str(pathlib.Path(args.hearken).resolve())
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, rng)
        begin = time.monotonic()
        undisturbed = start(hearken, folder, "undisturbed", [])
        _, errors = undisturbed.communicate()
        if undisturbed.returncode != 0:
            sys.exit(f"the training that nothing killed failed: {errors}")
        whole = time.monotonic() - begin
        expected = {name: (folder / "undisturbed" / name).read_bytes() for name in ("best.onnx", "last.onnx")}
        print(f"undisturbed: {STEPS} updates in {whole:.1f} s")
        kills = runs = early = 0
        faults = []
        while kills < args.kills or (folder / "run").exists():
            run = folder / "run"
            has_begun = (run / "checkpoint.bin").exists()
            # A run that was killed before its first checkpoint has nothing to resume.
            more = ["--resume"] if has_begun else ["--overwrite"] if run.exists() else []
            process = start(hearken, folder, "run", more)
            try:
                # Short enough that a run is killed many times, long enough that it gets on.
                wait = rng.uniform(0, 0.5 * whole) if kills < args.kills else None
                _, errors = process.communicate(timeout=wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                early += not (run / "checkpoint.bin").exists()
                continue
            if process.returncode != 0:
                sys.exit(f"after {kills} kills: exit code {process.returncode}: {errors}")
            runs += 1
            faults += [f"run {runs}, after {kills} kills: {fault}" for fault in faults_of(run, expected)]
            run.rename(folder / f"run-{runs}")
        print(f"killed {kills} times, {early} of them before the first checkpoint; {runs} runs finished")
    for fault in faults:
        print(fault)
    print("all models are equal" if not faults else f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
