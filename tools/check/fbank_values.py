#!/usr/bin/env python3
"""Compares hearken's features with kaldi-native-fbank's on real recordings.

    cargo build --release --no-default-features --example fbank
    venv/bin/pip install numpy soundfile kaldi-native-fbank
    venv/bin/python tools/check/fbank_values.py ../shared/data/*/*.jsonl --each 40

Manifests are JSON lines with `audio_filepath` relative to the manifest. Frames must be the same in
number; every bin at most 15 nats below the strongest of its frame must agree within 1e-3, 99.9 % of
them within 1e-4. Deeper bins hold the rounding noise of either single-precision FFT: there the
difference of the amplitudes, relative to the strongest bin's, must stay below 1e-6. Exit code 1 if not.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import soundfile

import fbank_peer

ROOT = pathlib.Path(__file__).resolve().parents[2]


def hearken(binary, x, chunk):
    run = subprocess.run([binary, "{}", str(chunk)], input=x.astype("<f4").tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout, "<f4").reshape(-1, 80)


def recordings(manifest, each):
    """Up to `each` recordings, spread evenly over the manifest."""
    lines = manifest.read_text().splitlines()
    for line in lines[:: max(1, len(lines) // each)][:each]:
        x, rate = soundfile.read(manifest.parent / json.loads(line)["audio_filepath"], dtype="float32")
        if rate == 16000 and x.ndim == 1:
            yield x


def synthetic():
    t = np.arange(20007) / 16000
    yield np.zeros(5000)
    yield np.where(np.arange(16000) // 40 % 2 == 0, 1.0, -1.0)
    yield np.where(np.arange(16000) // 37 % 2 == 0, 1.0, -1.0)
    yield 0.5 * np.sin(2 * np.pi * (50 * t + 2800 * t**2))
    yield 0.9 + 0.01 * np.sin(2 * np.pi * 440 * t)
    yield np.full(4000, 1.0)
    yield np.eye(1, 4000, 1500)[0]
    for n in [0, 1, 79, 80, 160, 239, 240, 279, 280, 399, 400, 401]:
        yield np.random.default_rng(n).normal(size=n) * 0.1


class Tally:
    def __init__(self):
        self.files = self.frames = self.values = self.apart = self.deep = 0
        self.worst = self.worst_deep = 0.0
        self.bad_counts = 0

    def add(self, ours, peers):
        self.files += 1
        if ours.shape != peers.shape:
            self.bad_counts += 1
            return
        if not len(ours):
            return
        a, b = ours.astype(float), peers.astype(float)
        peak = b.max(1, keepdims=True)
        shallow = b >= peak - 15
        d = np.abs(a - b)
        amplitude = np.abs(np.exp(a / 2) - np.exp(b / 2)) / np.exp(peak / 2)
        self.frames += len(a)
        self.values += int(shallow.sum())
        self.deep += int((~shallow).sum())
        self.apart += int((d[shallow] > 1e-4).sum())
        self.worst = max(self.worst, d[shallow].max())
        self.worst_deep = max(self.worst_deep, amplitude[~shallow].max(initial=0))

    def report(self, name):
        share = 1 - self.apart / max(self.values, 1)
        good = self.bad_counts == 0 and self.worst <= 1e-3 and share >= 0.999 and self.worst_deep < 1e-6
        print(f"{name:28} {self.files:5} {self.frames:7} {self.values:9} {self.worst:10.2e} {share:10.5%} "
              f"{self.deep:8} {self.worst_deep:10.1e} {self.bad_counts:4}  {'ok' if good else 'WRONG'}", flush=True)
        return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("manifests", nargs="*", type=pathlib.Path)
    p.add_argument("--each", type=int, default=40, help="recordings of each manifest")
    p.add_argument("--bin", default=ROOT / "target/release/examples/fbank")
    args = p.parse_args()
    print(f"{'':28} {'files':>5} {'frames':>7} {'values':>9} {'worst':>10} {'<= 1e-4':>10} {'deep':>8} {'worst deep':>10} {'count':>4}")
    good, chunks = True, [1600, 1 << 40, 160, 37]
    for name, signals in [("synthetic", synthetic()), *((m.stem, recordings(m, args.each)) for m in args.manifests)]:
        tally = Tally()
        for i, x in enumerate(signals):
            x = np.asarray(x, np.float32)
            tally.add(hearken(args.bin, x, chunks[i % len(chunks)]), fbank_peer.features(x)[1])
        good &= tally.report(name)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
