#!/usr/bin/env python3
"""Word error rate and time of the search of open English against its beam, on half of a dev set.

    tools/bench/search.py DATA [--set librispeech-dev] [--half 1]

For each beam and maximum number of hypotheses it prints the word error rate, and the processor seconds of the network with
the features and of the search for an hour of audio, on one core. The time of the network is that of the same recordings with
its tokens alone, without a search; start and reading of the files are subtracted. Then: the words of the lexicon and the
n-grams of the language model, the peak of memory, and the processor time until a recording of 0.1 s is transcribed.
Needs Python's standard library only.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import wave

ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORK = ROOT / "models/english/english.onnx"
SETTINGS = [(6, 2000), (8, 2000), (10, 2000), (12, 500), (12, 1000), (12, 2000), (14, 4000), (18, 8000)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--set", default="librispeech-dev")
    parser.add_argument("--half", type=int, choices=[0, 1], default=1, help="every other recording, from this one on")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    return parser.parse_args()


def run(options, *command):
    """The last JSON line, processor seconds and peak memory in MB of a command, on one core."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(["taskset", "-c", "0", options.hearken, *map(str, command)], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"search: hearken {' '.join(map(str, command))} failed")
        out.seek(0)
        lines = out.read().splitlines()
    return json.loads(lines[-1]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def rows_of(options):
    path = options.data / "english" / f"{options.set}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines()[options.half::2]:
        row = json.loads(line)
        yield {**row, "audio_filepath": str((path.parent / row["audio_filepath"]).resolve())}


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        manifest, short = folder / "half.jsonl", folder / "short.jsonl"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows_of(options)), encoding="utf-8")
        with wave.open(str(folder / "short.wav"), "wb") as silence:
            silence.setparams((1, 2, 16000, 0, "NONE", ""))
            silence.writeframes(bytes(3200))
        short.write_text(json.dumps({"audio_filepath": str(folder / "short.wav"), "text": ""}) + "\n", encoding="utf-8")
        start = run(options, "evaluate", "--json", "--model", NETWORK, short)[1]
        result, network, _ = run(options, "evaluate", "--json", "--model", NETWORK, manifest)
        network -= start
        hour = 3600 / result["audio_seconds"]
        _, start, _ = run(options, "evaluate", "--json", "--model", "english", short)
        print("| beam, nats | hypotheses | WER % | network, s/h | search, s/h |\n| ---: | ---: | ---: | ---: | ---: |")
        for beam, most in SETTINGS:
            settings = ["--model", "english", "--beam", beam, "--max-active", most]
            result, seconds, megabytes = run(options, "evaluate", "--json", *settings, manifest)
            search = seconds - start - network
            print(f"| {beam} | {most} | {100 * result['wer']:.1f} | {hour * network:.0f} | {hour * search:.0f} |", flush=True)
        print(f"\nReady after {1000 * start:.0f} ms of processor time; at most {megabytes:.0f} MB.")


if __name__ == "__main__":
    main()
