#!/usr/bin/env python3
"""CPU time, memory and output of one long utterance, from ten minutes to ten hours.

    tools/bench/long_streams.py [--hearken PROGRAM] [--minutes 10 60 240 600]

The recordings of audio/ in random order, with pauses between them, go to `hearken transcribe` as raw
samples on standard input: as text and as JSON lines, with and without partials, with and without
endpoints. If the cost is linear, the figures per hour are equal in all lines of a table. Needs numpy and
soundfile.
"""

import argparse
import os
import pathlib
import subprocess
import threading

import numpy as np
import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATE = 16000
CLIPS = ("pi.wav", "e.wav", "countdown.wav", "golden.flac", "no-digits.wav", "noise.wav")
MODES = (("text", []), ("text, endpoints", ["--endpoint", "on"]), ("json", ["--json"]),
         ("json, endpoints", ["--json", "--endpoint", "on"]),
         ("json, no partials", ["--json", "--no-partials"]))


def minute(clips, rng):
    """A minute of clips and pauses, as s16le; a clip that does not fit in it is cut."""
    parts, length = [], 0
    while length < 60 * RATE:
        parts += [clips[rng.integers(len(clips))], np.zeros(int(RATE * rng.uniform(0.3, 2.5)), np.float32)]
        length += sum(map(len, parts[-2:]))
    return (np.concatenate(parts)[:60 * RATE] * 32767).astype("<i2").tobytes()


def run(program, options, minutes, count):
    """(CPU seconds, megabytes, bytes written) of one run."""
    child = subprocess.Popen([program, "transcribe", "--raw", f"s16le:{RATE}:1", *options, "-"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    written = 0

    def read():
        nonlocal written
        while block := child.stdout.read(1 << 16):
            written += len(block)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(count):
        child.stdin.write(minutes[number * 7 % len(minutes)])
    # Not `ru_maxrss`: of a child that Python forks it is at least Python's own.
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
    child.stdin.close()
    reader.join()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"long_streams: {program} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime, memory, written


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hearken", default=ROOT / "target/release/hearken")
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 60, 240, 600])
    parser.add_argument("--modes", nargs="+", default=[name for name, _ in MODES])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    clips = [soundfile.read(ROOT / "audio" / name, dtype="float32")[0] for name in CLIPS]
    minutes = [minute(clips, rng) for _ in range(60)]
    with open("/proc/cpuinfo") as processors:
        names = [line.split(":", 1)[1].strip() for line in processors if line.startswith("model name")]
    print(f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores\n")
    print("| output | minutes | CPU s | CPU s an hour | MB of memory | MB written | MB written an hour |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, arguments in MODES:
        for count in options.minutes if name in options.modes else []:
            cpu, memory, written = run(options.hearken, arguments, minutes, count)
            hours, written = count / 60, written / 1e6
            print(f"| {name} | {count} | {cpu:.1f} | {cpu / hours:.2f} | {memory:.0f} | {written:.2f} | "
                  f"{written / hours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
