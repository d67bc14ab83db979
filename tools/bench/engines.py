#!/usr/bin/env python3
"""Compares the speed of the native engine and onnxruntime on the same file: one stream, one thread, chunks of
100 ms, and a whole recording of ten seconds.

    cargo build --release --no-default-features --features ort --example bench_engine
    venv/bin/pip install onnxruntime
    venv/bin/python tools/bench/engines.py [MODEL.onnx …]

Both run in one process through the same interface (tools/bench/bench_engine.rs), alternately, so that neither
Python nor other load of the machine distorts the ratio. Without files, networks with random weights are used.
A ratio above 1 means that the native engine is faster.
"""
import argparse
import json
import os
import pathlib
import subprocess

import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]


def library():
    folder = pathlib.Path(onnxruntime.__file__).parent / "capi"
    return next(f for f in sorted(folder.iterdir()) if f.name.startswith("libonnxruntime.") and ".so" in f.name
                or f.name in ("onnxruntime.dll",) or f.name.startswith("libonnxruntime") and f.suffix == ".dylib")


def measure(binary, options, rounds):
    """The rows that bench_engine prints, by shape and engine."""
    command = [binary, "--ort-library", library(), "--rounds", str(rounds), *options]
    out = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return {(r["shape"], r["engine"]): r for r in map(json.loads, out.splitlines())}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--bin", default=ROOT / "target/release/examples/bench_engine")
    args = p.parse_args()
    cases = [(m, [m]) for m in args.models]
    if not cases:
        cases = [(f"{c} 3 x {h}", ["--cell", c, "--hidden", str(h)])
                 for c in ("gru", "lstm", "rnn-tanh") for h in (192, 256)]
    names = [l.split(":", 1)[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
    print(f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          f"onnxruntime {onnxruntime.__version__}; microseconds a call, median of {args.rounds} rounds (lowest)")
    for name, options in cases:
        rows = measure(args.bin, options, args.rounds)
        for shape in ("100 ms", "whole"):
            own, ort = rows[shape, "native"], rows[shape, "ort"]
            print(f"{name}, {shape}: native {own['microseconds']:.0f} ({own['lowest']:.0f}), onnxruntime "
                  f"{ort['microseconds']:.0f} ({ort['lowest']:.0f}); ratio {ort['times_native']:.2f} "
                  f"({ort['lowest'] / own['lowest']:.2f})", flush=True)


if __name__ == "__main__":
    main()
