#!/usr/bin/env python3
"""Compares the speed of feature extraction of hearken and kaldi-native-fbank, on one thread, alternately.

    cargo build --release --no-default-features --example fbank
    venv/bin/pip install numpy kaldi-native-fbank
    venv/bin/python tools/bench/fbank.py

The input is one minute of noise at 16 kHz, with default options, as a whole and in chunks of 100 ms. Only the
C++ code of kaldi-native-fbank is counted: the time for passing samples from Python is measured separately
(with a frame longer than the signal, so that nothing is computed) and subtracted.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

import kaldi_native_fbank as knf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "check"))
import fbank_peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 60


def machine():
    names = [l.split(":", 1)[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def peer(options, samples, chunk):
    fbank = knf.OnlineFbank(options)
    chunks = [samples[i : i + chunk] for i in range(0, len(samples), chunk)]
    start = time.perf_counter()
    for c in chunks:
        fbank.accept_waveform(16000, c)
    fbank.input_finished()
    return time.perf_counter() - start


def hearken(binary, data, chunk):
    run = subprocess.run([binary, "{}", str(chunk), "3"], input=data, capture_output=True, check=True)
    return float(run.stderr)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--bin", default=ROOT / "target/release/examples/fbank")
    args = p.parse_args()
    x = (np.random.default_rng(0).normal(size=16000 * SECONDS) * 0.1).astype("<f4")
    samples, data = x.tolist(), x.tobytes()
    options = fbank_peer.peer_options({})
    nothing = fbank_peer.peer_options({"snip_edges": True, "frame_length_ms": SECONDS * 1100.0})
    print(machine())
    for name, chunk in [("whole", len(samples)), ("100 ms chunks", 1600)]:
        theirs, handing, ours = [], [], []
        for _ in range(args.rounds):
            # The fastest of three on both sides, in turns.
            theirs.append(min(peer(options, samples, chunk) for _ in range(3)))
            handing.append(min(peer(nothing, samples, chunk) for _ in range(3)))
            ours.append(hearken(args.bin, data, chunk))
        ratios = [(t - h) / o for t, h, o in zip(theirs, handing, ours)]
        frames = SECONDS * 100
        print(f"{name}: kaldi-native-fbank {1e6 * (min(theirs) - min(handing)) / frames:.2f} us a frame "
              f"({1e6 * min(theirs) / frames:.2f} with Python's share), hearken {1e6 * min(ours) / frames:.2f}; "
              f"ratio median {statistics.median(ratios):.1f} (from {min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
