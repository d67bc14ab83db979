#!/usr/bin/env python3
"""Compares the speed of the Python package with that of the program, on the same recordings, in turns.

    tools/bench/python_package.py --hearken target/release/hearken --python VENV/bin/python [--rounds 7] RECORDING…

Each run is a process of its own, from start to exit. CPU time counts: a machine with other work changes it less. Prints
the medians of both, and their ratio.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

SCRIPT = """
import sys, hearken
for transcript in hearken.Recognizer().transcribe(sys.argv[2:], threads=int(sys.argv[1])):
    print(transcript.path, transcript.text, sep="\\t")
"""


def run(command):
    """Seconds of CPU and of the clock, and the output."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - begin, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearken", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("recordings", nargs="+")
    args = parser.parse_args()
    threads, recordings = str(args.threads), args.recordings
    commands = {
        "program": [args.hearken, "transcribe", "--threads", threads, *recordings],
        "package": [args.python, "-c", SCRIPT, threads, *recordings],
        "package, no recordings": [args.python, "-c", SCRIPT, threads],
    }
    results = {name: [] for name in commands}
    texts = {}
    for _ in range(args.rounds):
        for name, command in commands.items():
            cpu, clock, texts[name] = run(command)
            results[name].append((cpu, clock))
    if texts["program"] != texts["package"] and len(recordings) > 1:
        sys.exit("the transcripts differ")
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    for name, (cpu, clock) in medians.items():
        print(f"{name:24} {cpu:8.3f} s CPU {clock:8.3f} s")
    ratios = [package / program for package, program in zip(medians["package"], medians["program"])]
    print(f"package / program        {ratios[0]:8.3f}       {ratios[1]:10.3f}")


if __name__ == "__main__":
    main()
